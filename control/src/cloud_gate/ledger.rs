//! What was deployed and when: kept on disk, so that a restart neither repeats nor forgets a deployment.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::source::companion::{Companion, CompanionKind};
use super::source::consumers::Consumers;
use super::source::document::{ApiDocument, PlanName};
use crate::bridge::wire::{ApiKey, ApiRecord, Event, EventType, Subscription};

/// Undeployed APIs, closed subscriptions and revoked keys that are remembered, of each kind; the oldest go first.
const TOMBSTONES_MAX: usize = 10_000;

/// The state of one Cloud Gate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ledger {
    /// Id of the installation.
    pub(crate) installation: String,
    /// First start, Unix milliseconds.
    pub(crate) created_at: i64,
    /// The last date that was given out; the next is later.
    last_date: i64,
    /// APIs by id, also those that are not deployed any more.
    pub(crate) apis: BTreeMap<String, Deployment>,
    /// Organizations, dictionaries and shared policy groups, by folder and id.
    #[serde(default)]
    companions: BTreeMap<String, CompanionState>,
    /// Subscriptions by id.
    pub(crate) subscriptions: BTreeMap<String, Subscription>,
    /// Keys by id.
    pub(crate) keys: BTreeMap<String, ApiKey>,
}

/// The latest deployment of one API.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deployment {
    /// File it came from.
    pub(crate) file: String,
    /// Name of the API.
    pub(crate) name: String,
    /// Counts deployments, from 1.
    pub(crate) number: u64,
    fingerprint: String,
    plans: Vec<PlanName>,
    /// The latest event.
    pub(crate) event: Event,
}

/// The latest event of an object that surrounds APIs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CompanionState {
    file: String,
    fingerprint: String,
    is_there: bool,
    event: Event,
}

impl Deployment {
    /// Whether the latest event deployed the API.
    pub(crate) fn is_published(&self) -> bool {
        self.event.event_type == EventType::PublishApi
    }
}

/// Something that changed, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Published {
        api: String,
        file: String,
        number: u64,
    },
    Unpublished {
        api: String,
        number: u64,
    },
    Moved {
        api: String,
        file: String,
    },
    Companion {
        title: String,
        is_there: bool,
    },
    Subscription {
        id: String,
        status: String,
    },
    Key {
        id: String,
        usable: bool,
    },
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Published { api, file, number } => {
                write!(f, "API {api} published from {file}, deployment {number}")
            }
            Self::Unpublished { api, number } => {
                write!(f, "API {api} unpublished, deployment {number}")
            }
            Self::Moved { api, file } => write!(f, "API {api} is now in {file}, unchanged"),
            Self::Companion {
                title,
                is_there: true,
            } => write!(f, "{title} published"),
            Self::Companion {
                title,
                is_there: false,
            } => write!(f, "{title} taken away"),
            Self::Subscription { id, status } => write!(f, "subscription {id} is now {status}"),
            Self::Key { id, usable: true } => write!(f, "key {id} is now usable"),
            Self::Key { id, usable: false } => write!(f, "key {id} is now revoked or paused"),
        }
    }
}

/// Where APIs live.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) organization: String,
    pub(crate) environment: String,
}

