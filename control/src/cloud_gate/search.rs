//! What the criteria of the bridge protocol mean (contract sync 3.3), on values handed in.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::bridge::wire::{ApiKey, ApiKeyCriteria, Event, Subscription, SubscriptionCriteria};

/// Criteria of event searches, types as they are written: an event of a type that we do not know can be found too.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EventSearch {
    #[serde(deserialize_with = "null_is_default")]
    types: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    properties: serde_json::Map<String, Value>,
    from: Option<i64>,
    to: Option<i64>,
    #[serde(deserialize_with = "null_is_default")]
    organizations: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub(crate) environments: Vec<String>,
}

impl EventSearch {
    /// Whether an event whose type is written `event_type` is meant; `updatedAt` from `from` up to, not including, `to`.
    pub(crate) fn matches(&self, event_type: &str, event: &Event) -> bool {
        (self.types.is_empty() || self.types.iter().any(|name| name == event_type))
            && applies(self.from).is_none_or(|from| event.updated_at.is_some_and(|at| at >= from))
            && applies(self.to).is_none_or(|to| event.updated_at.is_some_and(|at| at < to))
            && concerns(event.environments.as_deref(), &self.environments)
            && concerns(event.organizations.as_deref(), &self.organizations)
            && self
                .properties
                .iter()
                .all(|(name, wanted)| has_property(event, name, wanted))
    }
}

/// Events without a list concern everything; a search without one wants everything.
fn concerns(listed: Option<&[String]>, wanted: &[String]) -> bool {
    let listed = listed.unwrap_or_default();
    listed.is_empty() || wanted.is_empty() || listed.iter().any(|id| wanted.contains(id))
}

fn has_property(event: &Event, name: &str, wanted: &Value) -> bool {
    match wanted {
        Value::Null => true,
        Value::Array(any) if any.is_empty() => true,
        Value::Array(any) => any
            .iter()
            .any(|wanted| wanted.as_str().is_some() && event.property(name) == wanted.as_str()),
        Value::String(text) => event.property(name) == Some(text),
        other => event.property(name) == Some(other.to_string().as_str()),
    }
}

/// The property that names the object of a group's latest events; `None` for a name that is no group.
pub(crate) fn group_property(group: &str) -> Option<&'static str> {
    Some(match group {
        "API_ID" => "api_id",
        "API_PRODUCT_ID" => "api_product_id",
        "ORGANIZATION_ID" => "organization_id",
        "DICTIONARY_ID" => "dictionary_id",
        "CLUSTER_ID" => "cluster_id",
        "SHARED_POLICY_GROUP_ID" => "shared_policy_group_id",
        "GATEWAY_ID" => "gateway_id",
        "AUTHZ_POLICY_ID" => "authz_policy_id",
        "AUTHZ_ENTITY_ID" => "authz_entity_id",
        "AUTHZ_PDP_ID" => "authz_pdp_id",
        "ID" => "id",
        _ => return None,
    })
}

/// Criteria of subscription searches: those of our client, and those that only other clients send.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SubscriptionSearch {
    #[serde(flatten)]
    pub(crate) common: SubscriptionCriteria,
    #[serde(deserialize_with = "null_is_default")]
    excluded_apis: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    reference_ids: Vec<String>,
    reference_type: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    reference_types: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    applications: Vec<String>,
    client_id: Option<String>,
}

impl SubscriptionSearch {
    /// Whether a subscription is meant; both ends of the window belong to it.
    pub(crate) fn matches(&self, subscription: &Subscription) -> bool {
        let common = &self.common;
        let end = subscription.ending_at;
        one_of(&common.ids, Some(&subscription.id))
            && one_of(&common.environments, subscription.environment_id.as_deref())
            && one_of(&common.apis, subscription.api.as_deref())
            && one_of(&common.plans, subscription.plan.as_deref())
            && one_of(&common.statuses, subscription.status.as_deref())
            && one_of(&self.reference_ids, subscription.reference_id.as_deref())
            && one_of(
                &self.reference_types,
                subscription.reference_type.as_deref(),
            )
            && one_of(&self.applications, subscription.application.as_deref())
            && equal(
                self.reference_type.as_deref(),
                subscription.reference_type.as_deref(),
            )
            && equal(self.client_id.as_deref(), subscription.client_id.as_deref())
            && !subscription
                .api
                .as_ref()
                .is_some_and(|api| self.excluded_apis.contains(api))
            && within(common.from, common.to, subscription.updated_at)
            && ends_within(
                common.ending_at_after,
                common.ending_at_before,
                common.include_without_end,
                end,
            )
    }
}

