//! `request.ssl` (contract expression-language 4): what expressions see of the client's certificate. Read when it is asked for.

use std::borrow::Cow;

use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::el::{MultiLookup, Object, Value};

/// The attributes of a subject that have names of their own.
const NAMES: [(&str, &str); 36] = [
    ("businessCategory", "2.5.4.15"),
    ("c", "2.5.4.6"),
    ("cn", "2.5.4.3"),
    ("countryOfCitizenship", "1.3.6.1.5.5.7.9.4"),
    ("countryOfResidence", "1.3.6.1.5.5.7.9.5"),
    ("dateOfBirth", "1.3.6.1.5.5.7.9.1"),
    ("dc", "0.9.2342.19200300.100.1.25"),
    ("description", "2.5.4.13"),
    ("dmdName", "2.5.4.54"),
    ("dnQualifier", "2.5.4.46"),
    ("e", "1.2.840.113549.1.9.1"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
    ("gender", "1.3.6.1.5.5.7.9.3"),
    ("generation", "2.5.4.44"),
    ("givenname", "2.5.4.42"),
    ("initials", "2.5.4.43"),
    ("l", "2.5.4.7"),
    ("name", "2.5.4.41"),
    ("nameAtBirth", "1.3.36.8.3.14"),
    ("o", "2.5.4.10"),
    ("organizationIdentifier", "2.5.4.97"),
    ("ou", "2.5.4.11"),
    ("placeOfBirth", "1.3.6.1.5.5.7.9.2"),
    ("postalAddress", "2.5.4.16"),
    ("postalCode", "2.5.4.17"),
    ("pseudonym", "2.5.4.65"),
    ("role", "2.5.4.72"),
    ("serialnumber", "2.5.4.5"),
    ("st", "2.5.4.8"),
    ("street", "2.5.4.9"),
    ("surname", "2.5.4.4"),
    ("t", "2.5.4.12"),
    ("telephoneNumber", "2.5.4.20"),
    ("uid", "0.9.2342.19200300.100.1.1"),
    ("uniqueIdentifier", "2.5.4.45"),
    ("unstructuredAddress", "1.2.840.113549.1.9.8"),
];

/// Both ends of the TLS session.
#[derive(Debug, Default)]
pub(super) struct Ssl {
    client_host: Box<str>,
    client: Principal,
    server: Principal,
}

impl Ssl {
    /// What is known of the client: its address, and its certificate (DER) if it presented one.
    pub(super) fn of(client_host: &str, certificate: Option<&[u8]>) -> Self {
        Self {
            client_host: client_host.into(),
            client: certificate.and_then(Principal::read).unwrap_or_default(),
            server: Principal::default(),
        }
    }
}

impl Object for Ssl {
    fn kind(&self) -> &'static str {
        "request.ssl"
    }

    fn property(&self, name: &str) -> Option<Value<'_>> {
        Some(match name {
            "clientHost" => Value::text(&self.client_host),
            // The reference shows the port of the peer; it is of no use behind a balancer, and is not kept here.
            "clientPort" => Value::Int(0),
            "client" => Value::Object(&self.client),
            "server" => Value::Object(&self.server),
            _ => return None,
        })
    }
}

/// The subject of a certificate.
#[derive(Debug, Default)]
struct Principal {
    /// Distinguished name; `None` without a certificate.
    dn: Option<Box<str>>,
    /// Object identifier and value of each attribute, in order.
    attributes: Attributes,
}

#[derive(Debug, Default)]
struct Attributes(Vec<(Box<str>, Box<str>)>);

impl Principal {
    fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        let attributes = subject
            .iter_attributes()
            .filter_map(|attribute| {
                let value = attribute.as_str().ok()?;
                Some((attribute.attr_type().to_id_string().into(), value.into()))
            })
            .collect();
        Some(Self {
            dn: Some(subject.to_string().into()),
            attributes: Attributes(attributes),
        })
    }
}

impl Object for Principal {
    fn kind(&self) -> &'static str {
        "principal"
    }

    fn property(&self, name: &str) -> Option<Value<'_>> {
        Some(match name {
            "defined" => Value::Bool(self.dn.is_some()),
            "dn" => Value::text(self.dn.as_deref().unwrap_or_default()),
            "attributes" => Value::Params(&self.attributes),
            _ => {
                let (_, oid) = NAMES.iter().find(|(own, _)| *own == name)?;
                match self.attributes.first(oid) {
                    Some(value) => Value::text(value),
                    // Without a certificate every text is empty; with one, what it lacks is null.
                    None if self.dn.is_none() => Value::text(""),
                    None => Value::Null,
                }
            }
        })
    }
}

impl Attributes {
    fn first(&self, oid: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(own, _)| **own == *oid)
            .map(|(_, value)| &**value)
    }
}

/// By object identifier or by name, letter case ignored.
impl MultiLookup for Attributes {
    fn values<'a>(&'a self, name: &str, each: &mut dyn FnMut(Cow<'a, str>)) {
        let oid = NAMES
            .iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(name))
            .map_or(name, |(_, oid)| oid);
        for (own, value) in &self.0 {
            if **own == *oid {
                each(Cow::Borrowed(value));
            }
        }
    }

    fn names(&self) -> Vec<Cow<'_, str>> {
        let mut names: Vec<Cow<'_, str>> = Vec::new();
        for (oid, _) in &self.0 {
            if !names.iter().any(|known| **known == **oid) {
                names.push(Cow::Borrowed(oid));
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(principal: &dyn Object, name: &str) -> Option<String> {
        let value = principal.property(name).expect("a property");
        value.into_text().expect("text").map(Cow::into_owned)
    }

    #[test]
    fn a_certificate_shows_its_subject() {
        let mut parameters = rcgen::CertificateParams::default();
        let subject = &mut parameters.distinguished_name;
        *subject = rcgen::DistinguishedName::new();
        subject.push(rcgen::DnType::CommonName, "client.example");
        subject.push(rcgen::DnType::OrganizationName, "Example");
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let ssl = Ssl::of("10.1.2.3", Some(certificate.der()));
        assert_eq!(shown(&ssl.client, "cn").as_deref(), Some("client.example"));
        assert_eq!(shown(&ssl.client, "o").as_deref(), Some("Example"));
        assert_eq!(shown(&ssl.client, "ou"), None);
        assert_eq!(shown(&ssl.client, "defined").as_deref(), Some("true"));
        assert!(shown(&ssl.client, "dn").is_some_and(|dn| dn.contains("client.example")));
        assert!(ssl.client.property("nope").is_none());
        for name in ["CN", "2.5.4.3"] {
            assert!(ssl.client.attributes.contains(name), "{name}");
        }
    }

    #[test]
    fn without_a_certificate_every_text_is_empty() {
        let ssl = Ssl::of("10.1.2.3", None);
        assert_eq!(shown(&ssl, "clientHost").as_deref(), Some("10.1.2.3"));
        assert_eq!(shown(&ssl.client, "cn").as_deref(), Some(""));
        assert_eq!(shown(&ssl.client, "dn").as_deref(), Some(""));
        assert_eq!(shown(&ssl.client, "defined").as_deref(), Some("false"));
    }
}
