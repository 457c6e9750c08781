//! The endpoints of the bridge protocol (contract sync 3.1, 3.2); the numbers are those of its table.

use std::cmp::Ordering;

use http::Method;
use serde_json::{Map, Value, json};

use super::answer::Refused;
use super::auth::Bearer;
use super::request::{self, Query};
use crate::bridge::wire::{ApiKeyCriteria, Environment, Event, Organization, Page};
use crate::cloud_gate::gate::{Gate, lock};
use crate::cloud_gate::search::{self, EventSearch, SubscriptionSearch};

/// The version of the bridge protocol that we declare.
const COMPATIBLE_VERSION: &str = "4.12.17";
/// Page size of searches that ask for pages without a size.
const PAGE_SIZE: usize = 10;

/// One call of the bridge.
pub(super) struct Call<'a> {
    pub(super) gate: &'a Gate,
    pub(super) bearer: &'a Bearer,
    pub(super) query: &'a Query,
    pub(super) body: &'a [u8],
}

/// Answers a call; `path` is what follows the base path.
pub(super) fn answer(call: &Call<'_>, method: &Method, path: &[&str]) -> Result<Value, Refused> {
    match (method.as_str(), path) {
        // 1
        ("GET", []) => Ok(json!({"version": {
            "BUILD_ID": "turnpike",
            "BUILD_NUMBER": env!("CARGO_PKG_VERSION"),
            "MAJOR_VERSION": COMPATIBLE_VERSION,
            "REVISION": env!("CARGO_PKG_VERSION"),
        }})),
        // 2, 3
        ("POST", ["eventsLatest", "_search"] | ["events", "_searchLatest"]) => call.search_latest(),
        // 5, 6, 8, 9
        ("POST", ["events", "_search"]) => call.search_events(),
        ("GET", ["events", id]) => call.event(id),
        ("POST", ["events", "_createOrPatch"]) => call.create_or_patch_event(),
        ("PUT", ["events", id]) => call.replace_event(id),
        // 10, 11
        ("POST", ["subscriptions", "_search"]) => Ok(Value::Array(call.subscriptions()?)),
        ("POST", ["subscriptions", "_searchPageable"]) => call.paged(call.subscriptions()?),
        // 13, and 14, its older name
        ("POST", ["keys", "_findByCriteria" | "_search"]) => call.keys(),
        // 20: dictionaries come as events, and there are none
        ("GET", ["dictionaries"]) => Ok(json!([])),
        // 21 to 24
        ("GET", ["environments"]) => to_json(&call.environments()),
        ("GET", ["environments", "_byOrganizationId"]) => call.environments_of_organization(),
        ("GET", ["environments", "_byOrganizationsAndHrids"]) => call.environments_by_hrids(),
        ("GET", ["environments", "_organizationIds"]) => call.organization_ids(),
        ("GET", ["environments", id]) => call.environment(id),
        // 25 to 27
        ("GET", ["organizations"]) => to_json(&[call.organization()]),
        ("GET", ["organizations", "_byHrids"]) => call.organizations_by_hrids(),
        ("GET", ["organizations", id]) if *id == call.gate.place.organization => {
            to_json(&call.organization())
        }
        // 28
        ("GET", ["installation"]) => Ok(call.installation()),
        // 30 to 32
        ("GET", ["node", "monitoring"]) => call.monitoring(),
        ("POST" | "PUT", ["node", "monitoring"]) => call.put_monitoring(),
        // Table 3.2: a Cloud Gate of a folder has no licences and no custom hosts.
        ("POST", ["licenses", "_search"]) => call.paged(Vec::new()),
        ("POST", ["accessPoints", "_search"]) => Ok(json!([])),
        _ => Err(Refused::NotFound),
    }
}

