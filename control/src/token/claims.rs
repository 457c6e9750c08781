//! Parsing of a token and the checks that need no key (contract sync 1.1, 1.2.1-1.2.3, 1.2.5, 1.2.7).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use turnpike_config::CloudVerification;

use super::error::Unusable;

/// Longest token that is looked at.
pub const TOKEN_BYTES_MAX: usize = 64 << 10;

/// Leeway of `exp` and `nbf` against clock differences.
const LEEWAY_S: i64 = 60;

/// Where a token stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// No token is configured.
    Absent,
    /// Within its time.
    Valid,
    /// `exp` is past; the control plane decides, and will answer 401.
    Expired,
    /// `nbf` is still ahead.
    NotYetValid,
}

impl TokenState {
    /// The state at `now_s` of a token with this `nbf` and `exp`.
    pub(super) fn at(nbf: Option<i64>, exp: Option<i64>, now_s: i64) -> Self {
        if exp.is_some_and(|exp| exp.saturating_add(LEEWAY_S) < now_s) {
            Self::Expired
        } else if nbf.is_some_and(|nbf| nbf > now_s.saturating_add(LEEWAY_S)) {
            Self::NotYetValid
        } else {
            Self::Valid
        }
    }

    /// The word shown in the node status (`cloud.tokenState`).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
        }
    }
}

/// Claims of a Cloud Token, under their wire names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Claims {
    /// Issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Audience: a text or a list on the wire.
    #[serde(
        deserialize_with = "one_or_many",
        serialize_with = "many_or_one",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub aud: Vec<String>,
    /// Product, `apim`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Organization id.
    pub org: String,
    /// Environment ids.
    pub envs: Vec<String>,
    /// Geography of the control plane; picks the Cloud Gate's host.
    pub cpg: String,
    /// Cloud region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpr: Option<String>,
    /// Cloud provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpp: Option<String>,
    /// Control plane name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cp: Option<String>,
    /// Target-token id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttk: Option<String>,
    /// What may be called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// Analytics index id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idx: Option<String>,
    /// URL of the Cloud Gate, in place of the one derived from `cpg`.
    #[serde(rename = "gatewayUrl", skip_serializing_if = "Option::is_none")]
    pub gateway_url: Option<String>,
    /// Issued at, Unix seconds.
    #[serde(
        deserialize_with = "numeric_date",
        skip_serializing_if = "Option::is_none"
    )]
    pub iat: Option<i64>,
    /// Not valid before, Unix seconds.
    #[serde(
        deserialize_with = "numeric_date",
        skip_serializing_if = "Option::is_none"
    )]
    pub nbf: Option<i64>,
    /// Expires at, Unix seconds.
    #[serde(
        deserialize_with = "numeric_date",
        skip_serializing_if = "Option::is_none"
    )]
    pub exp: Option<i64>,
    /// Token id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
}

impl Claims {
    /// Where the token stands at `now_s`, with a leeway of one minute.
    pub fn state(&self, now_s: i64) -> TokenState {
        TokenState::at(self.nbf, self.exp, now_s)
    }
}

/// Members of the header that matter here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
}

/// A parsed token. Its text is kept for signature checks and never printed.
#[derive(Clone)]
pub struct CloudToken {
    pub(super) header: Header,
    pub(super) claims: Claims,
    pub(super) signed_part: Box<str>,
    pub(super) signature_part: Box<str>,
}

impl std::fmt::Debug for CloudToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CloudToken")
            .field("header", &self.header)
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}