impl Ledger {
    /// The ledger of a Cloud Gate that never ran.
    pub(crate) fn new(now_ms: i64) -> Self {
        Self {
            installation: uuid::Uuid::new_v4().to_string(),
            created_at: now_ms,
            last_date: 0,
            apis: BTreeMap::new(),
            companions: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }

    /// Reads a ledger; `None` when there is none yet.
    pub(crate) fn load(path: &Path) -> std::io::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(std::io::Error::other),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the ledger whole or not at all: a new file takes the place of the old one. It holds keys, so others may not
    /// read it.
    pub(crate) fn save(&self, path: &Path) -> std::io::Result<()> {
        let bytes = serde_json::to_vec(self).map_err(std::io::Error::other)?;
        let fresh = path.with_extension("json.tmp");
        let mut file = super::files::create_private(&fresh)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    }

    /// Brings the deployments in line with the folder. APIs of `held` files stay as they are.
    pub(crate) fn apply_apis(
        &mut self,
        documents: &[(&str, &ApiDocument)],
        held: &BTreeSet<&str>,
        place: &Place,
        now_ms: i64,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for (file, document) in documents {
            let mut record = document.record.clone();
            record.environment_id = Some(place.environment.clone());
            let fingerprint = fingerprint(&record);
            let known = self.apis.get_mut(&record.id);
            if let Some(known) = known
                && known.is_published()
                && known.fingerprint == fingerprint
            {
                if known.file != *file {
                    (*file).clone_into(&mut known.file);
                    changes.push(Change::Moved {
                        api: record.id,
                        file: (*file).to_owned(),
                    });
                }
                continue;
            }
            let number = self.apis.get(&record.id).map_or(0, |known| known.number) + 1;
            let date = self.next_date(now_ms);
            changes.push(Change::Published {
                api: record.id.clone(),
                file: (*file).to_owned(),
                number,
            });
            let deployment = publish(
                record,
                fingerprint,
                file,
                document.plans.clone(),
                number,
                date,
                place,
            );
            self.apis.insert(document.record.id.clone(), deployment);
        }
        let present: BTreeSet<&str> = documents
            .iter()
            .map(|(_, document)| document.record.id.as_str())
            .collect();
        let gone: Vec<String> = self
            .apis
            .iter()
            .filter(|(id, known)| known.is_published() && !present.contains(id.as_str()))
            .filter(|(_, known)| !held.contains(known.file.as_str()))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            let date = self.next_date(now_ms);
            if let Some(known) = self.apis.get_mut(&id) {
                known.number += 1;
                known.event = api_event(
                    &id,
                    EventType::UnpublishApi,
                    None,
                    known.number,
                    date,
                    place,
                );
                changes.push(Change::Unpublished {
                    api: id,
                    number: known.number,
                });
            }
        }
        prune(
            &mut self.apis,
            |known| !known.is_published(),
            |known| known.event.updated_at,
        );
        changes
    }

