//! The real [`Deployer`]: definitions are compiled by [`crate::definition`], the model is a [`SnapshotBuilder`].

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use turnpike_core::definition::{Api, ListenerPath, PlanSecurity};
use turnpike_core::snapshot::SnapshotCell;

use crate::bridge::wire::{ApiKey, Subscription};
use crate::definition::{
    ApiInput, CompileContext, Refusal, RefusalKind, SharedPolicyGroups, compile,
    compile_organization,
};
use crate::resolve::Resolver;
use crate::snapshot::SnapshotBuilder;

use super::deploy::{
    ApiRelease, Deployer, Deployment, Refused, RefusedKind, SharedPolicyGroup, SubscribablePlan,
};

/// Compiles definitions, keeps the model, and publishes it to the workers.
pub struct SnapshotDeployer {
    context: Arc<CompileContext>,
    builder: SnapshotBuilder,
    cell: Arc<SnapshotCell>,
    resolver: Arc<Resolver>,
    groups: SharedPolicyGroups,
}

impl SnapshotDeployer {
    /// A deployer that publishes to `cell` once `resolver` has looked up new backends.
    pub fn new(
        context: Arc<CompileContext>,
        builder: SnapshotBuilder,
        cell: Arc<SnapshotCell>,
        resolver: Arc<Resolver>,
    ) -> Self {
        Self {
            context,
            builder,
            cell,
            resolver,
            groups: SharedPolicyGroups::default(),
        }
    }
}

impl Deployer for SnapshotDeployer {
    type Compiled = Arc<Api>;

    fn compile(&self, release: &ApiRelease<'_>) -> Result<Arc<Api>, Refused> {
        let input = ApiInput {
            definition: release.definition,
            definition_version: release.definition_version,
            api_type: release.api_type,
            environment_id: release.environment_id,
            organization_id: release.organization_id,
            deployed_at_ms: release.deployed_at_ms,
            revision: release.revision,
            groups: Some(&self.groups),
        };
        let compiled = compile(&input, &self.context).map_err(|refusal| refused(&refusal))?;
        if *compiled.api.id != *release.id {
            let reason = format!(
                "id: expected the id of the event, {:?}, found {:?}",
                release.id, compiled.api.id
            );
            return Err(Refused {
                kind: RefusedKind::Broken,
                reason,
            });
        }
        for note in &compiled.warnings {
            if note.is_warning {
                tracing::warn!(api = release.id, name = release.name, "{note}");
            } else {
                tracing::info!(api = release.id, name = release.name, "{note}");
            }
        }
        let mut api = compiled.api;
        // The compiler has just made it, so nobody else holds it.
        if !release.access_hosts.is_empty()
            && let Some(api) = Arc::get_mut(&mut api)
        {
            api.listeners = on_hosts(&api.listeners, release.access_hosts);
        }
        Ok(api)
    }

    fn plans(&self, api: &Arc<Api>) -> Vec<SubscribablePlan> {
        api.plans
            .iter()
            .filter_map(|plan| match plan.security {
                PlanSecurity::KeyLess => None,
                _ => Some(SubscribablePlan {
                    id: plan.id.to_string(),
                    takes_keys: matches!(plan.security, PlanSecurity::ApiKey(_)),
                }),
            })
            .collect()
    }

    fn deploy(&mut self, api: Arc<Api>) {
        self.builder.deploy(api);
    }

    fn subscribe(&mut self, subscription: &Subscription) {
        self.builder.upsert_subscription(subscription);
    }

    fn unsubscribe(&mut self, subscription_id: &str) {
        self.builder.evict_subscription(subscription_id);
    }

    fn add_key(&mut self, key: &ApiKey) {
        self.builder.upsert_key(key);
    }

    fn drop_key(&mut self, key_id: &str) {
        self.builder.evict_key(key_id);
    }

    fn undeploy(&mut self, api_id: &str) -> bool {
        self.builder.undeploy(api_id)
    }

    fn deployed(&self, api_id: &str) -> Option<Deployment> {
        let deployed = self.builder.deployed(api_id)?;
        Some(Deployment {
            deployed_at_ms: deployed.deployed_at_ms,
            revision: deployed.revision.to_owned(),
        })
    }

    fn set_organization(&mut self, id: &str, record: &Value) -> Result<(), Refused> {
        let (flows, notes) =
            compile_organization(record, &self.context).map_err(|refusal| refused(&refusal))?;
        for note in &notes {
            if note.is_warning {
                tracing::warn!(organization = id, "{note}");
            } else {
                tracing::info!(organization = id, "{note}");
            }
        }
        self.builder.set_organization(id, flows);
        Ok(())
    }

    fn drop_organization(&mut self, id: &str) {
        self.builder.drop_organization(id);
    }

    fn set_dictionary(
        &mut self,
        environment_id: &str,
        key: &str,
        entries: Option<BTreeMap<Box<str>, Box<str>>>,
    ) {
        self.builder.set_dictionary(environment_id, key, entries);
    }

    fn set_group(
        &mut self,
        id: &str,
        environment_id: &str,
        group: Option<&SharedPolicyGroup>,
    ) -> bool {
        match group {
            Some(group) => self
                .groups
                .insert(id, environment_id, &group.phase, &group.policies),
            None => self.groups.remove(id, environment_id),
        }
    }

    async fn publish(&mut self) -> Vec<(String, String)> {
        // An API must not be routable before its backends have addresses, or its first requests would fail.
        self.resolver.resolve_new().await;
        let published = self.builder.publish(&self.cell);
        published
            .refused
            .into_iter()
            .map(|(id, reason)| (id.into(), reason))
            .collect()
    }
}

fn refused(refusal: &Refusal) -> Refused {
    let kind = match refusal.kind {
        RefusalKind::NotEligible => RefusedKind::NotForUs,
        RefusalKind::NoPlan => RefusedKind::NoPlan,
        RefusalKind::Malformed
        | RefusalKind::Invalid
        | RefusalKind::Unsupported
        | RefusalKind::Configuration => RefusedKind::Broken,
    };
    Refused {
        kind,
        reason: refusal.to_string(),
    }
}

/// A listener path without host is reachable on the hosts of the environment's access points (contract sync 5.4).
fn on_hosts(listeners: &[ListenerPath], hosts: &[String]) -> Box<[ListenerPath]> {
    let mut expanded = Vec::with_capacity(listeners.len() * hosts.len());
    for listener in listeners {
        if listener.host.is_some() {
            expanded.push(listener.clone());
            continue;
        }
        expanded.extend(hosts.iter().map(|host| ListenerPath {
            host: Some(host.as_str().into()),
            ..listener.clone()
        }));
    }
    expanded.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listeners_without_a_host_move_to_the_access_points() {
        let listener = |host: Option<&str>, path: &str| ListenerPath {
            host: host.map(Into::into),
            path: path.into(),
            servers: Arc::default(),
        };
        let hosts = ["a.example".to_owned(), "b.example:8443".to_owned()];
        let expanded = on_hosts(
            &[listener(None, "/x"), listener(Some("own.example"), "/y")],
            &hosts,
        );
        let expected = [
            listener(Some("a.example"), "/x"),
            listener(Some("b.example:8443"), "/x"),
            listener(Some("own.example"), "/y"),
        ];
        assert_eq!(*expanded, expected);
    }
}
