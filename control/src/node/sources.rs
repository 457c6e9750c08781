//! What [`NodeMonitoring`](super::monitoring::NodeMonitoring) writes, taken from this node's probes and figures.

use std::sync::Arc;

use super::monitoring::{FigureSource, ProbeResult, ProbeSource};
use super::{HealthChecks, Monitor};

/// The visible probes, for the control plane.
pub fn probe_source(health: Arc<HealthChecks>) -> ProbeSource {
    Arc::new(move || {
        let health = health.clone();
        Box::pin(async move {
            let results = health.visible().await;
            results
                .into_iter()
                .map(|(id, probe)| ProbeResult {
                    id,
                    healthy: probe.healthy,
                    message: probe.message,
                })
                .collect()
        })
    })
}

/// The figures of host and process, for the control plane.
pub fn figure_source(monitor: Arc<Monitor>) -> FigureSource {
    Arc::new(move || serde_json::json!(monitor.sample()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::VISIBLE_PROBES;
    use crate::node::api::tests::{TestSync, state};

    #[tokio::test]
    async fn the_control_plane_gets_the_visible_probes_and_the_three_parts_of_a_sample() {
        let state = state(Arc::new(TestSync::default()), |_| {});
        let ids: Vec<String> = probe_source(state.health)()
            .await
            .into_iter()
            .map(|probe| probe.id)
            .collect();
        assert_eq!(ids, VISIBLE_PROBES);
        let figures = figure_source(state.monitor)();
        assert!(
            ["os", "jvm", "process"]
                .into_iter()
                .all(|part| figures[part].is_object())
        );
    }
}
