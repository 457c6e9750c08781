//! TLS towards backends: rustls sessions between the worker's own reads and writes, without a buffer per direction for life.

use std::cell::RefCell;
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use monoio::io::{
    AsyncReadRent as _, AsyncWriteRentExt as _, OwnedReadHalf, OwnedWriteHalf, Splitable as _,
};
use rustc_hash::FxHashMap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnection, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use turnpike_core::definition::{Connector, ConnectorId, TlsSettings};

use super::Fault;
use crate::buffer::TAILROOM;
use crate::driver::{ReadOutcome, Reader, TcpStream, Writer};

/// Ciphertext read at once, bytes: a full TLS record and its overhead.
const CIPHERTEXT_BYTES: usize = 17 * 1_024;

/// Client configurations of one worker, one per connector, so that sessions are resumed.
#[derive(Default)]
pub(crate) struct TlsClients(RefCell<FxHashMap<ConnectorId, Arc<ClientConfig>>>);

impl TlsClients {
    /// A new session for a connection to `connector`.
    pub(crate) fn session(
        &self,
        connector: &Connector,
        settings: &TlsSettings,
    ) -> Result<ClientConnection, Fault> {
        let known = self.0.borrow().get(&connector.id).cloned();
        let config = match known {
            Some(config) => config,
            None => {
                let config =
                    Arc::new(client_config(settings).map_err(|reason| Fault::Tls(reason.into()))?);
                self.0
                    .borrow_mut()
                    .insert(connector.id, Arc::clone(&config));
                config
            }
        };
        let name = ServerName::try_from(String::from(&*connector.host))
            .map_err(|_| Fault::Tls("the backend's host is no valid server name".into()))?;
        ClientConnection::new(config, name).map_err(|error| Fault::Tls(error.to_string().into()))
    }

    /// Forgets the configurations of connectors that `is_used` does not know.
    pub(crate) fn prune(&self, is_used: impl Fn(ConnectorId) -> bool) {
        self.0.borrow_mut().retain(|id, _| is_used(*id));
    }
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}

fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    Arc::clone(ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let (added, _) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if added == 0 {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Arc::new(roots)
    }))
}

fn client_config(settings: &TlsSettings) -> Result<ClientConfig, String> {
    let roots = match &settings.trust_pem {
        None => system_roots(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate =
                    certificate.map_err(|error| format!("the trust store is no PEM: {error}"))?;
                roots
                    .add(certificate)
                    .map_err(|error| format!("a trusted certificate is not valid: {error}"))?;
            }
            if roots.is_empty() {
                return Err("the trust store holds no certificate".to_owned());
            }
            Arc::new(roots)
        }
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if settings.trust_all || !settings.verify_hostname {
        let inner = if settings.trust_all {
            None
        } else {
            Some(
                WebPkiServerVerifier::builder_with_provider(roots, provider())
                    .build()
                    .map_err(|error| error.to_string())?,
            )
        };
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(RelaxedVerifier {
                inner,
                provider: provider(),
            }))
    } else {
        builder.with_root_certificates(roots)
    };
    let mut config = match &settings.client_certificate {
        None => builder.with_no_client_auth(),
        Some(certificate) => {
            let chain = CertificateDer::pem_slice_iter(&certificate.chain_pem)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| format!("the client certificate is no PEM: {error}"))?;
            let key = PrivateKeyDer::from_pem_slice(&certificate.key_pem)
                .map_err(|error| format!("the client key is no PEM: {error}"))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| error.to_string())?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Verification with what the API's author switched off: the host name, or everything.
