//! The `ssl` block of an endpoint: stores of every kind are read and checked here, so that a worker only sees bytes that load.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use turnpike_core::definition::{ClientCertificate, TlsSettings};

use super::reader::{Node, quote};
use super::refusal::Refusal;
use super::{Scope, keystore};

/// Longest store, bytes.
const STORE_BYTES_MAX: u64 = 1 << 20;

/// Reads the block for a secure target. Without a block certificates are verified against the system's roots.
pub(super) fn tls_settings(
    ssl: Option<&Node<'_>>,
    scope: &mut Scope<'_>,
) -> Result<TlsSettings, Refusal> {
    let Some(ssl) = ssl else {
        return Ok(TlsSettings {
            trust_all: false,
            verify_hostname: true,
            trust_pem: None,
            client_certificate: None,
        });
    };
    for member in [
        "tlsProtocols",
        "tlsCiphers",
        "hostnameVerificationAlgorithm",
    ] {
        if ssl
            .member(member)
            .is_some_and(|node| node.len() > 0 || node.as_text().is_ok_and(|text| !text.is_empty()))
        {
            scope.notes.push(
                ssl.path_of(member),
                "has no effect: TLS 1.2 and 1.3 with the default suites are used",
            );
        }
    }
    let trust_all = ssl.boolean("trustAll", false)?;
    let trust_pem = if trust_all {
        None
    } else {
        trust_store(ssl, scope)?
    };
    Ok(TlsSettings {
        trust_all,
        verify_hostname: ssl.boolean("hostnameVerifier", !scope.engine.is_v2())?,
        trust_pem,
        client_certificate: key_store(ssl, scope)?,
    })
}

/// A member under its name or the all-lower-case name that exports of the console have.
fn store<'a>(ssl: &Node<'a>, name: &str) -> Result<Option<Node<'a>>, Refusal> {
    match ssl.object(name)? {
        Some(store) => Ok(Some(store)),
        None => ssl.object(&name.to_ascii_lowercase()),
    }
}

/// The kinds of stores that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StoreKind {
    Pem,
    /// JKS or PKCS#12: what it is, its bytes say.
    Java,
}

/// The kind of a declared store. A store of no type is none; one of an unknown type is ignored with a note.
fn store_kind(store: &Node<'_>, scope: &mut Scope<'_>) -> Result<Option<StoreKind>, Refusal> {
    let written = store.text("type")?.unwrap_or_default();
    match written.trim().to_ascii_uppercase().as_str() {
        "" | "NONE" => Ok(None),
        "PEM" => Ok(Some(StoreKind::Pem)),
        "JKS" | "PKCS12" => Ok(Some(StoreKind::Java)),
        _ => {
            scope.notes.push(
                store.path_of("type"),
                format!(
                    "{} is not a known type: the store is ignored",
                    quote(&written)
                ),
            );
            Ok(None)
        }
    }
}

/// Opens a JKS or PKCS#12 store: the file, or else the base64 text in the definition.
fn java_store(store: &Node<'_>) -> Result<keystore::Opened, Refusal> {
    let mut bytes = pem(store, "path", "content")?;
    if store.filled_text("path")?.is_none() {
        bytes.retain(|byte| !byte.is_ascii_whitespace());
        bytes = BASE64_STANDARD.decode(&bytes).map_err(|_| {
            store.refuse_member(
                "content",
                "expected the store in base64, found something else",
            )
        })?;
    }
    let password = store.text("password")?.unwrap_or_default();
    let alias = store.filled_text("alias")?;
    let key_password = store.filled_text("keyPassword")?;
    keystore::open(&bytes, &password, alias.as_deref(), key_password.as_deref())
        .map_err(|reason| store.refuse(reason))
}

fn trust_store(ssl: &Node<'_>, scope: &mut Scope<'_>) -> Result<Option<Arc<[u8]>>, Refusal> {
    if let Some(store) = store(ssl, "trustStore")? {
        let pem = match store_kind(&store, scope)? {
            None => return Ok(None),
            Some(StoreKind::Pem) => pem(&store, "path", "content")?,
            Some(StoreKind::Java) => java_store(&store)?.certificates_pem,
        };
        return certificates(&store, pem).map(Some);
    }
    // Before 1.20 the trust store was the text `pem`.
    match ssl.filled_text("pem")? {
        Some(text) if scope.engine.is_v2() && text != "null" => {
            certificates(ssl, text.as_bytes().to_vec()).map(Some)
        }
        _ => Ok(None),
    }
}

fn key_store(ssl: &Node<'_>, scope: &mut Scope<'_>) -> Result<Option<ClientCertificate>, Refusal> {
    let Some(store) = store(ssl, "keyStore")? else {
        return Ok(None);
    };
    let (chain, key) = match store_kind(&store, scope)? {
        None => return Ok(None),
        Some(StoreKind::Pem) => (
            pem(&store, "certPath", "certContent")?,
            pem(&store, "keyPath", "keyContent")?,
        ),
        Some(StoreKind::Java) => java_store(&store)?
            .identity
            .ok_or_else(|| store.refuse("the store holds no private key of that alias"))?,
    };
    let chain_pem = certificates(&store, chain)?;
    let key_pem: Arc<[u8]> = key.into();
    let key = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| {
        store.refuse("expected a private key in PEM form, found none that can be read")
    })?;
    let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|_| store.refuse("the private key is not of a kind that TLS can use"))?;
    let chain = CertificateDer::pem_slice_iter(&chain_pem)
        .filter_map(Result::ok)
        .collect();
    match rustls::sign::CertifiedKey::new(chain, signing).keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(store.refuse("the private key does not belong to the certificate"))
        }
        _ => Ok(Some(ClientCertificate { chain_pem, key_pem })),
    }
}

/// Bytes of a store: the file, or else the text in the definition.
fn pem(store: &Node<'_>, path: &str, content: &str) -> Result<Vec<u8>, Refusal> {
    if let Some(file) = store.filled_text(path)? {
        return read_file(Path::new(file.as_ref())).map_err(|error| {
            store.refuse_member(path, format!("cannot read {}: {error}", quote(&file)))
        });
    }
    match store.filled_text(content)? {
        Some(text) if text.len() as u64 > STORE_BYTES_MAX => Err(store.refuse_member(
            content,
            format!(
                "expected at most {STORE_BYTES_MAX} bytes, found {}",
                text.len()
            ),
        )),
        Some(text) => Ok(text.as_bytes().to_vec()),
        None => Err(store.refuse(format!(
            "expected the member `{path}` or `{content}`, found neither"
        ))),
    }
}

/// Reads a regular file up to the limit. Anything else (a pipe, a device) could block the control thread.
fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("expected a regular file".to_owned());
    }
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(STORE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > STORE_BYTES_MAX {
        return Err(format!("expected at most {STORE_BYTES_MAX} bytes"));
    }
    Ok(bytes)
}

/// Checks that the bytes are at least one certificate, and that each can be a trust anchor.
fn certificates(store: &Node<'_>, pem: Vec<u8>) -> Result<Arc<[u8]>, Refusal> {
    let mut roots = rustls::RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(&pem).enumerate() {
        let wrong = || {
            store.refuse(format!(
                "certificate {} of the PEM text cannot be read",
                index + 1
            ))
        };
        let certificate = certificate.map_err(|_| wrong())?;
        roots.add(certificate).map_err(|_| wrong())?;
    }
    if roots.is_empty() {
        return Err(store.refuse("expected certificates in PEM form, found none"));
    }
    Ok(pem.into())
}
