//! `ssl-enforcement`: asks for TLS and for certain client certificates (contract policies 14).

use std::sync::Arc;

use serde::Deserialize;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

use super::lenient::{de_bool, de_optional_bool, de_optional_text};
use super::registry::Entry;
use super::{Builder, ConfigError, Phases, Policy, Verdict};
use crate::error::Failure;
use crate::exchange::Exchange;
use crate::security::certificate;

pub(super) const ENTRY: Entry = Entry {
    id: "ssl-enforcement",
    phases: Phases::REQUEST,
    summary: "asks for TLS and for certain client certificates",
    members: &[
        "certificateHeaderName",
        "certificateLocation",
        "requiresClientAuthentication",
        "requiresSsl",
        "useXForwardedProto",
        "whitelistClientCertificates",
        "whitelistIssuers",
    ],
    differences: "requiredCertificatePolicies and whitelistSubjectAlternativeNames are refused",
    build,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default, deserialize_with = "de_optional_bool")]
    requires_ssl: Option<bool>,
    #[serde(default, deserialize_with = "de_bool")]
    use_x_forwarded_proto: bool,
    #[serde(default, deserialize_with = "de_bool")]
    requires_client_authentication: bool,
    #[serde(default)]
    certificate_location: Option<Location>,
    #[serde(default, deserialize_with = "de_optional_text")]
    certificate_header_name: Option<String>,
    #[serde(default)]
    whitelist_client_certificates: Option<Vec<String>>,
    #[serde(default)]
    whitelist_issuers: Option<Vec<String>>,
    #[serde(default)]
    required_certificate_policies: Option<Vec<String>>,
    #[serde(default)]
    whitelist_subject_alternative_names: Option<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Location {
    Session,
    Header,
}

/// A distinguished name: short types in upper case, and patterns of their values (`*` any text, `?` any character).
#[derive(Debug)]
struct NamePattern(Vec<(String, String)>);

#[derive(Debug)]
struct SslEnforcement {
    requires_ssl: bool,
    trusts_proto: bool,
    requires_client: bool,
    header: Option<Box<str>>,
    subjects: Box<[NamePattern]>,
    issuers: Box<[NamePattern]>,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    for (member, list) in [
        (
            "requiredCertificatePolicies",
            &configuration.required_certificate_policies,
        ),
        (
            "whitelistSubjectAlternativeNames",
            &configuration.whitelist_subject_alternative_names,
        ),
    ] {
        if list.as_ref().is_some_and(|list| !list.is_empty()) {
            return Err(ConfigError::new(member, "is not supported"));
        }
    }
    let header = (configuration.certificate_location == Some(Location::Header)).then(|| {
        configuration
            .certificate_header_name
            .filter(|name| !name.trim().is_empty())
            .unwrap_or_else(|| "ssl-client-cert".to_owned())
            .into()
    });
    Ok(Arc::new(SslEnforcement {
        requires_ssl: configuration.requires_ssl.unwrap_or(true),
        trusts_proto: configuration.use_x_forwarded_proto,
        requires_client: configuration.requires_client_authentication,
        header,
        subjects: patterns(
            "whitelistClientCertificates",
            configuration.whitelist_client_certificates,
        )?,
        issuers: patterns("whitelistIssuers", configuration.whitelist_issuers)?,
    }))
}

fn patterns(member: &str, names: Option<Vec<String>>) -> Result<Box<[NamePattern]>, ConfigError> {
    names
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(index, name)| {
            NamePattern::parse(&name).ok_or_else(|| {
                ConfigError::new(
                    format!("{member}[{index}]"),
                    "a distinguished name is needed, such as CN=client,O=company",
                )
            })
        })
        .collect()
}

