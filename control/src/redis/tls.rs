//! TLS towards a Redis.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use turnpike_config::{HttpClientConfig, RedisTlsConfig};

use crate::bridge::tls::verified_config;

/// Why TLS towards a Redis cannot be set up. The start fails with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(pub String);

/// The settings as the TLS library takes them.
pub(super) fn client_config(settings: &RedisTlsConfig) -> Result<Arc<ClientConfig>, TlsError> {
    let mut provider = aws_lc_rs::default_provider();
    if !settings.ciphers.is_empty() {
        provider.cipher_suites.retain(|suite| {
            let name = format!("{:?}", suite.suite());
            // TLS 1.3 suites have a name of their own here: `TLS13_AES_…` for `TLS_AES_…`.
            let name = name.replacen("TLS13_", "TLS_", 1);
            settings.ciphers.contains(&name)
        });
        if provider.cipher_suites.is_empty() {
            return Err(TlsError(
                "ratelimit.redis.tlsCiphers: expected at least one supported cipher suite, found none"
                    .to_owned(),
            ));
        }
    }
    let versions: Vec<&'static SupportedProtocolVersion> =
        [("TLSv1.2", &TLS12), ("TLSv1.3", &TLS13)]
            .into_iter()
            .filter(|(name, _)| {
                settings.protocols.is_empty() || settings.protocols.iter().any(|own| own == name)
            })
            .map(|(_, version)| version)
            .collect();
    if versions.is_empty() {
        return Err(TlsError(
            "ratelimit.redis.tlsProtocols: expected `TLSv1.2` or `TLSv1.3`, found neither"
                .to_owned(),
        ));
    }
    let trust = HttpClientConfig {
        trust_all: settings.trust_all,
        verify_hostname: settings.verify_hostname,
        truststore_path: settings.truststore_path.clone(),
        ..HttpClientConfig::default()
    };
    let builder = verified_config(&trust, Arc::new(provider), &versions)
        .map_err(|error| TlsError(format!("ratelimit.redis: {error}")))?;
    let config = match &settings.keystore {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|error| TlsError(format!("ratelimit.redis.keystore: {error}")))?,
    };
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| unreadable(path, &error))?
        .collect();
    let certificates = certificates.map_err(|error| unreadable(path, &error))?;
    if certificates.is_empty() {
        return Err(unreadable(path, &"expected PEM certificates, found none"));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> TlsError {
    TlsError(format!(
        "ratelimit.redis.keystore {}: {error}",
        path.display()
    ))
}
