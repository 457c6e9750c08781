//! The file of subscriptions: who may call which plan, with which keys.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use sha2::{Digest as _, Sha256};

use super::document::PlanName;
use super::{Problem, Syntax};
use crate::bridge::wire::{ApiKey, Subscription};

/// Stem of the file's name: `subscriptions.yaml`, `.yml` or `.json`.
pub(crate) const FILE_STEM: &str = "subscriptions";

/// One entry of the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Declared {
    application: String,
    api: String,
    plan: String,
    #[serde(default)]
    status: Status,
    #[serde(default)]
    client_id: Option<String>,
    #[serde(default)]
    client_certificate: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "moment")]
    starting_at: Option<i64>,
    #[serde(default, deserialize_with = "moment")]
    ending_at: Option<i64>,
    #[serde(default)]
    keys: Vec<DeclaredKey>,
}

/// One key of an entry.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeclaredKey {
    key: String,
    #[serde(default, deserialize_with = "moment")]
    expire_at: Option<i64>,
    #[serde(default)]
    revoked: bool,
    #[serde(default)]
    paused: bool,
}

// The key is a secret: it must not reach a log through `{:?}`.
impl std::fmt::Debug for DeclaredKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeclaredKey")
            .field("key", &"***")
            .field("expire_at", &self.expire_at)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Pending,
    Rejected,
    #[default]
    Accepted,
    Closed,
    Paused,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Rejected => "REJECTED",
            Self::Accepted => "ACCEPTED",
            Self::Closed => "CLOSED",
            Self::Paused => "PAUSED",
        }
    }
}

/// Reads the file; a file with only comments declares nothing.
pub(crate) fn parse(syntax: Syntax, text: &str) -> Result<Vec<Declared>, Problem> {
    Ok(syntax
        .parse::<Option<Vec<Declared>>>(text)?
        .unwrap_or_default())
}

/// What the entries mean on the wire, without dates of change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Consumers {
    pub(crate) subscriptions: BTreeMap<String, Subscription>,
    pub(crate) keys: BTreeMap<String, ApiKey>,
    /// Entries that cannot be served, and why.
    pub(crate) problems: Vec<Problem>,
}

/// Resolves APIs and plans. `plans_of` knows the plans of an API, or that there is no such API.
pub(crate) fn resolve<'a>(
    declared: &[Declared],
    environment: &str,
    plans_of: impl Fn(&str) -> Option<&'a [PlanName]>,
) -> Consumers {
    let mut consumers = Consumers::default();
    for (position, entry) in declared.iter().enumerate() {
        if let Err(reason) = consumers.add(entry, environment, &plans_of) {
            consumers.problems.push(Problem::whole(format!(
                "entry {} (application {:?}, api {:?}): {reason}",
                position + 1,
                entry.application,
                entry.api
            )));
        }
    }
    consumers
}

impl Consumers {
    fn add<'a>(
        &mut self,
        entry: &Declared,
        environment: &str,
        plans_of: &impl Fn(&str) -> Option<&'a [PlanName]>,
    ) -> Result<(), String> {
        let plans = plans_of(&entry.api).ok_or("no API has this id")?;
        let plan = plans
            .iter()
            .find(|plan| plan.id == entry.plan)
            .or_else(|| plans.iter().find(|plan| plan.name == entry.plan))
            .ok_or_else(|| format!("the API has no plan with the id or name {:?}", entry.plan))?;
        let id = stable_id(&["subscription", &entry.application, &entry.api, &plan.id]);
        if self.subscriptions.contains_key(&id) {
            return Err(format!(
                "the application is subscribed to plan {:?} twice",
                entry.plan
            ));
        }
        if entry.keys.iter().any(|key| key.key.trim().is_empty()) {
            return Err("a key is empty".to_owned());
        }
        let text = |text: &str| Some(text.to_owned());
        self.subscriptions.insert(
            id.clone(),
            Subscription {
                id: id.clone(),
                api: text(&entry.api),
                reference_id: text(&entry.api),
                reference_type: text("API"),
                environment_id: text(environment),
                plan: text(&plan.id),
                application: text(&entry.application),
                application_name: text(&entry.application),
                client_id: entry.client_id.clone(),
                client_certificate: entry.client_certificate.clone(),
                status: text(entry.status.name()),
                consumer_status: text("STARTED"),
                subscription_type: text("STANDARD"),
                metadata: entry
                    .metadata
                    .iter()
                    .map(|(name, value)| (name.clone(), value.as_str().into()))
                    .collect(),
                starting_at: entry.starting_at,
                ending_at: entry.ending_at,
                created_at: None,
                updated_at: None,
            },
        );
        for key in &entry.keys {
            self.add_key(entry, key, &id, environment)?;
        }
        Ok(())
    }

    /// One application may use one key for several subscriptions; that is one key on the wire.
    fn add_key(
        &mut self,
        entry: &Declared,
        key: &DeclaredKey,
        subscription: &str,
        environment: &str,
    ) -> Result<(), String> {
        let id = stable_id(&["key", &entry.application, &key.key]);
        let shared_by_others = self.keys.values().any(|other| {
            other.key == key.key
                && other.id != id
                && other.subscriptions.iter().any(|id| {
                    self.subscriptions
                        .get(id)
                        .is_some_and(|other| other.api.as_deref() == Some(entry.api.as_str()))
                })
        });
        if shared_by_others {
            return Err("another application uses one of its keys for the same API".to_owned());
        }
        let known = self.keys.entry(id.clone()).or_insert_with(|| ApiKey {
            id,
            key: key.key.clone(),
            environment_id: Some(environment.to_owned()),
            application: Some(entry.application.clone()),
            expire_at: key.expire_at,
            revoked: key.revoked,
            paused: key.paused,
            ..ApiKey::default()
        });
        if (known.expire_at, known.revoked, known.paused)
            != (key.expire_at, key.revoked, key.paused)
        {
            return Err(
                "one of its keys is declared elsewhere with another expireAt, revoked or paused"
                    .to_owned(),
            );
        }
        if !known
            .subscriptions
            .iter()
            .any(|other| other == subscription)
        {
            known.subscriptions.push(subscription.to_owned());
        }
        Ok(())
    }
}