/// Whether a key is meant; both ends of the window belong to it.
pub(crate) fn key_matches(criteria: &ApiKeyCriteria, key: &ApiKey) -> bool {
    (criteria.subscriptions.is_empty()
        || key
            .subscriptions
            .iter()
            .any(|id| criteria.subscriptions.contains(id)))
        && one_of(&criteria.environments, key.environment_id.as_deref())
        && (criteria.include_revoked || !key.revoked)
        && (criteria.include_federated || !key.federated)
        && within(criteria.from, criteria.to, key.updated_at)
        && ends_within(
            criteria.expire_after,
            criteria.expire_before,
            criteria.include_without_expiration,
            key.expire_at,
        )
}

/// A bound of zero or less is no bound.
fn applies(bound: Option<i64>) -> Option<i64> {
    bound.filter(|bound| *bound > 0)
}

fn within(from: Option<i64>, to: Option<i64>, at: Option<i64>) -> bool {
    applies(from).is_none_or(|from| at.is_some_and(|at| at >= from))
        && applies(to).is_none_or(|to| at.is_some_and(|at| at <= to))
}

fn ends_within(
    after: Option<i64>,
    before: Option<i64>,
    without_end: bool,
    end: Option<i64>,
) -> bool {
    if applies(after).is_none() && applies(before).is_none() {
        return true;
    }
    if end.is_none() {
        without_end
    } else {
        within(after, before, end)
    }
}

fn one_of(wanted: &[String], found: Option<&str>) -> bool {
    wanted.is_empty() || found.is_some_and(|found| wanted.iter().any(|wanted| wanted == found))
}