#[derive(Debug)]
struct RelaxedVerifier {
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for RelaxedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
        let Some(inner) = &self.inner else {
            return Ok(ServerCertVerified::assertion());
        };
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The chain is verified before the name: this error means that only the name differs.
            Err(rustls::Error::InvalidCertificate(
                NotValidForName | NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The session and the socket, shared by the reading and the writing side.
struct Shared {
    session: RefCell<ClientConnection>,
    /// Ciphertext that was received and not yet given to the session, from this index on.
    received: RefCell<(Vec<u8>, usize)>,
}

/// The writing side of a TLS connection.
pub(crate) struct TlsWriter {
    shared: Rc<Shared>,
    half: OwnedWriteHalf<TcpStream>,
    ciphertext: Vec<u8>,
}

impl TlsWriter {
    /// Writes `buffer[range]` completely and gives the buffer back.
    pub(crate) async fn write_all(
        &mut self,
        buffer: Vec<u8>,
        range: Range<usize>,
    ) -> (io::Result<()>, Vec<u8>) {
        let mut rest = range;
        while !rest.is_empty() {
            let accepted = self
                .shared
                .session
                .borrow_mut()
                .writer()
                .write(&buffer[rest.clone()]);
            match accepted {
                Ok(count) => rest.start += count,
                Err(error) => return (Err(error), buffer),
            }
            if let Err(error) = self.flush().await {
                return (Err(error), buffer);
            }
        }
        (Ok(()), buffer)
    }

    async fn flush(&mut self) -> io::Result<()> {
        flush(&self.shared, &mut self.half, &mut self.ciphertext).await
    }
}

async fn flush(
    shared: &Shared,
    half: &mut OwnedWriteHalf<TcpStream>,
    scratch: &mut Vec<u8>,
) -> io::Result<()> {
    loop {
        let mut ciphertext = std::mem::take(scratch);
        ciphertext.clear();
        {
            let mut session = shared.session.borrow_mut();
            while session.wants_write() {
                session.write_tls(&mut ciphertext)?;
            }
        }
        if ciphertext.is_empty() {
            *scratch = ciphertext;
            return Ok(());
        }
        let (result, ciphertext) = half.write_all(ciphertext).await;
        *scratch = ciphertext;
        result?;
    }
}

/// Shakes hands on a new connection and splits it.
pub(crate) async fn handshake(
    stream: TcpStream,
    session: ClientConnection,
) -> Result<(Reader, Writer), Fault> {
    let (mut reader, mut writer) = stream.into_split();
    let shared = Rc::new(Shared {
        session: RefCell::new(session),
        received: RefCell::default(),
    });
    let mut scratch = Vec::new();
    loop {
        flush(&shared, &mut writer, &mut scratch)
            .await
            .map_err(Fault::Io)?;
        if !shared.session.borrow().is_handshaking() {
            break;
        }
        let (result, ciphertext) = reader.read(Vec::with_capacity(CIPHERTEXT_BYTES)).await;
        match result {
            Ok(0) => {
                return Err(Fault::Tls(
                    "the backend closed the connection during the handshake".into(),
                ));
            }
            Ok(_) => {}
            Err(error) => return Err(Fault::Io(error)),
        }
        *shared.received.borrow_mut() = (ciphertext, 0);
        if let Err(error) = feed(&shared) {
            // The alert tells the backend why; it is sent if that works.
            let _ = flush(&shared, &mut writer, &mut scratch).await;
            return Err(Fault::Tls(error.to_string().into()));
        }
    }
    let reading = Rc::clone(&shared);
    let cell = reader.0;
    let reader = Reader::from_start(move |buffer, offset| {
        let shared = Rc::clone(&reading);
        read(shared, OwnedReadHalf(Rc::clone(&cell)), buffer, offset)
    });
    Ok((
        reader,
        Writer::Tls(TlsWriter {
            shared,
            half: writer,
            ciphertext: scratch,
        }),
    ))
}

/// Reads only. What the session wants to send meanwhile (the answer to a key update) leaves with the next write, which is soon
/// enough for TLS; and a writing half made here would end the sending side when it is dropped.
async fn read(
    shared: Rc<Shared>,
    mut half: OwnedReadHalf<TcpStream>,
    mut buffer: Vec<u8>,
    offset: usize,
) -> ReadOutcome {
    loop {
        match take_plaintext(&shared, &mut buffer, offset) {
            Ok(Some(count)) => return (Ok(count), buffer),
            Ok(None) => {}
            Err(error) => return (Err(error), buffer),
        }
        if shared.has_received() {
            if let Err(error) = feed(&shared) {
                return (
                    Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                    buffer,
                );
            }
        } else {
            let (result, ciphertext) = half.read(Vec::with_capacity(CIPHERTEXT_BYTES)).await;
            match result {
                // An end without close_notify may be a cut response.
                Ok(0) => return (Err(io::ErrorKind::UnexpectedEof.into()), buffer),
                Ok(_) => *shared.received.borrow_mut() = (ciphertext, 0),
                Err(error) => return (Err(error), buffer),
            }
        }
    }
}

/// Plaintext that is there already, appended at `offset`; `None` when more ciphertext is needed, 0 after a close_notify.
fn take_plaintext(
    shared: &Shared,
    buffer: &mut Vec<u8>,
    offset: usize,
) -> io::Result<Option<usize>> {
    let mut session = shared.session.borrow_mut();
    let end = buffer.capacity() - TAILROOM;
    buffer.resize(end, 0);
    let outcome = session.reader().read(&mut buffer[offset..]);
    match outcome {
        Ok(count) => {
            buffer.truncate(offset + count);
            Ok(Some(count))
        }
        Err(error) => {
            buffer.truncate(offset);
            if error.kind() == io::ErrorKind::WouldBlock {
                Ok(None)
            } else {
                Err(error)
            }
        }
    }
}

impl Shared {
    fn has_received(&self) -> bool {
        let received = self.received.borrow();
        received.1 < received.0.len()
    }
}

/// Gives received ciphertext to the session until there is plaintext to take: the session holds only so much of it.
fn feed(shared: &Shared) -> Result<(), rustls::Error> {
    let mut session = shared.session.borrow_mut();
    let mut received = shared.received.borrow_mut();
    let (ciphertext, at) = &mut *received;
    while *at < ciphertext.len() {
        let mut rest = &ciphertext[*at..];
        let taken = session
            .read_tls(&mut rest)
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        *at += taken;
        let state = session.process_new_packets()?;
        if taken == 0 || state.plaintext_bytes_to_read() > 0 {
            break;
        }
    }
    Ok(())
}