impl CloudToken {
    /// Parses a compact JWS and demands the claims without which there is no control plane: `org`, `envs`, `cpg`.
    pub fn parse(text: &str) -> Result<Self, Unusable> {
        let parts = split(text)?;
        let claims: Claims = decode_json(parts.payload, "payload")?;
        if claims.org.trim().is_empty() {
            return Err(Unusable::ClaimMissing("org"));
        }
        if claims.envs.is_empty() || claims.envs.iter().any(|id| id.trim().is_empty()) {
            return Err(Unusable::ClaimMissing("envs"));
        }
        if claims.cpg.is_empty() {
            return Err(Unusable::ClaimMissing("cpg"));
        }
        if !is_geography(&claims.cpg) {
            return Err(Unusable::Claim {
                claim: "cpg",
                expected: "1 to 32 characters of a-z, 0-9 and `-`".to_owned(),
                found: format!("{:?}", claims.cpg),
            });
        }
        Ok(Self {
            header: decode_json(parts.header, "header")?,
            claims,
            signed_part: parts.signed.into(),
            signature_part: parts.signature.into(),
        })
    }

    /// Checks issuer, audience and product.
    pub fn check(&self, expected: &CloudVerification) -> Result<(), Unusable> {
        let claims = &self.claims;
        if claims.iss.as_deref() != Some(&expected.issuer) {
            return Err(mismatch("iss", &expected.issuer, claims.iss.as_deref()));
        }
        if !claims.aud.contains(&expected.audience) {
            let found = (!claims.aud.is_empty()).then(|| claims.aud.join(", "));
            return Err(mismatch("aud", &expected.audience, found.as_deref()));
        }
        if claims
            .target
            .as_deref()
            .is_some_and(|target| target != "apim")
        {
            return Err(mismatch("target", "apim", claims.target.as_deref()));
        }
        Ok(())
    }

    /// What the token says.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The signature algorithm that the header names.
    pub fn algorithm(&self) -> &str {
        &self.header.alg
    }
}

/// The parts of a compact JWS.
pub(super) struct Parts<'a> {
    pub(super) header: &'a str,
    pub(super) payload: &'a str,
    pub(super) signature: &'a str,
    /// Header and payload with their dot: what is signed.
    pub(super) signed: &'a str,
}

pub(super) fn split(text: &str) -> Result<Parts<'_>, Unusable> {
    let text = text.trim();
    if text.len() > TOKEN_BYTES_MAX {
        return Err(Unusable::TooLong {
            found: text.len(),
            max: TOKEN_BYTES_MAX,
        });
    }
    let parts: Vec<&str> = text.split('.').collect();
    let &[header, payload, signature] = parts.as_slice() else {
        return Err(Unusable::Parts {
            found: if text.is_empty() { 0 } else { parts.len() },
        });
    };
    if URL_SAFE_NO_PAD.decode(signature).is_err() {
        return Err(Unusable::Encoding { part: "signature" });
    }
    Ok(Parts {
        header,
        payload,
        signature,
        signed: &text[..header.len() + 1 + payload.len()],
    })
}

pub(super) fn decode_json<T: DeserializeOwned>(
    part: &str,
    name: &'static str,
) -> Result<T, Unusable> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Unusable::Encoding { part: name })?;
    serde_json::from_slice(&bytes).map_err(|error| Unusable::Json {
        part: name,
        reason: error.to_string(),
    })
}

/// Whether a geography may go into a host name.
fn is_geography(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn mismatch(claim: &'static str, expected: &str, found: Option<&str>) -> Unusable {
    Unusable::Claim {
        claim,
        expected: format!("{expected:?}"),
        found: found.map_or_else(|| "nothing".to_owned(), |found| format!("{found:?}")),
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Option::<Audience>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Audience::One(one)) => vec![one],
        Some(Audience::Many(many)) => many,
    })
}

fn many_or_one<S: serde::Serializer>(
    audience: &[String],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match audience {
        [one] => one.serialize(serializer),
        many => many.serialize(serializer),
    }
}

