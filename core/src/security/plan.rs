//! Plans other than key-less and API-key ones: how they are built, and the order in which plans are tried (contract
//! request-lifecycle 5.2).

use std::sync::Arc;

use crate::definition::PlanSecurity;
use crate::policy::{Builder, ConfigError, Jwt, Mtls, OAuth2};

impl PlanSecurity {
    /// Plans are tried in ascending order.
    pub fn order(&self) -> i32 {
        match self {
            Self::Mtls(_) => -100,
            Self::Jwt(_) => 0,
            Self::OAuth2(_) => 100,
            Self::ApiKey(_) => 500,
            Self::KeyLess => 1_000,
        }
    }
}

/// Builds the security of a plan from its configuration. `kind` is the policy id of the plan: `jwt`, `oauth2`, `mtls`. `None` for a kind
/// that is not known here.
pub fn build_plan(kind: &str, builder: &Builder<'_>) -> Option<Result<PlanSecurity, ConfigError>> {
    Some(match kind {
        "jwt" => Jwt::build(builder).map(|policy| PlanSecurity::Jwt(Arc::new(policy))),
        "oauth2" => OAuth2::build(builder).map(|policy| PlanSecurity::OAuth2(Arc::new(policy))),
        "mtls" => Mtls::build(builder).map(|policy| PlanSecurity::Mtls(Arc::new(policy))),
        _ => return None,
    })
}
