//! A bridge server for tests, with switches for faults.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpListener;

use super::wire::{
    AccessPoint, ApiKey, ApiKeyCriteria, Environment, Event, EventCriteria, Monitoring,
    Organization, Subscription, SubscriptionCriteria,
};

/// What a fault does to the next matching request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Answers with this status and text.
    Status(u16, &'static str),
    /// Answers 200 with this body.
    Body(&'static str),
    /// Sends the head and half of the body, then breaks the connection.
    Torn,
    /// Answers properly, but late.
    Late(Duration),
}

/// A request that was seen.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// What the fake control plane knows.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// Base path, such as `/_bridge`.
    pub(crate) base: String,
    pub(crate) token: Option<String>,
    pub(crate) events: Vec<Event>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) keys: Vec<ApiKey>,
    pub(crate) environments: Vec<Environment>,
    pub(crate) organizations: Vec<Organization>,
    pub(crate) access_points: Option<Vec<AccessPoint>>,
    pub(crate) is_old: bool,
    pub(crate) has_monitoring: bool,
    pub(crate) written_events: Vec<Event>,
    pub(crate) documents: Vec<Monitoring>,
    pub(crate) seen: Vec<Seen>,
    faults: VecDeque<(String, usize, Fault)>,
}

impl World {
    /// The next `times` requests whose path and body contain `pattern` fail like this.
    pub(crate) fn fail(&mut self, pattern: &str, times: usize, fault: Fault) {
        self.faults.push_back((pattern.to_owned(), times, fault));
    }

    pub(crate) fn heal(&mut self) {
        self.faults.clear();
    }

    /// Requests to a path, in order.
    pub(crate) fn requests(&self, path: &str) -> Vec<Seen> {
        self.seen
            .iter()
            .filter(|seen| seen.path.ends_with(path))
            .cloned()
            .collect()
    }

    fn fault(&mut self, text: &str) -> Option<Fault> {
        let at = self
            .faults
            .iter()
            .position(|(pattern, times, _)| *times > 0 && text.contains(pattern))?;
        let (_, times, fault) = &mut self.faults[at];
        *times -= 1;
        Some(fault.clone())
    }
}

/// The server; it stops when this is dropped.
pub(crate) struct FakeBridge {
    pub(crate) url: String,
    world: Arc<Mutex<World>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for FakeBridge {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeBridge {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let world = World {
            base: "/_bridge".to_owned(),
            has_monitoring: true,
            access_points: Some(Vec::new()),
            ..World::default()
        };
        let world = Arc::new(Mutex::new(world));
        let served = Arc::clone(&world);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let world = Arc::clone(&served);
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&world), request));
                    // A torn answer ends in an error on purpose.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { url, world, server }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test panicked here")
    }
}

/// A body that may break off.
struct Reply {
    bytes: Option<Bytes>,
    is_torn: bool,
    length: u64,
}

impl Body for Reply {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.bytes.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None if self.is_torn => {
                Poll::Ready(Some(Err(std::io::Error::other("torn on purpose"))))
            }
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        if self.is_torn {
            hyper::body::SizeHint::with_exact(self.length)
        } else {
            hyper::body::SizeHint::default()
        }
    }
}

