//! A control plane inside the test process: the bridge protocol and `/reports` over plain HTTP, with switches for faults. It is
//! honest: windows, pages and filters hold as in the contract, so that a gateway that ignores them is noticed.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::definition::Definition;
use super::wait::{self, PATIENCE};
use super::wire::{Framing, Head, Wire, lossy};

const ENVIRONMENT: &str = "DEFAULT";
const ORGANIZATION: &str = "DEFAULT";

/// What goes wrong with every answer while it is switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// This status.
    Status(u16),
    /// 200 with something that is not JSON.
    Garbage,
    /// 200 with JSON that is no version object, no list, nothing that was asked for.
    Unexpected,
    /// Half of a body, then the end.
    Truncated,
    /// No answer.
    Hang,
}

#[derive(Debug, Default)]
struct World {
    fault: Option<Fault>,
    events: BTreeMap<String, Value>,
    subscriptions: BTreeMap<String, Value>,
    keys: BTreeMap<String, Value>,
    reports: Vec<Value>,
    written: Vec<Value>,
    paths: Vec<String>,
    stopping: bool,
}

/// The control plane; it accepts no more once this is dropped.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
}

impl ControlPlane {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let world = Arc::new(Mutex::new(World::default()));
        let served = Arc::clone(&world);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if lock(&served).stopping {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let world = Arc::clone(&served);
                std::thread::spawn(move || serve(&world, stream));
            }
        });
        Self { address, world }
    }

    /// The URL that `cloud.gate.url` names.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Switches a fault on, or all faults off.
    pub(crate) fn fail(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    /// Publishes a definition, new or changed.
    pub(crate) fn deploy(&self, definition: &Definition) {
        self.deploy_text(definition.id(), definition.is_v4(), &definition.to_string());
    }

    /// Publishes any text as a definition.
    pub(crate) fn deploy_text(&self, id: &str, is_v4: bool, text: &str) {
        let now = now_ms();
        let mut world = self.lock();
        let number = world
            .events
            .get(id)
            .and_then(|event| {
                event["properties"]["deployment_number"]
                    .as_str()?
                    .parse()
                    .ok()
            })
            .unwrap_or(0_u64)
            + 1;
        let record = json!({
            "id": id,
            "environmentId": ENVIRONMENT,
            "name": id,
            "version": "1",
            "definitionVersion": if is_v4 { "4.0.0" } else { "2.0.0" },
            "type": if is_v4 { Some("proxy") } else { None },
            "lifecycleState": "STARTED",
            "definition": text,
            "deployedAt": now,
        });
        let event = json!({
            "id": id,
            "environments": [ENVIRONMENT],
            "organizations": [ORGANIZATION],
            "type": "PUBLISH_API",
            "payload": record.to_string(),
            "properties": { "api_id": id, "deployment_number": number.to_string() },
            "createdAt": now,
            "updatedAt": now,
        });
        world.events.insert(id.to_owned(), event);
    }

    /// Publishes the flows of the organization, in the form of V2 definitions.
    pub(crate) fn publish_organization(&self, mode: &str, flows: Value) {
        let payload = json!({
            "id": ORGANIZATION,
            "hrids": ["default"],
            "name": "Default",
            "flowMode": mode,
            "flows": flows,
        });
        self.publish(
            "PUBLISH_ORGANIZATION",
            "organization_id",
            ORGANIZATION,
            payload,
        );
    }

    /// Publishes a dictionary.
    pub(crate) fn publish_dictionary(&self, key: &str, properties: Value) {
        let payload = json!({
            "id": key,
            "key": key,
            "environmentId": ENVIRONMENT,
            "name": key,
            "deployedAt": now_ms(),
            "properties": properties,
        });
        self.publish("PUBLISH_DICTIONARY", "dictionary_id", key, payload);
    }

    /// Deploys a shared policy group: `phase` is `REQUEST` or `RESPONSE`, `steps` are those of V4 flows.
    pub(crate) fn deploy_group(&self, id: &str, phase: &str, steps: Value) {
        let payload = json!({
            "id": id,
            "crossId": id,
            "environmentId": ENVIRONMENT,
            "name": id,
            "version": 1,
            "phase": phase,
            "policies": steps,
            "deployedAt": now_ms(),
        });
        self.publish(
            "DEPLOY_SHARED_POLICY_GROUP",
            "shared_policy_group_id",
            id,
            payload,
        );
    }

    fn publish(&self, kind: &str, property: &str, id: &str, payload: Value) {
        let now = now_ms();
        let event = json!({
            "id": id,
            "environments": [ENVIRONMENT],
            "organizations": [ORGANIZATION],
            "type": kind,
            "payload": payload.to_string(),
            "properties": { property: id },
            "createdAt": now,
            "updatedAt": now,
        });
        self.lock().events.insert(format!("{property}:{id}"), event);
    }

    /// Unpublishes an API.
    pub(crate) fn undeploy(&self, id: &str) {
        let mut world = self.lock();
        let event = world.events.get_mut(id).expect("it was deployed");
        event["type"] = json!("UNPUBLISH_API");
        event["updatedAt"] = json!(now_ms());
    }

    /// Subscribes an application to the plan of an API with a key; `changes` overwrite members of subscription and key.
    pub(crate) fn subscribe(&self, api: &str, key: &str, changes: Value) {
        let id = format!("{api}-{key}-subscription");
        let now = now_ms();
        let mut subscription = json!({
            "id": id,
            "referenceId": api,
            "referenceType": "API",
            "api": api,
            "environmentId": ENVIRONMENT,
            "plan": format!("{api}-plan"),
            "application": "application",
            "status": "ACCEPTED",
            "createdAt": now,
            "updatedAt": now,
        });
        overwrite(&mut subscription, &changes["subscription"]);
        let mut record = json!({
            "id": format!("{api}-{key}"),
            "key": key,
            "subscriptions": [id],
            "environmentId": ENVIRONMENT,
            "application": "application",
            "revoked": false,
            "paused": false,
            "createdAt": now,
            "updatedAt": now,
        });
        overwrite(&mut record, &changes["key"]);
        let mut world = self.lock();
        world.subscriptions.insert(id, subscription);
        world.keys.insert(format!("{api}-{key}"), record);
    }

    /// Subscribes an application to a plan, without a key; `changes` hold the client id, the certificate or anything else. The
    /// subscription of this id is replaced.
    pub(crate) fn subscribe_to(&self, api: &str, plan: &str, id: &str, changes: Value) {
        let now = now_ms();
        let mut subscription = json!({
            "id": id,
            "referenceId": api,
            "referenceType": "API",
            "api": api,
            "environmentId": ENVIRONMENT,
            "plan": plan,
            "application": "application",
            "status": "ACCEPTED",
            "createdAt": now,
            "updatedAt": now,
        });
        overwrite(&mut subscription, &changes);
        self.lock()
            .subscriptions
            .insert(id.to_owned(), subscription);
    }

    /// Reports that came, oldest first, of one type such as `v4-metrics`.
    pub(crate) fn reports(&self, kind: &str) -> Vec<Value> {
        let world = self.lock();
        world
            .reports
            .iter()
            .filter(|report| report["type"] == kind)
            .cloned()
            .collect()
    }

    /// Waits for the report of a request.
    pub(crate) fn report_of(&self, request_id: &str) -> Value {
        wait::until(&format!("report of {request_id}"), PATIENCE, || {
            self.lock()
                .reports
                .iter()
                .find(|report| report["_id"] == request_id)
                .cloned()
        })
    }

    /// Events and documents that the gateway wrote (heartbeats, monitoring).
    pub(crate) fn written(&self) -> Vec<Value> {
        self.lock().written.clone()
    }

    /// How many requests came for a path.
    pub(crate) fn asked(&self, path: &str) -> usize {
        let world = self.lock();
        world
            .paths
            .iter()
            .filter(|asked| asked.contains(path))
            .count()
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.lock().stopping = true;
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

/// A Cloud Token that was not signed by anybody, valid for so many seconds from now.
pub(crate) fn token(valid_s: i64) -> String {
    let now_s = now_ms() / 1_000;
    let claims = json!({
        "iss": "GraviteeCloud",
        "aud": "CloudGate",
        "target": "apim",
        "org": ORGANIZATION,
        "envs": [ENVIRONMENT],
        "cpg": "local",
        "iat": now_s - 10,
        "exp": now_s + valid_s,
        "jti": "00000000-0000-4000-8000-000000000000",
    });
    let header = json!({ "alg": "RS512", "typ": "JWT", "kid": "test" });
    let part = |text: String| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!(
        "{}.{}.{}",
        part(header.to_string()),
        part(claims.to_string()),
        part("no signature".repeat(20))
    )
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().expect("nobody panics while holding it")
}

fn overwrite(object: &mut Value, changes: &Value) {
    for (name, value) in changes.as_object().into_iter().flatten() {
        object[name] = value.clone();
    }
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is right");
    i64::try_from(since.as_millis()).expect("the clock is right")
}

fn serve(world: &Mutex<World>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    let mut wire = Wire::new(stream);
    while let Ok(head) = wire.head() {
        let mut body = Vec::new();
        let framing = head
            .framing(Framing::Length(0))
            .unwrap_or(Framing::Length(0));
        if wire
            .body(framing, &mut |piece| body.extend_from_slice(piece))
            .is_err()
        {
            return;
        }
        let fault = lock(world).fault;
        let (status, mut answer) = match fault {
            None => answer(world, &head, &body),
            Some(Fault::Status(status)) => (status, Some("no".to_owned())),
            Some(Fault::Garbage) => (200, Some("<html>hello</html>".to_owned())),
            Some(Fault::Unexpected) => (200, Some(json!({ "hello": [1] }).to_string())),
            Some(Fault::Truncated) => (200, Some("[{\"id\":\"x\",\"payload\":\"".to_owned())),
            Some(Fault::Hang) => {
                wire.ends();
                return;
            }
        };
        let text = answer.take().unwrap_or_default();
        let announced = text.len()
            + if fault == Some(Fault::Truncated) {
                1_000
            } else {
                0
            };
        let response = format!(
            "HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\nContent-Length: {announced}\r\n\r\n{text}"
        );
        if wire.stream.write_all(response.as_bytes()).is_err() || fault == Some(Fault::Truncated) {
            return;
        }
    }
}

fn answer(world: &Mutex<World>, head: &Head, body: &[u8]) -> (u16, Option<String>) {
    let target = head.start.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut world = lock(world);
    world.paths.push(path.to_owned());
    if !head
        .field("Authorization")
        .is_some_and(|value| value.starts_with("Bearer "))
    {
        return (401, None);
    }
    if path == "/reports" {
        return (world.take_reports(head, body), None);
    }
    let Some(path) = path.strip_prefix("/sync/_bridge") else {
        return (404, None);
    };
    let criteria: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let found = match path {
        "" => json!({ "version": { "MAJOR_VERSION": "4.12.17", "REVISION": "test" } }),
        "/eventsLatest/_search" => world.events(&criteria, query),
        "/subscriptions/_search" => world.subscriptions(&criteria),
        "/keys/_findByCriteria" => world.keys(&criteria),
        "/environments/DEFAULT" => {
            json!({ "id": ENVIRONMENT, "hrids": ["default"], "organizationId": ORGANIZATION })
        }
        "/organizations/DEFAULT" => json!({ "id": ORGANIZATION, "hrids": ["default"] }),
        "/events/_search" => json!([]),
        "/events/_createOrPatch" | "/events" | "/node/monitoring" if !criteria.is_null() => {
            world.written.push(criteria.clone());
            criteria
        }
        _ => return (404, None),
    };
    (200, Some(found.to_string()))
}

impl World {
    fn take_reports(&mut self, head: &Head, body: &[u8]) -> u16 {
        let mut text = Vec::new();
        if head.field("Content-Encoding") == Some("gzip") {
            if flate2::read::GzDecoder::new(body)
                .read_to_end(&mut text)
                .is_err()
            {
                return 400;
            }
        } else {
            text.extend_from_slice(body);
        }
        let mut reports = Vec::new();
        for line in text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            match serde_json::from_slice(line) {
                Ok(report) => reports.push(report),
                Err(error) => panic!("a report is no JSON: {error}: {}", lossy(line)),
            }
        }
        self.reports.extend(reports);
        200
    }

    fn events(&self, criteria: &Value, query: &str) -> Value {
        let parameter = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(found, _)| *found == name)
                .map(|(_, value)| value)
        };
        let property = match parameter("group") {
            Some("API_ID") => "api_id",
            Some("ORGANIZATION_ID") => "organization_id",
            Some("DICTIONARY_ID") => "dictionary_id",
            Some("SHARED_POLICY_GROUP_ID") => "shared_policy_group_id",
            _ => return json!([]),
        };
        let mut events: Vec<&Value> = self
            .events
            .values()
            .filter(|event| event["properties"].get(property).is_some())
            .filter(|event| is_any_of(&event["type"], &criteria["types"]))
            .filter(|event| is_within(event, criteria))
            .collect();
        events.sort_by_key(|event| {
            (
                event["updatedAt"].as_i64(),
                event["id"].as_str().map(str::to_owned),
            )
        });
        let number = |name| parameter(name).and_then(|value| value.parse::<usize>().ok());
        let size = number("size").unwrap_or(100);
        events
            .into_iter()
            .skip(number("page").unwrap_or(0) * size)
            .take(size)
            .cloned()
            .collect()
    }

    fn subscriptions(&self, criteria: &Value) -> Value {
        self.subscriptions
            .values()
            .filter(|it| is_any_of(&it["plan"], &criteria["plans"]))
            .filter(|it| is_any_of(&it["status"], &criteria["statuses"]))
            .filter(|it| is_within(it, criteria))
            .cloned()
            .collect()
    }

    fn keys(&self, criteria: &Value) -> Value {
        let with_revoked = criteria["includeRevoked"] == true;
        self.keys
            .values()
            .filter(|it| with_revoked || it["revoked"] != true)
            .filter(|it| {
                it["subscriptions"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|id| is_any_of(id, &criteria["subscriptions"]))
            })
            .filter(|it| is_within(it, criteria))
            .cloned()
            .collect()
    }
}

/// Unset, null and empty all mean "no filter".
fn is_any_of(value: &Value, allowed: &Value) -> bool {
    allowed
        .as_array()
        .is_none_or(|allowed| allowed.is_empty() || allowed.contains(value))
}

fn is_within(object: &Value, criteria: &Value) -> bool {
    let at = object["updatedAt"].as_i64().unwrap_or(0);
    let bound = |name: &str| criteria[name].as_i64().filter(|bound| *bound > 0);
    bound("from").is_none_or(|from| at >= from) && bound("to").is_none_or(|to| at < to)
}
