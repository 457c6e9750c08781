//! Organization flows. They are not built yet, and an operator must know when that changes answers.

use std::collections::HashMap;

use serde::Deserialize;

use crate::bridge::wire::{Event, EventType};
use crate::definition::ShardingTags;

#[derive(Deserialize)]
struct OrganizationRecord {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    flows: Option<Vec<Flow>>,
}

#[derive(Deserialize)]
struct Flow {
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    pre: Option<Vec<Step>>,
    #[serde(default)]
    post: Option<Vec<Step>>,
    #[serde(default)]
    consumers: Option<Vec<Consumer>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Consumer {
    #[serde(default)]
    consumer_type: Option<String>,
    #[serde(default)]
    consumer_id: Option<String>,
}

#[derive(Deserialize)]
struct Step {
    #[serde(default)]
    enabled: Option<bool>,
}

impl Flow {
    /// Whether the reference would run it here: it is enabled, has an enabled step, and its sharding tags are ours.
    fn has_effect(&self, tags: &ShardingTags) -> bool {
        let mut steps = self.pre.iter().chain(&self.post).flatten();
        self.enabled.unwrap_or(true)
            && steps.any(|step| step.enabled.unwrap_or(true))
            && self.is_for(tags)
    }

    fn is_for(&self, tags: &ShardingTags) -> bool {
        let Some(consumers) = self
            .consumers
            .as_deref()
            .filter(|consumers| !consumers.is_empty())
        else {
            return true;
        };
        let own: Vec<&str> = consumers
            .iter()
            .filter(|consumer| {
                consumer
                    .consumer_type
                    .as_deref()
                    .is_some_and(|kind| kind.eq_ignore_ascii_case("TAG"))
            })
            .filter_map(|consumer| consumer.consumer_id.as_deref())
            .collect();
        tags.matches(&own)
    }
}

/// Organizations whose flows an operator was told about, each with the event that had them.
#[derive(Debug, Default)]
pub(super) struct OrganizationFlows {
    tags: ShardingTags,
    told: HashMap<String, Option<i64>>,
}

impl OrganizationFlows {
    /// Nothing told yet; `tags` are the gateway's.
    pub(super) fn new(tags: ShardingTags) -> Self {
        Self {
            tags,
            told: HashMap::new(),
        }
    }

    /// Looks at an organization event; warns once per change when its flows would change answers. Returns whether it did.
    pub(super) fn examine(&mut self, event: &Event) -> bool {
        if event.event_type != EventType::PublishOrganization {
            return false;
        }
        let id = event.property("organization_id").unwrap_or(&event.id);
        if self.told.get(id) == Some(&event.updated_at) {
            return false;
        }
        self.told.insert(id.to_owned(), event.updated_at);
        let payload = event.payload.as_deref().unwrap_or("{}");
        let record: OrganizationRecord = match serde_json::from_str(payload) {
            Ok(record) => record,
            Err(error) => {
                tracing::warn!(
                    organization = id,
                    "organization event cannot be read: {error}"
                );
                return false;
            }
        };
        let active = record
            .flows
            .iter()
            .flatten()
            .filter(|flow| flow.has_effect(&self.tags))
            .count();
        if active == 0 {
            return false;
        }
        tracing::warn!(
            organization = id,
            name = record.name.as_deref().unwrap_or_default(),
            flows = active,
            "this organization has platform flows, which this gateway does not run; APIs are served without them"
        );
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(flows: &str, updated_at: i64) -> Event {
        let payload = format!(r#"{{"id":"o","name":"Acme","flows":{flows}}}"#);
        serde_json::from_value(serde_json::json!({
            "id": "o", "type": "PUBLISH_ORGANIZATION", "payload": payload, "updatedAt": updated_at
        }))
        .expect("an event")
    }

    #[test]
    fn only_flows_with_enabled_steps_are_told_and_once_per_change() {
        let cases = [
            ("null", false),
            ("[]", false),
            (r#"[{"enabled":false,"pre":[{"enabled":true}]}]"#, false),
            (
                r#"[{"enabled":true,"pre":[{"enabled":false}],"post":[]}]"#,
                false,
            ),
            (
                r#"[{"enabled":true,"pre":[],"post":[{"policy":"x"}]}]"#,
                true,
            ),
        ];
        for (flows, warns) in cases {
            let mut told = OrganizationFlows::default();
            assert_eq!(told.examine(&event(flows, 1)), warns, "{flows}");
            assert!(
                !told.examine(&event(flows, 1)),
                "the same event again: {flows}"
            );
            assert_eq!(
                told.examine(&event(flows, 2)),
                warns,
                "a later event: {flows}"
            );
        }
    }

    #[test]
    fn flows_for_other_sharding_tags_are_not_ours() {
        let flow =
            |consumers: &str| format!(r#"[{{"pre":[{{"policy":"x"}}],"consumers":{consumers}}}]"#);
        let tag = r#"[{"consumerType":"TAG","consumerId":"EU"}]"#;
        let cases: [(&[&str], &str, bool); 6] = [
            (&[], tag, true),
            (&["eu"], tag, true),
            (&["us"], tag, false),
            (&["!eu"], tag, false),
            (&["us"], "[]", true),
            (
                &["us"],
                r#"[{"consumerType":"GROUP","consumerId":"us"}]"#,
                false,
            ),
        ];
        for (tags, consumers, ours) in cases {
            let mut told = OrganizationFlows::new(ShardingTags::new(tags));
            assert_eq!(
                told.examine(&event(&flow(consumers), 1)),
                ours,
                "{tags:?} {consumers}"
            );
        }
    }
}