impl Call<'_> {
    fn event_search(&self) -> Result<EventSearch, Refused> {
        let mut search: EventSearch = request::json(self.body)?;
        self.bearer.entitle(&mut search.environments)?;
        Ok(search)
    }

    fn search_latest(&self) -> Result<Value, Refused> {
        let search = self.event_search()?;
        let property = self.query.get("group").and_then(search::group_property);
        let ledger = self.gate.ledger();
        let mut found: Vec<&Event> = ledger
            .events()
            .filter(|event| property.is_none_or(|name| event.property(name).is_some()))
            .filter(|event| search.matches(type_name(event), event))
            .collect();
        found.sort_by(|a, b| by_date(a, b));
        to_json(&match self.query.number("size") {
            Some(size) if size > 0 => {
                search::page(found, self.query.number("page").unwrap_or(0), size)
            }
            _ => found,
        })
    }

    fn search_events(&self) -> Result<Value, Refused> {
        let search = self.event_search()?;
        let ledger = self.gate.ledger();
        let deployed = ledger.events();
        let mut found: Vec<(Event, Value)> = Vec::new();
        for event in deployed.filter(|event| search.matches(type_name(event), event)) {
            found.push((event.clone(), to_json(event)?));
        }
        for written in lock(&self.gate.store).events.values() {
            let (event, type_name) = read_event(written)?;
            if search.matches(&type_name, &event) {
                found.push((event, Value::Object(written.clone())));
            }
        }
        found.sort_by(|(a, _), (b, _)| by_date(b, a));
        let found = found.into_iter().map(|(_, event)| event).collect();
        if self.query.get("page").is_none() && self.query.get("size").is_none() {
            return Ok(Value::Array(found));
        }
        self.paged_from(found, 1)
    }

    fn event(&self, id: &str) -> Result<Value, Refused> {
        let environments = |event: &Event| event.environments.clone().unwrap_or_default();
        let entitled = |listed: Vec<String>| {
            if listed.is_empty() || listed.iter().any(|id| self.bearer.may_use(id)) {
                Ok(())
            } else {
                Err(Refused::Forbidden)
            }
        };
        if let Some(deployment) = self.gate.ledger().apis.get(id) {
            entitled(environments(&deployment.event))?;
            return to_json(&deployment.event);
        }
        let store = lock(&self.gate.store);
        let written = store.events.get(id).ok_or(Refused::NotFound)?;
        entitled(environments(&read_event(written)?.0))?;
        Ok(Value::Object(written.clone()))
    }

    fn create_or_patch_event(&self) -> Result<Value, Refused> {
        let event = self.writable_event()?;
        let mut store = lock(&self.gate.store);
        store
            .create_or_patch(event)
            .cloned()
            .map(Value::Object)
            .map_err(Refused::Failed)
    }

    fn replace_event(&self, id: &str) -> Result<Value, Refused> {
        let event = self.writable_event()?;
        let mut store = lock(&self.gate.store);
        let replaced = store.replace_event(id, event).map_err(Refused::Failed)?;
        replaced
            .cloned()
            .map(Value::Object)
            .ok_or(Refused::NotFound)
    }

    /// An event that the bearer may write: for environments of the token, and never in the place of a deployment.
    fn writable_event(&self) -> Result<Map<String, Value>, Refused> {
        let event: Map<String, Value> = request::json(self.body)?;
        if let Some(environments) = event.get("environments").and_then(Value::as_array)
            && !environments
                .iter()
                .filter_map(Value::as_str)
                .all(|id| self.bearer.may_use(id))
        {
            return Err(Refused::Forbidden);
        }
        let id = event.get("id").and_then(Value::as_str).unwrap_or_default();
        if self.gate.ledger().apis.contains_key(id) {
            return Err(Refused::Failed(format!(
                "Event {id} is the deployment of an API, which only the Cloud Gate writes"
            )));
        }
        Ok(event)
    }

    fn subscriptions(&self) -> Result<Vec<Value>, Refused> {
        let mut search: SubscriptionSearch = request::json(self.body)?;
        self.bearer.entitle(&mut search.common.environments)?;
        let ledger = self.gate.ledger();
        let mut found: Vec<_> = ledger
            .subscriptions
            .values()
            .filter(|one| search.matches(one))
            .collect();
        found.sort_by(|a, b| {
            self.order(
                (a.updated_at, a.created_at, &a.id),
                (b.updated_at, b.created_at, &b.id),
            )
        });
        found.into_iter().map(to_json).collect()
    }

    fn keys(&self) -> Result<Value, Refused> {
        let mut criteria: ApiKeyCriteria = request::json(self.body)?;
        self.bearer.entitle(&mut criteria.environments)?;
        let ledger = self.gate.ledger();
        let mut found: Vec<_> = ledger
            .keys
            .values()
            .filter(|key| search::key_matches(&criteria, key))
            .collect();
        found.sort_by(|a, b| {
            self.order(
                (a.updated_at, a.created_at, &a.id),
                (b.updated_at, b.created_at, &b.id),
            )
        });
        to_json(&found)
    }

    /// The order that `field` and `order` ask for; the id decides between equals.
    fn order(
        &self,
        a: (Option<i64>, Option<i64>, &str),
        b: (Option<i64>, Option<i64>, &str),
    ) -> Ordering {
        let ordering = match self.query.get("field") {
            Some("id") => a.2.cmp(b.2),
            Some("createdAt") => (a.1, a.2).cmp(&(b.1, b.2)),
            _ => (a.0, a.2).cmp(&(b.0, b.2)),
        };
        if self
            .query
            .get("order")
            .is_some_and(|order| order.eq_ignore_ascii_case("DESC"))
        {
            ordering.reverse()
        } else {
            ordering
        }
    }

    fn paged(&self, found: Vec<Value>) -> Result<Value, Refused> {
        self.paged_from(found, 0)
    }

    fn paged_from(&self, found: Vec<Value>, default_page: usize) -> Result<Value, Refused> {
        let number = self.query.number("page").unwrap_or(default_page);
        let size = self
            .query
            .number("size")
            .filter(|size| *size > 0)
            .unwrap_or(PAGE_SIZE);
        let total = found.len();
        to_json(&Page {
            content: search::page(found, number, size),
            page_number: number as u64,
            page_elements: total.min(size) as u64,
            total_elements: total as u64,
        })
    }

    /// The one environment, if the token names it.
    fn environments(&self) -> Vec<Environment> {
        let place = &self.gate.place;
        let environment = Environment {
            id: place.environment.clone(),
            hrids: hrids(&place.environment),
            name: Some(place.environment.clone()),
            organization_id: Some(place.organization.clone()),
        };
        if self.bearer.may_use(&place.environment) {
            vec![environment]
        } else {
            Vec::new()
        }
    }

    fn environment(&self, id: &str) -> Result<Value, Refused> {
        if !self.bearer.may_use(id) {
            return Err(Refused::Forbidden);
        }
        let found = self
            .environments()
            .into_iter()
            .find(|environment| environment.id == id);
        to_json(&found.ok_or(Refused::NotFound)?)
    }

    fn environments_of_organization(&self) -> Result<Value, Refused> {
        let ours = self.query.get("organizationId") == Some(self.gate.place.organization.as_str());
        to_json(&if ours {
            self.environments()
        } else {
            Vec::new()
        })
    }

    fn environments_by_hrids(&self) -> Result<Value, Refused> {
        let organizations = self.query.list("organizationsIds");
        let wanted = self.query.list("hrids");
        let mut found = self.environments();
        found.retain(|environment| {
            let in_organization =
                organizations.is_empty() || organizations.contains(&self.gate.place.organization);
            in_organization
                && (wanted.is_empty() || environment.hrids.iter().any(|hrid| wanted.contains(hrid)))
        });
        to_json(&found)
    }

    fn organization_ids(&self) -> Result<Value, Refused> {
        let mut wanted = self.query.list("environmentsIds");
        self.bearer.entitle(&mut wanted)?;
        let ours = wanted.contains(&self.gate.place.environment);
        to_json(&if ours {
            vec![&self.gate.place.organization]
        } else {
            Vec::new()
        })
    }

    fn organization(&self) -> Organization {
        let id = &self.gate.place.organization;
        Organization {
            id: id.clone(),
            hrids: hrids(id),
            name: Some(id.clone()),
        }
    }

    fn organizations_by_hrids(&self) -> Result<Value, Refused> {
        let wanted = self.query.list("hrids");
        let ours = self.organization();
        let found = wanted.is_empty() || ours.hrids.iter().any(|hrid| wanted.contains(hrid));
        to_json(&if found { vec![ours] } else { Vec::new() })
    }

    fn installation(&self) -> Value {
        let ledger = self.gate.ledger();
        json!({
            "id": ledger.installation,
            "additionalInformation": {},
            "createdAt": ledger.created_at,
            "updatedAt": ledger.created_at,
        })
    }

    fn monitoring(&self) -> Result<Value, Refused> {
        let text = |name: &str| self.query.get(name).unwrap_or_default().to_owned();
        let store = lock(&self.gate.store);
        let found = store.monitoring.get(&(text("nodeId"), text("type")));
        found.cloned().map(Value::Object).ok_or(Refused::NotFound)
    }

    fn put_monitoring(&self) -> Result<Value, Refused> {
        let document: Map<String, Value> = request::json(self.body)?;
        let mut store = lock(&self.gate.store);
        store
            .put_monitoring(document)
            .cloned()
            .map(Value::Object)
            .map_err(Refused::Failed)
    }
}

