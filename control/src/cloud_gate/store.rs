//! What gateways write to the Cloud Gate: heartbeats and other events, and node monitoring; bounded, and in memory only.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::bridge::wire::Event;

/// Events that are kept; the one that was not written for longest makes room.
const EVENTS_MAX: usize = 1_000;
/// Monitoring documents that are kept: three for each gateway.
const DOCUMENTS_MAX: usize = 3_000;
/// Bytes of both kinds, each.
const BYTES_MAX: usize = 64 << 20;

/// JSON objects by key, bounded in number and bytes.
#[derive(Debug)]
pub(crate) struct Bounded<K> {
    items: BTreeMap<K, Kept>,
    items_max: usize,
    bytes: usize,
    writes: u64,
    /// Objects that made room for others.
    pub(crate) evicted: u64,
}

#[derive(Debug)]
struct Kept {
    object: Map<String, Value>,
    bytes: usize,
    written: u64,
}

impl<K: Ord + Clone> Bounded<K> {
    fn new(items_max: usize) -> Self {
        Self {
            items: BTreeMap::new(),
            items_max,
            bytes: 0,
            writes: 0,
            evicted: 0,
        }
    }

    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&Map<String, Value>>
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.items.get(key).map(|kept| &kept.object)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Map<String, Value>> {
        self.items.values().map(|kept| &kept.object)
    }

    fn put(&mut self, key: K, object: Map<String, Value>) {
        self.writes += 1;
        let bytes = object
            .iter()
            .map(|(name, value)| name.len() + weight(value))
            .sum();
        self.bytes += bytes;
        let kept = Kept {
            object,
            bytes,
            written: self.writes,
        };
        if let Some(old) = self.items.insert(key, kept) {
            self.bytes -= old.bytes;
        }
        while self.items.len() > 1 && (self.items.len() > self.items_max || self.bytes > BYTES_MAX)
        {
            let Some(oldest) = self
                .items
                .iter()
                .min_by_key(|(_, kept)| kept.written)
                .map(|(key, _)| key.clone())
            else {
                break;
            };
            if let Some(old) = self.items.remove(&oldest) {
                self.bytes -= old.bytes;
                self.evicted += 1;
            }
        }
    }
}

/// About how many bytes a value holds.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 32,
        Value::Array(items) => 32 + items.iter().map(weight).sum::<usize>(),
        Value::Object(members) => {
            32 + members
                .iter()
                .map(|(name, value)| 32 + name.len() + weight(value))
                .sum::<usize>()
        }
        _ => 32,
    }
}

/// Everything gateways wrote.
#[derive(Debug)]
pub(crate) struct Store {
    /// Events by id.
    pub(crate) events: Bounded<String>,
    /// Monitoring documents by node and type.
    pub(crate) monitoring: Bounded<(String, String)>,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            events: Bounded::new(EVENTS_MAX),
            monitoring: Bounded::new(DOCUMENTS_MAX),
        }
    }

    /// Creates the event, or overwrites what the patch sets: members that are not null, and properties one by one.
    /// The date of creation never changes.
    pub(crate) fn create_or_patch(
        &mut self,
        patch: Map<String, Value>,
    ) -> Result<&Map<String, Value>, String> {
        let id = required(&patch, "id")?.to_owned();
        required(&patch, "type")?;
        let mut event = self.events.get(&id).cloned().unwrap_or_default();
        for (name, value) in patch {
            match (name.as_str(), value) {
                (_, Value::Null) => {}
                ("createdAt", _) if event.contains_key("createdAt") => {}
                ("properties", Value::Object(properties)) => {
                    let known = event
                        .entry("properties")
                        .or_insert_with(|| Value::Object(Map::new()));
                    if let Value::Object(known) = known {
                        known.extend(properties);
                    }
                }
                (_, value) => {
                    event.insert(name, value);
                }
            }
        }
        self.put_event(id, event)
    }

    /// Replaces an event; `None` when there is none with this id.
    pub(crate) fn replace_event(
        &mut self,
        id: &str,
        mut event: Map<String, Value>,
    ) -> Result<Option<&Map<String, Value>>, String> {
        if self.events.get(id).is_none() {
            return Ok(None);
        }
        event.insert("id".to_owned(), Value::from(id));
        event.retain(|_, value| !value.is_null());
        required(&event, "type")?;
        self.put_event(id.to_owned(), event).map(Some)
    }

    fn put_event(
        &mut self,
        id: String,
        event: Map<String, Value>,
    ) -> Result<&Map<String, Value>, String> {
        // What cannot be read as an event later must not get in now.
        serde_json::from_value::<Event>(Value::Object(event.clone()))
            .map_err(|error| error.to_string())?;
        self.events.put(id.clone(), event);
        self.events
            .get(&id)
            .ok_or_else(|| "the event is larger than what is kept".to_owned())
    }

    /// Creates or replaces a monitoring document.
    pub(crate) fn put_monitoring(
        &mut self,
        mut document: Map<String, Value>,
    ) -> Result<&Map<String, Value>, String> {
        document.retain(|_, value| !value.is_null());
        required(&document, "id")?;
        let key = (
            required(&document, "nodeId")?.to_owned(),
            required(&document, "type")?.to_owned(),
        );
        self.monitoring.put(key.clone(), document);
        self.monitoring
            .get(&key)
            .ok_or_else(|| "the document is larger than what is kept".to_owned())
    }
}

