//! Resource `oauth2`: any server with an introspection endpoint (contract policies 5.1).

use std::any::Any;
use std::sync::Arc;

use serde::Deserialize;

use super::AuthorizationServer;
use super::server::{BODY_BYTES_MAX, ClientAuthorization, Handover, Location};
use crate::el::Template;
use crate::need::HttpOptions;
use crate::policy::ConfigError;
use crate::policy::lenient::{
    de_bool, de_optional_bool, de_optional_number, de_optional_text, de_text,
};
use crate::policy::resource::{ResourceBuilder, ResourceEntry};

pub(crate) const ENTRY: ResourceEntry = ResourceEntry {
    kind: "oauth2",
    summary: "asks an OAuth2 authorization server about access tokens",
    build,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default, deserialize_with = "de_text")]
    authorization_server_url: String,
    #[serde(default, deserialize_with = "de_text")]
    introspection_endpoint: String,
    #[serde(default)]
    introspection_endpoint_method: Option<Method>,
    #[serde(default, deserialize_with = "de_bool")]
    use_system_proxy: bool,
    #[serde(default, deserialize_with = "de_text")]
    user_info_endpoint: String,
    #[serde(default)]
    user_info_endpoint_method: Option<Method>,
    #[serde(default, deserialize_with = "de_text")]
    client_id: String,
    #[serde(default, deserialize_with = "de_text")]
    client_secret: String,
    #[serde(default, deserialize_with = "de_bool")]
    use_client_authorization_header: bool,
    #[serde(default, deserialize_with = "de_optional_text")]
    client_authorization_header_name: Option<String>,
    #[serde(default, deserialize_with = "de_optional_text")]
    client_authorization_header_scheme: Option<String>,
    #[serde(default, deserialize_with = "de_bool")]
    token_is_supplied_by_query_param: bool,
    #[serde(default, deserialize_with = "de_optional_text")]
    token_query_param_name: Option<String>,
    #[serde(default, deserialize_with = "de_bool")]
    token_is_supplied_by_http_header: bool,
    #[serde(default, deserialize_with = "de_optional_text")]
    token_header_name: Option<String>,
    #[serde(default, deserialize_with = "de_bool")]
    token_is_supplied_by_form_url_encoded: bool,
    #[serde(default, deserialize_with = "de_optional_text")]
    token_form_url_encoded_name: Option<String>,
    #[serde(default, deserialize_with = "de_optional_text")]
    user_claim: Option<String>,
    #[serde(default)]
    http: Option<Http>,
    #[serde(default)]
    proxy: Option<Proxy>,
    #[serde(default)]
    ssl: Option<Ssl>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    Get,
    Post,
}

