//! TLS of the control thread's clients: whom to trust.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use turnpike_config::HttpClientConfig;

use super::http::HttpError;

/// Builds the TLS settings of a client. ALPN is left to the connector.
pub(crate) fn client_config(settings: &HttpClientConfig) -> Result<ClientConfig, HttpError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| HttpError::Setup(format!("TLS versions: {error}")))?;
    if settings.trust_all {
        let verifier = Arc::new(LenientVerifier {
            inner: None,
            provider,
        });
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth());
    }
    let roots = Arc::new(roots(settings)?);
    if settings.verify_hostname {
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| HttpError::Setup(format!("truststore: {error}")))?;
    let verifier = Arc::new(LenientVerifier {
        inner: Some(inner),
        provider,
    });
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// The configured truststore, else the system's certificates, else the ones that are compiled in.
fn roots(settings: &HttpClientConfig) -> Result<RootCertStore, HttpError> {
    let mut roots = RootCertStore::empty();
    let pem = match (&settings.truststore_content, &settings.truststore_path) {
        (Some(content), _) => Some((
            text_or_base64(content)?,
            "ssl.truststore.content".to_owned(),
        )),
        (None, Some(path)) => {
            let pem = std::fs::read(path).map_err(|error| {
                HttpError::Setup(format!("truststore {}: {error}", path.display()))
            })?;
            Some((pem, path.display().to_string()))
        }
        (None, None) => None,
    };
    if let Some((pem, name)) = pem {
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            certificate
                .map_err(|error| error.to_string())
                .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()))
                .map_err(|error| HttpError::Setup(format!("truststore {name}: {error}")))?;
        }
        if roots.is_empty() {
            return Err(HttpError::Setup(format!(
                "truststore {name}: expected PEM certificates, found none"
            )));
        }
        return Ok(roots);
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        tracing::info!(
            "this system has no certificate store; trusting the compiled-in Mozilla roots"
        );
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Ok(roots)
}

fn text_or_base64(content: &str) -> Result<Vec<u8>, HttpError> {
    if content.contains("-----BEGIN") {
        return Ok(content.as_bytes().to_vec());
    }
    let packed: String = content.split_whitespace().collect();
    STANDARD.decode(packed).map_err(|error| {
        HttpError::Setup(format!(
            "ssl.truststore.content: expected PEM text or its base64: {error}"
        ))
    })
}

/// Verifies signatures always, the chain when `inner` is there, the host name never.
#[derive(Debug)]
struct LenientVerifier {
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for LenientVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(inner) = &self.inner else {
            return Ok(ServerCertVerified::assertion());
        };
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