async fn answer(
    world: Arc<Mutex<World>>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let seen = Seen {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers.clone(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    let (fault, mut status, mut bytes) = {
        let mut world = world.lock().expect("no test panicked here");
        world.seen.push(seen.clone());
        let fault = world.fault(&format!(
            "{} {}?{} {}",
            seen.method, seen.path, seen.query, seen.body
        ));
        let (status, bytes) = world.handle(&seen);
        (fault, status, bytes)
    };
    let mut is_torn = false;
    match fault {
        Some(Fault::Status(code, text)) => {
            status = StatusCode::from_u16(code).expect("a status");
            bytes = text.as_bytes().to_vec();
        }
        Some(Fault::Body(text)) => (status, bytes) = (StatusCode::OK, text.as_bytes().to_vec()),
        Some(Fault::Torn) => is_torn = true,
        Some(Fault::Late(delay)) => tokio::time::sleep(delay).await,
        None => {}
    }
    let mut response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json");
    let accepts_gzip = seen
        .headers
        .get(ACCEPT_ENCODING)
        .is_some_and(|value| value.as_bytes().starts_with(b"gzip"));
    if accepts_gzip && bytes.len() > 64 {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&bytes).expect("memory");
        bytes = encoder.finish().expect("memory");
        response = response.header(CONTENT_ENCODING, "gzip");
    }
    let length = bytes.len() as u64;
    if is_torn {
        bytes.truncate(bytes.len() / 2);
    }
    let reply = Reply {
        bytes: Some(bytes.into()),
        is_torn,
        length,
    };
    Ok(response.body(reply).expect("a response"))
}

fn ok(object: &impl Serialize) -> (StatusCode, Vec<u8>) {
    (StatusCode::OK, serde_json::to_vec(object).expect("JSON"))
}

fn criteria<T: serde::de::DeserializeOwned>(seen: &Seen) -> T {
    serde_json::from_value(seen.body.clone()).expect("criteria")
}

fn parameter<'a>(seen: &'a Seen, name: &str) -> &'a str {
    let mut pairs = seen
        .query
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(found, _)| *found == name)
        .map_or("", |(_, value)| value)
}

fn within(updated_at: Option<i64>, from: Option<i64>, to: Option<i64>) -> bool {
    let at = updated_at.unwrap_or(0);
    from.is_none_or(|from| from <= 0 || at >= from) && to.is_none_or(|to| to <= 0 || at < to)
}

fn listed(filter: &[String], value: Option<&str>) -> bool {
    filter.is_empty() || value.is_some_and(|value| filter.iter().any(|one| one == value))
}