/// RFC 7519 2: seconds, possibly with a fraction.
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Whole(i64),
        Fraction(f64),
    }
    Ok(
        Option::<Seconds>::deserialize(deserializer)?.map(|seconds| match seconds {
            Seconds::Whole(seconds) => seconds,
            Seconds::Fraction(seconds) => seconds as i64,
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!(
            "{}.{}.{}",
            encode(r#"{"alg":"RS512","kid":"k"}"#),
            encode(claims),
            encode("signature")
        )
    }

    const GOOD: &str = r#"{"iss":"GraviteeCloud","aud":"CloudGate","target":"apim","org":"o","envs":["e"],"cpg":"eu",
        "scopes":["sync"],"iat":1,"exp":2000,"jti":"j","unknown":{"a":1}}"#;

    #[test]
    fn a_token_with_the_observed_claims_is_usable() {
        let token = CloudToken::parse(&format!(" {}\n", token(GOOD))).expect("a token");
        token.check(&CloudVerification::default()).expect("usable");
        assert_eq!(token.claims().envs, ["e"]);
        assert_eq!(token.algorithm(), "RS512");
    }

    #[test]
    fn an_unusable_token_names_its_reason() {
        let cases = [
            (
                String::new(),
                "expected three base64url parts separated by dots, found 0",
            ),
            (
                "a.b".to_owned(),
                "expected three base64url parts separated by dots, found 2",
            ),
            (
                "a.b.c.d".to_owned(),
                "expected three base64url parts separated by dots, found 4",
            ),
            ("e30.*.e30".to_owned(), "the payload is not base64url"),
            ("e30.e30.*".to_owned(), "the signature is not base64url"),
            (
                "x".repeat(TOKEN_BYTES_MAX + 1),
                "it has 65537 bytes, at most 65536 are accepted",
            ),
            (token("{}"), "claim `org` is missing or empty"),
            (
                token(r#"{"org":"o","envs":[],"cpg":"eu"}"#),
                "claim `envs` is missing or empty",
            ),
            (
                token(r#"{"org":"o","envs":["e"]}"#),
                "claim `cpg` is missing or empty",
            ),
            (
                token(r#"{"org":"o","envs":["e"],"cpg":"eu.evil.example/"}"#),
                "claim `cpg`: expected 1 to 32 characters",
            ),
        ];
        for (text, reason) in cases {
            let error = CloudToken::parse(&text).expect_err(reason).to_string();
            assert!(
                error.starts_with(reason),
                "expected {reason:?}, found {error:?}"
            );
        }
    }

    #[test]
    fn issuer_audience_and_product_must_match() {
        let cases = [
            (
                GOOD.replace("GraviteeCloud", "Other"),
                r#"claim `iss`: expected "GraviteeCloud", found "Other""#,
            ),
            (
                GOOD.replace("\"CloudGate\"", "[\"A\",\"B\"]"),
                r#"claim `aud`: expected "CloudGate", found "A, B""#,
            ),
            (
                GOOD.replace("\"aud\"", "\"x\""),
                r#"claim `aud`: expected "CloudGate", found nothing"#,
            ),
            (
                GOOD.replace("apim", "am"),
                r#"claim `target`: expected "apim", found "am""#,
            ),
        ];
        for (claims, reason) in cases {
            let token = CloudToken::parse(&token(&claims)).expect("a token");
            assert_eq!(
                token
                    .check(&CloudVerification::default())
                    .expect_err(reason)
                    .to_string(),
                reason
            );
        }
        let list = CloudToken::parse(&token(
            &GOOD.replace("\"CloudGate\"", "[\"A\",\"CloudGate\"]"),
        ))
        .expect("a token");
        list.check(&CloudVerification::default())
            .expect("an audience list that contains ours");
    }

    #[test]
    fn expiry_and_start_have_a_minute_of_leeway() {
        let claims = Claims {
            exp: Some(1_000),
            nbf: Some(500),
            ..Claims::default()
        };
        let cases = [
            (439, TokenState::NotYetValid),
            (440, TokenState::Valid),
            (1_060, TokenState::Valid),
            (1_061, TokenState::Expired),
        ];
        for (now_s, state) in cases {
            assert_eq!(claims.state(now_s), state, "at {now_s}");
        }
    }

    #[test]
    fn a_token_never_prints_its_text() {
        let text = token(GOOD);
        let printed = format!("{:?}", CloudToken::parse(&text).expect("a token"));
        assert!(!printed.contains(text.rsplit('.').next().expect("a signature")));
    }
}