impl NamePattern {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut pending = String::new();
        for piece in text.split(',') {
            // A comma behind a backslash belongs to the value.
            if let Some(open) = piece.strip_suffix('\\') {
                pending.push_str(open);
                pending.push(',');
                continue;
            }
            pending.push_str(piece);
            let part = std::mem::take(&mut pending);
            if part.trim().is_empty() {
                continue;
            }
            let (kind, value) = part.split_once('=')?;
            let kind = kind.trim().to_ascii_uppercase();
            if kind.is_empty() || value.trim().is_empty() {
                return None;
            }
            parts.push((kind, value.trim().to_lowercase()));
        }
        (!parts.is_empty() && pending.is_empty()).then_some(Self(parts))
    }

    /// Whether a name has exactly these parts, in any order.
    fn matches(&self, name: &X509Name<'_>) -> bool {
        let mut found = Vec::new();
        for attribute in name.iter_attributes() {
            let oid = attribute.attr_type().to_id_string();
            let Ok(value) = attribute.as_str() else {
                return false;
            };
            found.push((oid, value.trim().to_lowercase()));
        }
        if found.len() != self.0.len() {
            return false;
        }
        self.0.iter().all(|(kind, pattern)| {
            let at = found.iter().position(|(oid, value)| {
                (oid == kind || short_name(oid) == Some(canonical(kind)))
                    && glob(pattern.as_bytes(), value.as_bytes())
            });
            at.map(|at| found.swap_remove(at)).is_some()
        })
    }
}

fn canonical(kind: &str) -> &str {
    match kind {
        "E" | "EMAIL" => "EMAILADDRESS",
        "S" => "ST",
        "SN" => "SURNAME",
        "G" | "GN" => "GIVENNAME",
        "USERID" => "UID",
        other => other,
    }
}

fn short_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SURNAME",
        "2.5.4.5" => "SERIALNUMBER",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "T",
        "2.5.4.42" => "GIVENNAME",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "EMAILADDRESS",
        _ => return None,
    })
}

/// Whether `text` fits a pattern of `*` and `?`; linear but for the last star.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, from)) = star else {
                    return false;
                };
                star = Some((at, from + 1));
                p = at + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

fn refuse(status: u16, key: &'static str, message: &'static str) -> Verdict {
    Verdict::fail(Failure::policy(status, key, message))
}