impl World {
    fn handle(&mut self, seen: &Seen) -> (StatusCode, Vec<u8>) {
        let absent = (StatusCode::NOT_FOUND, Vec::new());
        let agent = seen
            .headers
            .get(USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if let Some(version) = agent.strip_prefix("gio-client-bridge/")
            && version.split('.').count() != 3
        {
            let text = "Version of the bridge client is incompatible with bridge server";
            return (StatusCode::BAD_REQUEST, text.into());
        }
        if let Some(token) = &self.token
            && seen
                .headers
                .get("authorization")
                .and_then(|value| value.to_str().ok())
                != Some(&format!("Bearer {token}"))
        {
            return (StatusCode::UNAUTHORIZED, Vec::new());
        }
        let Some(path) = seen.path.strip_prefix(&self.base) else {
            return absent;
        };
        let page: usize = parameter(seen, "page").parse().unwrap_or(0);
        let size: usize = parameter(seen, "size").parse().unwrap_or(usize::MAX);
        match (seen.method.as_str(), path) {
            ("GET", "" | "/") => {
                ok(&serde_json::json!({ "version": { "MAJOR_VERSION": "4.12.17" } }))
            }
            ("POST", "/eventsLatest/_search") if self.is_old => absent,
            ("POST", "/eventsLatest/_search" | "/events/_searchLatest") => {
                let wanted: EventCriteria = criteria(seen);
                let property = match parameter(seen, "group") {
                    "API_ID" => "api_id",
                    "ORGANIZATION_ID" => "organization_id",
                    "DICTIONARY_ID" => "dictionary_id",
                    "SHARED_POLICY_GROUP_ID" => "shared_policy_group_id",
                    _ => "",
                };
                let mut found: Vec<&Event> = self
                    .events
                    .iter()
                    .filter(|event| event.property(property).is_some())
                    .filter(|event| {
                        wanted.types.is_empty() || wanted.types.contains(&event.event_type)
                    })
                    .filter(|event| within(event.updated_at, wanted.from, wanted.to))
                    .filter(|event| {
                        let of = event.environments.as_deref().unwrap_or_default();
                        wanted.environments.is_empty()
                            || of.is_empty()
                            || of.iter().any(|id| wanted.environments.contains(id))
                    })
                    .collect();
                found.sort_by_key(|event| (event.updated_at, event.id.clone()));
                ok(&found
                    .into_iter()
                    .skip(page.saturating_mul(size))
                    .take(size)
                    .collect::<Vec<_>>())
            }
            ("POST", "/subscriptions/_search") => {
                let wanted: SubscriptionCriteria = criteria(seen);
                let found: Vec<&Subscription> = self
                    .subscriptions
                    .iter()
                    .filter(|one| listed(&wanted.plans, one.plan.as_deref()))
                    .filter(|one| listed(&wanted.statuses, one.status.as_deref()))
                    .filter(|one| within(one.updated_at, wanted.from, wanted.to))
                    .filter(|one| match (wanted.ending_at_after, one.ending_at) {
                        (Some(after), Some(end)) => end >= after,
                        (Some(_), None) => wanted.include_without_end,
                        (None, _) => true,
                    })
                    .collect();
                ok(&found)
            }
            ("POST", "/keys/_findByCriteria") => {
                let wanted: ApiKeyCriteria = criteria(seen);
                let found: Vec<&ApiKey> = self
                    .keys
                    .iter()
                    .filter(|one| {
                        wanted.subscriptions.is_empty()
                            || one
                                .subscriptions
                                .iter()
                                .any(|id| wanted.subscriptions.contains(id))
                    })
                    .filter(|one| wanted.include_revoked || !one.revoked)
                    .filter(|one| within(one.updated_at, wanted.from, wanted.to))
                    .filter(|one| match (wanted.expire_after, one.expire_at) {
                        (Some(after), Some(end)) => end >= after,
                        (Some(_), None) => wanted.include_without_expiration,
                        (None, _) => true,
                    })
                    .collect();
                ok(&found)
            }
            ("POST", "/accessPoints/_search") => self.access_points.as_ref().map_or(absent, ok),
            ("GET", "/environments/_byOrganizationsAndHrids") => {
                let hrids = parameter(seen, "hrids");
                let wanted: Vec<&str> = hrids.split(',').filter(|hrid| !hrid.is_empty()).collect();
                let matches = |one: &&Environment| {
                    wanted.is_empty()
                        || one.hrids.iter().any(|hrid| wanted.contains(&hrid.as_str()))
                };
                ok(&self.environments.iter().filter(matches).collect::<Vec<_>>())
            }
            ("GET", "/organizations/_byHrids") => {
                let wanted = parameter(seen, "hrids");
                let matches = |one: &&Organization| {
                    one.hrids
                        .iter()
                        .any(|hrid| wanted.split(',').any(|w| w == hrid))
                };
                ok(&self
                    .organizations
                    .iter()
                    .filter(matches)
                    .collect::<Vec<_>>())
            }
            ("POST", "/events/_createOrPatch") => {
                self.written_events.push(criteria(seen));
                ok(&seen.body)
            }
            (_, "/node/monitoring") if !self.has_monitoring => absent,
            ("GET", "/node/monitoring") => {
                let (node, kind) = (parameter(seen, "nodeId"), parameter(seen, "type"));
                let found = self
                    .documents
                    .iter()
                    .rev()
                    .find(|one| one.node_id == node && one.monitoring_type == kind);
                found.map_or(absent, ok)
            }
            ("POST" | "PUT", "/node/monitoring") => {
                self.documents.push(criteria(seen));
                ok(&seen.body)
            }
            ("GET", path) => match path.strip_prefix("/environments/") {
                Some(id) => self
                    .environments
                    .iter()
                    .find(|one| one.id == id)
                    .map_or(absent, ok),
                None => absent,
            },
            _ => absent,
        }
    }
}
