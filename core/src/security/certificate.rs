//! Client certificates and PEM texts, as far as policies look into them.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::exchange::Request;

/// Bytes of a certificate in a header at most.
const HEADER_CERTIFICATE_BYTES_MAX: usize = 64 * 1_024;
/// A header value of at least this many base64 characters is a certificate without armour.
const BARE_CERTIFICATE_CHARACTERS_MIN: usize = 100;

/// One block of a PEM text.
#[derive(Debug)]
pub(crate) struct Pem<'t> {
    /// What it is, such as `CERTIFICATE`.
    pub(crate) label: &'t str,
    /// Its content.
    pub(crate) der: Vec<u8>,
}

/// The first block of a PEM text.
pub(crate) fn pem(text: &str) -> Option<Pem<'_>> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, rest) = rest.split_once("-----END ")?;
    let ended = rest
        .strip_prefix(label)
        .is_some_and(|rest| rest.starts_with("-----"));
    if !ended {
        return None;
    }
    let body: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(body).ok()?;
    Some(Pem { label, der })
}

/// Every certificate of a PEM text, DER.
pub(crate) fn chain(mut text: &str) -> Vec<Vec<u8>> {
    let mut certificates = Vec::new();
    while let Some(at) = text.find("-----BEGIN CERTIFICATE-----") {
        let Some(block) = pem(&text[at..]) else {
            break;
        };
        certificates.push(block.der);
        let Some(end) = text[at..].find("-----END CERTIFICATE-----") else {
            break;
        };
        text = &text[at + end + 1..];
    }
    certificates
}

/// SubjectPublicKeyInfo of a certificate, DER.
pub(crate) fn public_key(der: &[u8]) -> Option<Vec<u8>> {
    X509Certificate::from_der(der)
        .ok()
        .map(|(_, certificate)| certificate.public_key().raw.to_vec())
}

/// Whether these bytes are an X.509 certificate.
pub(crate) fn is_certificate(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(rest, _)| rest.is_empty())
}

/// SHA-256 of the DER, base64url without padding: how subscriptions and tokens name a certificate.
pub fn thumbprint(der: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(der))
}

/// The certificate that a proxy put into a header (contract policies 4.2 item 7), DER.
pub(crate) fn from_header(request: &Request, name: &str) -> Option<Vec<u8>> {
    let value = request.headers.text(name)?;
    if value.len() > HEADER_CERTIFICATE_BYTES_MAX {
        return None;
    }
    let bare = value.len() > BARE_CERTIFICATE_CHARACTERS_MIN
        && value.len().is_multiple_of(4)
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
    let der = if bare {
        STANDARD.decode(value).ok()?
    } else {
        let text = if value.contains('\n') {
            Cow::Borrowed(value)
        } else {
            // A plus is part of base64: only percent escapes are decoded.
            crate::http::query::decode(value.replace('+', "%2B").as_bytes())
                .into_owned()
                .into()
        };
        pem(&text.replace('\t', "\n"))?.der
    };
    is_certificate(&der).then_some(der)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pem_block_needs_its_end() {
        let body = STANDARD.encode(b"content");
        let good = format!("text\n-----BEGIN X Y-----\n{body}\n-----END X Y-----\n");
        let block = pem(&good).expect("a block");
        assert_eq!(
            (block.label, block.der.as_slice()),
            ("X Y", &b"content"[..])
        );
        for bad in [
            good.replace("END X Y", "END X"),
            good.replace("-----END", "END"),
            good.replace(&body, "!!"),
            String::new(),
        ] {
            assert!(pem(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_certificate_is_found_in_a_header_in_every_form() {
        let certified =
            rcgen::generate_simple_self_signed(["client".to_owned()]).expect("a certificate");
        let (der, pem_text) = (certified.cert.der().to_vec(), certified.cert.pem());
        let encoded: String = pem_text
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect();
        let mut bare = STANDARD.encode(&der);
        let is_bare = bare.len().is_multiple_of(4);
        assert!(is_bare);
        for value in [
            pem_text.trim_end().replace('\n', "\t").replace('\r', ""),
            encoded,
            pem_text.trim_end().replace('\r', "").replace('\n', "%0A"),
            std::mem::take(&mut bare),
        ] {
            let mut request = Request::default();
            request
                .headers
                .set("ssl-client-cert", &value)
                .expect("a header");
            assert_eq!(
                from_header(&request, "SSL-Client-Cert").as_ref(),
                Some(&der),
                "{value}"
            );
        }
        for value in [
            "",
            "nonsense",
            "-----BEGIN CERTIFICATE-----AAAA-----END CERTIFICATE-----",
        ] {
            let mut request = Request::default();
            request
                .headers
                .set("ssl-client-cert", value)
                .expect("a header");
            assert!(
                from_header(&request, "ssl-client-cert").is_none(),
                "{value}"
            );
        }
    }
}
