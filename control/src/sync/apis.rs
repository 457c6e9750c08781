//! APIs: which events lead to a deployment, and which do not (contract sync 5.2, 5.3, 5.5).

use std::collections::BTreeSet;

use crate::bridge::wire::{ApiRecord, Event, EventCriteria, EventType};
use crate::bridge::{BridgeError, BridgeErrorKind, Group};

use super::deploy::{ApiRelease, Deployer, Deployment, Refused, RefusedKind, SubscribablePlan};
use super::ledger::Consumers;
use super::status::RefusedApi;
use super::synchronizer::Synchronizer;
use super::window::Window;

/// Pages of one scan.
const PAGES_MAX: usize = 100_000;
/// Scans of one window when objects may have moved between pages.
const SCANS_MAX: usize = 3;

/// What identifies an event that was dealt with, so that it is not looked at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    event_type: EventType,
    created_at: Option<i64>,
    updated_at: Option<i64>,
    revision: String,
}

impl Stamp {
    fn of(event: &Event) -> Self {
        Self {
            event_type: event.event_type,
            created_at: event.created_at,
            updated_at: event.updated_at,
            revision: event
                .property("deployment_number")
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

/// An API that waits for its subscriptions and keys.
struct Pending<C> {
    event: Event,
    api_id: String,
    name: String,
    environment_id: String,
    plans: Vec<SubscribablePlan>,
    /// `None` when the API is deployed already and only its consumers are loaded again.
    compiled: Option<C>,
}

/// Where data beside the events comes from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// The control plane; `reloads` also takes up again what was dealt with before, once per full window.
    Bridge { window: Window, reloads: bool },
    /// A stored state.
    Stored(&'a Consumers),
}

impl<D: Deployer> Synchronizer<D> {
    /// Reads the API events of a window page by page and applies them.
    pub(super) async fn sync_apis(&mut self, window: Window) -> Result<(), BridgeError> {
        let mut types = vec![EventType::PublishApi, EventType::StartApi];
        if !window.is_full() {
            types.extend([EventType::UnpublishApi, EventType::StopApi]);
        }
        let criteria = EventCriteria {
            types,
            from: window.lower(),
            to: Some(window.upper()),
            environments: self.identity().environments.clone(),
            ..EventCriteria::default()
        };
        let size = self.sync.bulk_items.max(1);
        let mut present = BTreeSet::new();
        for scan in 0..SCANS_MAX {
            let source = Source::Bridge {
                window,
                reloads: window.is_full() && scan == 0,
            };
            let mut may_have_shifted = false;
            let mut pages = 0;
            while pages < PAGES_MAX {
                let events = self
                    .client
                    .latest_events(Group::Api, pages, size, &criteria)
                    .await?;
                pages += 1;
                let is_last = events.len() < size;
                may_have_shifted |= events
                    .iter()
                    .any(|event| event.updated_at.is_some_and(|at| window.may_shift(at)));
                present.extend(events.iter().map(|event| api_id(event).to_owned()));
                self.apply_events(events, source).await?;
                if !self.is_initial_done {
                    self.publish_now_or_later().await;
                }
                if is_last {
                    break;
                }
            }
            // Pages count from a moving start: an object that changes meanwhile moves to the end, and another one takes its
            // place on a page that was read already. One page cannot lose anything.
            if pages == 1 || !may_have_shifted {
                break;
            }
        }
        if window.is_full() {
            self.undeploy_absent(&present);
        }
        Ok(())
    }

    /// After a full scan: takes away what an earlier attempt or a stored state deployed and the control plane no longer has.
    fn undeploy_absent(&mut self, present: &BTreeSet<String>) {
        for id in self.ledger.api_ids() {
            if !present.contains(&id) {
                self.undeploy(&id, "the control plane no longer has it");
            }
        }
    }

    /// Applies one page of events.
    pub(super) async fn apply_events(
        &mut self,
        events: Vec<Event>,
        source: Source<'_>,
    ) -> Result<(), BridgeError> {
        let mut pending = Vec::new();
        for event in events {
            match event.event_type {
                EventType::PublishApi | EventType::StartApi => {
                    pending.extend(self.prepare(event, source).await?)
                }
                EventType::UnpublishApi | EventType::StopApi => {
                    let id = api_id(&event).to_owned();
                    self.status.accept(&id);
                    self.handled.remove(&id);
                    self.undeploy(&id, "it was stopped or unpublished");
                }
                other => {
                    tracing::debug!(event = %event.id, "an API event of type {other:?} is ignored")
                }
            }
        }
        match source {
            Source::Stored(consumers) => self.deploy_all(pending, consumers),
            Source::Bridge { window, .. } => self.load_and_deploy(pending, window).await?,
        }
        Ok(())
    }

    /// Decides what an event asks for; an API that must be deployed comes back compiled.
    async fn prepare(
        &mut self,
        event: Event,
        source: Source<'_>,
    ) -> Result<Option<Pending<D::Compiled>>, BridgeError> {
        let id = api_id(&event).to_owned();
        let stamp = Stamp::of(&event);
        let reloads = matches!(source, Source::Bridge { reloads: true, .. });
        let redeploys = reloads && (self.redeploys_all || self.surroundings.is_stale(&id));
        let deployed = self.deployer.deployed(&id);
        if self.handled.get(&id) == Some(&stamp) && !redeploys {
            let known = deployed
                .filter(|_| reloads)
                .and_then(|_| self.ledger.plans(&id));
            return Ok(known.map(|plans| reload(event, id, plans)));
        }
        let record = match read_record(&event) {
            Ok(record) => record,
            Err(reason) => {
                self.refuse(
                    &id,
                    "",
                    &Refused {
                        kind: RefusedKind::Broken,
                        reason,
                    },
                    stamp,
                );
                return Ok(None);
            }
        };
        let name = record.name.clone().unwrap_or_default();
        if !record
            .lifecycle_state
            .as_deref()
            .is_some_and(|state| state.eq_ignore_ascii_case("STARTED"))
        {
            self.status.accept(&id);
            self.handled.insert(id.clone(), stamp);
            self.undeploy(&id, "its lifecycle state is not STARTED");
            return Ok(None);
        }
        let environment_id = record.environment_id.clone().unwrap_or_default();
        let organization_id = match self.organization_of(&event, &environment_id, source).await {
            Ok(id) => id,
            Err(error) if error.kind == BridgeErrorKind::Forbidden => {
                let reason = format!("environmentId: {error}");
                self.refuse(
                    &id,
                    &name,
                    &Refused {
                        kind: RefusedKind::Broken,
                        reason,
                    },
                    stamp,
                );
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        self.surroundings
            .note_groups(&id, record.definition.as_deref().unwrap_or_default());
        let access_hosts = self.access.hosts(&environment_id);
        let release = ApiRelease {
            id: &id,
            name: &name,
            definition_version: record.definition_version.as_deref(),
            api_type: record.api_type.as_deref(),
            definition: record.definition.as_deref().unwrap_or_default(),
            environment_id: &environment_id,
            organization_id: &organization_id,
            deployed_at_ms: deployed_at_ms(&event),
            revision: &stamp.revision,
            access_hosts: &access_hosts,
        };
        let compiled = match self.deployer.compile(&release) {
            Ok(compiled) => compiled,
            Err(refused) => {
                self.refuse(&id, &name, &refused, stamp);
                return Ok(None);
            }
        };
        let is_news = redeploys
            || deployed
                .as_ref()
                .is_none_or(|known| is_newer(known, &release));
        if !is_news {
            self.status.accept(&id);
            self.handled.insert(id.clone(), stamp);
            let plans = self.ledger.plans(&id).filter(|_| reloads);
            return Ok(plans.map(|plans| reload(event, id, plans)));
        }
        let plans = self.deployer.plans(&compiled);
        Ok(Some(Pending {
            event,
            api_id: id,
            name,
            environment_id,
            plans,
            compiled: Some(compiled),
        }))
    }

    async fn organization_of(
        &mut self,
        event: &Event,
        environment_id: &str,
        source: Source<'_>,
    ) -> Result<String, BridgeError> {
        let found = match source {
            Source::Stored(_) => self
                .organizations
                .known()
                .get(environment_id)
                .cloned()
                .unwrap_or_default(),
            Source::Bridge { .. } => self
                .organizations
                .find(&self.client, environment_id)
                .await
                .or_else(|error| {
                    if error.kind == BridgeErrorKind::Permanent {
                        Ok(String::new())
                    } else {
                        Err(error)
                    }
                })?,
        };
        if found.is_empty()
            && let Some([only]) = event.organizations.as_deref()
        {
            return Ok(only.clone());
        }
        Ok(found)
    }

    /// Loads subscriptions and keys of a batch in few calls, then deploys it. A failure that may belong to one API alone is
    /// settled API by API.
    async fn load_and_deploy(
        &mut self,
        batch: Vec<Pending<D::Compiled>>,
        window: Window,
    ) -> Result<(), BridgeError> {
        if batch.is_empty() {
            return Ok(());
        }
        let plans: Vec<SubscribablePlan> = batch
            .iter()
            .flat_map(|one| one.plans.iter().cloned())
            .collect();
        let environments = self.identity().environments.clone();
        match self
            .fetch_consumers(&plans, &environments, window.is_full())
            .await
        {
            Ok(consumers) => self.deploy_all(batch, &consumers),
            Err(error) if is_of_one_api(&error) => {
                for one in batch {
                    let environment = if one.environment_id.is_empty() {
                        environments.clone()
                    } else {
                        vec![one.environment_id.clone()]
                    };
                    match self
                        .fetch_consumers(&one.plans, &environment, window.is_full())
                        .await
                    {
                        Ok(consumers) => self.deploy_all(vec![one], &consumers),
                        Err(error) if is_of_one_api(&error) => {
                            let refused = Refused {
                                kind: RefusedKind::Broken,
                                reason: format!("plans: {error}"),
                            };
                            self.refuse(&one.api_id, &one.name, &refused, Stamp::of(&one.event));
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Deploys a batch whose consumers are known: nothing waits from here to the end, so that no half of it is published.
    fn deploy_all(&mut self, batch: Vec<Pending<D::Compiled>>, consumers: &Consumers) {
        self.ledger.replace(
            batch
                .iter()
                .map(|one| (one.api_id.as_str(), one.plans.as_slice())),
            consumers,
        );
        for one in batch {
            let Pending {
                event,
                api_id,
                name,
                compiled,
                ..
            } = one;
            let Some(compiled) = compiled else {
                self.mark_changed();
                continue;
            };
            let stamp = Stamp::of(&event);
            self.deployer.deploy(compiled);
            tracing::info!(api = %api_id, name, revision = %stamp.revision, "API deployed");
            self.status.accept(&api_id);
            self.handled.insert(api_id.clone(), stamp);
            self.remember(api_id, event);
            self.mark_changed();
        }
    }

    /// Refuses an event by name, once; what was deployed before stays unless the API is no longer meant for us.
    fn refuse(&mut self, api_id: &str, name: &str, refused: &Refused, stamp: Stamp) {
        self.handled.insert(api_id.to_owned(), stamp);
        let is_served_as_before =
            refused.kind == RefusedKind::Broken && self.deployer.deployed(api_id).is_some();
        match refused.kind {
            RefusedKind::NotForUs => {
                tracing::debug!(api = api_id, name, "API is not for this gateway: {refused}");
                self.status.accept(api_id);
            }
            RefusedKind::NoPlan | RefusedKind::Broken => {
                let rest = if is_served_as_before {
                    "; its previous deployment stays"
                } else {
                    ""
                };
                tracing::warn!(api = api_id, name, "API is not deployed: {refused}{rest}");
                let reason = refused.reason.clone();
                self.status.refuse(
                    api_id,
                    RefusedApi {
                        name: name.to_owned(),
                        reason,
                        is_served_as_before,
                    },
                );
            }
        }
        if refused.kind != RefusedKind::Broken {
            self.undeploy(api_id, &refused.reason);
        }
    }

    fn undeploy(&mut self, api_id: &str, reason: &str) {
        self.ledger.remove(api_id);
        self.surroundings.forget_api(api_id);
        self.hand_on_consumers();
        self.forget(api_id);
        if self.deployer.undeploy(api_id) {
            tracing::info!(api = api_id, "API undeployed: {reason}");
            self.mark_changed();
        }
    }
}

/// Whether a failed load may have its cause in one API of the batch: an environment that is not ours, or too many consumers for
/// one answer.
fn is_of_one_api(error: &BridgeError) -> bool {
    match error.kind {
        BridgeErrorKind::Forbidden => true,
        BridgeErrorKind::Permanent => error.status.is_none(),
        _ => false,
    }
}

fn reload<C>(event: Event, api_id: String, plans: Vec<SubscribablePlan>) -> Pending<C> {
    Pending {
        event,
        api_id,
        name: String::new(),
        environment_id: String::new(),
        plans,
        compiled: None,
    }
}

fn api_id(event: &Event) -> &str {
    event.property("api_id").unwrap_or(&event.id)
}

fn deployed_at_ms(event: &Event) -> u64 {
    event
        .created_at
        .and_then(|at| u64::try_from(at).ok())
        .unwrap_or(0)
}

/// An API that is deployed is replaced only by a later event with another deployment number.
fn is_newer(known: &Deployment, release: &ApiRelease<'_>) -> bool {
    known.deployed_at_ms < release.deployed_at_ms && known.revision != release.revision
}

fn read_record(event: &Event) -> Result<ApiRecord, String> {
    let payload = event
        .payload
        .as_deref()
        .ok_or_else(|| "payload: expected an API, found nothing".to_owned())?;
    let record: ApiRecord =
        serde_json::from_str(payload).map_err(|error| format!("payload: {error}"))?;
    if record.definition.is_none() {
        return Err(
            "payload.definition: expected the JSON text of a definition, found nothing".to_owned(),
        );
    }
    Ok(record)
}
