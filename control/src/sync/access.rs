//! Access points: host names that restrict the APIs of an environment (contract sync 5.4, 3.2).

use std::collections::{BTreeMap, BTreeSet};

use crate::bridge::wire::{AccessPoint, AccessPointCriteria};
use crate::bridge::{BridgeClient, BridgeError, BridgeErrorKind};

use super::window::Window;

const PAGE_SIZE: usize = 100;
/// Pages that are read; an environment has a handful of hosts.
const PAGES_MAX: usize = 1_000;

/// Whether the control plane answers on this path, which no public source shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Support {
    /// Not asked yet.
    Unknown,
    /// It answered at least once; from then on its failures count.
    Yes,
    /// It has no such path; not asked again.
    No,
}

/// Registered access points.
#[derive(Debug)]
pub(super) struct AccessPoints {
    support: Support,
    /// By access point id: environment and host.
    points: BTreeMap<String, (String, String)>,
}

impl AccessPoints {
    pub(super) fn new() -> Self {
        Self {
            support: Support::Unknown,
            points: BTreeMap::new(),
        }
    }

    /// Hosts of an environment, in order; empty is no restriction.
    pub(super) fn hosts(&self, environment_id: &str) -> Vec<String> {
        let hosts: BTreeSet<&String> = self
            .points
            .values()
            .filter(|(environment, _)| environment == environment_id)
            .map(|(_, host)| host)
            .collect();
        hosts.into_iter().cloned().collect()
    }

    /// All access points, for the stored state.
    pub(super) fn points(&self) -> &BTreeMap<String, (String, String)> {
        &self.points
    }

    /// Takes access points of the stored state.
    pub(super) fn restore(&mut self, points: BTreeMap<String, (String, String)>) {
        self.points = points;
    }

    /// Fetches the changes of a window; returns whether the hosts of an environment changed.
    pub(super) async fn fetch(
        &mut self,
        client: &BridgeClient,
        environments: &[String],
        window: Window,
    ) -> Result<bool, BridgeError> {
        if self.support == Support::No {
            return Ok(false);
        }
        let criteria = AccessPointCriteria {
            from: window.lower(),
            to: Some(window.upper()),
            reference_type: Some("ENVIRONMENT".to_owned()),
            targets: vec!["GATEWAY".to_owned()],
            reference_ids: environments.to_vec(),
            status: window.is_full().then(|| "CREATED".to_owned()),
        };
        let mut found = Vec::new();
        for page in 0..PAGES_MAX {
            match client.access_points(page, PAGE_SIZE, &criteria).await {
                Ok(mut points) => {
                    self.support = Support::Yes;
                    let is_last = points.len() < PAGE_SIZE;
                    found.append(&mut points);
                    if is_last {
                        break;
                    }
                }
                Err(error) => return self.without(error),
            }
        }
        Ok(self.apply(found, window.is_full()))
    }

    /// Decides what a failure means: the lack of this path must not stop everything else.
    fn without(&mut self, error: BridgeError) -> Result<bool, BridgeError> {
        let is_absent = matches!(
            error.kind,
            BridgeErrorKind::NotFound | BridgeErrorKind::Forbidden | BridgeErrorKind::Permanent
        );
        if is_absent && self.support == Support::Unknown {
            tracing::info!(
                "this control plane offers no access points ({error}); APIs are served on any host"
            );
            self.support = Support::No;
            return Ok(false);
        }
        if self.support == Support::Unknown
            && error.status.is_some_and(|status| status.is_server_error())
        {
            tracing::warn!(
                "access points are not available ({error}); APIs are served on any host"
            );
            return Ok(false);
        }
        Err(error)
    }

    fn apply(&mut self, found: Vec<AccessPoint>, is_full: bool) -> bool {
        let before = self.points.clone();
        if is_full {
            self.points.clear();
        }
        for point in found {
            let is_created = point
                .status
                .as_deref()
                .is_none_or(|status| status.eq_ignore_ascii_case("CREATED"));
            let is_ours = point
                .target
                .as_deref()
                .is_none_or(|target| target.eq_ignore_ascii_case("GATEWAY"));
            match (point.reference_id, point.host) {
                (Some(environment), Some(host))
                    if is_created && is_ours && !host.trim().is_empty() =>
                {
                    self.points
                        .insert(point.id, (environment, host.trim().to_ascii_lowercase()));
                }
                _ => {
                    self.points.remove(&point.id);
                }
            }
        }
        before != self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(id: &str, host: &str, status: &str) -> AccessPoint {
        AccessPoint {
            id: id.to_owned(),
            reference_id: Some("env".to_owned()),
            target: Some("GATEWAY".to_owned()),
            host: Some(host.to_owned()),
            status: Some(status.to_owned()),
        }
    }

    #[test]
    fn created_points_register_and_deleted_ones_go() {
        let mut points = AccessPoints::new();
        assert!(points.apply(
            vec![
                point("1", "B.example", "CREATED"),
                point("2", "a.example", "CREATED")
            ],
            true
        ));
        assert_eq!(points.hosts("env"), ["a.example", "b.example"]);
        assert_eq!(points.hosts("other"), Vec::<String>::new());
        assert!(
            !points.apply(vec![point("1", "b.example", "CREATED")], false),
            "the same again"
        );
        assert!(points.apply(vec![point("1", "b.example", "DELETED")], false));
        assert_eq!(points.hosts("env"), ["a.example"]);
        assert!(points.apply(Vec::new(), true), "a full answer without it");
        assert!(points.hosts("env").is_empty());
    }

    #[test]
    fn other_targets_do_not_restrict_http_apis() {
        let mut points = AccessPoints::new();
        let kafka = AccessPoint {
            target: Some("KAFKA_GATEWAY".to_owned()),
            ..point("1", "k.example", "CREATED")
        };
        assert!(!points.apply(vec![kafka], true));
    }
}
