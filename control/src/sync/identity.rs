//! Which environments and organizations this gateway serves (contract sync 4, start-up step 2, and 3.2).

use std::collections::HashMap;

use crate::bridge::{BridgeClient, BridgeError, BridgeErrorKind};
use crate::token::ControlPlaneSettings;

/// Ids of what this gateway serves; an empty list is no restriction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// Environment ids.
    pub environments: Vec<String>,
    /// Organization ids.
    pub organizations: Vec<String>,
}

/// Finds the ids that belong to the settings.
pub(super) async fn resolve(
    client: &BridgeClient,
    settings: &ControlPlaneSettings,
) -> Result<Identity, BridgeError> {
    if settings.uses_hrids {
        return resolve_hrids(client, settings).await;
    }
    let mut environments = settings.environments.clone();
    if settings.facts.is_none() {
        environments.retain(|id| {
            let is_id = id == "DEFAULT" || uuid::Uuid::try_parse(id).is_ok();
            if !is_id {
                tracing::warn!(
                    "environments: expected an id (UUID or DEFAULT), found {id:?}, which is left out; hint: hrids need \
                     `useLegacyEnvironmentHrids: true`"
                );
            }
            is_id
        });
        if environments.is_empty() && !settings.environments.is_empty() {
            return Err(unresolved(
                "environments",
                "no entry is an environment id; serving every environment is not meant",
            ));
        }
    }
    let mut organizations = settings.organizations.clone();
    if organizations.is_empty() && !environments.is_empty() {
        organizations = organizations_of(client, &environments).await?;
    }
    Ok(Identity {
        environments,
        organizations,
    })
}

async fn resolve_hrids(
    client: &BridgeClient,
    settings: &ControlPlaneSettings,
) -> Result<Identity, BridgeError> {
    let (hrids, organization_hrids) = (&settings.environments, &settings.organizations);
    if hrids.is_empty() && organization_hrids.is_empty() {
        return Ok(Identity::default());
    }
    let mut organization_ids = Vec::new();
    if !organization_hrids.is_empty() {
        let found = client.organizations_by_hrids(organization_hrids).await?;
        warn_unknown("organizations", organization_hrids, |hrid| {
            found.iter().any(|one| one.hrids.contains(hrid))
        });
        organization_ids = found
            .into_iter()
            .map(|organization| organization.id)
            .collect();
    }
    if organization_ids.is_empty() && !organization_hrids.is_empty() {
        return Err(unresolved(
            "organizations",
            "the control plane knows none of them",
        ));
    }
    let found = client
        .environments_by_hrids(&organization_ids, hrids)
        .await?;
    warn_unknown("environments", hrids, |hrid| {
        found.iter().any(|one| one.hrids.contains(hrid))
    });
    if found.is_empty() {
        return Err(unresolved(
            "environments",
            "the control plane knows none of them",
        ));
    }
    for environment in &found {
        if let Some(id) = &environment.organization_id
            && !organization_ids.contains(id)
        {
            organization_ids.push(id.clone());
        }
    }
    let environments = found
        .into_iter()
        .map(|environment| environment.id)
        .collect();
    Ok(Identity {
        environments,
        organizations: organization_ids,
    })
}

/// Asks for the organizations of all environments at once, else environment by environment: the first path is not public.
async fn organizations_of(
    client: &BridgeClient,
    environments: &[String],
) -> Result<Vec<String>, BridgeError> {
    match client.organization_ids(environments).await {
        Ok(ids) if !ids.is_empty() => return Ok(ids),
        Err(error) if error.status.is_none() || error.kind == BridgeErrorKind::Unauthorized => {
            return Err(error);
        }
        Ok(_) | Err(_) => {}
    }
    let mut ids = Vec::new();
    for id in environments {
        match client.environment(id).await {
            Ok(found) => match found.and_then(|environment| environment.organization_id) {
                Some(organization) if !ids.contains(&organization) => ids.push(organization),
                _ => {}
            },
            Err(error) if error.kind == BridgeErrorKind::Forbidden => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ids)
}

fn warn_unknown(setting: &str, hrids: &[String], is_known: impl Fn(&String) -> bool) {
    for hrid in hrids.iter().filter(|hrid| !is_known(hrid)) {
        tracing::warn!("{setting}: the control plane does not know {hrid:?}");
    }
}

fn unresolved(setting: &str, reason: &str) -> BridgeError {
    BridgeError {
        call: setting.to_owned(),
        kind: BridgeErrorKind::Permanent,
        status: None,
        reason: format!("{reason}; hint: check `{setting}` and `useLegacyEnvironmentHrids`"),
    }
}

/// Organization of each environment, asked once.
#[derive(Debug, Default)]
pub(super) struct OrganizationOfEnvironment {
    known: HashMap<String, String>,
}

impl OrganizationOfEnvironment {
    /// The organization id, empty when the control plane does not know the environment.
    pub(super) async fn find(
        &mut self,
        client: &BridgeClient,
        environment_id: &str,
    ) -> Result<String, BridgeError> {
        if environment_id.is_empty() {
            return Ok(String::new());
        }
        if let Some(id) = self.known.get(environment_id) {
            return Ok(id.clone());
        }
        let id = client
            .environment(environment_id)
            .await?
            .and_then(|environment| environment.organization_id);
        // An environment that is absent today is asked for again with the next API that names it.
        if let Some(id) = &id {
            self.known.insert(environment_id.to_owned(), id.clone());
        }
        Ok(id.unwrap_or_default())
    }

    pub(super) fn known(&self) -> &HashMap<String, String> {
        &self.known
    }

    pub(super) fn learn(&mut self, known: HashMap<String, String>) {
        self.known.extend(known);
    }
}
