//! Settings that follow from the Cloud Token, each only where the operator set none (contract sync 1.2.6).

use turnpike_config::{Authentication, Config, HttpClientConfig, RetryConfig, Secret};

use super::claims::{CloudToken, TokenState};
use super::error::TokenError;
use super::verify::VerificationKey;
use crate::bridge::BaseUrl;

/// Whether `/_bridge` follows the base URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BridgePath {
    /// As `management.http.appendBridgeBasePath` says.
    Fixed(bool),
    /// Found out at the handshake: with it first, without it on 404 (contract sync 1.2.9).
    Probe,
}

/// What may be told about a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFacts {
    /// Token id.
    pub id: Option<String>,
    /// Organization id.
    pub organization: String,
    /// Geography.
    pub geography: String,
    /// Whether the signature was verified.
    pub is_verified: bool,
    /// Not valid before, Unix seconds.
    pub not_before_s: Option<i64>,
    /// Expires at, Unix seconds.
    pub expires_at_s: Option<i64>,
    /// What deserves an operator's attention.
    pub warnings: Vec<String>,
}

/// Everything the bridge client, the synchronizer and the reporter need to know about the control plane.
#[derive(Debug, Clone)]
pub struct ControlPlaneSettings {
    /// URL of the bridge, before `/_bridge`.
    pub sync_url: BaseUrl,
    /// Whether `/_bridge` follows it.
    pub bridge_path: BridgePath,
    /// How we prove who we are to the bridge.
    pub authentication: Authentication,
    /// Client settings of the bridge.
    pub client: HttpClientConfig,
    /// Delays between attempts to reach the bridge.
    pub retry: RetryConfig,
    /// Version declared in `User-Agent: gio-client-bridge/…`.
    pub client_version: String,
    /// Path overrides of contract sync 3.2, by name.
    pub paths: Vec<(String, String)>,
    /// Environments to serve: ids, or hrids in legacy mode; empty means all.
    pub environments: Vec<String>,
    /// Organizations to serve: ids, or hrids in legacy mode; empty means all.
    pub organizations: Vec<String>,
    /// Whether `environments` and `organizations` hold hrids that must be resolved to ids.
    pub uses_hrids: bool,
    /// Where reports go; only with a Cloud Token.
    pub reports_url: Option<BaseUrl>,
    /// The Cloud Token, to authenticate reports.
    pub token: Option<Secret>,
    /// What may be told about the token.
    pub facts: Option<TokenFacts>,
}

impl ControlPlaneSettings {
    /// Where the token stands at `now_ms` (Unix milliseconds).
    pub fn token_state(&self, now_ms: i64) -> TokenState {
        let Some(facts) = &self.facts else {
            return TokenState::Absent;
        };
        TokenState::at(
            facts.not_before_s,
            facts.expires_at_s,
            now_ms.div_euclid(1_000),
        )
    }

    /// Writes what an operator should know about the token to the log.
    pub fn log(&self, now_ms: i64) {
        let Some(facts) = &self.facts else {
            return;
        };
        let (id, organization, geography) = (
            facts.id.as_deref().unwrap_or("-"),
            &facts.organization,
            &facts.geography,
        );
        if facts.is_verified {
            tracing::info!(jti = id, org = %organization, cpg = %geography, "cloud token accepted, signature verified");
        } else {
            tracing::info!(jti = id, org = %organization, cpg = %geography,
                "cloud token accepted; its signature was not verified because no cloud.verification key is set");
        }
        for warning in &facts.warnings {
            tracing::warn!(jti = id, "{warning}");
        }
        match self.token_state(now_ms) {
            TokenState::Expired => {
                tracing::error!(
                    jti = id,
                    "cloud token has expired; the control plane will refuse it. hint: issue a new one"
                );
            }
            TokenState::NotYetValid => {
                tracing::error!(
                    jti = id,
                    "cloud token is not valid yet; hint: check the clock of this machine"
                );
            }
            TokenState::Valid | TokenState::Absent => {}
        }
    }
}

