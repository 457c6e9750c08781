//! The loop: handshake, then one cycle after the other (contract sync 4, 5.6, 5.7).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use turnpike_config::{RetryConfig, SyncConfig};
use turnpike_core::lifecycle::{Lifecycle, Stage};

use crate::bridge::wire::Event;
use crate::bridge::{BridgeClient, BridgeError, BridgeErrorKind};
use crate::token::ControlPlaneSettings;

use super::access::AccessPoints;
use super::apis::{Source, Stamp};
use super::backoff::Backoff;
use super::deploy::Deployer;
use super::identity::{self, Identity, OrganizationOfEnvironment};
use super::ledger::{Change, Ledger};
use super::status::{Connection, SyncStatus};
use super::store::{self, StoredState};
use super::surroundings::{Kind, Surroundings};
use super::window::Window;

/// Shortest time between two publications.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(200);

/// Wall-clock time, Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The clock of this machine.
pub fn system_clock() -> Clock {
    Arc::new(|| jiff::Timestamp::now().as_millisecond())
}

/// Steps of a cycle, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Identity,
    AccessPoints,
    Surroundings(Kind),
    Apis,
    Subscriptions,
    Keys,
}

/// Keeps a gateway in line with its control plane.
pub struct Synchronizer<D: Deployer> {
    pub(super) client: Arc<BridgeClient>,
    pub(super) settings: ControlPlaneSettings,
    pub(super) sync: SyncConfig,
    pub(super) deployer: D,
    pub(super) status: Arc<SyncStatus>,
    pub(super) clock: Clock,
    lifecycle: Arc<Lifecycle>,
    /// End of the last complete cycle; everything before it was applied.
    next_from_ms: Option<i64>,
    pub(super) is_initial_done: bool,
    identity: Option<Arc<Identity>>,
    pub(super) organizations: OrganizationOfEnvironment,
    pub(super) surroundings: Surroundings,
    pub(super) access: AccessPoints,
    pub(super) ledger: Ledger,
    /// The last event of each API that was dealt with for good.
    pub(super) handled: HashMap<String, Stamp>,
    /// Access points changed: every API must be compiled again.
    pub(super) redeploys_all: bool,
    /// Events of the deployed APIs, kept only when they are stored.
    events: HashMap<String, Event>,
    has_unpublished: bool,
    has_unstored: bool,
    published_at: Option<Instant>,
}

impl<D: Deployer> Synchronizer<D> {
    /// A synchronizer that has done nothing yet.
    pub fn new(
        settings: ControlPlaneSettings,
        sync: SyncConfig,
        client: Arc<BridgeClient>,
        deployer: D,
        status: Arc<SyncStatus>,
        lifecycle: Arc<Lifecycle>,
        clock: Clock,
    ) -> Self {
        status.set_token_state(settings.token_state(clock()));
        Self {
            client,
            settings,
            sync,
            deployer,
            status,
            clock,
            lifecycle,
            next_from_ms: None,
            is_initial_done: false,
            identity: None,
            organizations: OrganizationOfEnvironment::default(),
            surroundings: Surroundings::default(),
            access: AccessPoints::new(),
            ledger: Ledger::default(),
            handled: HashMap::new(),
            redeploys_all: false,
            events: HashMap::new(),
            has_unpublished: false,
            has_unstored: false,
            published_at: None,
        }
    }

