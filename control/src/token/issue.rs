//! Issuing of tokens, for the local Cloud Gate.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use sha2::{Digest as _, Sha256};

use super::claims::Claims;

/// File of the private key inside the folder.
const PRIVATE_KEY_FILE: &str = "token-key.pem";
/// File of the public key inside the folder.
const PUBLIC_KEY_FILE: &str = "token-key.pub.pem";

/// Why a signing key cannot be had or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file or folder.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file's content.
    #[error("{}: expected the PEM of an ES256 private key: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Signing.
    #[error("the token could not be signed: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
    /// A new key.
    #[error("a signing key could not be made: {0}")]
    Generate(rcgen::Error),
}

/// An ES256 key that signs tokens.
pub struct SigningKey {
    signing: EncodingKey,
    public_key_pem: String,
    public_key_path: PathBuf,
    id: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Loads `token-key.pem` of `folder`, or makes it (mode 0600) with its public key `token-key.pub.pem` beside it.
    pub fn load_or_create(folder: &Path) -> Result<Self, KeyError> {
        fs::create_dir_all(folder).map_err(|source| file_error("cannot create", folder, source))?;
        let path = folder.join(PRIVATE_KEY_FILE);
        let pair = match fs::read_to_string(&path) {
            Ok(pem) => {
                warn_if_readable_by_others(&path);
                rcgen::KeyPair::from_pem_and_sign_algo(&pem, &rcgen::PKCS_ECDSA_P256_SHA256)
                    .map_err(|error| KeyError::Unusable {
                        path: path.clone(),
                        reason: error.to_string(),
                    })?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => create(&path)?,
            Err(source) => return Err(file_error("cannot read", &path, source)),
        };
        let public_key_pem = pair.public_key_pem();
        let public_key_path = folder.join(PUBLIC_KEY_FILE);
        if fs::read_to_string(&public_key_path).ok().as_deref() != Some(public_key_pem.as_str()) {
            fs::write(&public_key_path, &public_key_pem)
                .map_err(|source| file_error("cannot write", &public_key_path, source))?;
        }
        let signing =
            EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).map_err(|error| {
                KeyError::Unusable {
                    path,
                    reason: error.to_string(),
                }
            })?;
        let digest = Sha256::digest(pair.public_key_raw());
        let id = digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Self {
            signing,
            public_key_pem,
            public_key_path,
            id,
        })
    }

    /// PEM of the public key.
    pub fn public_key_pem(&self) -> &str {
        &self.public_key_pem
    }

    /// Where the public key lies, for `cloud.verification.publicKeyPath`.
    pub fn public_key_path(&self) -> &Path {
        &self.public_key_path
    }

    /// `kid` of issued tokens: the start of the public key's SHA-256.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// What a new token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueRequest {
    /// Organization id.
    pub organization: String,
    /// Environment ids.
    pub environments: Vec<String>,
    /// Geography, `local` unless changed.
    pub geography: String,
    /// Control plane name.
    pub control_plane: Option<String>,
    /// URL of the Cloud Gate that takes the token.
    pub gateway_url: Option<String>,
    /// What may be called: `sync` and `reports` unless changed.
    pub scopes: Vec<String>,
    /// Issued at, Unix seconds.
    pub issued_at_s: i64,
    /// Expires at, Unix seconds.
    pub expires_at_s: i64,
    /// Token id.
    pub id: String,
}

impl IssueRequest {
    /// A gateway token with a random id for this organization and these environments.
    pub fn new(organization: &str, environments: Vec<String>, now_s: i64, lifetime_s: i64) -> Self {
        Self {
            organization: organization.to_owned(),
            environments,
            geography: "local".to_owned(),
            control_plane: None,
            gateway_url: None,
            scopes: vec!["sync".to_owned(), "reports".to_owned()],
            issued_at_s: now_s,
            expires_at_s: now_s.saturating_add(lifetime_s),
            id: uuid::Uuid::new_v4().to_string(),
        }
    }
}

/// Signs a token.
pub fn issue(request: &IssueRequest, key: &SigningKey) -> Result<String, KeyError> {
    let claims = Claims {
        iss: Some("GraviteeCloud".to_owned()),
        aud: vec!["CloudGate".to_owned()],
        target: Some("apim".to_owned()),
        org: request.organization.clone(),
        envs: request.environments.clone(),
        cpg: request.geography.clone(),
        cp: request.control_plane.clone(),
        scopes: Some(request.scopes.clone()),
        gateway_url: request.gateway_url.clone(),
        iat: Some(request.issued_at_s),
        exp: Some(request.expires_at_s),
        jti: Some(request.id.clone()),
        ..Claims::default()
    };
    let header = Header {
        kid: Some(key.id.clone()),
        ..Header::new(Algorithm::ES256)
    };
    Ok(jsonwebtoken::encode(&header, &claims, &key.signing)?)
}

fn create(path: &Path) -> Result<rcgen::KeyPair, KeyError> {
    let pair =
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(KeyError::Generate)?;
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            file.write_all(pair.serialize_pem().as_bytes())?;
            file.sync_all()
        })
        .map_err(|source| file_error("cannot write", path, source))?;
    Ok(pair)
}

fn warn_if_readable_by_others(path: &Path) {
    if let Ok(metadata) = fs::metadata(path)
        && metadata.permissions().mode() & 0o077 != 0
    {
        tracing::warn!(
            "{} can be read by other users of this machine; hint: chmod 600 {}",
            path.display(),
            path.display()
        );
    }
}

fn file_error(action: &'static str, path: &Path, source: std::io::Error) -> KeyError {
    KeyError::File {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::super::CloudToken;
    use super::*;

    #[test]
    fn a_key_is_made_once_with_a_private_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = SigningKey::load_or_create(folder.path()).expect("a key");
        let second = SigningKey::load_or_create(folder.path()).expect("the same key");
        assert_eq!(first.public_key_pem(), second.public_key_pem());
        assert_eq!(first.id(), second.id());
        let mode = fs::metadata(folder.path().join(PRIVATE_KEY_FILE))
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            fs::read_to_string(first.public_key_path()).expect("a file"),
            first.public_key_pem()
        );
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(PRIVATE_KEY_FILE), "hello").expect("a file");
        let error = SigningKey::load_or_create(folder.path())
            .expect_err("no key")
            .to_string();
        assert!(
            error.contains("token-key.pem: expected the PEM of an ES256 private key"),
            "{error}"
        );
    }

    #[test]
    fn an_issued_token_carries_the_observed_claims() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = SigningKey::load_or_create(folder.path()).expect("a key");
        let mut request = IssueRequest::new("org", vec!["a".to_owned(), "b".to_owned()], 1_000, 60);
        request.gateway_url = Some("http://localhost:8070".to_owned());
        let token = CloudToken::parse(&issue(&request, &key).expect("a token")).expect("a token");
        token
            .check(&turnpike_config::CloudVerification::default())
            .expect("usable");
        let claims = token.claims();
        assert_eq!((claims.org.as_str(), claims.cpg.as_str()), ("org", "local"));
        assert_eq!(claims.envs, ["a", "b"]);
        assert_eq!((claims.iat, claims.exp), (Some(1_000), Some(1_060)));
        assert_eq!(
            claims.scopes.as_deref(),
            Some(["sync".to_owned(), "reports".to_owned()].as_slice())
        );
        assert_eq!(claims.gateway_url.as_deref(), Some("http://localhost:8070"));
    }
}
