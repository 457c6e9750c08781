//! A client's certificate in a header that a proxy in front of the gateway set (`http.ssl.clientAuthHeader.name`).

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use turnpike_core::exchange::ClientCertificate;

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The certificate in a header value: percent-encoded PEM, PEM with tabs in place of line ends, or DER in base64. `None` for a blank
/// value; what is no certificate is a presented one that nobody can use (contract request-lifecycle 5.3).
pub(super) fn of_header(value: &[u8]) -> Option<ClientCertificate> {
    let text = percent_decoded(value.trim_ascii());
    (!text.is_empty()).then(|| ClientCertificate {
        der: der_of(text).unwrap_or_default(),
    })
}

fn der_of(mut text: Vec<u8>) -> Option<Box<[u8]>> {
    for byte in &mut text {
        if *byte == b'\t' {
            *byte = b'\n';
        }
    }
    if !text.starts_with(BEGIN) {
        text = [BEGIN, b"\n", &text, b"\n-----END CERTIFICATE-----\n"].concat();
    }
    let der = CertificateDer::from_pem_slice(&text).ok()?;
    // Every certificate is a sequence of more than a few bytes.
    (der.len() > 64 && der.first() == Some(&0x30)).then(|| der.to_vec().into())
}

/// `%XX` as bytes; `+` stays, as it belongs to base64.
fn percent_decoded(value: &[u8]) -> Vec<u8> {
    let digit = |at: usize| {
        value
            .get(at)
            .and_then(|byte| (*byte as char).to_digit(16))
            .map(|digit| digit as u8)
    };
    let mut text = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                text.push(high * 16 + low);
                at += 3;
            }
            _ => {
                text.push(*byte);
                at += 1;
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 69 bytes that begin as a certificate does.
    const BASE64: &str = "MEMAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/QEFC";

    #[test]
    fn pem_and_bare_base64_give_the_same_certificate() {
        let pem = format!("-----BEGIN CERTIFICATE-----\n{BASE64}\n-----END CERTIFICATE-----\n");
        let mut encoded = String::new();
        for byte in pem.bytes() {
            if byte.is_ascii_alphanumeric() {
                encoded.push(byte as char);
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
        let expected = of_header(BASE64.as_bytes()).expect("base64");
        assert_eq!(expected.der[..3], [0x30, 0x43, 0]);
        assert_eq!(of_header(encoded.as_bytes()), Some(expected));
    }

    #[test]
    fn tabs_stand_for_line_ends() {
        let pem = format!("-----BEGIN CERTIFICATE-----\t{BASE64}\t-----END CERTIFICATE-----");
        assert_eq!(of_header(pem.as_bytes()), of_header(BASE64.as_bytes()));
    }

    #[test]
    fn what_is_no_certificate_is_a_presented_one_without_content() {
        for value in ["", "  "] {
            assert_eq!(of_header(value.as_bytes()), None, "{value:?}");
        }
        for value in [
            "MEMA",
            "%%%",
            "-----BEGIN CERTIFICATE-----",
            "%2D%2D",
            "(null)",
        ] {
            let found = of_header(value.as_bytes()).expect("something was presented");
            assert!(found.der.is_empty(), "{value:?}");
        }
    }
}