/// Derives the control-plane settings of a configuration, or says why the gateway cannot start.
pub fn derive(config: &Config) -> Result<ControlPlaneSettings, TokenError> {
    let Some(cloud) = &config.cloud else {
        let url = config.management.url.as_deref().ok_or_else(|| TokenError::Setting {
            setting: "management.http.url",
            problem: "expected the URL of the control plane's bridge, or a Cloud Token; found neither".to_owned(),
            hint: "set `cloud.token` (variable `gravitee_cloud_token`) to take everything from the token",
        })?;
        let url = BaseUrl::parse(url).map_err(|problem| setting("management.http.url", problem))?;
        return Ok(as_configured(config, url));
    };

    let token = CloudToken::parse(cloud.token.expose())?;
    token.check(&cloud.verification)?;
    let key = VerificationKey::from_settings(&cloud.verification)?;
    if let Some(key) = &key {
        key.verify(&token, &cloud.verification.algorithms)?;
    }
    let claims = token.claims();
    let mut warnings = scope_warnings(claims.scopes.as_deref());
    let trusts_gateway_url = key.is_some() || cloud.verification.trust_gateway_url;
    if claims.gateway_url.is_some() && !trusts_gateway_url && cloud.gate_url.is_none() {
        warnings.push(
            "the token's claim `gatewayUrl` is ignored because its signature is not verified; hint: set \
             `cloud.verification.publicKeyPath`, or `cloud.verification.trustGatewayUrl: true`"
                .to_owned(),
        );
    }
    let (gate_setting, gate_url) = match (&cloud.gate_url, &claims.gateway_url) {
        (Some(url), _) => ("cloud.gate.url", url.clone()),
        (None, Some(url)) if trusts_gateway_url => {
            ("claim `gatewayUrl` of the cloud token", url.clone())
        }
        _ => (
            "cloud.gate.url",
            format!("https://{}.cloudgate.gravitee.io", claims.cpg),
        ),
    };
    let gate = protected_url(gate_setting, &gate_url)?;
    let sync_url = match &config.management.url {
        Some(url) => protected_url("management.http.url", url)?,
        None => gate.with_path("/sync"),
    };
    let mut settings = as_configured(config, sync_url);
    settings.reports_url = Some(match &config.reporters.cloud.url {
        Some(url) => protected_url("reporters.cloud.url", url)?,
        None => gate.with_path("/reports"),
    });
    settings.bridge_path = config
        .management
        .append_bridge_base_path
        .map_or(BridgePath::Probe, BridgePath::Fixed);
    if config.management.authentication.is_none() {
        settings.authentication = Authentication::Jwt {
            token: trimmed(&cloud.token),
        };
    }
    if !settings.uses_hrids {
        if let Some(stranger) = settings
            .environments
            .iter()
            .find(|id| !claims.envs.contains(id))
        {
            return Err(TokenError::Setting {
                setting: "environments",
                problem: format!(
                    "expected a subset of the cloud token's environments ({}), found {stranger:?}",
                    claims.envs.join(", ")
                ),
                hint: "leave `environments` out to serve all environments of the token",
            });
        }
        if settings.environments.is_empty() {
            settings.environments.clone_from(&claims.envs);
        }
        if settings.organizations.is_empty() {
            settings.organizations = vec![claims.org.clone()];
        }
    }
    settings.facts = Some(TokenFacts {
        id: claims.jti.clone(),
        organization: claims.org.clone(),
        geography: claims.cpg.clone(),
        is_verified: key.is_some(),
        not_before_s: claims.nbf,
        expires_at_s: claims.exp,
        warnings,
    });
    settings.token = Some(trimmed(&cloud.token));
    Ok(settings)
}

/// The settings as the operator wrote them, nothing derived.
fn as_configured(config: &Config, sync_url: BaseUrl) -> ControlPlaneSettings {
    let management = &config.management;
    ControlPlaneSettings {
        sync_url,
        bridge_path: BridgePath::Fixed(management.append_bridge_base_path.unwrap_or(true)),
        authentication: management.authentication.clone().unwrap_or_default(),
        client: management.client.clone(),
        retry: management.retry,
        client_version: management.client_version.clone(),
        paths: management.paths.clone(),
        environments: config.node.environments.clone(),
        organizations: config.node.organizations.clone(),
        uses_hrids: management
            .use_legacy_environment_hrids
            .unwrap_or_else(|| config.cloud.is_none()),
        reports_url: None,
        token: None,
        facts: None,
    }
}

