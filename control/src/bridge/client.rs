//! Calls of the bridge protocol (contract sync 2.2, 2.3, 3.1, 3.2).

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use turnpike_config::Authentication;

use super::error::{BridgeError, BridgeErrorKind};
use super::http::{HttpClient, HttpError, basic};
use super::wire::{
    AccessPoint, AccessPointCriteria, ApiKey, ApiKeyCriteria, Environment, Event, EventCriteria,
    Monitoring, Organization, Subscription, SubscriptionCriteria,
};
use crate::token::{BridgePath, ControlPlaneSettings};

/// Objects whose latest events can be asked for. The wire takes the names as they are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// `API_ID`.
    Api,
    /// `ORGANIZATION_ID`.
    Organization,
    /// `DICTIONARY_ID`.
    Dictionary,
    /// `SHARED_POLICY_GROUP_ID`.
    SharedPolicyGroup,
}

impl Group {
    fn as_str(self) -> &'static str {
        match self {
            Self::Api => "API_ID",
            Self::Organization => "ORGANIZATION_ID",
            Self::Dictionary => "DICTIONARY_ID",
            Self::SharedPolicyGroup => "SHARED_POLICY_GROUP_ID",
        }
    }
}

/// What the control plane says about itself at the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerVersion {
    /// `MAJOR_VERSION`, which holds the whole version.
    pub version: String,
    /// The base URL that answered.
    pub base: String,
}

/// Client of one control plane.
#[derive(Debug)]
pub struct BridgeClient {
    http: HttpClient,
    root: String,
    bridge_path: BridgePath,
    /// The base that answered the handshake, kept for the life of the process.
    base: Mutex<Option<String>>,
    authorization: Option<HeaderValue>,
    user_agent: HeaderValue,
    paths: Vec<(String, String)>,
    /// Servers before `eventsLatest` have `events/_searchLatest` instead.
    has_old_event_search: AtomicBool,
}