fn equal(wanted: Option<&str>, found: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| wanted.is_empty() || found == Some(wanted))
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Page `page`, counted from 0, of `size` items.
pub(crate) fn page<T>(items: Vec<T>, page: usize, size: usize) -> Vec<T> {
    items
        .into_iter()
        .skip(page.saturating_mul(size))
        .take(size)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(value: Value) -> Event {
        serde_json::from_value(value).expect("an event")
    }

    #[test]
    fn event_windows_include_from_and_exclude_to_and_ignore_bounds_that_are_not_positive() {
        let event = event(json!({"id":"a","type":"PUBLISH_API","updatedAt":100}));
        for (criteria, expected) in [
            (json!({}), true),
            (json!({"from": 100}), true),
            (json!({"from": 101}), false),
            (json!({"to": 100}), false),
            (json!({"to": 101}), true),
            (json!({"from": -30001, "to": -1}), true),
            (json!({"types": ["START_API"]}), false),
            (json!({"types": ["PUBLISH_API", "SOMETHING_NEW"]}), true),
            (
                json!({"types": null, "properties": null, "environments": null}),
                true,
            ),
        ] {
            let search: EventSearch = serde_json::from_value(criteria.clone()).expect("criteria");
            assert_eq!(
                search.matches("PUBLISH_API", &event),
                expected,
                "{criteria}"
            );
        }
    }

    #[test]
    fn events_without_environments_concern_all_of_them() {
        for (environments, expected) in [
            (json!(null), true),
            (json!([]), true),
            (json!(["E1", "E2"]), true),
            (json!(["E2"]), false),
        ] {
            let event =
                event(json!({"id":"a","type":"PUBLISH_API","environments": environments.clone()}));
            let search: EventSearch =
                serde_json::from_value(json!({"environments": ["E1"]})).expect("criteria");
            assert_eq!(
                search.matches("PUBLISH_API", &event),
                expected,
                "{environments}"
            );
        }
    }

    #[test]
    fn a_property_may_be_one_value_or_any_of_several() {
        let event =
            event(json!({"id":"a","type":"PUBLISH_API","properties":{"api_id":"a","n":"3"}}));
        for (properties, expected) in [
            (json!({"api_id": "a"}), true),
            (json!({"api_id": "b"}), false),
            (json!({"api_id": ["b", "a"]}), true),
            (json!({"api_id": []}), true),
            (json!({"api_id": "a", "gateway_id": "x"}), false),
            (json!({"n": 3}), true),
        ] {
            let search: EventSearch =
                serde_json::from_value(json!({"properties": properties.clone()}))
                    .expect("criteria");
            assert_eq!(
                search.matches("PUBLISH_API", &event),
                expected,
                "{properties}"
            );
        }
    }

    #[test]
    fn subscriptions_are_found_by_plan_status_end_and_window() {
        let subscription: Subscription = serde_json::from_value(json!({
            "id":"s","api":"a","referenceId":"a","referenceType":"API","environmentId":"E1","plan":"p","application":"x",
            "status":"ACCEPTED","endingAt":500,"updatedAt":100
        }))
        .expect("a subscription");
        for (criteria, expected) in [
            (
                json!({"plans":["p"],"statuses":["ACCEPTED"],"endingAtAfter":400,"includeWithoutEnd":true}),
                true,
            ),
            (json!({"endingAtAfter":501,"includeWithoutEnd":true}), false),
            (json!({"endingAtBefore":499}), false),
            (json!({"statuses":["CLOSED"]}), false),
            (json!({"environments":["E2"]}), false),
            (json!({"from":100,"to":100}), true),
            (json!({"from":101}), false),
            (json!({"excludedApis":["a"]}), false),
            (json!({"applications":["y"]}), false),
            (json!({"clientId":"c"}), false),
            (
                json!({"ids":null,"apis":null,"referenceType":null,"clientId":null,"from":-1,"endingAtBefore":-1}),
                true,
            ),
        ] {
            let search: SubscriptionSearch =
                serde_json::from_value(criteria.clone()).expect("criteria");
            assert_eq!(search.matches(&subscription), expected, "{criteria}");
        }
        let endless = Subscription {
            ending_at: None,
            ..subscription
        };
        for (without_end, expected) in [(true, true), (false, false)] {
            let criteria = json!({"endingAtAfter": 400, "includeWithoutEnd": without_end});
            let search: SubscriptionSearch = serde_json::from_value(criteria).expect("criteria");
            assert_eq!(search.matches(&endless), expected);
        }
    }

    #[test]
    fn revoked_and_expired_keys_are_found_only_when_asked_for() {
        let key = |value: Value| serde_json::from_value::<ApiKey>(value).expect("a key");
        let plain = key(json!({"id":"k","key":"x","subscriptions":["s1","s2"],"updatedAt":100}));
        let revoked =
            key(json!({"id":"k","key":"x","subscriptions":["s1"],"revoked":true,"updatedAt":100}));
        let expiring =
            key(json!({"id":"k","key":"x","subscriptions":["s1"],"expireAt":50,"updatedAt":100}));
        for (criteria, found, expected) in [
            (json!({}), &plain, true),
            (json!({}), &revoked, false),
            (json!({"includeRevoked":true}), &revoked, true),
            (json!({"subscriptions":["s2"]}), &plain, true),
            (json!({"subscriptions":["s3"]}), &plain, false),
            (
                json!({"expireAfter":40,"includeWithoutExpiration":true}),
                &plain,
                true,
            ),
            (json!({"expireAfter":40}), &plain, false),
            (json!({"expireAfter":40}), &expiring, true),
            (
                json!({"expireAfter":60,"includeWithoutExpiration":true}),
                &expiring,
                false,
            ),
            (json!({"to":100}), &plain, true),
            (json!({"to":99}), &plain, false),
        ] {
            let search: ApiKeyCriteria =
                serde_json::from_value(criteria.clone()).expect("criteria");
            assert_eq!(key_matches(&search, found), expected, "{criteria}");
        }
    }

    #[test]
    fn pages_count_from_zero_and_end_short() {
        let items = vec![1, 2, 3, 4, 5];
        assert_eq!(page(items.clone(), 0, 2), [1, 2]);
        assert_eq!(page(items.clone(), 2, 2), [5]);
        assert!(page(items.clone(), 3, 2).is_empty());
        assert!(page(items, usize::MAX, 2).is_empty());
    }
}
