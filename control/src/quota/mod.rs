//! Counters of this gateway: started in one go, reconciled in the background (contract policies 6.6, 6.7).

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::watch;
use tokio::task::JoinSet;
use turnpike_config::{Config, RatelimitType};
use turnpike_core::quota::{CountError, CountRequest, LeaseSettings, QuotaSettings, Quotas, Store};

use crate::redis::{
    Backend, RedisErrandDesk, Target, TlsError, count, parse_count, parse_tokens, take_tokens,
    unix_ms,
};

/// A reconciliation may take this long; what it could not tell is told by the next one.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// Commands of one write of a reconciliation.
const BATCH: usize = 500;
/// How often counters that are over are forgotten where nothing is reconciled.
const SWEEP: Duration = Duration::from_secs(5);
/// How long the last reconciliation and the last return of leases may take at the stop.
const STOP_MAX: Duration = Duration::from_secs(2);

/// Everything that counts.
pub struct QuotaService {
    /// Lent to policies (`GatewayParts::quotas`).
    pub quotas: Arc<Quotas>,
    /// Meets the errands of the workers that go to a Redis.
    pub desk: Arc<RedisErrandDesk>,
    backend: Option<Backend>,
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for QuotaService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuotaService")
            .field("desk", &self.desk)
            .finish_non_exhaustive()
    }
}

/// What of the settings says how this process counts. Reads the system's time zone.
pub fn quotas(config: &Config) -> Arc<Quotas> {
    let settings = &config.ratelimit;
    let store = match config.ratelimit_type {
        RatelimitType::None => Store::None,
        RatelimitType::Local => Store::Local,
        RatelimitType::Redis => Store::Redis,
    };
    Arc::new(Quotas::new(QuotaSettings {
        store,
        asynchronous: settings.asynchronous,
        lease: settings
            .lease
            .filter(|_| store == Store::Redis)
            .map(|lease| LeaseSettings {
                percent: lease.percent,
                retry_ms: lease.settle_interval_ms.min(100),
            }),
        keys_max: settings.keys_max,
        zone: TimeZone::system(),
    }))
}

/// Whether [`start`] would refuse these settings.
pub fn check(config: &Config) -> Result<(), TlsError> {
    match config.ratelimit_type {
        RatelimitType::Redis => Target::new(&config.ratelimit.redis).map(|_| ()),
        RatelimitType::None | RatelimitType::Local => Ok(()),
    }
}

/// Starts counting on the current runtime. Does not wait for a Redis: until it is there, hits are store failures.
pub fn start(config: &Config, stopped: &watch::Receiver<bool>) -> Result<QuotaService, TlsError> {
    let quotas = quotas(config);
    let settings = &config.ratelimit;
    let backend = match config.ratelimit_type {
        RatelimitType::Redis => {
            let target = Target::new(&settings.redis)?;
            tracing::info!(
                "counters are kept in Redis: {target}{}",
                if settings.lease.is_some() {
                    ", by leases"
                } else {
                    ""
                }
            );
            Some(Backend::start("ratelimit", target, true))
        }
        RatelimitType::None | RatelimitType::Local => None,
    };
    let desk = Arc::new(RedisErrandDesk::new(backend.clone(), &quotas));
    let mut tasks = JoinSet::new();
    let interval = match backend {
        Some(_) => Duration::from_millis(settings.flush_interval_ms),
        None => SWEEP,
    };
    tasks.spawn(reconcile(
        Arc::clone(&quotas),
        backend.clone(),
        interval,
        stopped.clone(),
    ));
    if let (Some(_), Some(lease)) = (&backend, settings.lease) {
        tasks.spawn(settle(
            Arc::clone(&quotas),
            Arc::clone(&desk),
            Duration::from_millis(lease.settle_interval_ms),
            stopped.clone(),
        ));
    }
    Ok(QuotaService {
        quotas,
        desk,
        backend,
        tasks,
    })
}

impl QuotaService {
    /// What tells about the store and the counters, for probes and metrics.
    pub fn view(&self) -> QuotaView {
        QuotaView {
            quotas: Arc::clone(&self.quotas),
            desk: Arc::clone(&self.desk),
            backend: self.backend.clone(),
        }
    }

    /// Waits for the last reconciliation, after `stopped` was set and the workers have ended.
    pub async fn stop(mut self) {
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_MAX, ended).await.is_err() {
            tracing::warn!("counters were not reconciled in time");
        }
    }
}

/// The store and the counters, for probes and metrics.
#[derive(Debug, Clone)]
pub struct QuotaView {
    quotas: Arc<Quotas>,
    desk: Arc<RedisErrandDesk>,
    backend: Option<Backend>,
}

impl QuotaView {
    /// The probe `ratelimit-repository`: whether the store counts, with the key of this node. Well without a store.
    pub async fn check(&self, node_id: &str) -> Result<(), CountError> {
        let Some(backend) = &self.backend else {
            return Ok(());
        };
        let request = CountRequest {
            key: format!("hc-{node_id}").into(),
            weight: 1,
            limit: 0,
            reset_at_ms: 0,
            subscription: "".into(),
        };
        // Not every slow answer makes a node ill.
        let limit = backend.timeout().max(Duration::from_millis(500));
        let value = backend.run_one(count(&request), limit).await?;
        parse_count(&value).map(|_| ())
    }