impl BridgeClient {
    /// A client for these settings. Nothing is connected yet.
    pub fn new(settings: &ControlPlaneSettings) -> Result<Self, HttpError> {
        let authorization = match &settings.authentication {
            Authentication::None => None,
            Authentication::Basic { username, password } => {
                Some(basic(username, password.expose()))
            }
            Authentication::Jwt { token } => Some(format!("Bearer {}", token.expose())),
        };
        let authorization = match authorization {
            None => None,
            Some(text) => {
                let mut value = HeaderValue::try_from(text).map_err(|_| {
                    HttpError::Setup(
                        "management.http.authentication: expected printable characters only"
                            .to_owned(),
                    )
                })?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let user_agent =
            HeaderValue::try_from(format!("gio-client-bridge/{}", settings.client_version))
                .map_err(|error| {
                    HttpError::Setup(format!("management.http.clientVersion: {error}"))
                })?;
        Ok(Self {
            http: HttpClient::new(&settings.client)?,
            root: settings.sync_url.as_str().to_owned(),
            bridge_path: settings.bridge_path,
            base: Mutex::new(None),
            authorization,
            user_agent,
            paths: settings.paths.clone(),
            has_old_event_search: AtomicBool::new(false),
        })
    }

    /// One handshake: asks the base for its version, and finds the base when it is to be probed.
    pub async fn handshake(&self) -> Result<ServerVersion, BridgeError> {
        let with_bridge = format!("{}/_bridge", self.root);
        match self.bridge_path {
            BridgePath::Fixed(true) => self.greet(&with_bridge, &with_bridge).await,
            BridgePath::Fixed(false) => self.greet(&self.root, &self.root).await,
            BridgePath::Probe => match self.greet(&with_bridge, &with_bridge).await {
                Err(error) if error.status == Some(StatusCode::NOT_FOUND) => {
                    self.greet(&format!("{}/", self.root), &self.root).await
                }
                outcome => outcome,
            },
        }
    }

    async fn greet(&self, url: &str, base: &str) -> Result<ServerVersion, BridgeError> {
        let call = format!("GET {url}");
        let (status, body) = self.exchange(&call, Method::GET, url, None).await?;
        if status != StatusCode::OK {
            return Err(BridgeError::status(&call, status, &body));
        }
        let answer: Value = serde_json::from_slice(&body)
            .map_err(|error| BridgeError::unreadable(&call, status, &error))?;
        let Some(version) = answer
            .pointer("/version/MAJOR_VERSION")
            .and_then(Value::as_str)
        else {
            return Err(BridgeError {
                call,
                kind: BridgeErrorKind::Transient,
                status: Some(status),
                reason:
                    "expected the bridge's version (`version.MAJOR_VERSION`), found another JSON; \
                         hint: check the URL and `management.http.appendBridgeBasePath`"
                        .to_owned(),
            });
        };
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = Some(base.to_owned());
        Ok(ServerVersion {
            version: version.to_owned(),
            base: base.to_owned(),
        })
    }

    /// One page of the latest events of a group; falls back to the older path where the newer one is missing.
    pub async fn latest_events(
        &self,
        group: Group,
        page: usize,
        size: usize,
        criteria: &EventCriteria,
    ) -> Result<Vec<Event>, BridgeError> {
        let query = format!("group={}&page={page}&size={size}", group.as_str());
        let old = format!("/events/_searchLatest?{query}");
        if self.has_old_event_search.load(Ordering::Relaxed) {
            return self.search(&old, criteria).await;
        }
        match self
            .search(&format!("/eventsLatest/_search?{query}"), criteria)
            .await
        {
            Err(missing) if missing.kind == BridgeErrorKind::NotFound => {
                match self.search(&old, criteria).await {
                    Err(error) if error.kind == BridgeErrorKind::NotFound => Err(missing),
                    Err(error) => Err(error),
                    Ok(events) => {
                        self.has_old_event_search.store(true, Ordering::Relaxed);
                        tracing::info!(
                            "this control plane has no eventsLatest search; using events/_searchLatest"
                        );
                        Ok(events)
                    }
                }
            }
            outcome => outcome,
        }
    }

    /// Subscriptions that match, oldest change first.
    pub async fn subscriptions(
        &self,
        criteria: &SubscriptionCriteria,
    ) -> Result<Vec<Subscription>, BridgeError> {
        self.search("/subscriptions/_search?order=ASC&field=updatedAt", criteria)
            .await
    }

    /// API keys that match, oldest change first.
    pub async fn keys(&self, criteria: &ApiKeyCriteria) -> Result<Vec<ApiKey>, BridgeError> {
        self.search("/keys/_findByCriteria?order=ASC&field=updatedAt", criteria)
            .await
    }

    /// One page of access points; the path is ours (contract sync 3.2).
    pub async fn access_points(
        &self,
        page: usize,
        size: usize,
        criteria: &AccessPointCriteria,
    ) -> Result<Vec<AccessPoint>, BridgeError> {
        let path = self.path("accessPoints", "/accessPoints/_search");
        self.search(&format!("{path}?page={page}&size={size}"), criteria)
            .await
    }

    /// An environment, if the control plane has it.
    pub async fn environment(&self, id: &str) -> Result<Option<Environment>, BridgeError> {
        self.find(&format!("/environments/{}", encode(id))).await
    }

    /// Environments of these organizations (ids) with these hrids; an empty list is no restriction.
    pub async fn environments_by_hrids(
        &self,
        organization_ids: &[String],
        hrids: &[String],
    ) -> Result<Vec<Environment>, BridgeError> {
        let (organizations, hrids) = (list(organization_ids), list(hrids));
        let path = format!(
            "/environments/_byOrganizationsAndHrids?organizationsIds={organizations}&hrids={hrids}"
        );
        self.list(&path).await
    }

    /// Organizations with these hrids.
    pub async fn organizations_by_hrids(
        &self,
        hrids: &[String],
    ) -> Result<Vec<Organization>, BridgeError> {
        self.list(&format!("/organizations/_byHrids?hrids={}", list(hrids)))
            .await
    }

    /// Ids of the organizations of these environments; the path is ours (contract sync 3.2).
    pub async fn organization_ids(
        &self,
        environment_ids: &[String],
    ) -> Result<Vec<String>, BridgeError> {
        let path = self.path("organizationIds", "/environments/_organizationIds");
        self.list(&format!("{path}?environmentsIds={}", list(environment_ids)))
            .await
    }

    /// Creates an event, or merges it into the one with its id.
    pub async fn create_or_patch_event(&self, event: &Event) -> Result<(), BridgeError> {
        self.write(Method::POST, "/events/_createOrPatch", event)
            .await
    }

    /// The monitoring document of a node, if there is one.
    pub async fn find_monitoring(
        &self,
        node_id: &str,
        kind: &str,
    ) -> Result<Option<Monitoring>, BridgeError> {
        self.find(&format!(
            "/node/monitoring?nodeId={}&type={}",
            encode(node_id),
            encode(kind)
        ))
        .await
    }

    /// Writes a new monitoring document.
    pub async fn create_monitoring(&self, document: &Monitoring) -> Result<(), BridgeError> {
        self.write(Method::POST, "/node/monitoring", document).await
    }

    /// Replaces a monitoring document.
    pub async fn update_monitoring(&self, document: &Monitoring) -> Result<(), BridgeError> {
        self.write(Method::PUT, "/node/monitoring", document).await
    }

    fn path(&self, name: &str, default: &str) -> String {
        let path = self
            .paths
            .iter()
            .find(|(known, _)| known == name)
            .map_or(default, |(_, path)| path.as_str());
        if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        }
    }

    async fn search<T: DeserializeOwned>(
        &self,
        path: &str,
        criteria: &impl Serialize,
    ) -> Result<Vec<T>, BridgeError> {
        let call = format!("POST {path}");
        let body = json(&call, criteria)?;
        let (status, body) = self.call(&call, Method::POST, path, Some(body)).await?;
        elements(&call, status, &body)
    }

    async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, BridgeError> {
        let call = format!("GET {path}");
        let (status, body) = self.call(&call, Method::GET, path, None).await?;
        elements(&call, status, &body)
    }

    async fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, BridgeError> {
        let call = format!("GET {path}");
        match self.call(&call, Method::GET, path, None).await {
            Ok((status, body)) => serde_json::from_slice(&body)
                .map(Some)
                .map_err(|error| BridgeError::unreadable(&call, status, &error)),
            Err(error) if error.status == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write(
        &self,
        method: Method,
        path: &str,
        object: &impl Serialize,
    ) -> Result<(), BridgeError> {
        let call = format!("{method} {path}");
        let body = json(&call, object)?;
        self.call(&call, method, path, Some(body)).await.map(|_| ())
    }

    /// Calls a path below the base; anything but 2xx is an error.
    async fn call(
        &self,
        call: &str,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<(StatusCode, Bytes), BridgeError> {
        let base = self
            .base
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let base = base.unwrap_or_else(|| match self.bridge_path {
            BridgePath::Fixed(false) => self.root.clone(),
            BridgePath::Fixed(true) | BridgePath::Probe => format!("{}/_bridge", self.root),
        });
        let (status, body) = self
            .exchange(call, method, &format!("{base}{path}"), body)
            .await?;
        if !status.is_success() {
            return Err(BridgeError::status(call, status, &body));
        }
        Ok((status, body))
    }

    async fn exchange(
        &self,
        call: &str,
        method: Method,
        url: &str,
        body: Option<Bytes>,
    ) -> Result<(StatusCode, Bytes), BridgeError> {
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(USER_AGENT, &self.user_agent);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(body.unwrap_or_default())
            .map_err(|error| BridgeError {
                call: call.to_owned(),
                kind: BridgeErrorKind::Permanent,
                status: None,
                reason: format!("the request cannot be built: {error}"),
            })?;
        let answer = self
            .http
            .send(request)
            .await
            .map_err(|error| BridgeError::transport(call, &error))?;
        Ok((answer.status(), answer.into_body()))
    }
}

fn json(call: &str, object: &impl Serialize) -> Result<Bytes, BridgeError> {
    serde_json::to_vec(object)
        .map(Bytes::from)
        .map_err(|error| BridgeError {
            call: call.to_owned(),
            kind: BridgeErrorKind::Permanent,
            status: None,
            reason: format!("the request cannot be written: {error}"),
        })
}

/// Reads a list. One element that cannot be read does not take the others with it.
fn elements<T: DeserializeOwned>(
    call: &str,
    status: StatusCode,
    body: &[u8],
) -> Result<Vec<T>, BridgeError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Lenient<T> {
        Good(T),
        Bad(serde::de::IgnoredAny),
    }
    if let Ok(whole) = serde_json::from_slice(body) {
        return Ok(whole);
    }
    let list: Vec<Lenient<T>> = serde_json::from_slice(body)
        .map_err(|error| BridgeError::unreadable(call, status, &error))?;
    let found = list.len();
    let good: Vec<T> = list
        .into_iter()
        .filter_map(|element| match element {
            Lenient::Good(element) => Some(element),
            Lenient::Bad(_) => None,
        })
        .collect();
    tracing::warn!(
        call,
        skipped = found - good.len(),
        "elements of the answer could not be read and were skipped"
    );
    Ok(good)
}

/// A comma-separated list of percent-encoded values.
fn list(values: &[String]) -> String {
    values
        .iter()
        .map(|value| encode(value))
        .collect::<Vec<_>>()
        .join(",")
}

/// Percent-encodes everything but unreserved characters (RFC 3986 2.3).
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_leave_their_place_in_a_path() {
        assert_eq!(encode("a/../b?c=d&é"), "a%2F..%2Fb%3Fc%3Dd%26%C3%A9");
        assert_eq!(list(&["a".to_owned(), "b,c".to_owned()]), "a,b%2Cc");
    }

    #[test]
    fn one_bad_element_does_not_take_the_list_with_it() {
        let body =
            br#"[{"id":"a","type":"PUBLISH_API"},{"type":"PUBLISH_API"},{"id":"b","type":"NEW"}]"#;
        let events: Vec<Event> = elements("POST /", StatusCode::OK, body).expect("events");
        assert_eq!(
            events
                .iter()
                .map(|event| event.id.as_str())
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
    }

    #[test]
    fn an_answer_that_is_no_list_may_be_tried_again() {
        for body in ["<html>", "{}", "", "[{"] {
            let error =
                elements::<Event>("POST /", StatusCode::OK, body.as_bytes()).expect_err(body);
            assert_eq!(error.kind, BridgeErrorKind::Transient);
        }
    }
}