/// An id that the same content always gets: the front of a SHA-256, in the shape of a UUID.
fn stable_id(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut front = [0_u8; 16];
    front.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(front)
        .into_uuid()
        .to_string()
}

/// A date: Unix milliseconds, or ISO-8601 text with an offset.
fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Moment {
        Millis(i64),
        Text(String),
    }
    match Option::<Moment>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Moment::Millis(millis)) => Ok(Some(millis)),
        Some(Moment::Text(text)) => text.parse::<jiff::Timestamp>().map(|at| Some(at.as_millisecond())).map_err(|_| {
            serde::de::Error::custom(format!(
                "expected a date such as 2027-01-31T00:00:00Z or Unix milliseconds, found {text:?}"
            ))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Consumers {
        let declared = parse(Syntax::Yaml, text).expect("entries");
        let plans = [PlanName {
            id: "p1".to_owned(),
            name: "Gold".to_owned(),
        }];
        let other = [PlanName {
            id: "p2".to_owned(),
            name: "Gold".to_owned(),
        }];
        resolve(&declared, "DEFAULT", |api| match api {
            "hello" => Some(plans.as_slice()),
            "orders" => Some(other.as_slice()),
            _ => None,
        })
    }

    #[test]
    fn an_entry_becomes_a_subscription_and_keys_with_ids_that_stay() {
        let text = "- application: mobile\n  api: hello\n  plan: Gold\n  endingAt: 2030-01-01T00:00:00Z\n  keys:\n    - key: secret-1\n    - key: secret-2\n      revoked: true\n";
        let first = resolved(text);
        assert_eq!(first, resolved(text));
        assert!(first.problems.is_empty(), "{:?}", first.problems);
        let subscription = first.subscriptions.values().next().expect("one");
        assert_eq!(subscription.plan.as_deref(), Some("p1"));
        assert_eq!(subscription.status.as_deref(), Some("ACCEPTED"));
        assert_eq!(subscription.ending_at, Some(1_893_456_000_000));
        assert_eq!(first.keys.len(), 2);
        assert!(
            first
                .keys
                .values()
                .all(|key| key.subscriptions == [subscription.id.clone()])
        );
        let paused = resolved(&text.replace("plan: Gold", "plan: p1\n  status: PAUSED"));
        assert_eq!(
            paused.subscriptions.keys().next(),
            first.subscriptions.keys().next()
        );
    }

    #[test]
    fn a_key_of_one_application_may_serve_two_subscriptions() {
        let consumers = resolved(
            "- {application: a, api: hello, plan: p1, keys: [{key: k}]}\n- {application: a, api: orders, plan: p2, keys: [{key: k}]}\n",
        );
        assert!(consumers.problems.is_empty());
        assert_eq!(consumers.keys.len(), 1);
        assert_eq!(
            consumers
                .keys
                .values()
                .next()
                .expect("one")
                .subscriptions
                .len(),
            2
        );
    }

    #[test]
    fn entries_that_cannot_be_served_are_named_and_never_show_a_key() {
        for (text, reason) in [
            ("- {application: a, api: nope, plan: p}", "no API"),
            ("- {application: a, api: hello, plan: Silver}", "\"Silver\""),
            (
                "- {application: a, api: hello, plan: p1}\n- {application: a, api: hello, plan: Gold}",
                "twice",
            ),
            (
                "- {application: a, api: hello, plan: p1, keys: [{key: ' '}]}",
                "empty",
            ),
            (
                "- {application: a, api: hello, plan: p1, keys: [{key: secret}]}\n- {application: b, api: hello, plan: p1, keys: [{key: secret}]}",
                "another application",
            ),
            (
                "- {application: a, api: hello, plan: p1, keys: [{key: secret}]}\n- {application: a, api: orders, plan: p2, keys: [{key: secret, paused: true}]}",
                "another expireAt",
            ),
        ] {
            let problems = resolved(text).problems;
            assert_eq!(problems.len(), 1, "{text}");
            assert!(
                problems[0].reason.contains(reason),
                "{text}: {}",
                problems[0].reason
            );
            assert!(
                !problems[0].reason.contains("secret"),
                "{}",
                problems[0].reason
            );
        }
    }

    #[test]
    fn a_misspelt_member_or_date_is_refused_with_its_place() {
        for text in [
            "- application: a\n  api: hello\n  plan: p1\n  statuss: PAUSED\n",
            "- application: a\n  api: hello\n  plan: p1\n  endingAt: tomorrow\n",
            "- application: a\n  api: hello\n  plan: p1\n  status: OPEN\n",
        ] {
            let problem = parse(Syntax::Yaml, text).expect_err(text);
            assert!(problem.line.is_some(), "{problem:?}");
        }
        assert_eq!(parse(Syntax::Yaml, "# nobody yet\n").expect("nothing"), []);
    }

    #[test]
    fn the_example_of_the_manual_is_understood() {
        let manual = include_str!("../../../../docs/cloud-gate.md");
        let example = manual
            .split("```yaml\n")
            .nth(2)
            .and_then(|rest| rest.split("```").next())
            .expect("an example");
        assert_eq!(parse(Syntax::Yaml, example).expect("entries").len(), 1);
    }
}
