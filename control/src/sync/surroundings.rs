//! What surrounds APIs: flows of organizations, dictionaries of environments, shared policy groups (contract sync 5.2, 5.4).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::deploy::{Deployer, SharedPolicyGroup};
use super::status::RefusedApi;
use super::synchronizer::Synchronizer;
use super::window::Window;
use crate::bridge::wire::{Event, EventCriteria, EventType};
use crate::bridge::{BridgeError, Group};

/// Pages of one scan.
const PAGES_MAX: usize = 10_000;

/// A kind of surrounding object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Organization,
    Dictionary,
    SharedPolicyGroup,
}

impl Kind {
    fn group(self) -> Group {
        match self {
            Self::Organization => Group::Organization,
            Self::Dictionary => Group::Dictionary,
            Self::SharedPolicyGroup => Group::SharedPolicyGroup,
        }
    }

    /// The types of events that put one there, and those that take it away.
    fn types(self) -> (EventType, Option<EventType>) {
        match self {
            Self::Organization => (EventType::PublishOrganization, None),
            Self::Dictionary => (
                EventType::PublishDictionary,
                Some(EventType::UnpublishDictionary),
            ),
            Self::SharedPolicyGroup => (
                EventType::DeploySharedPolicyGroup,
                Some(EventType::UndeploySharedPolicyGroup),
            ),
        }
    }

    fn of(event_type: EventType) -> Option<Self> {
        [
            Self::Organization,
            Self::Dictionary,
            Self::SharedPolicyGroup,
        ]
        .into_iter()
        .find(|kind| {
            let (there, gone) = kind.types();
            event_type == there || Some(event_type) == gone
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Dictionary => "dictionary",
            Self::SharedPolicyGroup => "shared policy group",
        }
    }
}

/// What an event put there, as the deployer knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Object {
    Organization { id: String },
    Dictionary { environment_id: String, key: String },
    SharedPolicyGroup { environment_id: String, id: String },
}

#[derive(Debug)]
struct Known {
    updated_at: Option<i64>,
    /// `None` when the event could not be used.
    object: Option<Object>,
    /// The last event that could be used; kept only when the state is stored.
    event: Option<Event>,
}

/// The surrounding objects that are known, by the id of their latest event.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    known: BTreeMap<(Kind, String), Known>,
    /// Shared policy groups that the definition of an API names, by API id.
    users: BTreeMap<String, BTreeSet<String>>,
    /// APIs whose groups changed: they are compiled again.
    stale: BTreeSet<String>,
}

impl Surroundings {
    /// Remembers which groups the definition of an API names.
    pub(super) fn note_groups(&mut self, api_id: &str, definition: &str) {
        let groups = groups_in(definition);
        if groups.is_empty() {
            self.users.remove(api_id);
        } else {
            self.users.insert(api_id.to_owned(), groups);
        }
    }

    /// Forgets an API.
    pub(super) fn forget_api(&mut self, api_id: &str) {
        self.users.remove(api_id);
        self.stale.remove(api_id);
    }

    pub(super) fn has_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    pub(super) fn is_stale(&self, api_id: &str) -> bool {
        self.stale.contains(api_id)
    }

    /// Every stale API was compiled again.
    pub(super) fn settle(&mut self) {
        self.stale.clear();
    }

    /// Events of what is there, for the stored state.
    pub(super) fn events(&self) -> Vec<Event> {
        self.known
            .values()
            .filter_map(|known| known.event.clone())
            .collect()
    }

    fn mark_users(&mut self, group_id: &str) {
        let users = self
            .users
            .iter()
            .filter(|(_, groups)| groups.contains(group_id))
            .map(|(api_id, _)| api_id.clone());
        self.stale.extend(users);
    }
}

