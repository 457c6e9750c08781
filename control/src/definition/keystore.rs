//! Java key stores: PKCS#12 and the older JKS, turned into PEM so that one road leads on from here (contract api-definition 3.3.2).
//!
//! A JKS store is big-endian: magic, version, entries (a private key with its chain, or a trusted certificate), and a SHA-1 digest over
//! the password, a fixed phrase and everything before it. Private keys lie under a key stream of chained SHA-1 digests of the key's password.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
use sha1::{Digest as _, Sha1};

/// First bytes of a JKS store.
const JKS_MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
/// Part of the digest of a JKS store.
const JKS_PHRASE: &[u8] = b"Mighty Aphrodite";
/// The digest's length, bytes.
const SHA1_BYTES: usize = 20;
/// Object identifier of the key protection that JKS uses, DER: 1.3.6.1.4.1.42.2.17.1.1.
const JKS_PROTECTION: &[u8] = &[
    0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x2a, 0x02, 0x11, 0x01, 0x01,
];

/// What a store holds, PEM.
#[derive(Default)]
pub(super) struct Opened {
    /// Every certificate: trusted ones, and those of chains.
    pub(super) certificates_pem: Vec<u8>,
    /// The chain and the private key of the entry that was asked for, or of the first one.
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Opens a store of either kind: which one it is, its first bytes say. `alias` names the private key to take; `key_password` protects it
/// where it is not `password`.
pub(super) fn open(
    bytes: &[u8],
    password: &str,
    alias: Option<&str>,
    key_password: Option<&str>,
) -> Result<Opened, String> {
    if bytes.starts_with(&JKS_MAGIC) {
        open_jks(bytes, password, alias, key_password.unwrap_or(password))
    } else {
        open_pkcs12(bytes, password, alias)
    }
}

fn open_pkcs12(bytes: &[u8], password: &str, alias: Option<&str>) -> Result<Opened, String> {
    let store = KeyStore::from_pkcs12(bytes, password, Pkcs12ImportPolicy::Relaxed)
        .map_err(|error| format!("the PKCS12 store cannot be opened: {error}"))?;
    let mut opened = Opened::default();
    for (name, entry) in store.entries() {
        match entry {
            KeyStoreEntry::Certificate(certificate) => {
                push_pem(
                    &mut opened.certificates_pem,
                    "CERTIFICATE",
                    certificate.as_der(),
                );
            }
            KeyStoreEntry::PrivateKeyChain(chain) => {
                let mut chain_pem = Vec::new();
                for certificate in chain.certs() {
                    push_pem(&mut chain_pem, "CERTIFICATE", certificate.as_der());
                }
                opened.certificates_pem.extend_from_slice(&chain_pem);
                if opened.identity.is_none() && is_wanted(alias, name) {
                    let mut key_pem = Vec::new();
                    push_pem(&mut key_pem, "PRIVATE KEY", chain.key().as_der());
                    opened.identity = Some((chain_pem, key_pem));
                }
            }
            KeyStoreEntry::Secret(_) => {}
        }
    }
    Ok(opened)
}

/// Java compares aliases without case.
fn is_wanted(alias: Option<&str>, name: &str) -> bool {
    alias.is_none_or(|alias| alias.eq_ignore_ascii_case(name))
}

fn open_jks(
    bytes: &[u8],
    password: &str,
    alias: Option<&str>,
    key_password: &str,
) -> Result<Opened, String> {
    let short = || "the JKS store ends in the middle".to_owned();
    let (content, digest) = bytes
        .len()
        .checked_sub(SHA1_BYTES)
        .and_then(|at| bytes.split_at_checked(at))
        .ok_or_else(short)?;
    let expected = Sha1::new()
        .chain_update(utf16(password))
        .chain_update(JKS_PHRASE)
        .chain_update(content)
        .finalize();
    if expected.as_slice() != digest {
        return Err(
            "the JKS store cannot be opened: its password is wrong, or it was changed".to_owned(),
        );
    }
    let mut reader = Reader(content);
    reader.take(JKS_MAGIC.len()).ok_or_else(short)?;
    let version = reader.number().ok_or_else(short)?;
    if !matches!(version, 1 | 2) {
        return Err(format!("a JKS store of version {version} is not known"));
    }
    let mut opened = Opened::default();
    for _ in 0..reader.number().ok_or_else(short)? {
        let tag = reader.number().ok_or_else(short)?;
        let name = reader.text().ok_or_else(short)?;
        reader.take(8).ok_or_else(short)?;
        match tag {
            1 => {
                let protected = reader.block().ok_or_else(short)?;
                let mut chain_pem = Vec::new();
                for _ in 0..reader.number().ok_or_else(short)? {
                    let certificate = reader.certificate(version).ok_or_else(short)?;
                    push_pem(&mut chain_pem, "CERTIFICATE", certificate);
                }
                opened.certificates_pem.extend_from_slice(&chain_pem);
                if opened.identity.is_none() && is_wanted(alias, &name) {
                    let key = unprotect(protected, key_password).ok_or(
                        "the private key of the JKS store cannot be opened with its password",
                    )?;
                    let mut key_pem = Vec::new();
                    push_pem(&mut key_pem, "PRIVATE KEY", &key);
                    opened.identity = Some((chain_pem, key_pem));
                }
            }
            2 => {
                let certificate = reader.certificate(version).ok_or_else(short)?;
                push_pem(&mut opened.certificates_pem, "CERTIFICATE", certificate);
            }
            other => {
                return Err(format!(
                    "the JKS store holds an entry of the unknown kind {other}"
                ));
            }
        }
    }
    Ok(opened)
}

/// Takes the key stream off a private key and checks what comes out.
fn unprotect(protected: &[u8], password: &str) -> Option<Vec<u8>> {
    // EncryptedPrivateKeyInfo: a sequence of the algorithm and an octet string, which is salt, key under the stream, digest.
    let mut reader = Der(protected);
    let mut info = Der(reader.element(0x30)?);
    let algorithm = info.element(0x30)?;
    if !algorithm.starts_with(JKS_PROTECTION) {
        return None;
    }
    let data = info.element(0x04)?;
    let (salt, rest) = data.split_at_checked(SHA1_BYTES)?;
    let (covered, check) = rest.split_at_checked(rest.len().checked_sub(SHA1_BYTES)?)?;
    let password = utf16(password);
    let mut key = Vec::with_capacity(covered.len());
    let mut stream = salt.to_vec();
    for chunk in covered.chunks(SHA1_BYTES) {
        stream = Sha1::new()
            .chain_update(&password)
            .chain_update(&stream)
            .finalize()
            .to_vec();
        key.extend(chunk.iter().zip(&stream).map(|(byte, mask)| byte ^ mask));
    }
    let expected = Sha1::new()
        .chain_update(&password)
        .chain_update(&key)
        .finalize();
    (expected.as_slice() == check).then_some(key)
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

fn push_pem(out: &mut Vec<u8>, label: &str, der: &[u8]) {
    out.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
    for line in BASE64_STANDARD.encode(der).as_bytes().chunks(64) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
}

/// The big-endian pieces of a JKS store. A length that goes beyond the store ends it; nothing is reserved for it.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn block(&mut self) -> Option<&'a [u8]> {
        let count = self.number()?;
        self.take(count as usize)
    }