fn trimmed(token: &Secret) -> Secret {
    Secret::new(token.expose().trim())
}

fn setting(setting: &'static str, problem: String) -> TokenError {
    TokenError::Setting {
        setting,
        problem,
        hint: "write a URL such as `https://apim.example.com/gateway`",
    }
}

/// A URL to which the token travels: `https`, or this machine.
fn protected_url(name: &'static str, text: &str) -> Result<BaseUrl, TokenError> {
    let url = BaseUrl::parse(text).map_err(|problem| setting(name, problem))?;
    if url.keeps_secrets() {
        return Ok(url);
    }
    Err(TokenError::Setting {
        setting: name,
        problem: format!(
            "expected an https URL because the cloud token travels to it, found {url}"
        ),
        hint: "use https; plain http is accepted towards localhost and loopback addresses only",
    })
}

fn scope_warnings(scopes: Option<&[String]>) -> Vec<String> {
    let Some(scopes) = scopes else {
        return Vec::new();
    };
    if scopes
        .iter()
        .any(|scope| scope == "sync" || scope == "reports")
    {
        return Vec::new();
    }
    vec![format!(
        "the cloud token's scopes ({}) hold neither `sync` nor `reports`; the control plane may refuse it",
        scopes.join(", ")
    )]
}

#[cfg(test)]
mod tests {
    use turnpike_config::{CloudConfig, CloudVerification, ManagementConfig, NodeConfig};

    use super::super::{IssueRequest, SigningKey, issue};
    use super::*;

    struct Issued {
        config: Config,
        text: String,
        public_key: String,
    }

    fn issued(change: impl FnOnce(&mut IssueRequest)) -> Issued {
        let folder = tempfile::tempdir().expect("a folder");
        let key = SigningKey::load_or_create(folder.path()).expect("a key");
        let mut request = IssueRequest::new(
            "acme",
            vec!["dev".to_owned(), "qa".to_owned()],
            1_000,
            1_000,
        );
        "eu".clone_into(&mut request.geography);
        change(&mut request);
        let text = issue(&request, &key).expect("a token");
        let token = Secret::new(format!("{text}\n"));
        let cloud = CloudConfig {
            token,
            gate_url: None,
            verification: CloudVerification::default(),
        };
        let public_key = key.public_key_pem().to_owned();
        Issued {
            config: Config {
                cloud: Some(cloud),
                ..Config::default()
            },
            text,
            public_key,
        }
    }

    fn cloud(config: &mut Config) -> &mut CloudConfig {
        config.cloud.as_mut().expect("a cloud section")
    }

    #[test]
    fn everything_follows_from_the_token() {
        let Issued { config, text, .. } = issued(|_| {});
        let settings = derive(&config).expect("settings");
        assert_eq!(
            settings.sync_url.as_str(),
            "https://eu.cloudgate.gravitee.io/sync"
        );
        assert_eq!(
            settings.reports_url.as_ref().map(BaseUrl::as_str),
            Some("https://eu.cloudgate.gravitee.io/reports")
        );
        assert_eq!(
            settings.authentication,
            Authentication::Jwt {
                token: Secret::new(text)
            }
        );
        assert_eq!(settings.bridge_path, BridgePath::Probe);
        assert_eq!(settings.environments, ["dev", "qa"]);
        assert_eq!(settings.organizations, ["acme"]);
        assert!(!settings.uses_hrids);
        assert_eq!(settings.token_state(1_500_000), TokenState::Valid);
        assert_eq!(settings.token_state(2_500_000), TokenState::Expired);
    }

    #[test]
    fn what_the_operator_set_stays() {
        let Issued { mut config, .. } = issued(|_| {});
        cloud(&mut config).gate_url = Some("https://gate.example/base/".to_owned());
        config.node = NodeConfig {
            environments: vec!["qa".to_owned()],
            ..NodeConfig::default()
        };
        config.management.append_bridge_base_path = Some(false);
        config.management.authentication = Some(Authentication::None);
        config.reporters.cloud.url = Some("https://reports.example".to_owned());
        let settings = derive(&config).expect("settings");
        assert_eq!(settings.sync_url.as_str(), "https://gate.example/base/sync");
        assert_eq!(
            settings.reports_url.as_ref().map(BaseUrl::as_str),
            Some("https://reports.example")
        );
        assert_eq!(settings.bridge_path, BridgePath::Fixed(false));
        assert_eq!(settings.authentication, Authentication::None);
        assert_eq!(settings.environments, ["qa"]);
    }