impl Policy for SslEnforcement {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let request = &exchange.request;
        let secure = request.tls
            || (self.trusts_proto
                && request
                    .headers
                    .text("x-forwarded-proto")
                    .is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https")));
        if self.requires_ssl && !secure {
            return refuse(
                403,
                "SSL_ENFORCEMENT_SSL_REQUIRED",
                "Access to the resource requires SSL",
            );
        }
        if !self.requires_client {
            return Verdict::Continue;
        }
        let der = match &self.header {
            Some(header) => certificate::from_header(request, header),
            None => request
                .certificate
                .as_ref()
                .map(|certificate| certificate.der.to_vec()),
        };
        let parsed = der
            .as_deref()
            .and_then(|der| X509Certificate::from_der(der).ok());
        let Some((_, certificate)) = parsed else {
            return refuse(
                401,
                "SSL_ENFORCEMENT_AUTHENTICATION_REQUIRED",
                "Access to the resource requires a client certificate",
            );
        };
        let fits = |patterns: &[NamePattern], name: &X509Name<'_>| {
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name))
        };
        if fits(&self.subjects, certificate.subject()) && fits(&self.issuers, certificate.issuer())
        {
            Verdict::Continue
        } else {
            refuse(
                403,
                "SSL_ENFORCEMENT_CLIENT_FORBIDDEN",
                "You're not allowed to access this resource",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::ClientCertificate;
    use crate::policy::testing::{Bench, build, failure};
    use rcgen::{CertificateParams, DnType, KeyPair};
    use serde_json::{Value, json};

    fn client() -> rcgen::Certificate {
        let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
        for (kind, value) in [
            (DnType::CommonName, "client-7"),
            (DnType::OrganizationName, "Company, Ltd"),
            (DnType::CountryName, "FR"),
        ] {
            parameters.distinguished_name.push(kind, value);
        }
        let key = KeyPair::generate().expect("a key");
        parameters.self_signed(&key).expect("a certificate")
    }

    fn outcome(
        configuration: &Value,
        tls: bool,
        session: bool,
        header: bool,
    ) -> Result<(), (u16, String)> {
        let certificate = client();
        let policy = build("ssl-enforcement", configuration).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange.request.tls = tls;
        if session {
            exchange.request.certificate = Some(ClientCertificate {
                der: certificate.der().to_vec().into(),
            });
        }
        if header {
            let value = certificate
                .pem()
                .trim_end()
                .replace('\r', "")
                .replace('\n', "\t");
            exchange
                .request
                .headers
                .set("ssl-client-cert", value)
                .expect("a header");
        }
        match policy.on_request(&mut exchange) {
            Verdict::Continue => Ok(()),
            verdict => {
                let failure = failure(verdict);
                Err((failure.status, failure.key_str().to_owned()))
            }
        }
    }

    #[test]
    fn tls_and_the_client_s_name_are_asked_for() {
        let named = |name: &str| json!({"requiresClientAuthentication": true, "whitelistClientCertificates": [name]});
        let no_tls = Err((403, "SSL_ENFORCEMENT_SSL_REQUIRED".to_owned()));
        let no_client = Err((401, "SSL_ENFORCEMENT_AUTHENTICATION_REQUIRED".to_owned()));
        let other = Err((403, "SSL_ENFORCEMENT_CLIENT_FORBIDDEN".to_owned()));
        let client = json!({"requiresClientAuthentication": true});
        let in_header = json!({"requiresClientAuthentication": true, "requiresSsl": false, "certificateLocation": "HEADER"});
        for (configuration, tls, session, header, expected) in [
            (json!({}), true, false, false, Ok(())),
            (json!({}), false, false, false, no_tls),
            (json!({"requiresSsl": false}), false, false, false, Ok(())),
            (client.clone(), true, false, false, no_client.clone()),
            (client.clone(), true, false, true, no_client.clone()),
            (client, true, true, false, Ok(())),
            (in_header.clone(), false, false, true, Ok(())),
            (in_header, false, true, false, no_client),
            (
                named("CN=client-7,O=Company\\, Ltd,C=FR"),
                true,
                true,
                false,
                Ok(()),
            ),
            (
                named("c=fr, o=company\\, ltd, cn=CLIENT-7"),
                true,
                true,
                false,
                Ok(()),
            ),
            (named("CN=client-?,O=*,C=FR"), true, true, false, Ok(())),
            (named("CN=client-7,C=FR"), true, true, false, other.clone()),
            (
                named("CN=client-8,O=*,C=FR"),
                true,
                true,
                false,
                other.clone(),
            ),
            (named("CN=*,O=*,OU=FR"), true, true, false, other),
        ] {
            let found = outcome(&configuration, tls, session, header);
            assert_eq!(found, expected, "{configuration}");
        }
    }

    #[test]
    fn what_cannot_be_checked_is_refused_by_name() {
        for (configuration, member) in [
            (
                json!({"whitelistClientCertificates": ["no name"]}),
                "whitelistClientCertificates[0]",
            ),
            (
                json!({"whitelistClientCertificates": ["CN=a", "CN="]}),
                "whitelistClientCertificates[1]",
            ),
            (
                json!({"requiredCertificatePolicies": ["1.2.3"]}),
                "requiredCertificatePolicies",
            ),
            (
                json!({"whitelistSubjectAlternativeNames": ["a"]}),
                "whitelistSubjectAlternativeNames",
            ),
            (
                json!({"certificateLocation": "NOWHERE"}),
                "certificateLocation",
            ),
        ] {
            let error = build("ssl-enforcement", &configuration).expect_err("refused");
            assert_eq!(error.member, member);
        }
    }

    #[test]
    fn patterns_do_not_take_forever() {
        let text = "a".repeat(5_000);
        assert!(!glob(
            format!("{}b", "*a".repeat(20)).as_bytes(),
            text.as_bytes()
        ));
        assert!(glob(b"*a*a*", text.as_bytes()));
        assert!(glob(b"", b"") && glob(b"*", b"") && !glob(b"?", b""));
    }
}
