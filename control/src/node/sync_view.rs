//! The synchronizer's status as the node API sees it.

use super::{Refusal, Scope, SyncReport, SyncView};
use crate::sync::SyncStatus;

impl SyncView for SyncStatus {
    fn report(&self) -> SyncReport {
        let report = Self::report(self);
        let unix_ms = |ms: i64| u64::try_from(ms).ok();
        SyncReport {
            initial_done: report.initial_done,
            counter: report.counter,
            next_sync_ms: unix_ms(report.next_sync_time_ms),
            last_success_ms: report.last_success_ms.and_then(unix_ms),
            last_on_error: report.last_on_error,
            last_error_message: report.last_error_message,
            total_on_errors: report.total_on_errors,
        }
    }

    fn refusals(&self) -> Vec<Refusal> {
        let report = Self::report(self);
        // An API that waits for a path another one holds is as little served as one that could not be compiled.
        let waiting: Vec<Refusal> = report
            .conflicts
            .into_iter()
            .filter(|(id, _)| !report.refused.contains_key(id))
            .map(|(id, reason)| Refusal {
                name: id.clone(),
                id,
                reason,
                is_served_as_before: false,
            })
            .collect();
        let refused = report.refused.into_iter().map(|(id, api)| Refusal {
            id,
            name: api.name,
            reason: api.reason,
            is_served_as_before: api.is_served_as_before,
        });
        refused.chain(waiting).collect()
    }

    fn scope(&self) -> Option<Scope> {
        self.identity().map(|identity| Scope {
            environments: identity.environments.clone(),
            organizations: identity.organizations.clone(),
        })
    }

    fn to_json(&self) -> serde_json::Value {
        Self::to_json(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_before_the_handshake_is_not_done_and_has_the_members_of_the_contract() {
        let status = SyncStatus::new();
        let view: &dyn SyncView = &*status;
        assert_eq!(view.report(), SyncReport::default());
        assert!(view.refusals().is_empty() && view.scope().is_none());
        let body = view.to_json();
        let members = [
            "initialDone",
            "counter",
            "nextSyncTime",
            "lastOnError",
            "lastErrorMessage",
            "totalOnErrors",
        ];
        assert!(
            members.into_iter().all(|member| body.get(member).is_some()),
            "{body}"
        );
        assert_eq!(body["nextSyncTime"], -1);
    }
}
