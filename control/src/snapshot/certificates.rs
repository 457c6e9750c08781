//! Client certificates of subscriptions (contract sync 7.2): base64 of a PEM text or of a PKCS#7 bundle. What counts of a
//! certificate here is its thumbprint.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

/// Certificates of one subscription; more are refused.
const CERTIFICATES_MAX: usize = 100;

/// The object identifier 1.2.840.113549.1.7.2, `signedData`.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// `[0]`, constructed.
const CONTEXT_0: u8 = 0xa0;

/// The thumbprints of the certificates in `text`, at least one. A PEM text that is not base64 is taken as well.
pub(super) fn thumbprints(text: &str) -> Result<Box<[Box<str>]>, &'static str> {
    let certificates = if text.contains("-----BEGIN") {
        from_pem(text.as_bytes())?
    } else {
        let compact: String = text.split_whitespace().collect();
        let bytes = STANDARD
            .decode(compact)
            .map_err(|_| "it is neither PEM nor base64")?;
        if bytes.first() == Some(&SEQUENCE) {
            from_der(&bytes)?
        } else {
            from_pem(&bytes)?
        }
    };
    if certificates.is_empty() {
        return Err("it holds no certificate");
    }
    if certificates.len() > CERTIFICATES_MAX {
        return Err("it holds more than 100 certificates");
    }
    Ok(certificates.iter().map(|der| thumbprint(der)).collect())
}

/// base64url without padding of the SHA-256 of the DER.
pub(super) fn thumbprint(der: &[u8]) -> Box<str> {
    URL_SAFE_NO_PAD.encode(Sha256::digest(der)).into()
}

fn from_pem(bytes: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let unreadable = "its PEM text cannot be read";
    let mut certificates = Vec::new();
    for der in CertificateDer::pem_slice_iter(bytes) {
        let der = der.map_err(|_| unreadable)?;
        check_certificate(&der)?;
        certificates.push(der.to_vec());
    }
    if certificates.is_empty() {
        // The sections of a bundle have a name of their own, which the reader above does not know.
        return pkcs7_section(bytes).map_or(Ok(certificates), |der| from_der(&der));
    }
    Ok(certificates)
}

/// The bytes of a `PKCS7` or `CMS` section.
fn pkcs7_section(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?;
    ["PKCS7", "CMS"].into_iter().find_map(|name| {
        let (_, rest) = text.split_once(&format!("-----BEGIN {name}-----"))?;
        let (body, _) = rest.split_once(&format!("-----END {name}-----"))?;
        let compact: String = body.split_whitespace().collect();
        STANDARD.decode(compact).ok()
    })
}

/// A PKCS#7 bundle, or one certificate.
fn from_der(bytes: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let unreadable = "its DER bytes cannot be read";
    let mut content = Der(bytes).expect(SEQUENCE).ok_or(unreadable)?;
    if content.peek() != Some(OBJECT_IDENTIFIER) {
        check_certificate(bytes)?;
        return Ok(vec![bytes.to_vec()]);
    }
    if content.expect(OBJECT_IDENTIFIER).map(|id| id.0) != Some(SIGNED_DATA) {
        return Err("its PKCS#7 content is no signed data");
    }
    let mut rest = signed_certificates(&mut content).ok_or(unreadable)?;
    let mut found = Vec::new();
    while let Some((tag, whole)) = rest.next() {
        // Other kinds of certificates (attribute certificates) carry a context tag.
        if tag == SEQUENCE {
            check_certificate(whole)?;
            found.push(whole.to_vec());
        }
    }
    if !rest.0.is_empty() {
        return Err(unreadable);
    }
    Ok(found)
}

/// What follows the object identifier: version, digest algorithms, content, certificates.
fn signed_certificates<'a>(content: &mut Der<'a>) -> Option<Der<'a>> {
    let mut signed = content.expect(CONTEXT_0)?.expect(SEQUENCE)?;
    signed.expect(INTEGER)?;
    signed.expect(SET)?;
    signed.expect(SEQUENCE)?;
    signed.expect(CONTEXT_0)
}