    /// Every latest event.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        let apis = self.apis.values().map(|deployment| &deployment.event);
        apis.chain(self.companions.values().map(|state| &state.event))
    }

    /// Brings what surrounds APIs in line with the folder. What came from `held` files stays as it is.
    pub(crate) fn apply_companions(
        &mut self,
        companions: &[(&str, &Companion)],
        held: &BTreeSet<&str>,
        place: &Place,
        now_ms: i64,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut present = BTreeSet::new();
        for (file, companion) in companions {
            let kind = companion.kind;
            let id = companion.id.as_deref().unwrap_or(&place.organization);
            let key = format!("{}/{id}", kind.folder());
            present.insert(key.clone());
            let mut payload = companion.payload.clone();
            payload.insert("id".to_owned(), id.into());
            if kind != CompanionKind::Organization {
                payload.insert(
                    "environmentId".to_owned(),
                    place.environment.as_str().into(),
                );
            }
            let payload = serde_json::Value::Object(payload).to_string();
            let fingerprint = digest(payload.as_bytes());
            if let Some(known) = self.companions.get_mut(&key)
                && known.is_there
                && known.fingerprint == fingerprint
            {
                (*file).clone_into(&mut known.file);
                continue;
            }
            let date = self.next_date(now_ms);
            let event = companion_event(kind, id, true, Some(payload), date, place);
            changes.push(Change::Companion {
                title: format!("{} {id}", kind.name()),
                is_there: true,
            });
            let state = CompanionState {
                file: (*file).to_owned(),
                fingerprint,
                is_there: true,
                event,
            };
            self.companions.insert(key, state);
        }
        let gone: Vec<String> = self
            .companions
            .iter()
            .filter(|(key, state)| state.is_there && !present.contains(*key))
            .filter(|(_, state)| !held.contains(state.file.as_str()))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            let Some(kind) = CompanionKind::of(&key) else {
                continue;
            };
            let date = self.next_date(now_ms);
            if let Some(known) = self.companions.get_mut(&key) {
                let id = known.event.id.clone();
                // An organization cannot be unpublished: it has no flows any more.
                let payload = match kind {
                    CompanionKind::Organization => {
                        Some(serde_json::json!({"id": id, "flows": []}).to_string())
                    }
                    _ => known.event.payload.take(),
                };
                known.is_there = false;
                known.event = companion_event(kind, &id, false, payload, date, place);
                changes.push(Change::Companion {
                    title: format!("{} {id}", kind.name()),
                    is_there: false,
                });
            }
        }
        prune(
            &mut self.companions,
            |state| !state.is_there,
            |state| state.event.updated_at,
        );
        changes
    }

    /// Brings subscriptions and keys in line with their file: what is gone is closed or revoked.
    pub(crate) fn apply_consumers(&mut self, consumers: Consumers, now_ms: i64) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut subscriptions = consumers.subscriptions;
        for (id, known) in &self.subscriptions {
            subscriptions
                .entry(id.clone())
                .or_insert_with(|| Subscription {
                    status: Some("CLOSED".to_owned()),
                    ..known.clone()
                });
        }
        for (id, wanted) in subscriptions {
            let known = self.subscriptions.get(&id);
            let created_at = known.and_then(|known| known.created_at);
            let dated = |created_at, updated_at| Subscription {
                created_at,
                updated_at,
                ..wanted.clone()
            };
            if known.is_some_and(|known| *known == dated(known.created_at, known.updated_at)) {
                continue;
            }
            let date = self.next_date(now_ms);
            let status = wanted.status.clone().unwrap_or_default();
            self.subscriptions
                .insert(id.clone(), dated(created_at.or(Some(date)), Some(date)));
            changes.push(Change::Subscription { id, status });
        }
        let mut keys = consumers.keys;
        for (id, known) in &self.keys {
            keys.entry(id.clone()).or_insert_with(|| ApiKey {
                revoked: true,
                ..known.clone()
            });
        }
        for (id, wanted) in keys {
            let known = self.keys.get(&id);
            let created_at = known.and_then(|known| known.created_at);
            let dated = |created_at, updated_at| ApiKey {
                created_at,
                updated_at,
                ..wanted.clone()
            };
            if known.is_some_and(|known| *known == dated(known.created_at, known.updated_at)) {
                continue;
            }
            let date = self.next_date(now_ms);
            let usable = !wanted.revoked && !wanted.paused;
            self.keys
                .insert(id.clone(), dated(created_at.or(Some(date)), Some(date)));
            changes.push(Change::Key { id, usable });
        }
        prune(
            &mut self.subscriptions,
            |known| known.status.as_deref() == Some("CLOSED"),
            |known| known.updated_at,
        );
        prune(
            &mut self.keys,
            |known| known.revoked,
            |known| known.updated_at,
        );
        changes
    }

    /// The plans of an API that is or was deployed.
    pub(crate) fn plans_of(&self, api: &str) -> Option<&[PlanName]> {
        Some(&self.apis.get(api)?.plans)
    }

    /// Now, but later than every date before: a clock that was set back, or two changes within one millisecond, must not
    /// make a gateway overlook the second.
    fn next_date(&mut self, now_ms: i64) -> i64 {
        self.last_date = now_ms.max(self.last_date + 1);
        self.last_date
    }
}

fn publish(
    mut record: ApiRecord,
    fingerprint: String,
    file: &str,
    plans: Vec<PlanName>,
    number: u64,
    date: i64,
    place: &Place,
) -> Deployment {
    record.deployed_at = Some(date);
    let payload = serde_json::to_string(&record)
        .expect("a record is texts and numbers, which are always JSON");
    Deployment {
        file: file.to_owned(),
        name: record.name.clone().unwrap_or_default(),
        number,
        fingerprint,
        plans,
        event: api_event(
            &record.id,
            EventType::PublishApi,
            Some(payload),
            number,
            date,
            place,
        ),
    }
}