fn required<'a>(object: &'a Map<String, Value>, member: &str) -> Result<&'a str, String> {
    object
        .get(member)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .ok_or_else(|| format!("expected a text as `{member}`, found none"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn a_patch_keeps_what_it_does_not_set_and_merges_properties() {
        let mut store = Store::new();
        let start = json!({"id":"e","type":"GATEWAY_STARTED","payload":"p","createdAt":1,"updatedAt":1,
            "properties":{"id":"n","last_heartbeat_at":"1"}});
        store.create_or_patch(object(start)).expect("created");
        let beat = json!({"id":"e","type":"GATEWAY_STARTED","payload":null,"createdAt":9,"updatedAt":9,
            "properties":{"last_heartbeat_at":"9"}});
        let event = store.create_or_patch(object(beat)).expect("patched");
        let expected = json!({"id":"e","type":"GATEWAY_STARTED","payload":"p","createdAt":1,"updatedAt":9,
            "properties":{"id":"n","last_heartbeat_at":"9"}});
        assert_eq!(Value::Object(event.clone()), expected);
    }

    #[test]
    fn an_event_without_id_or_type_or_with_a_strange_date_is_refused() {
        let mut store = Store::new();
        for event in [
            json!({"type":"X"}),
            json!({"id":"e"}),
            json!({"id":"e","type":"X","updatedAt":"soon"}),
        ] {
            assert!(
                store.create_or_patch(object(event.clone())).is_err(),
                "{event}"
            );
        }
        assert_eq!(store.events.values().count(), 0);
    }

    #[test]
    fn the_event_that_was_not_written_for_longest_makes_room() {
        let mut store = Store::new();
        for number in 0..EVENTS_MAX {
            store
                .create_or_patch(object(json!({"id": format!("e{number}"), "type": "X"})))
                .expect("created");
        }
        store
            .create_or_patch(object(json!({"id": "e0", "type": "X"})))
            .expect("written again");
        store
            .create_or_patch(object(json!({"id": "new", "type": "X"})))
            .expect("created");
        assert_eq!(store.events.values().count(), EVENTS_MAX);
        assert_eq!(store.events.evicted, 1);
        assert!(store.events.get("e0").is_some() && store.events.get("e1").is_none());
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut store = Store::new();
        let payload = "x".repeat(BYTES_MAX / 4);
        for number in 0..6 {
            let event = json!({"id": format!("e{number}"), "type": "X", "payload": payload});
            store.create_or_patch(object(event)).expect("created");
        }
        assert!(store.events.bytes <= BYTES_MAX);
        assert_eq!(store.events.values().count(), 3);
    }
}