impl<D: Deployer> Synchronizer<D> {
    /// Reads the events of a kind and applies them.
    pub(super) async fn sync_surroundings(
        &mut self,
        kind: Kind,
        window: Window,
    ) -> Result<(), BridgeError> {
        let (there, gone) = kind.types();
        let mut types = vec![there];
        types.extend(gone.filter(|_| !window.is_full()));
        let criteria = EventCriteria {
            types,
            from: window.lower(),
            to: Some(window.upper()),
            environments: self.identity().environments.clone(),
            ..EventCriteria::default()
        };
        let size = self.sync.bulk_items.max(1);
        let mut present = BTreeSet::new();
        for page in 0..PAGES_MAX {
            let events = match self
                .client
                .latest_events(kind.group(), page, size, &criteria)
                .await
            {
                Ok(events) => events,
                // A control plane that does not know the kind has none of it. What is known stays.
                Err(error) if !error.is_transient() => {
                    tracing::debug!("events of kind {kind:?} are not available: {error}");
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            let is_last = events.len() < size;
            for event in events {
                present.insert(event.id.clone());
                self.apply_surrounding(kind, event);
            }
            if is_last {
                break;
            }
        }
        if window.is_full() {
            let absent: Vec<String> = self
                .surroundings
                .known
                .keys()
                .filter(|(of, id)| *of == kind && !present.contains(id))
                .map(|(_, id)| id.clone())
                .collect();
            for id in absent {
                self.remove_surrounding(kind, &id);
            }
        }
        Ok(())
    }

    /// Applies stored events.
    pub(super) fn restore_surroundings(&mut self, events: Vec<Event>) {
        for event in events {
            if let Some(kind) = Kind::of(event.event_type) {
                self.apply_surrounding(kind, event);
            }
        }
    }

    fn apply_surrounding(&mut self, kind: Kind, event: Event) {
        if Some(event.event_type) == kind.types().1 {
            self.remove_surrounding(kind, &event.id);
            return;
        }
        let id = (kind, event.id.clone());
        let known = self.surroundings.known.get(&id);
        if known.is_some_and(|known| known.updated_at == event.updated_at) {
            return;
        }
        let before = known.and_then(|known| known.object.clone());
        let last_good = known.and_then(|known| known.event.clone());
        let title = format!("{} {}", kind.name(), event.id);
        let object = match read(kind, &event) {
            Ok((object, record)) => {
                if let Some(before) = &before
                    && *before != object
                {
                    self.take_away(before);
                }
                self.put(&object, record).map(|()| object)
            }
            Err(reason) => Err(reason),
        };
        let updated_at = event.updated_at;
        let (object, event) = match object {
            Ok(object) => {
                tracing::info!("{title} deployed");
                self.status.accept(&title);
                let stored = self.sync.snapshot_path.is_some().then_some(event);
                (Some(object), stored)
            }
            Err(reason) => {
                let is_served_as_before = before.is_some();
                let rest = if is_served_as_before {
                    "what was deployed before stays"
                } else {
                    "APIs are served without it"
                };
                tracing::warn!("{title} is not deployed: {reason}; {rest}");
                self.status.refuse(
                    &title,
                    RefusedApi {
                        name: String::new(),
                        reason,
                        is_served_as_before,
                    },
                );
                (before, last_good)
            }
        };
        let known = Known {
            updated_at,
            object,
            event,
        };
        self.surroundings.known.insert(id, known);
        self.mark_changed();
    }

    fn remove_surrounding(&mut self, kind: Kind, id: &str) {
        let Some(known) = self.surroundings.known.remove(&(kind, id.to_owned())) else {
            return;
        };
        self.status.accept(&format!("{} {id}", kind.name()));
        if let Some(object) = known.object {
            tracing::info!("{} {id} undeployed", kind.name());
            self.take_away(&object);
        }
        self.mark_changed();
    }

    fn put(&mut self, object: &Object, record: Record) -> Result<(), String> {
        match (object, record) {
            (Object::Organization { id }, Record::Organization(record)) => self
                .deployer
                .set_organization(id, &record)
                .map_err(|refused| refused.reason),
            (
                Object::Dictionary {
                    environment_id,
                    key,
                },
                Record::Dictionary(entries),
            ) => {
                self.deployer
                    .set_dictionary(environment_id, key, Some(entries));
                Ok(())
            }
            (
                Object::SharedPolicyGroup { environment_id, id },
                Record::SharedPolicyGroup(group),
            ) => {
                if self.deployer.set_group(id, environment_id, Some(&group)) {
                    self.surroundings.mark_users(id);
                }
                Ok(())
            }
            _ => Err("the event is not of its kind".to_owned()),
        }
    }

    fn take_away(&mut self, object: &Object) {
        match object {
            Object::Organization { id } => self.deployer.drop_organization(id),
            Object::Dictionary {
                environment_id,
                key,
            } => self.deployer.set_dictionary(environment_id, key, None),
            Object::SharedPolicyGroup { environment_id, id } => {
                if self.deployer.set_group(id, environment_id, None) {
                    self.surroundings.mark_users(id);
                }
            }
        }
    }
}

enum Record {
    Organization(Value),
    Dictionary(BTreeMap<Box<str>, Box<str>>),
    SharedPolicyGroup(SharedPolicyGroup),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DictionaryPayload {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    environment_id: Option<String>,
    #[serde(default)]
    properties: Option<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupPayload {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    environment_id: Option<String>,
    #[serde(default)]
    phase: Option<String>,
    #[serde(default)]
    policies: Option<Value>,
}

/// What an event says is there.
fn read(kind: Kind, event: &Event) -> Result<(Object, Record), String> {
    let payload = event
        .payload
        .as_deref()
        .ok_or("payload: expected an object, found nothing")?;
    let wrong = |error: serde_json::Error| format!("payload: {error}");
    let environment_of = |written: Option<String>| {
        written
            .filter(|id| !id.is_empty())
            .or_else(|| match event.environments.as_deref() {
                Some([only]) => Some(only.clone()),
                _ => None,
            })
            .unwrap_or_default()
    };
    let filled = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    Ok(match kind {
        Kind::Organization => {
            let record: Value = serde_json::from_str(payload).map_err(wrong)?;
            if !record.is_object() {
                return Err("payload: expected an object".to_owned());
            }
            let id = record.get("id").and_then(Value::as_str);
            let id = event.property("organization_id").or(id);
            let id = id.unwrap_or(&event.id).to_owned();
            (Object::Organization { id }, Record::Organization(record))
        }
        Kind::Dictionary => {
            let payload: DictionaryPayload = serde_json::from_str(payload).map_err(wrong)?;
            let key = filled(payload.key)
                .or_else(|| filled(payload.name))
                .or_else(|| filled(payload.id))
                .ok_or("payload.key: expected a text, found nothing")?;
            let text = |value: Value| match value {
                Value::Null => None,
                Value::String(text) => Some(text.into()),
                other => Some(other.to_string().into()),
            };
            let entries = payload
                .properties
                .unwrap_or_default()
                .into_iter()
                .filter_map(|(name, value)| Some((name.into(), text(value)?)))
                .collect();
            let object = Object::Dictionary {
                environment_id: environment_of(payload.environment_id),
                key,
            };
            (object, Record::Dictionary(entries))
        }
        Kind::SharedPolicyGroup => {
            let payload: GroupPayload = serde_json::from_str(payload).map_err(wrong)?;
            let named = event.property("shared_policy_group_id").map(str::to_owned);
            let id = filled(payload.id)
                .or_else(|| filled(named))
                .ok_or("payload.id: expected a text, found nothing")?;
            let policies = payload.policies.unwrap_or_else(|| Value::Array(Vec::new()));
            if !policies.is_array() {
                return Err("payload.policies: expected an array".to_owned());
            }
            let group = SharedPolicyGroup {
                phase: payload.phase.unwrap_or_default(),
                policies,
            };
            let object = Object::SharedPolicyGroup {
                environment_id: environment_of(payload.environment_id),
                id,
            };
            (object, Record::SharedPolicyGroup(group))
        }
    })
}

/// The shared policy groups that a definition names. Configurations may be JSON texts inside the JSON, so quotes may be escaped any
/// number of times.
fn groups_in(definition: &str) -> BTreeSet<String> {
    let mut groups = BTreeSet::new();
    for (at, name) in definition.match_indices("sharedPolicyGroupId") {
        let value = behind_quote(&definition[at + name.len()..])
            .and_then(|rest| rest.trim_start().strip_prefix(':'))
            .and_then(|rest| behind_quote(rest.trim_start()));
        if let Some(id) = value.and_then(|rest| rest.split(['"', '\\']).next())
            && !id.is_empty()
        {
            groups.insert(id.to_owned());
        }
    }
    groups
}

/// What follows a quote, which may be escaped.
fn behind_quote(text: &str) -> Option<&str> {
    text.trim_start_matches('\\').strip_prefix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_a_definition_are_found_in_objects_and_in_texts() {
        for (definition, expected) in [
            (r#"{"flows":[]}"#, &[][..]),
            (r#"{"sharedPolicyGroupId": "a"}"#, &["a"]),
            (
                r#"{"configuration":"{\"sharedPolicyGroupId\" : \"b-1\"}"}"#,
                &["b-1"],
            ),
            (
                r#"[{"sharedPolicyGroupId":"a"},{"sharedPolicyGroupId":"c"},{"sharedPolicyGroupId":""}]"#,
                &["a", "c"],
            ),
            ("sharedPolicyGroupId", &[]),
        ] {
            let found = groups_in(definition);
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{definition}");
        }
    }
}