fn by_date(a: &Event, b: &Event) -> Ordering {
    (a.updated_at, &a.id).cmp(&(b.updated_at, &b.id))
}

fn type_name(event: &Event) -> &'static str {
    use crate::bridge::wire::EventType;
    match event.event_type {
        EventType::PublishApi => "PUBLISH_API",
        EventType::UnpublishApi => "UNPUBLISH_API",
        EventType::PublishOrganization => "PUBLISH_ORGANIZATION",
        EventType::PublishDictionary => "PUBLISH_DICTIONARY",
        EventType::UnpublishDictionary => "UNPUBLISH_DICTIONARY",
        EventType::DeploySharedPolicyGroup => "DEPLOY_SHARED_POLICY_GROUP",
        EventType::UndeploySharedPolicyGroup => "UNDEPLOY_SHARED_POLICY_GROUP",
        // The ledger writes no others.
        _ => "UNKNOWN",
    }
}

/// A written event, and its type as it was written.
fn read_event(written: &Map<String, Value>) -> Result<(Event, String), Refused> {
    let event = serde_json::from_value(Value::Object(written.clone()))
        .map_err(|error| Refused::Failed(error.to_string()))?;
    let type_name = written
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    Ok((event, type_name))
}

/// Human-readable ids: the id in lower case, and as it is.
fn hrids(id: &str) -> Vec<String> {
    let lower = id.to_lowercase();
    if lower == id {
        vec![lower]
    } else {
        vec![lower, id.to_owned()]
    }
}

fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> Result<Value, Refused> {
    serde_json::to_value(value).map_err(|error| Refused::Failed(error.to_string()))
}