    #[test]
    fn an_environment_outside_the_token_is_refused() {
        let Issued { mut config, .. } = issued(|_| {});
        config.node.environments = vec!["prod".to_owned()];
        let error = derive(&config).expect_err("a stranger").to_string();
        assert!(
            error.contains("subset of the cloud token's environments (dev, qa), found \"prod\""),
            "{error}"
        );
    }

    #[test]
    fn the_gateway_url_of_the_token_counts_only_when_it_is_trusted() {
        let Issued {
            mut config,
            public_key,
            ..
        } = issued(|request| request.gateway_url = Some("http://127.0.0.1:8070".to_owned()));
        let settings = derive(&config).expect("settings");
        assert_eq!(
            settings.sync_url.as_str(),
            "https://eu.cloudgate.gravitee.io/sync"
        );
        assert_eq!(settings.facts.expect("facts").warnings.len(), 1);
        cloud(&mut config).verification.trust_gateway_url = true;
        assert_eq!(
            derive(&config).expect("settings").sync_url.as_str(),
            "http://127.0.0.1:8070/sync"
        );
        cloud(&mut config).verification.trust_gateway_url = false;
        cloud(&mut config).verification.public_key = Some(public_key);
        assert_eq!(
            derive(&config).expect("settings").sync_url.as_str(),
            "http://127.0.0.1:8070/sync"
        );
    }

    #[test]
    fn a_token_does_not_travel_over_plain_http() {
        type Change = fn(&mut Config);
        let cases: [(&str, Change); 3] = [
            ("cloud.gate.url", |config| {
                cloud(config).gate_url = Some("http://gate.example".to_owned())
            }),
            ("management.http.url", |config| {
                config.management.url = Some("http://apim.example".to_owned())
            }),
            ("reporters.cloud.url", |config| {
                config.reporters.cloud.url = Some("http://r.example".to_owned())
            }),
        ];
        for (name, change) in cases {
            let Issued { mut config, .. } = issued(|_| {});
            change(&mut config);
            let error = derive(&config).expect_err(name).to_string();
            assert!(
                error.starts_with(name) && error.contains("hint: use https"),
                "{error}"
            );
        }
    }

    #[test]
    fn without_a_token_the_url_is_needed_and_may_be_plain() {
        let error = derive(&Config::default()).expect_err("no url").to_string();
        assert!(
            error.starts_with("management.http.url: ") && error.contains("gravitee_cloud_token"),
            "{error}"
        );
        let management = ManagementConfig {
            url: Some("http://apim:18092/".to_owned()),
            ..ManagementConfig::default()
        };
        let settings = derive(&Config {
            management,
            ..Config::default()
        })
        .expect("settings");
        assert_eq!(settings.sync_url.as_str(), "http://apim:18092");
        assert_eq!(settings.bridge_path, BridgePath::Fixed(true));
        assert!(settings.uses_hrids);
        assert_eq!(settings.reports_url, None);
        assert_eq!(settings.token_state(0), TokenState::Absent);
    }

    #[test]
    fn a_wrong_signature_is_a_start_up_error() {
        let Issued { mut config, .. } = issued(|_| {});
        cloud(&mut config).verification.public_key = Some(issued(|_| {}).public_key);
        let error = derive(&config).expect_err("another key").to_string();
        assert_eq!(
            error,
            "cloud token is not usable: its signature does not match the key in cloud.verification.publicKey"
        );
    }

    #[test]
    fn scopes_of_another_use_are_only_a_warning() {
        let Issued { config, .. } =
            issued(|request| request.scopes = vec!["automation".to_owned()]);
        assert_eq!(
            derive(&config)
                .expect("settings")
                .facts
                .expect("facts")
                .warnings
                .len(),
            1
        );
    }
}