fn api_event(
    api: &str,
    event_type: EventType,
    payload: Option<String>,
    number: u64,
    date: i64,
    place: &Place,
) -> Event {
    let property = |name: &str, value: String| (name.to_owned(), Some(value));
    Event {
        id: api.to_owned(),
        environments: Some(vec![place.environment.clone()]),
        organizations: Some(vec![place.organization.clone()]),
        event_type,
        payload,
        parent_id: None,
        properties: BTreeMap::from([
            property("id", uuid::Uuid::new_v4().to_string()),
            property("api_id", api.to_owned()),
            property("deployment_number", number.to_string()),
        ]),
        created_at: Some(date),
        updated_at: Some(date),
    }
}

fn companion_event(
    kind: CompanionKind,
    id: &str,
    is_there: bool,
    payload: Option<String>,
    date: i64,
    place: &Place,
) -> Event {
    let (property, there, gone) = match kind {
        CompanionKind::Organization => (
            "organization_id",
            EventType::PublishOrganization,
            EventType::PublishOrganization,
        ),
        CompanionKind::Dictionary => (
            "dictionary_id",
            EventType::PublishDictionary,
            EventType::UnpublishDictionary,
        ),
        CompanionKind::SharedPolicyGroup => (
            "shared_policy_group_id",
            EventType::DeploySharedPolicyGroup,
            EventType::UndeploySharedPolicyGroup,
        ),
    };
    Event {
        id: id.to_owned(),
        environments: Some(vec![place.environment.clone()]),
        organizations: Some(vec![place.organization.clone()]),
        event_type: if is_there { there } else { gone },
        payload,
        parent_id: None,
        properties: BTreeMap::from([
            ("id".to_owned(), Some(uuid::Uuid::new_v4().to_string())),
            (property.to_owned(), Some(id.to_owned())),
        ]),
        created_at: Some(date),
        updated_at: Some(date),
    }
}

fn fingerprint(record: &ApiRecord) -> String {
    let bytes =
        serde_json::to_vec(record).expect("a record is texts and numbers, which are always JSON");
    digest(&bytes)
}

fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn prune<T>(
    all: &mut BTreeMap<String, T>,
    is_dead: impl Fn(&T) -> bool,
    date: impl Fn(&T) -> Option<i64>,
) {
    let mut dead: Vec<(Option<i64>, String)> = all
        .iter()
        .filter(|(_, item)| is_dead(item))
        .map(|(id, item)| (date(item), id.clone()))
        .collect();
    if dead.len() > TOMBSTONES_MAX {
        dead.sort();
        let oldest = dead.len() - TOMBSTONES_MAX;
        for (_, id) in dead.into_iter().take(oldest) {
            all.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud_gate::source::{Syntax, consumers};

    fn place() -> Place {
        Place {
            organization: "DEFAULT".to_owned(),
            environment: "DEFAULT".to_owned(),
        }
    }

    fn api(path: &str) -> ApiDocument {
        let text =
            format!(r#"{{"id":"a","name":"a","proxy":{{"virtual_hosts":[{{"path":"{path}"}}]}}}}"#);
        ApiDocument::parse("a.json", Syntax::Json, &text).expect("an API")
    }

    fn apply(ledger: &mut Ledger, documents: &[(&str, &ApiDocument)], now_ms: i64) -> Vec<Change> {
        ledger.apply_apis(documents, &BTreeSet::new(), &place(), now_ms)
    }

    #[test]
    fn a_change_gets_a_higher_number_and_a_later_date_and_no_change_gets_nothing() {
        let mut ledger = Ledger::new(0);
        assert_eq!(apply(&mut ledger, &[("a.json", &api("/a"))], 100).len(), 1);
        let first = ledger.apis["a"].event.clone();
        assert_eq!(first.property("deployment_number"), Some("1"));
        assert_eq!((first.created_at, first.updated_at), (Some(100), Some(100)));
        let moved = Change::Moved {
            api: "a".to_owned(),
            file: "renamed.json".to_owned(),
        };
        assert_eq!(
            apply(&mut ledger, &[("renamed.json", &api("/a"))], 200),
            [moved]
        );
        assert_eq!(
            ledger.apis["a"].event, first,
            "a new file name is no deployment"
        );
        // The clock was set back.
        apply(&mut ledger, &[("a.json", &api("/b"))], 50);
        let second = &ledger.apis["a"].event;
        assert_eq!(
            (second.property("deployment_number"), second.created_at),
            (Some("2"), Some(101))
        );
    }

    #[test]
    fn an_api_that_goes_is_unpublished_and_comes_back_with_a_higher_number() {
        let mut ledger = Ledger::new(0);
        apply(&mut ledger, &[("a.json", &api("/a"))], 1);
        assert_eq!(
            apply(&mut ledger, &[], 2),
            [Change::Unpublished {
                api: "a".to_owned(),
                number: 2
            }]
        );
        let event = &ledger.apis["a"].event;
        assert_eq!(
            (event.event_type, event.property("api_id")),
            (EventType::UnpublishApi, Some("a"))
        );
        assert!(apply(&mut ledger, &[], 3).is_empty(), "unpublished once");
        apply(&mut ledger, &[("a.json", &api("/a"))], 4);
        assert_eq!(ledger.apis["a"].number, 3);
        assert!(ledger.apis["a"].is_published());
    }

    #[test]
    fn the_api_of_a_held_file_stays() {
        let mut ledger = Ledger::new(0);
        apply(&mut ledger, &[("a.json", &api("/a"))], 1);
        assert!(
            ledger
                .apply_apis(&[], &BTreeSet::from(["a.json"]), &place(), 2)
                .is_empty()
        );
        assert!(ledger.apis["a"].is_published());
    }

    #[test]
    fn a_restart_keeps_numbers_and_dates() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.json");
        assert!(Ledger::load(&path).expect("nothing there").is_none());
        let mut ledger = Ledger::new(0);
        apply(&mut ledger, &[("a.json", &api("/a"))], 1);
        ledger.save(&path).expect("saved");
        let mut again = Ledger::load(&path).expect("read").expect("there");
        assert!(
            apply(&mut again, &[("a.json", &api("/a"))], 5).is_empty(),
            "an unchanged file is no new deployment"
        );
        assert_eq!(again.apis["a"].event, ledger.apis["a"].event);
        apply(&mut again, &[("a.json", &api("/changed-while-down"))], 6);
        assert_eq!(again.apis["a"].number, 2);
        std::fs::write(&path, "{").expect("written");
        assert!(
            Ledger::load(&path).is_err(),
            "a broken ledger is not taken for none"
        );
    }

    #[test]
    fn a_subscription_that_goes_is_closed_and_its_key_revoked() {
        let mut ledger = Ledger::new(0);
        apply(&mut ledger, &[("a.json", &api("/a"))], 1);
        let consumers = |ledger: &Ledger, text: &str| {
            let declared = consumers::parse(Syntax::Yaml, text).expect("entries");
            consumers::resolve(&declared, "DEFAULT", |api| ledger.plans_of(api))
        };
        let one = "- {application: x, api: a, plan: a-key-less, keys: [{key: k}]}";
        let wanted = consumers(&ledger, one);
        assert_eq!(ledger.apply_consumers(wanted, 10).len(), 2);
        let wanted = consumers(&ledger, one);
        assert!(
            ledger.apply_consumers(wanted, 20).is_empty(),
            "no change, no date"
        );
        assert_eq!(ledger.apply_consumers(Consumers::default(), 30).len(), 2);
        let subscription = ledger.subscriptions.values().next().expect("one");
        assert_eq!(
            (subscription.status.as_deref(), subscription.created_at),
            (Some("CLOSED"), Some(10))
        );
        assert_eq!(subscription.updated_at, Some(30));
        assert!(ledger.keys.values().all(|key| key.revoked));
        assert!(
            ledger.apply_consumers(Consumers::default(), 40).is_empty(),
            "closed once"
        );
        let wanted = consumers(&ledger, one);
        ledger.apply_consumers(wanted, 50);
        assert_eq!(
            ledger
                .subscriptions
                .values()
                .next()
                .expect("one")
                .status
                .as_deref(),
            Some("ACCEPTED")
        );
    }
}