/// A certificate is a sequence of a sequence, an algorithm and a signature; what is in them is checked by the TLS layer.
fn check_certificate(der: &[u8]) -> Result<(), &'static str> {
    let mut outer = Der(der);
    outer
        .expect(SEQUENCE)
        .filter(|_| outer.0.is_empty())
        .and_then(|mut inner| inner.expect(SEQUENCE))
        .map(|_| ())
        .ok_or("one of its certificates cannot be read")
}

/// DER bytes that are read element by element.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The content of the next element, which must have this tag.
    fn expect(&mut self, tag: u8) -> Option<Self> {
        let (found, whole) = self.next()?;
        let (head, _) = header(whole)?;
        (found == tag).then(|| Self(whole.get(head..).unwrap_or_default()))
    }

    /// Tag and bytes of the next element.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (head, length) = header(self.0)?;
        let end = head.checked_add(length)?;
        let whole = self.0.get(..end)?;
        self.0 = self.0.get(end..)?;
        Some((*whole.first()?, whole))
    }
}

/// Bytes before the content of an element, and bytes of its content.
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    let first = *bytes.get(1)?;
    if first < 0x80 {
        return Some((2, usize::from(first)));
    }
    let count = usize::from(first & 0x7f);
    if !(1..=4).contains(&count) {
        return None;
    }
    let length = bytes
        .get(2..2 + count)?
        .iter()
        .fold(0_usize, |length, byte| (length << 8) | usize::from(*byte));
    Some((2 + count, length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn certificate(name: &str) -> (String, Vec<u8>) {
        let pair = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        (pair.cert.pem(), pair.cert.der().to_vec())
    }

    fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u32::try_from(content.len()).expect("a short content");
        [&[tag, 0x84][..], &length.to_be_bytes(), &content].concat()
    }

    fn bundle(certificates: &[&[u8]]) -> Vec<u8> {
        let data = element(SEQUENCE, &[]);
        let signed = element(
            SEQUENCE,
            &[
                &[INTEGER, 1, 1],
                &element(SET, &[]),
                &data,
                &element(CONTEXT_0, certificates),
                &element(SET, &[]),
            ],
        );
        let id = element(OBJECT_IDENTIFIER, &[SIGNED_DATA]);
        element(SEQUENCE, &[&id, &element(CONTEXT_0, &[&signed])])
    }

    #[test]
    fn every_form_of_certificates_is_read() {
        let (one_pem, one) = certificate("one");
        let (two_pem, two) = certificate("two");
        let both = bundle(&[&one, &two]);
        let bundle_pem = format!(
            "-----BEGIN PKCS7-----\n{}\n-----END PKCS7-----\n",
            STANDARD.encode(&both)
        );
        let (one, two) = (thumbprint(&one), thumbprint(&two));
        for (text, expected) in [
            (STANDARD.encode(&one_pem), &[&one][..]),
            (one_pem.clone(), &[&one]),
            (
                STANDARD.encode(format!("{one_pem}\n{two_pem}")),
                &[&one, &two],
            ),
            (STANDARD.encode(&both), &[&one, &two]),
            (STANDARD.encode(&bundle_pem), &[&one, &two]),
            (bundle_pem.clone(), &[&one, &two]),
        ] {
            let found = thumbprints(&text).expect("certificates");
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{text}");
        }
        assert_eq!(one.len(), 43, "32 bytes without padding");
    }

    #[test]
    fn what_is_no_certificate_says_why() {
        let (pem, der) = certificate("one");
        for (text, expected) in [
            ("?".to_owned(), "neither PEM nor base64"),
            (STANDARD.encode("hello"), "no certificate"),
            (pem.replace("END", "END "), "PEM"),
            (STANDARD.encode(&der[..der.len() - 1]), "cannot be read"),
            (STANDARD.encode(bundle(&[])), "no certificate"),
            (STANDARD.encode(bundle(&[&[SEQUENCE, 0]])), "cannot be read"),
        ] {
            let reason = thumbprints(&text).expect_err("no certificate");
            assert!(reason.contains(expected), "{text}: {reason}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = thumbprints(&STANDARD.encode(&bytes));
            let mut sequence = vec![SEQUENCE];
            sequence.extend(&bytes);
            let _ = from_der(&sequence);
        }
    }
}