    /// Everything that can be counted, as names and values for the metrics page: counters end in `_total`, the others are gauges.
    pub fn figures(&self) -> Vec<(&'static str, &'static str, u64)> {
        let stats = self.quotas.stats();
        let link = self
            .backend
            .as_ref()
            .map(Backend::figures)
            .unwrap_or_default();
        let cache = self.desk.cache_stats();
        let load = |figure: &std::sync::atomic::AtomicU64| figure.load(Ordering::Relaxed);
        vec![
            (
                "gateway_ratelimit_refused_total",
                "Requests refused because a limit was reached",
                load(&stats.refused),
            ),
            (
                "gateway_ratelimit_bypassed_total",
                "Requests that passed uncounted because the store failed",
                load(&stats.bypassed),
            ),
            (
                "gateway_ratelimit_blocked_total",
                "Requests refused because the store failed",
                load(&stats.blocked),
            ),
            (
                "gateway_ratelimit_store_failures_total",
                "Hits that the store did not count",
                load(&stats.store_failures),
            ),
            (
                "gateway_ratelimit_store_timeouts_total",
                "Hits that the store did not count in time",
                load(&stats.store_timeouts),
            ),
            (
                "gateway_ratelimit_dropped_keys_total",
                "Hits that were not counted in this process because ratelimit.maxKeys was reached",
                load(&stats.dropped_keys),
            ),
            (
                "gateway_ratelimit_lost_hits_total",
                "Hits of async steps whose window ended before they were reconciled",
                load(&stats.lost_hits),
            ),
            (
                "gateway_ratelimit_lost_units_total",
                "Leased units that were neither used nor given back",
                load(&stats.lost_units),
            ),
            (
                "gateway_ratelimit_tracked_keys",
                "Counters kept in this process",
                self.quotas.tracked_keys() as u64,
            ),
            (
                "gateway_ratelimit_redis_connected",
                "Connections to the Redis of the counters",
                link.connected,
            ),
            (
                "gateway_ratelimit_redis_suspended",
                "Connections to the Redis of the counters that are not used because it does not answer",
                link.suspended,
            ),
            (
                "gateway_ratelimit_redis_suspensions_total",
                "Times that the Redis of the counters did not answer several times in a row",
                link.suspensions,
            ),
            (
                "gateway_ratelimit_redis_connects_total",
                "Connections made to the Redis of the counters",
                link.connects,
            ),
            (
                "gateway_ratelimit_redis_connect_failures_total",
                "Attempts to connect to the Redis of the counters that failed",
                link.connect_failures,
            ),
            (
                "gateway_ratelimit_redis_failures_total",
                "Commands to the Redis of the counters that failed",
                link.failures,
            ),
            (
                "gateway_ratelimit_redis_timeouts_total",
                "Commands to the Redis of the counters that were not answered in time",
                link.timeouts,
            ),
            (
                "gateway_cache_redis_commands_total",
                "Commands to caches in Redis",
                load(&cache.commands),
            ),
            (
                "gateway_cache_redis_failures_total",
                "Commands to caches in Redis that failed",
                load(&cache.failures),
            ),
        ]
    }
}

/// Tells the store what was counted here, and forgets what is over; once more at the stop.
async fn reconcile(
    quotas: Arc<Quotas>,
    backend: Option<Backend>,
    interval: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let is_last = tokio::select! {
            () = tokio::time::sleep(interval) => false,
            _ = stopped.wait_for(|stopped| *stopped) => true,
        };
        flush(&quotas, backend.as_ref()).await;
        if is_last {
            return;
        }
    }
}

/// One reconciliation.
async fn flush(quotas: &Quotas, backend: Option<&Backend>) {
    let mut counts = Vec::new();
    let mut takes = Vec::new();
    for part in Quotas::parts() {
        let (more_counts, more_takes) = quotas.unsent(part, unix_ms());
        counts.extend(more_counts);
        takes.extend(more_takes);
        if part % 32 == 31 {
            // A full table takes milliseconds: errands of workers come in between.
            tokio::task::yield_now().await;
        }
    }
    let Some(backend) = backend else {
        return;
    };
    for batch in counts.chunks(BATCH) {
        let commands: Vec<_> = batch.iter().map(count).collect();
        let results = backend.run(&commands, FLUSH_MAX).await;
        for (request, result) in batch.iter().zip(results) {
            quotas.sent(request, result.and_then(|value| parse_count(&value)));
        }
    }
    for batch in takes.chunks(BATCH) {
        let commands: Vec<_> = batch.iter().map(take_tokens).collect();
        let results = backend.run(&commands, FLUSH_MAX).await;
        for (request, result) in batch.iter().zip(results) {
            quotas.taken(request, result.and_then(|value| parse_tokens(&value)));
        }
    }
}

/// Gives back what leases did not use; all of it at the stop.
async fn settle(
    quotas: Arc<Quotas>,
    desk: Arc<RedisErrandDesk>,
    interval: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let is_last = tokio::select! {
            () = tokio::time::sleep(interval) => false,
            _ = stopped.wait_for(|stopped| *stopped) => true,
        };
        let back: Vec<_> = Quotas::parts()
            .flat_map(|part| quotas.unused(part, unix_ms(), is_last))
            .collect();
        for batch in back.chunks(BATCH) {
            desk.give_back(batch.to_vec()).await;
        }
        if is_last {
            return;
        }
    }
}
