//! Objects of the bridge protocol as they travel (contract sync 3.3 and 3.4). Unknown members are ignored, absent and null
//! are the same, dates are Unix milliseconds or ISO-8601 text on input and milliseconds on output.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// Types of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the names are the protocol's own")]
pub enum EventType {
    PublishApi,
    UnpublishApi,
    StartApi,
    StopApi,
    PublishOrganization,
    PublishDictionary,
    UnpublishDictionary,
    DeploySharedPolicyGroup,
    UndeploySharedPolicyGroup,
    DeployApiProduct,
    UndeployApiProduct,
    GatewayStarted,
    GatewayStopped,
    #[serde(other)]
    Unknown,
}

/// An event: the unit of synchronisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Id of the event; of a latest event, the id of its object.
    pub id: String,
    /// Environments it concerns; none means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environments: Option<Vec<String>>,
    /// Organizations it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organizations: Option<Vec<String>>,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// JSON text of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// Parent event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// Properties such as `api_id`, `deployment_number`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub properties: BTreeMap<String, Option<String>>,
    /// Creation, Unix milliseconds.
    #[serde(
        default,
        deserialize_with = "date",
        skip_serializing_if = "Option::is_none"
    )]
    pub created_at: Option<i64>,
    /// Last change, Unix milliseconds.
    #[serde(
        default,
        deserialize_with = "date",
        skip_serializing_if = "Option::is_none"
    )]
    pub updated_at: Option<i64>,
}

impl Event {
    /// A property's value.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name)?.as_deref()
    }
}

/// The `Api` record inside the payload of an API event.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiRecord {
    /// API id.
    pub id: String,
    /// Environment id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment_id: Option<String>,
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Version text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `2.0.0`, `4.0.0`, `V4`, …; anything but V4 is read as V2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition_version: Option<String>,
    /// JSON text of the definition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// `proxy`, `message`, …; V4 only.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub api_type: Option<String>,
    /// `STARTED` or `STOPPED`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle_state: Option<String>,
    /// Deployment, Unix milliseconds.
    #[serde(deserialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub deployed_at: Option<i64>,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    missing_docs,
    reason = "the members are the protocol's own, contract sync 3.4"
)]
pub struct Subscription {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer_status: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub subscription_type: Option<String>,
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub metadata: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub starting_at: Option<i64>,
    #[serde(deserialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub ending_at: Option<i64>,
    #[serde(deserialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub created_at: Option<i64>,
    #[serde(deserialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<i64>,
}

/// An API key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    missing_docs,
    reason = "the members are the protocol's own, contract sync 3.4"
)]
pub struct ApiKey {
    pub id: String,
    pub key: String,
    #[serde(deserialize_with = "null_is_default")]
    pub subscriptions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    #[serde(deserialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub expire_at: Option<i64>,
    #[serde(deserialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub created_at: Option<i64>,
    #[serde(deserialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<i64>,
    #[serde(deserialize_with = "null_is_default")]
    pub revoked: bool,
    #[serde(deserialize_with = "null_is_default")]
    pub paused: bool,
    #[serde(deserialize_with = "null_is_default")]
    pub federated: bool,
}

/// Criteria of event searches. Unset members are not sent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    missing_docs,
    reason = "the members are the protocol's own, contract sync 3.3"
)]
pub struct EventCriteria {
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub types: Vec<EventType>,
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub properties: BTreeMap<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub organizations: Vec<String>,
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub environments: Vec<String>,
}

/// Criteria of subscription searches.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    missing_docs,
    reason = "the members are the protocol's own, contract sync 3.3"
)]
pub struct SubscriptionCriteria {
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub ids: Vec<String>,
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub environments: Vec<String>,
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub apis: Vec<String>,
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub plans: Vec<String>,
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub statuses: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ending_at_after: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ending_at_before: Option<i64>,
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub include_without_end: bool,
}

/// Criteria of API key searches.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    missing_docs,
    reason = "the members are the protocol's own, contract sync 3.3"
)]
pub struct ApiKeyCriteria {
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub environments: Vec<String>,
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub subscriptions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_after: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_before: Option<i64>,
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub include_revoked: bool,
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub include_federated: bool,
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub include_without_expiration: bool,
}

/// An environment of the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    missing_docs,
    reason = "the members are the protocol's own, contract sync 3.4"
)]
pub struct Environment {
    pub id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub hrids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
}

/// An organization of the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    missing_docs,
    reason = "the members are the protocol's own, contract sync 3.4"
)]
pub struct Organization {
    pub id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub hrids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A host name on which the APIs of an environment are reached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    missing_docs,
    reason = "the members are the protocol's own, contract sync 3.4"
)]
pub struct AccessPoint {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// Criteria of access point searches.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    missing_docs,
    reason = "the members are the protocol's own, contract sync 3.3"
)]
pub struct AccessPointCriteria {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_type: Option<String>,
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub targets: Vec<String>,
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub reference_ids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// A node monitoring document.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    missing_docs,
    reason = "the members are the protocol's own, contract sync 10.2"
)]
pub struct Monitoring {
    pub id: String,
    pub node_id: String,
    #[serde(rename = "type")]
    pub monitoring_type: String,
    pub payload: String,
    #[serde(deserialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub created_at: Option<i64>,
    #[serde(deserialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub evaluated_at: Option<i64>,
    #[serde(deserialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<i64>,
}

/// A page of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    missing_docs,
    reason = "the members are the protocol's own, contract sync 2.2"
)]
pub struct Page<T> {
    pub content: Vec<T>,
    pub page_number: u64,
    pub page_elements: u64,
    pub total_elements: u64,
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a date as Unix milliseconds: a JSON number, or ISO-8601 text.
fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Date {
        Millis(i64),
        Float(f64),
        Text(String),
    }
    match Option::<Date>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Date::Millis(millis)) => Ok(Some(millis)),
        Some(Date::Float(millis)) => Ok(Some(millis as i64)),
        Some(Date::Text(text)) => text
            .parse::<jiff::Timestamp>()
            .map(|timestamp| Some(timestamp.as_millisecond()))
            .map_err(|_| {
                serde::de::Error::custom(format!(
                    "expected a date in milliseconds or ISO-8601, found {text:?}"
                ))
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_with_null_absent_and_unknown_members() {
        let event: Event = serde_json::from_str(
            r#"{"id":"a","type":"SOMETHING_NEW","payload":null,"properties":null,"createdAt":"2026-01-02T03:04:05.678Z","x":1}"#,
        )
        .expect("an event");
        assert_eq!(event.event_type, EventType::Unknown);
        assert_eq!(event.created_at, Some(1_767_323_045_678));
        assert!(event.properties.is_empty());
    }

    #[test]
    fn criteria_send_only_what_is_set() {
        let criteria = EventCriteria {
            types: vec![EventType::PublishApi],
            to: Some(5),
            ..EventCriteria::default()
        };
        assert_eq!(
            serde_json::to_string(&criteria).expect("JSON"),
            r#"{"types":["PUBLISH_API"],"to":5}"#
        );
    }
}