    /// Synchronises until `stop` turns true or its sender is gone.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => {}
            () = self.serve() => {}
        }
    }

    async fn serve(&mut self) {
        self.lifecycle.advance(Stage::Syncing);
        self.connect().await;
        let mut first_cycle_delays = self.first_cycle_delays();
        loop {
            let delay = match self.cycle().await {
                Ok(()) => Duration::from_millis(self.sync.delay_ms),
                Err(_) if self.is_initial_done => Duration::from_millis(self.sync.delay_ms),
                Err(_) => first_cycle_delays.next_delay(),
            };
            tokio::time::sleep(delay).await;
        }
    }

    /// Shakes hands, for as long as it takes. When the first attempt fails the stored state is served meanwhile.
    async fn connect(&mut self) {
        let mut delays = Backoff::new(self.settings.retry);
        let mut may_restore = true;
        loop {
            match self.client.handshake().await {
                Ok(server) => {
                    tracing::info!(version = %server.version, url = %server.base, "control plane reached");
                    self.status.connected(&server.version);
                    return;
                }
                Err(error) => self.note_failure("handshake", &error),
            }
            if std::mem::take(&mut may_restore) {
                self.restore().await;
            }
            tokio::time::sleep(delays.next_delay()).await;
        }
    }

    fn first_cycle_delays(&self) -> Backoff {
        let delay_ms = self.sync.retry_delay_ms;
        let delay_ms_max = delay_ms.saturating_mul(10) / 3;
        Backoff::new(RetryConfig {
            delay_ms,
            delay_ms_max,
            backoff_factor: 1.5,
        })
    }

    /// One cycle. The watermark moves only when every step succeeded; what was applied is published either way.
    pub(super) async fn cycle(&mut self) -> Result<(), BridgeError> {
        let to_ms = (self.clock)();
        let window = Window {
            from_ms: self.next_from_ms,
            to_ms,
        };
        self.status.cycle_started();
        self.status
            .set_token_state(self.settings.token_state(to_ms));
        let outcome = self.steps(window).await;
        self.publish().await;
        if let Err(error) = outcome {
            self.note_failure("synchronisation", &error);
            return Err(error);
        }
        self.redeploys_all = false;
        self.surroundings.settle();
        self.next_from_ms = Some(to_ms);
        let now_ms = (self.clock)();
        let next_ms = now_ms.saturating_add(i64::try_from(self.sync.delay_ms).unwrap_or(i64::MAX));
        if self.status.report().last_on_error {
            tracing::info!("synchronisation works again");
        }
        self.status.cycle_succeeded(now_ms, to_ms, next_ms);
        if !self.is_initial_done {
            self.is_initial_done = true;
            self.lifecycle.advance(Stage::Ready);
            tracing::info!(
                apis = self.ledger.api_ids().len(),
                "first synchronisation done"
            );
        }
        self.store().await;
        Ok(())
    }

    async fn steps(&mut self, window: Window) -> Result<(), BridgeError> {
        self.attempt(Step::Identity, window).await?;
        self.attempt(Step::AccessPoints, window).await?;
        for kind in [
            Kind::Organization,
            Kind::Dictionary,
            Kind::SharedPolicyGroup,
        ] {
            self.attempt(Step::Surroundings(kind), window).await?;
        }
        self.attempt(Step::Apis, window).await?;
        if !window.is_full() {
            self.attempt(Step::Subscriptions, window).await?;
            self.attempt(Step::Keys, window).await?;
        }
        Ok(())
    }

    /// One step, with the retries that `services.sync.retry` grants to transient failures.
    async fn attempt(&mut self, step: Step, window: Window) -> Result<(), BridgeError> {
        let mut retries_left = self.sync.retries;
        loop {
            match self.perform(step, window).await {
                Err(error) if error.kind == BridgeErrorKind::Transient && retries_left > 0 => {
                    retries_left -= 1;
                    tracing::debug!(?step, retries_left, "step failed, trying again: {error}");
                    tokio::time::sleep(Duration::from_millis(self.sync.retry_delay_ms)).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn perform(&mut self, step: Step, window: Window) -> Result<(), BridgeError> {
        match step {
            Step::Identity => self.sync_identity().await,
            Step::AccessPoints => self.sync_access_points(window).await,
            Step::Surroundings(kind) => self.sync_surroundings(kind, window).await,
            // What must be compiled again has to be asked for again.
            Step::Apis if self.redeploys_all || self.surroundings.has_stale() => {
                self.sync_apis(Window {
                    from_ms: None,
                    ..window
                })
                .await
            }
            Step::Apis => self.sync_apis(window).await,
            Step::Subscriptions => self.sync_subscriptions(window).await,
            Step::Keys => self.sync_keys(window).await,
        }
    }

    async fn sync_identity(&mut self) -> Result<(), BridgeError> {
        if self.identity.is_none() {
            let identity = Arc::new(identity::resolve(&self.client, &self.settings).await?);
            tracing::info!(environments = ?identity.environments, organizations = ?identity.organizations, "this gateway serves");
            self.status.set_identity(Arc::clone(&identity));
            self.identity = Some(identity);
        }
        Ok(())
    }

    async fn sync_access_points(&mut self, window: Window) -> Result<(), BridgeError> {
        let identity = self.identity();
        if self
            .access
            .fetch(&self.client, &identity.environments, window)
            .await?
        {
            self.has_unstored = true;
            // Nothing is deployed yet in the very first cycle; otherwise every API's hosts may have changed.
            self.redeploys_all |= !self.ledger.api_ids().is_empty();
        }
        Ok(())
    }

    pub(super) fn identity(&self) -> Arc<Identity> {
        self.identity.clone().unwrap_or_default()
    }

    /// Something changed that must be published and stored.
    pub(super) fn mark_changed(&mut self) {
        self.has_unpublished = true;
        self.has_unstored = true;
    }

    /// Keeps the event of a deployed API for the stored state.
    pub(super) fn remember(&mut self, api_id: String, event: Event) {
        if self.sync.snapshot_path.is_some() {
            self.events.insert(api_id, event);
        }
    }

    /// Drops the event of an API that is no longer deployed.
    pub(super) fn forget(&mut self, api_id: &str) {
        self.events.remove(api_id);
    }

    /// Publishes, unless the last publication was just now: then the next one takes this change with it.
    pub(super) async fn publish_now_or_later(&mut self) {
        let is_too_early = self
            .published_at
            .is_some_and(|at| at.elapsed() < PUBLISH_INTERVAL);
        if !self.has_unpublished || is_too_early {
            return;
        }
        self.hand_on_consumers();
        let conflicts = self.deployer.publish().await;
        self.status.set_conflicts(conflicts);
        self.has_unpublished = false;
        self.published_at = Some(Instant::now());
    }

    /// Hands changes of subscriptions and keys to the model.
    pub(super) fn hand_on_consumers(&mut self) {
        for change in self.ledger.take_changes() {
            match change {
                Change::Subscribe(subscription) => self.deployer.subscribe(&subscription),
                Change::Unsubscribe(id) => self.deployer.unsubscribe(&id),
                Change::AddKey(key) => self.deployer.add_key(&key),
                Change::DropKey(id) => self.deployer.drop_key(&id),
            }
        }
    }

    async fn publish(&mut self) {
        if self.has_unpublished
            && let Some(at) = self.published_at
        {
            tokio::time::sleep_until(at + PUBLISH_INTERVAL).await;
        }
        self.publish_now_or_later().await;
    }

    /// Notes a failure, loud when it is news and quiet when it goes on.
    fn note_failure(&self, what: &str, error: &BridgeError) {
        let connection = match error.kind {
            BridgeErrorKind::Unauthorized => Connection::Unauthorized,
            _ if self.is_initial_done => Connection::Lost,
            _ => Connection::Connecting,
        };
        if !self.status.failed(&error.to_string(), connection) {
            tracing::debug!("{what} still fails: {error}");
        } else if connection == Connection::Unauthorized {
            tracing::error!(
                "control plane refused our credentials ({error}); what is deployed stays. hint: check the cloud token or \
                 management.http.authentication"
            );
        } else {
            tracing::warn!("{what} failed: {error}; what is deployed stays, trying again");
        }
    }

    /// Writes the state to disk when it changed. A failure is told and tried again after the next cycle.
    async fn store(&mut self) {
        let Some(path) = self
            .sync
            .snapshot_path
            .clone()
            .filter(|_| self.has_unstored)
        else {
            return;
        };
        let consumers = self.ledger.consumers();
        let mut events: Vec<Event> = self.events.values().cloned().collect();
        events.sort_by(|a, b| a.id.cmp(&b.id));
        let state = StoredState {
            source: self.source_name(),
            written_at_ms: (self.clock)(),
            organization_of_environment: self.organizations.known().clone(),
            access_points: self.access.points().clone(),
            events,
            surroundings: self.surroundings.events(),
            subscriptions: consumers.subscriptions,
            keys: consumers.keys,
        };
        let written = tokio::task::spawn_blocking(move || store::write(&path, &state)).await;
        match written {
            Ok(Ok(())) => self.has_unstored = false,
            Ok(Err(error)) => tracing::warn!("services.sync.snapshot.path: {error}"),
            Err(error) => {
                tracing::warn!("services.sync.snapshot.path: the write did not end: {error}")
            }
        }
    }

    /// Loads the stored state and serves it until the control plane answers.
    async fn restore(&mut self) {
        let Some(path) = self.sync.snapshot_path.clone() else {
            return;
        };
        let loaded = tokio::task::spawn_blocking(move || store::read(&path)).await;
        let state = match loaded {
            Ok(Ok(Some(state))) => state,
            Ok(Ok(None)) => {
                tracing::info!("no stored state yet; waiting for the control plane");
                return;
            }
            Ok(Err(error)) => {
                tracing::warn!("services.sync.snapshot.path: {error}; going on without it");
                return;
            }
            Err(error) => {
                tracing::warn!("services.sync.snapshot.path: the read did not end: {error}");
                return;
            }
        };
        if state.source != self.source_name() {
            tracing::warn!(
                "services.sync.snapshot.path: the stored state comes from {}, not from {}; going on without it",
                state.source,
                self.source_name()
            );
            return;
        }
        let age_s = ((self.clock)() - state.written_at_ms).max(0) / 1_000;
        self.access.restore(state.access_points);
        self.organizations.learn(state.organization_of_environment);
        let consumers = super::ledger::Consumers {
            subscriptions: state.subscriptions,
            keys: state.keys,
        };
        self.restore_surroundings(state.surroundings);
        let apis = state.events.len();
        // With stored consumers nothing asks the control plane, so nothing can fail.
        if let Err(error) = self
            .apply_events(state.events, Source::Stored(&consumers))
            .await
        {
            tracing::warn!("the stored state could not be applied: {error}");
            return;
        }
        self.publish().await;
        self.has_unstored = false;
        self.status.set_served_from_store(state.written_at_ms);
        self.lifecycle.advance(Stage::Ready);
        tracing::warn!(
            apis,
            age_s,
            "control plane is not reachable; serving the stored state"
        );
    }

    /// What a stored state must come from to be ours.
    fn source_name(&self) -> String {
        let mut environments = self.settings.environments.clone();
        environments.sort();
        format!("{} [{}]", self.settings.sync_url, environments.join(","))
    }
}
