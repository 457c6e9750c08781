//! `/.well-known/oauth-protected-resource` (RFC 9728; contract request-lifecycle 5.1 item 2): where clients get their tokens.

use serde_json::json;

use crate::definition::{Engine, PlanSecurity};
use crate::exchange::{Body, Exchange};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// Prepares the response when this is what the request asks for and a plan can tell it.
pub(super) fn answer(exchange: &mut Exchange<'_>) -> bool {
    let path = exchange.request.path.as_str();
    if exchange.api.engine != Engine::V4 || !path.contains(WELL_KNOWN) {
        return false;
    }
    let resource = match path.strip_prefix(WELL_KNOWN) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ if exchange.request.path_info() == WELL_KNOWN => {
            exchange.request.context_path.trim_end_matches('/')
        }
        _ => return false,
    };
    let scheme = if exchange.request.tls {
        "https"
    } else {
        "http"
    };
    let resource = format!("{scheme}://{}{resource}", exchange.request.host);
    let document = exchange.api.plans.iter().find_map(|plan| {
        let (servers, scopes) = match &plan.security {
            PlanSecurity::Jwt(policy) => {
                let (servers, scopes) = policy.metadata()?;
                (json!(servers), scopes)
            }
            PlanSecurity::OAuth2(policy) => {
                let (server, scopes) = policy.metadata(exchange)?;
                (json!([server]), scopes)
            }
            PlanSecurity::KeyLess | PlanSecurity::ApiKey(_) | PlanSecurity::Mtls(_) => return None,
        };
        let mut document = json!({"resource": resource, "authorization_servers": servers});
        if !scopes.is_empty() {
            document["scopes_supported"] = json!(scopes);
        }
        Some(document.to_string())
    });
    let Some(document) = document else {
        return false;
    };
    exchange.response.status = 200;
    let _ = exchange
        .response
        .headers
        .set("Content-Type", "application/json");
    exchange.response.body = Body::Buffered(document.into_bytes());
    true
}
