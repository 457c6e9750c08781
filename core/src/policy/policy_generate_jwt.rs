//! `policy-generate-jwt`: makes a signed token for the backend (contract policies 13).

use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::lenient::{de_bool, de_optional_number, de_optional_text, de_text};
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Verdict};
use crate::el::{ElError, Template, Value};
use crate::error::Failure;
use crate::exchange::Exchange;
use crate::ident::{IdFormat, IdGenerator};
use crate::security::certificate;
use crate::security::jwt::algorithm::BASE64_LENIENT;

pub(super) const ENTRY: Entry = Entry {
    id: "policy-generate-jwt",
    phases: Phases::REQUEST,
    summary: "makes a signed JSON web token for the backend",
    members: &[
        "audiences",
        "content",
        "customClaims",
        "expiresIn",
        "expiresInUnit",
        "id",
        "issuer",
        "keyResolver",
        "kid",
        "secretBase64Encoded",
        "signature",
        "subject",
        "x509CertificateChain",
    ],
    differences: "key stores (JKS, PKCS12) and files are refused: the key is in `content` as PEM text or as a secret; a key that cannot be used refuses the deployment",
    build,
};

/// Depth of a custom claim at most.
const CLAIM_DEPTH_MAX: usize = 32;
const MESSAGE: &str = "Unable to generate JWT token: ";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default)]
    signature: Signature,
    #[serde(default)]
    key_resolver: Resolver,
    #[serde(default, deserialize_with = "de_text")]
    content: String,
    #[serde(default, deserialize_with = "de_optional_text")]
    kid: Option<String>,
    #[serde(default, rename = "x509CertificateChain")]
    x509_certificate_chain: Chain,
    #[serde(default, deserialize_with = "de_optional_text")]
    id: Option<String>,
    #[serde(default)]
    audiences: Option<Vec<String>>,
    #[serde(default, deserialize_with = "de_optional_text")]
    issuer: Option<String>,
    #[serde(default, deserialize_with = "de_optional_text")]
    subject: Option<String>,
    #[serde(default, deserialize_with = "de_optional_number")]
    expires_in: Option<i64>,
    #[serde(default)]
    expires_in_unit: Unit,
    #[serde(default, deserialize_with = "de_bool")]
    secret_base64_encoded: bool,
    #[serde(default)]
    custom_claims: Option<Vec<CustomClaim>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum Signature {
    #[default]
    #[serde(rename = "RSA_RS256")]
    Rs256,
    #[serde(rename = "HMAC_HS256")]
    Hs256,
    #[serde(rename = "HMAC_HS384")]
    Hs384,
    #[serde(rename = "HMAC_HS512")]
    Hs512,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Resolver {
    #[default]
    Inline,
    Pem,
    Jks,
    Pkcs12,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Chain {
    #[default]
    None,
    X5c,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Unit {
    #[default]
    Seconds,
    Minutes,
    Hours,
    Days,
}

#[derive(Deserialize)]
struct CustomClaim {
    #[serde(default, deserialize_with = "de_text")]
    name: String,
    #[serde(default, deserialize_with = "de_text")]
    value: String,
}

enum Key {
    Rsa(Box<RsaKeyPair>),
    Hmac(Box<hmac::Key>),
}

struct GenerateJwt {
    key: Key,
    /// The header, encoded.
    header: String,
    id: Option<Template>,
    audiences: Box<[Template]>,
    issuer: Template,
    subject: Option<Template>,
    /// Seconds that a token lives; `None` lives on.
    life_seconds: Option<i64>,
    claims: Box<[(Box<str>, Template)]>,
}

/// The key never shows.
impl std::fmt::Debug for GenerateJwt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GenerateJwt").finish_non_exhaustive()
    }
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    let content = &configuration.content;
    match configuration.key_resolver {
        Resolver::Inline | Resolver::Pem => {}
        Resolver::Jks => return Err(ConfigError::new("keyResolver", "JKS is not supported")),
        Resolver::Pkcs12 => return Err(ConfigError::new("keyResolver", "PKCS12 is not supported")),
    }
    if content.trim().is_empty() {
        return Err(ConfigError::new("content", "a key is needed"));
    }
    let (alg, key) = match configuration.signature {
        Signature::Rs256 => ("RS256", rsa(content)?),
        Signature::Hs256 => ("HS256", secret(&configuration, hmac::HMAC_SHA256, 32)?),
        Signature::Hs384 => ("HS384", secret(&configuration, hmac::HMAC_SHA384, 48)?),
        Signature::Hs512 => ("HS512", secret(&configuration, hmac::HMAC_SHA512, 64)?),
    };
    let mut header = json!({"alg": alg});
    if let Some(kid) = configuration.kid.filter(|kid| !kid.is_empty()) {
        header["kid"] = kid.into();
    }
    if configuration.x509_certificate_chain == Chain::X5c {
        let chain: Vec<_> = certificate::chain(content)
            .into_iter()
            .map(|der| STANDARD.encode(der))
            .collect();
        if chain.is_empty() {
            return Err(ConfigError::new(
                "x509CertificateChain",
                "`content` holds no certificate",
            ));
        }
        header["x5c"] = chain.into();
    }
    let template = |text: Option<String>| {
        text.filter(|text| !text.is_empty())
            .map(|text| Template::new(&text))
    };
    let unit_seconds = match configuration.expires_in_unit {
        Unit::Seconds => 1,
        Unit::Minutes => 60,
        Unit::Hours => 3_600,
        Unit::Days => 86_400,
    };
    let life_seconds = configuration
        .expires_in
        .unwrap_or(30)
        .saturating_mul(unit_seconds);
    Ok(Arc::new(GenerateJwt {
        key,
        header: URL_SAFE_NO_PAD.encode(header.to_string()),
        id: template(configuration.id),
        audiences: configuration
            .audiences
            .iter()
            .flatten()
            .map(|text| Template::new(text))
            .collect(),
        issuer: Template::new(
            configuration
                .issuer
                .as_deref()
                .unwrap_or("urn://gravitee-api-gw"),
        ),
        subject: template(configuration.subject),
        life_seconds: (life_seconds > 0).then_some(life_seconds),
        claims: configuration
            .custom_claims
            .into_iter()
            .flatten()
            .map(|claim| (claim.name.into(), Template::new(&claim.value)))
            .collect(),
    }))
}

fn rsa(content: &str) -> Result<Key, ConfigError> {
    let refuse = |reason: &str| ConfigError::new("content", reason);
    // Certificates may stand beside the key.
    let start = content
        .find("-----BEGIN PRIVATE KEY")
        .or_else(|| content.find("-----BEGIN RSA PRIVATE KEY"));
    let block = start
        .and_then(|start| certificate::pem(&content[start..]))
        .ok_or_else(|| refuse("a private key as PEM text is needed; files are not read"))?;
    let key = match block.label {
        "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&block.der),
        _ => RsaKeyPair::from_der(&block.der),
    };
    key.map(|key| Key::Rsa(Box::new(key)))
        .map_err(|_| refuse("not an RSA private key"))
}

fn secret(
    configuration: &Configuration,
    algorithm: hmac::Algorithm,
    bytes_min: usize,
) -> Result<Key, ConfigError> {
    let content = configuration.content.as_str();
    let secret = if configuration.secret_base64_encoded {
        BASE64_LENIENT
            .decode(content.trim())
            .map_err(|_| ConfigError::new("content", "the secret is not base64"))?
    } else {
        content.as_bytes().to_vec()
    };
    if secret.len() < bytes_min {
        return Err(ConfigError::new(
            "content",
            format!("the secret has fewer than {} bits", bytes_min * 8),
        ));
    }
    Ok(Key::Hmac(Box::new(hmac::Key::new(algorithm, &secret))))
}

impl GenerateJwt {
    fn templates(&self) -> impl Iterator<Item = &Template> {
        self.id
            .iter()
            .chain(&self.audiences)
            .chain([&self.issuer])
            .chain(&self.subject)
            .chain(self.claims.iter().map(|(_, value)| value))
    }

    fn claims(&self, exchange: &mut Exchange<'_>) -> Result<Map<String, Json>, ElError> {
        let seed = std::array::from_fn(|_| exchange.random());
        let exchange = &*exchange;
        let text = |template: &Template| {
            template
                .eval_text(exchange)
                .map(|text| text.map(|text| Json::from(text.into_owned())))
        };
        let now = exchange.now_ms / 1_000;
        let mut claims = Map::new();
        claims.insert("iat".to_owned(), now.into());
        if let Some(life) = self.life_seconds {
            let until = now.saturating_add(life.unsigned_abs());
            claims.insert("exp".to_owned(), until.into());
        }
        let id = match &self.id {
            Some(id) => text(id)?,
            None => {
                let id = IdGenerator::new(seed).next_id(IdFormat::Uuid);
                Some(String::from_utf8_lossy(id.as_bytes()).into())
            }
        };
        let mut audiences = Vec::new();
        for audience in &self.audiences {
            audiences.extend(text(audience)?);
        }
        let audience = match audiences.len() {
            0 => None,
            1 => audiences.pop(),
            _ => Some(Json::Array(audiences)),
        };
        let subject = self.subject.as_ref().map(text).transpose()?.flatten();
        for (name, value) in [
            ("jti", id),
            ("aud", audience),
            ("sub", subject),
            ("iss", text(&self.issuer)?),
        ] {
            if let Some(value) = value {
                claims.insert(name.to_owned(), value);
            }
        }
        for (name, template) in &self.claims {
            let value = template.eval(exchange)?;
            claims.insert(name.to_string(), json_of(&value, CLAIM_DEPTH_MAX)?);
        }
        Ok(claims)
    }
}

/// A value as JSON.
fn json_of(value: &Value<'_>, depth: usize) -> Result<Json, ElError> {
    let Some(deeper) = depth.checked_sub(1) else {
        return Err(ElError::evaluation("the claim is nested too deeply"));
    };
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::Int(number) => (*number).into(),
        Value::Long(number) => (*number).into(),
        Value::Float(number) => Json::from(f64::from(*number)),
        Value::Double(number) => Json::from(*number),
        Value::Text(text) => Json::from(&**text),
        Value::List(items) => Json::Array(
            items
                .iter()
                .map(|item| json_of(item, deeper))
                .collect::<Result<_, _>>()?,
        ),
        Value::Map(members) => {
            let mut object = Map::new();
            for (name, value) in members.iter() {
                let name = name.clone().into_text()?.unwrap_or_default().into_owned();
                object.insert(name, json_of(value, deeper)?);
            }
            Json::Object(object)
        }
        other => match other.clone().into_text()? {
            Some(text) => Json::from(text.into_owned()),
            None => Json::Null,
        },
    })
}

