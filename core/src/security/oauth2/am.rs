//! Resource `oauth2-am-resource`: Gravitee Access Management (contract policies 5.1, end).

use std::any::Any;
use std::sync::Arc;

use serde::Deserialize;

use super::AuthorizationServer;
use super::server::{BODY_BYTES_MAX, ClientAuthorization, Handover, Location};
use crate::el::Template;
use crate::need::HttpOptions;
use crate::policy::ConfigError;
use crate::policy::lenient::{de_bool, de_optional_text, de_text};
use crate::policy::resource::{ResourceBuilder, ResourceEntry};

pub(crate) const ENTRY: ResourceEntry = ResourceEntry {
    kind: "oauth2-am-resource",
    summary: "asks Gravitee Access Management about access tokens",
    build,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default, rename = "serverURL", deserialize_with = "de_text")]
    server_url: String,
    #[serde(default)]
    version: Option<Version>,
    #[serde(default, deserialize_with = "de_text")]
    security_domain: String,
    #[serde(default, deserialize_with = "de_text")]
    client_id: String,
    #[serde(default, deserialize_with = "de_text")]
    client_secret: String,
    #[serde(default, deserialize_with = "de_optional_text")]
    user_claim: Option<String>,
    #[serde(default, deserialize_with = "de_bool")]
    use_system_proxy: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
enum Version {
    #[serde(rename = "V1_X")]
    V1,
    #[serde(rename = "V2_X")]
    V2,
    #[serde(rename = "V3_X")]
    V3,
}

fn build(builder: &ResourceBuilder<'_>) -> Result<Arc<dyn Any + Send + Sync>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    for (member, value) in [
        ("serverURL", &configuration.server_url),
        ("securityDomain", &configuration.security_domain),
    ] {
        if value.trim().is_empty() {
            return Err(ConfigError::new(member, "is missing"));
        }
    }
    let (introspection, userinfo, active_by_default) =
        match configuration.version.unwrap_or(Version::V3) {
            Version::V1 => ("oauth/check_token", "userinfo", true),
            Version::V2 | Version::V3 => ("oauth/introspect", "oidc/userinfo", false),
        };
    let location = |post: bool, endpoint: &str| Location {
        post,
        server: Template::new(&configuration.server_url),
        endpoint: Template::new(&format!("{}/{endpoint}", configuration.security_domain)),
    };
    Ok(Arc::new(AuthorizationServer {
        introspection: Some(location(true, introspection)),
        userinfo: Some(location(false, userinfo)),
        handover: Handover {
            form: Some(Template::new("token")),
            ..Handover::default()
        },
        authorization: Some(ClientAuthorization {
            header: Template::new("Authorization"),
            scheme: Template::new("Basic"),
            id: Template::new(&configuration.client_id),
            secret: Template::new(&configuration.client_secret),
        }),
        user_claim: configuration
            .user_claim
            .filter(|claim| !claim.trim().is_empty())
            .map_or_else(|| "sub".into(), String::into_boxed_str),
        active_by_default,
        options: Arc::new(HttpOptions {
            body_bytes_max: BODY_BYTES_MAX,
            system_proxy: configuration.use_system_proxy,
            ..HttpOptions::default()
        }),
    }))
}