    fn text(&mut self) -> Option<String> {
        let count = u16::from_be_bytes(self.take(2)?.try_into().ok()?);
        Some(String::from_utf8_lossy(self.take(usize::from(count))?).into_owned())
    }

    fn certificate(&mut self, version: u32) -> Option<&'a [u8]> {
        if version == 2 {
            self.text()?;
        }
        self.block()
    }
}

/// Definite-length DER elements.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next element, which must have this tag.
    fn element(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(2)?;
        if head[0] != tag {
            return None;
        }
        let (length, rest) = match head[1] {
            short @ 0..0x80 => (usize::from(short), rest),
            long => {
                let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                if bytes.len() > 4 {
                    return None;
                }
                let length = bytes
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                (length, rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with keytool: an EC key pair called `gateway` in `client`, its certificate called `ca` in `trust`; store password `storepass`, key
    // password of the JKS store `keypass1`.
    const CLIENT_JKS: &str = "/u3+7QAAAAIAAAABAAAAAQAHZ2F0ZXdheQAAAaH6+HgsAAAAfzB9MA4GCisGAQQBKgIRAQEFAARr0xPhB/b2s8qGL2ayex79rHSbgGNvuxnKXhVz979rrVQo \
    iU1wwQTuCRRMV3+RMsh1fJpz23ng9/O9+8s/rvejt7GQLK8Pj+jcjZgapU0X1VyZc4i5RnZg1ims5be8a+M6hDL+iagt8jsYhXkAAAABAAVYLjUwOQAAAU4w \
    ggFKMIHxoAMCAQICCHzzRQtnsEm3MAoGCCqGSM49BAMCMBkxFzAVBgNVBAMTDmNsaWVudC5leGFtcGxlMCAXDTI2MTEyMDIxNTkxMFoYDzIxMjYxMDI3MjE1 \
    OTEwWjAZMRcwFQYDVQQDEw5jbGllbnQuZXhhbXBsZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJJRIiFp2F58gXmwGVJAUgTVZHAbCxTXBT13JzOPQOIb \
    NWmxXFPiwD1PERA5XtvM+h1NvtXA6YHQbVBZ3FnewzmjITAfMB0GA1UdDgQWBBQhNjf4YifgPEg7pWYEvsgOBLatDDAKBggqhkjOPQQDAgNIADBFAiEAmuV1 \
    ozu/X63oWVbdNePjgkkpAQMW/er7790C3XzFpiMCIC+B9js8NxkyTU2y9viK7T7CxStKjFCNvS3vnUY5kyCNelKYLK+P9HRx/2K/5upg+bQOSfY=";
    const TRUST_JKS: &str = "/u3+7QAAAAIAAAABAAAAAgACY2EAAAGh+vh5nQAFWC41MDkAAAFOMIIBSjCB8aADAgECAgh880ULZ7BJtzAKBggqhkjOPQQDAjAZMRcwFQYDVQQDEw5jbGll \
    bnQuZXhhbXBsZTAgFw0yNjExMjAyMTU5MTBaGA8yMTI2MTAyNzIxNTkxMFowGTEXMBUGA1UEAxMOY2xpZW50LmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjO \
    PQMBBwNCAASSUSIhadhefIF5sBlSQFIE1WRwGwsU1wU9dyczj0DiGzVpsVxT4sA9TxEQOV7bzPodTb7VwOmB0G1QWdxZ3sM5oyEwHzAdBgNVHQ4EFgQUITY3 \
    +GIn4DxIO6VmBL7IDgS2rQwwCgYIKoZIzj0EAwIDSAAwRQIhAJrldaM7v1+t6FlW3TXj44JJKQEDFv3q++/dAt18xaYjAiAvgfY7PDcZMk1Nsvb4iu0+wsUr \
    SoxQjb0t751GOZMgjcXkH2aDlcnZ7xcY7pWq2xFJeaus";
    const CLIENT_P12: &str = "MIIEAgIBAzCCA6wGCSqGSIb3DQEHAaCCA50EggOZMIIDlTCCASwGCSqGSIb3DQEHAaCCAR0EggEZMIIBFTCCAREGCyqGSIb3DQEMCgECoIG9MIG6MGYGCSqG \
    SIb3DQEFDTBZMDgGCSqGSIb3DQEFDDArBBS5RXW+Eq6SsfJUj+OBEAqyYp4x2wICJxACASAwDAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEJUPUXwfl4ct \
    zFiOATlV9V4EUBXfAHGw/BMDfZrmedLokmoF977pDPYmErNgi0dUpnlxxGKjeVvdcuteYaVoKI9ahykY5iF3k8Si0gdDGL8yH4UK+AxLigef9Anjx/VhF11x \
    MUIwHQYJKoZIhvcNAQkUMRAeDgBnAGEAdABlAHcAYQB5MCEGCSqGSIb3DQEJFTEUBBJUaW1lIDE3OTUyMTE5NTA2NjEwggJhBgkqhkiG9w0BBwagggJSMIIC \
    TgIBADCCAkcGCSqGSIb3DQEHATBmBgkqhkiG9w0BBQ0wWTA4BgkqhkiG9w0BBQwwKwQUXQ6147U0ppyCowGDSIKaEoccFLICAicQAgEgMAwGCCqGSIb3DQIJ \
    BQAwHQYJYIZIAWUDBAEqBBDRvjSQHXBaz/TBfvKtzDGDgIIB0NfMGSgWBlRd/bqBYIhGbs/P8haW7DQmE3O8WRGEGGQByky5NhceYNYzXgOLozqgYELF9nJJ \
    6MvSWYKhaMVbflQOXpwXc70vsN4uj+QHTQIBsyPIfRJoBn6DeIxaMfhphaCBNIqb3IhudaReLKDhB/4HHE/S0JE6ztKOam4FuE83DyshLX0QCmL7ViRTFDzw \
    rjr1Vpxbhrrjrd46/nemVQE7Xi7gvnoNUgWsmzemS0gzG9go3xRUjkGjrh5+o1lDgnMfG0zxOYmj4UM1M9U1Y1ql/J6lXpLhGGw0AZelnSzu4avc1u6v6WKo \
    uiUS4f+pGPOZPW/KtVzNklFUFDMjB6xe3/+MAOdNv2evZ04u7ZCZkereD2LGqOsAOxu2ryFzkNFjO/YgeW8BDIinKCX3fTTXPU8RSqDmn87pbACk1gG4Rndg \
    ZJ3jk9d3oo1llxMpLegeofFU0CpZupf8WB+Cf4J/4syERKzT/k//ic0MIwgOGnzRIpW/EkqTPGInSVlacHlS7TbsEHai93c4zUMXy3juRha4sEa5Kj8pCcma \
    JEPqfQEWNJj7OySU8cWNJfrbOLn1IIBMX1JS+OxD1SxGSzUHu35X/LXEu14MwqYtkOyPME0wMTANBglghkgBZQMEAgEFAAQgnwUK4HX7lBrwpiFMDhTYQj+m \
    Aby+2tdI9bYcX2KXoFcEFGmSSDAqS2Iq2aa8vUAJcUvFK+FPAgInEA==";
    const TRUST_P12: &str = "MIICsgIBAzCCAlwGCSqGSIb3DQEHAaCCAk0EggJJMIICRTCCAkEGCSqGSIb3DQEHBqCCAjIwggIuAgEAMIICJwYJKoZIhvcNAQcBMGYGCSqGSIb3DQEFDTBZ \
    MDgGCSqGSIb3DQEFDDArBBR3J5zCK5Qpd3Dm3g/W1APZ5UQxgQICJxACASAwDAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEPIHA+woMUJtHaaaYSQ6QvOA \
    ggGw+aTmJqGZ3lZ+Da3uoKx/c8uZg5TlJqvA1JkdAbk+SiNbaKc0C5u4lGW9TGuOgVsNXb6B2STZY0QTT4qOycTxdopalAcsvOuSN+MLePUSqbToC0QlJqcP \
    6Znlvnbo8nEG17zAn/nhMpiCo0FqlKRF4RHOaLIKbaPstQHpqVobkLgaVgHrtb0myWLcmArbKKduPGHIaEkUtlDGB3LFraqKR8TA0qlLgCZ+50kw4jAX7Txr \
    hjOpW3Xq8St7/qQeV55Q3EOQaq/MtGEBU0qnoQE8cQEhe4XIzi967eSw+xyC9HejV6hhHzb4nWkWE1u0N2FIG3p0iz3rx8aDT8dvNKgac6TIxkJH3NJQ+Wu5 \
    tFz5zwikMBFrt4i0jhFU75QrlsORS/WIovWlN1PlKA9+u/4Fc7glQkvw5E8SKSQTyMr+UUa6Rg/683/ZGZdjDEbG8PookxfPW+cyeiYIKVugmBjSQeR80GtY \
    LSGLQJ9EY8S4xEmDGHGBDad12Emz7RlscEQpL9Sh3tP6w4DFsU1MsRQ3herKVT35vbOBZH+yKIMPHUqH6OLhiQ/zFyLSRRCFZN4sME0wMTANBglghkgBZQME \
    AgEFAAQgGSY8Y/FOCMv5APzeZQo9N9EMQQ3kUPX5zNDpzjhMoboEFG5Hnv2fZ64EwJTl3gWH8GyncBErAgInEA==";

    fn bytes(text: &str) -> Vec<u8> {
        let text: String = text.split_whitespace().collect();
        BASE64_STANDARD.decode(text).expect("base64")
    }

    fn count(pem: &[u8], label: &str) -> usize {
        String::from_utf8_lossy(pem)
            .matches(&format!("-----BEGIN {label}-----"))
            .count()
    }

    #[test]
    fn a_store_with_a_key_gives_its_chain_and_key() {
        for (store, key_password) in [(CLIENT_JKS, Some("keypass1")), (CLIENT_P12, None)] {
            for alias in [None, Some("gateway"), Some("GATEWAY")] {
                let opened =
                    open(&bytes(store), "storepass", alias, key_password).expect("a store");
                let (chain, key) = opened.identity.expect("a key");
                assert_eq!(
                    (count(&chain, "CERTIFICATE"), count(&key, "PRIVATE KEY")),
                    (1, 1)
                );
                assert_eq!(count(&opened.certificates_pem, "CERTIFICATE"), 1);
                use rustls_pki_types::pem::PemObject as _;
                let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(&key).expect("a key");
                rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).expect("a usable key");
            }
            let opened = open(&bytes(store), "storepass", Some("other"), key_password);
            assert!(opened.expect("a store").identity.is_none());
        }
    }

    #[test]
    fn a_trust_store_gives_its_certificates() {
        for store in [TRUST_JKS, TRUST_P12] {
            let opened = open(&bytes(store), "storepass", None, None).expect("a store");
            assert_eq!(count(&opened.certificates_pem, "CERTIFICATE"), 1);
            assert!(opened.identity.is_none());
        }
    }

    #[test]
    fn a_wrong_password_is_told_apart_from_a_broken_store() {
        for store in [CLIENT_JKS, TRUST_JKS, CLIENT_P12, TRUST_P12] {
            assert!(open(&bytes(store), "wrong", None, None).is_err());
        }
        let Err(error) = open(&bytes(CLIENT_JKS), "storepass", None, Some("wrong")) else {
            panic!("the key's password is wrong");
        };
        assert!(error.contains("private key"), "{error}");
    }

    #[test]
    fn a_damaged_store_is_refused_whatever_was_damaged() {
        for store in [CLIENT_JKS, TRUST_JKS] {
            let whole = bytes(store);
            for end in 0..whole.len() {
                assert!(open(&whole[..end], "storepass", None, Some("keypass1")).is_err());
            }
            for at in 0..whole.len() {
                let mut damaged = whole.clone();
                damaged[at] ^= 0x80;
                assert!(open(&damaged, "storepass", None, Some("keypass1")).is_err());
            }
        }
    }

    #[test]
    fn a_length_beyond_the_store_reserves_nothing() {
        let mut content = JKS_MAGIC.to_vec();
        content.extend_from_slice(&2_u32.to_be_bytes());
        content.extend_from_slice(&u32::MAX.to_be_bytes());
        content.extend_from_slice(&1_u32.to_be_bytes());
        content.extend_from_slice(&[0, 0]);
        content.extend_from_slice(&[0; 8]);
        content.extend_from_slice(&u32::MAX.to_be_bytes());
        let digest = Sha1::new()
            .chain_update(utf16("p"))
            .chain_update(JKS_PHRASE)
            .chain_update(&content)
            .finalize();
        content.extend_from_slice(&digest);
        assert!(open(&content, "p", None, None).is_err());
    }
}