impl Policy for GenerateJwt {
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        match phase {
            Phase::Request => self
                .templates()
                .fold(BodyNeeds::default(), |needs, template| {
                    needs.and(template.needs())
                }),
            Phase::Response => BodyNeeds::default(),
        }
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let fail =
            |cause: &str| Verdict::fail(Failure::status(500).saying(format!("{MESSAGE}{cause}")));
        let claims = match self.claims(exchange) {
            Ok(claims) => claims,
            Err(error) => return fail(&error.to_string()),
        };
        let claims = URL_SAFE_NO_PAD.encode(Json::Object(claims).to_string());
        let message = format!("{}.{claims}", self.header);
        let signature = match &self.key {
            Key::Hmac(key) => hmac::sign(key, message.as_bytes()).as_ref().to_vec(),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let random = SystemRandom::new();
                if key
                    .sign(
                        &RSA_PKCS1_SHA256,
                        &random,
                        message.as_bytes(),
                        &mut signature,
                    )
                    .is_err()
                {
                    return fail("the key does not sign");
                }
                signature
            }
        };
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
        exchange.set_attribute("jwt.generated", token);
        Verdict::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Bench, build};
    use crate::security::jwt::Token;
    use crate::security::jwt::algorithm::{Algorithm, Key as VerifyKey};
    use crate::security::jwt::testing::{SECRET, pem, public_pem, rsa_key};
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};

    const LONG: &str = "0123456789012345678901234567890123456789012345678901234567890123";

    fn private_pem() -> String {
        let der: Pkcs8V1Der<'_> = rsa_key().as_der().expect("DER");
        pem("PRIVATE KEY", der.as_ref())
    }

    fn generate(configuration: &Json) -> String {
        let policy = build("policy-generate-jwt", configuration).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        let verdict = policy.on_request(&mut exchange);
        assert!(matches!(verdict, Verdict::Continue), "{verdict:?}");
        let generated = exchange.attributes.get("jwt.generated");
        generated
            .and_then(Value::as_text)
            .expect("a token")
            .to_owned()
    }

    fn part(token: &str, index: usize) -> Json {
        let part = token.split('.').nth(index).expect("a part");
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
    }

    #[test]
    fn every_kind_of_key_signs() {
        let base64_secret = STANDARD.encode(LONG);
        for (configuration, algorithm, key) in [
            (
                json!({"content": private_pem()}),
                Algorithm::Rs256,
                public_pem(rsa_key()),
            ),
            (
                json!({"content": private_pem(), "keyResolver": "PEM"}),
                Algorithm::Rs256,
                public_pem(rsa_key()),
            ),
            (
                json!({"content": SECRET, "signature": "HMAC_HS256"}),
                Algorithm::Hs256,
                SECRET.to_owned(),
            ),
            (
                json!({"content": LONG, "signature": "HMAC_HS384"}),
                Algorithm::Hs384,
                STANDARD.encode(LONG),
            ),
            (
                json!({"content": LONG, "signature": "HMAC_HS512"}),
                Algorithm::Hs512,
                STANDARD.encode(LONG),
            ),
            (
                json!({"content": base64_secret, "signature": "HMAC_HS256", "secretBase64Encoded": true}),
                Algorithm::Hs256,
                base64_secret,
            ),
        ] {
            let token = generate(&configuration);
            let key = VerifyKey::from_text(algorithm, &key, false).expect("a key");
            let parsed = Token::parse(&token).expect("a token");
            let signature = parsed.signature().expect("a signature");
            assert!(key.verifies(parsed.signed(), &signature), "{algorithm:?}");
            assert_eq!(part(&token, 0), json!({"alg": algorithm.name()}));
        }
    }

    #[test]
    fn claims_are_as_configured() {
        let now = 1_700_000_000;
        let token = generate(&json!({
            "content": SECRET, "signature": "HMAC_HS256", "kid": "my-key", "id": "token-7", "audiences": ["a"],
            "issuer": "me", "subject": "alice", "expiresIn": "2", "expiresInUnit": "MINUTES",
            "customClaims": [{"name": "team", "value": "blue"}],
        }));
        assert_eq!(part(&token, 0), json!({"alg": "HS256", "kid": "my-key"}));
        assert_eq!(
            part(&token, 1),
            json!({"iat": now, "exp": now + 120, "jti": "token-7", "aud": "a", "iss": "me", "sub": "alice", "team": "blue"})
        );
        let token = generate(
            &json!({"content": SECRET, "signature": "HMAC_HS256", "audiences": ["a", "b"], "expiresIn": 0}),
        );
        let claims = part(&token, 1);
        assert_eq!(claims["aud"], json!(["a", "b"]));
        assert_eq!(claims["iss"], "urn://gravitee-api-gw");
        assert_eq!(claims["jti"].as_str().map(str::len), Some(36));
        assert!(claims.get("exp").is_none() && claims.get("sub").is_none());
        let token = generate(&json!({"content": SECRET, "signature": "HMAC_HS256"}));
        assert_eq!(part(&token, 1)["exp"], json!(now + 30));
    }

    #[test]
    fn a_chain_of_certificates_goes_with_the_token() {
        let certified = rcgen::generate_simple_self_signed(["gateway".to_owned()]).expect("one");
        let content = format!("{}\n{}", certified.cert.pem(), private_pem());
        let token = generate(&json!({"content": content, "x509CertificateChain": "X5C"}));
        let expected = STANDARD.encode(certified.cert.der());
        assert_eq!(part(&token, 0)["x5c"], json!([expected]));
    }

    #[test]
    fn what_cannot_sign_is_refused_by_name() {
        for (configuration, member) in [
            (json!({}), "content"),
            (json!({"content": " "}), "content"),
            (
                json!({"content": "/etc/key.pem", "keyResolver": "PEM"}),
                "content",
            ),
            (json!({"content": public_pem(rsa_key())}), "content"),
            (
                json!({"content": pem("PRIVATE KEY", b"nonsense")}),
                "content",
            ),
            (
                json!({"content": "short", "signature": "HMAC_HS256"}),
                "content",
            ),
            (
                json!({"content": SECRET, "signature": "HMAC_HS512"}),
                "content",
            ),
            (
                json!({"content": "%%", "signature": "HMAC_HS256", "secretBase64Encoded": true}),
                "content",
            ),
            (json!({"content": "x", "keyResolver": "JKS"}), "keyResolver"),
            (
                json!({"content": "x", "keyResolver": "PKCS12"}),
                "keyResolver",
            ),
            (
                json!({"content": private_pem(), "x509CertificateChain": "X5C"}),
                "x509CertificateChain",
            ),
            (json!({"signature": "none"}), "signature"),
        ] {
            let error = build("policy-generate-jwt", &configuration).expect_err("refused");
            assert_eq!(error.member, member, "{error}");
        }
    }
}
