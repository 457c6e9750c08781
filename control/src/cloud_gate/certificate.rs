//! The certificate of the Cloud Gate: its own, made once and kept, or one that is handed in.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{GateError, files};

const CERTIFICATE_FILE: &str = "certificate.pem";
const KEY_FILE: &str = "certificate.key.pem";
/// The names that the generated certificate was made for, one per line.
const NAMES_FILE: &str = "certificate.names";

/// How HTTPS is set up.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) config: Arc<ServerConfig>,
    /// What gateways trust, PEM.
    pub(super) certificate: PathBuf,
}

/// Loads the generated certificate of the data folder; makes it when there is none, or none that covers `host`.
pub(super) fn generated(data: &Path, host: &str) -> Result<Tls, GateError> {
    let certificate = data.join(CERTIFICATE_FILE);
    let key = data.join(KEY_FILE);
    let wanted = names(host);
    let made_for: BTreeSet<String> = std::fs::read_to_string(data.join(NAMES_FILE))
        .map(|text| text.lines().map(str::to_owned).collect())
        .unwrap_or_default();
    if !(wanted.is_subset(&made_for) && certificate.is_file() && key.is_file()) {
        generate(data, wanted)?;
    }
    load(&certificate, &key)
}

/// Loads a certificate chain and its key, PEM.
pub(super) fn load(certificate: &Path, key: &Path) -> Result<Tls, GateError> {
    let refuse = |path: &Path, reason: String| GateError::Certificate {
        path: path.to_owned(),
        reason,
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| refuse(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(refuse(
            certificate,
            "expected at least one PEM certificate, found none".to_owned(),
        ));
    }
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| refuse(key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(certificate, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| refuse(certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Tls {
        config: Arc::new(config),
        certificate: certificate.to_owned(),
    })
}

fn generate(data: &Path, names: BTreeSet<String>) -> Result<(), GateError> {
    let certificate = data.join(CERTIFICATE_FILE);
    let refuse = |error: rcgen::Error| GateError::Certificate {
        path: data.join(CERTIFICATE_FILE),
        reason: format!("cannot be generated: {error}"),
    };
    let mut params =
        rcgen::CertificateParams::new(names.iter().cloned().collect::<Vec<_>>()).map_err(refuse)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Turnpike local Cloud Gate");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let year = i32::from(
        jiff::Timestamp::now()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .year(),
    );
    params.not_before = rcgen::date_time_ymd(year - 1, 1, 1);
    params.not_after = rcgen::date_time_ymd(year + 20, 1, 1);
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(refuse)?;
    let signed = params.self_signed(&key).map_err(refuse)?;

    // The names come last: without them an interrupted start makes everything anew.
    let names_file = data.join(NAMES_FILE);
    let write = |path: &Path, text: &str| {
        std::fs::write(path, text).map_err(|source| GateError::Data {
            path: path.to_owned(),
            source,
        })
    };
    let _ = std::fs::remove_file(&names_file);
    let key_file = data.join(KEY_FILE);
    files::create_private(&key_file)
        .and_then(|mut file| file.write_all(key.serialize_pem().as_bytes()))
        .map_err(|source| GateError::Data {
            path: key_file,
            source,
        })?;
    write(&certificate, &signed.pem())?;
    write(
        &names_file,
        &names.into_iter().collect::<Vec<_>>().join("\n"),
    )
}

/// The names under which gateways may reach us: this machine's, and the one we listen on unless it means "everywhere".
fn names(host: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::from(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    let machine = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    for name in [host.to_owned(), machine] {
        let everywhere = name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_unspecified());
        if !everywhere && !name.is_empty() && name.is_ascii() {
            names.insert(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_certificate_is_made_once_and_again_only_for_a_new_host() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = || {
            std::fs::read_to_string(folder.path().join(CERTIFICATE_FILE)).expect("a certificate")
        };
        generated(folder.path(), "127.0.0.1").expect("made");
        let first = text();
        generated(folder.path(), "0.0.0.0").expect("kept");
        assert_eq!(text(), first);
        generated(folder.path(), "gate.example.com").expect("made");
        assert_ne!(text(), first);
        let mode = std::fs::metadata(folder.path().join(KEY_FILE))
            .expect("a key")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_no_certificate_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("own.pem");
        std::fs::write(&path, "hello").expect("written");
        let error = load(&path, &path).expect_err("no certificate").to_string();
        assert!(error.contains("own.pem"), "{error}");
    }
}