/// The blocks of newer versions, as far as they change what is sent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Http {
    #[serde(default, deserialize_with = "de_optional_number")]
    connect_timeout: Option<u64>,
    #[serde(default, deserialize_with = "de_optional_number")]
    read_timeout: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Proxy {
    #[serde(default, deserialize_with = "de_bool")]
    enabled: bool,
    #[serde(default, deserialize_with = "de_bool")]
    use_system_proxy: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ssl {
    #[serde(default, deserialize_with = "de_optional_bool")]
    trust_all: Option<bool>,
    #[serde(default)]
    trust_store: Option<TrustStore>,
}

#[derive(Deserialize)]
struct TrustStore {
    #[serde(default, rename = "type", deserialize_with = "de_optional_text")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "de_optional_text")]
    path: Option<String>,
    #[serde(default, deserialize_with = "de_optional_text")]
    content: Option<String>,
}

impl Ssl {
    /// Certificates to trust, PEM; `None` when every certificate is trusted, or those of the system.
    fn trust_pem(&self) -> Result<Option<Box<str>>, ConfigError> {
        let Some(store) = self
            .trust_store
            .as_ref()
            .filter(|_| self.trust_all != Some(true))
        else {
            return Ok(None);
        };
        match store.kind.as_deref().unwrap_or_default() {
            "" | "NONE" => return Ok(None),
            "PEM" => {}
            _ => return Err(ConfigError::new("ssl.trustStore.type", "must be PEM")),
        }
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        match (filled(&store.content), filled(&store.path)) {
            (Some(content), _) => Ok(Some(content.into())),
            (None, Some(_)) => Err(ConfigError::new(
                "ssl.trustStore.path",
                "files are not read here: give `content`",
            )),
            (None, None) => Err(ConfigError::new("ssl.trustStore.content", "is missing")),
        }
    }
}

fn build(builder: &ResourceBuilder<'_>) -> Result<Arc<dyn Any + Send + Sync>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    let location = |method: Option<Method>, endpoint: &str| {
        (!endpoint.is_empty()).then(|| Location {
            post: method == Some(Method::Post),
            server: Template::new(&configuration.authorization_server_url),
            endpoint: Template::new(endpoint),
        })
    };
    let introspection = location(
        configuration.introspection_endpoint_method,
        &configuration.introspection_endpoint,
    );
    let userinfo = location(
        configuration.user_info_endpoint_method,
        &configuration.user_info_endpoint,
    );
    if introspection.is_none() && userinfo.is_none() {
        return Err(ConfigError::new(
            "introspectionEndpoint",
            "an introspection or userinfo endpoint is needed",
        ));
    }
    let named = |wanted: bool, member: &'static str, name: &Option<String>, default: &str| {
        let name = name.as_deref().unwrap_or(default);
        if wanted && name.is_empty() {
            return Err(ConfigError::new(member, "a name is needed"));
        }
        Ok(wanted.then(|| Template::new(name)))
    };
    let handover = Handover {
        query: named(
            configuration.token_is_supplied_by_query_param,
            "tokenQueryParamName",
            &configuration.token_query_param_name,
            "token",
        )?,
        header: named(
            configuration.token_is_supplied_by_http_header,
            "tokenHeaderName",
            &configuration.token_header_name,
            "",
        )?,
        form: named(
            configuration.token_is_supplied_by_form_url_encoded,
            "tokenFormUrlEncodedName",
            &configuration.token_form_url_encoded_name,
            "token",
        )?,
    };
    let or = |text: &Option<String>, default: &str| {
        let text = text.as_deref().filter(|text| !text.is_empty());
        Template::new(text.unwrap_or(default))
    };
    let authorization =
        configuration
            .use_client_authorization_header
            .then(|| ClientAuthorization {
                header: or(
                    &configuration.client_authorization_header_name,
                    "Authorization",
                ),
                scheme: or(&configuration.client_authorization_header_scheme, "Basic"),
                id: Template::new(&configuration.client_id),
                secret: Template::new(&configuration.client_secret),
            });
    let defaults = HttpOptions::default();
    let http = configuration.http.as_ref();
    let timeout = |timeout: Option<u64>, default: u64| {
        timeout.filter(|timeout| *timeout > 0).unwrap_or(default)
    };
    let trust_pem = configuration.ssl.as_ref().map(Ssl::trust_pem).transpose()?;
    let trust_pem = trust_pem.flatten();
    let options = HttpOptions {
        connect_timeout_ms: timeout(
            http.and_then(|http| http.connect_timeout),
            defaults.connect_timeout_ms,
        ),
        timeout_ms: timeout(http.and_then(|http| http.read_timeout), defaults.timeout_ms),
        body_bytes_max: BODY_BYTES_MAX,
        system_proxy: configuration.use_system_proxy
            || configuration
                .proxy
                .is_some_and(|proxy| proxy.enabled && proxy.use_system_proxy),
        // Who names certificates to trust does not trust the others.
        trust_all: configuration
            .ssl
            .and_then(|ssl| ssl.trust_all)
            .unwrap_or_else(|| trust_pem.is_none()),
        trust_pem,
        ..defaults
    };
    Ok(Arc::new(AuthorizationServer {
        introspection,
        userinfo,
        handover,
        authorization,
        user_claim: configuration
            .user_claim
            .filter(|claim| !claim.trim().is_empty())
            .map_or_else(|| "sub".into(), String::into_boxed_str),
        active_by_default: true,
        options: Arc::new(options),
    }))
}
