//! The licence: read, checked for form, shown, never enforced (contract sync 8.2).
//!
//! No state of a licence stops the process or withholds a feature or an API: operators who move from the reference keep their
//! file where it is and see in `/_node/license` what it says. The signature is not checked, so a well-formed licence is
//! `unverified` until it expires.

mod format;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use turnpike_config::LicenseConfig;

pub use format::{Feature, FormatError, LICENSE_BYTES_MAX};

const EXPIRY: &str = "expiryDate";
const DAY_MS: i64 = 86_400_000;
/// Days before expiry from which the log warns.
const WARNING_DAYS: i64 = 30;

/// What can be said about a licence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LicenseState {
    /// There is none.
    Absent,
    /// There is one, and it cannot be read.
    Malformed,
    /// It is well-formed; its signature was not checked.
    Unverified,
    /// It is well-formed, and its expiry date has passed.
    Expired,
}

impl LicenseState {
    /// The text used in `/_node/license`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Malformed => "malformed",
            Self::Unverified => "unverified",
            Self::Expired => "expired",
        }
    }
}

/// A licence as found.
#[derive(Debug, Clone, Default)]
pub struct License {
    features: Option<BTreeMap<String, Feature>>,
    problem: Option<String>,
}

impl License {
    /// Reads the licence from `license.key`, else from its file. Never fails: a licence that cannot be read is a state.
    pub fn load(config: &LicenseConfig) -> Self {
        match (&config.key, &config.path) {
            (Some(key), _) => Self::from_base64(key.expose()),
            (None, Some(path)) => Self::from_file(path),
            (None, None) => Self::default(),
        }
    }

    /// Reads the binary form.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match format::read(bytes) {
            Ok(features) => Self {
                features: Some(features),
                problem: None,
            },
            Err(error) => Self::malformed(error.to_string()),
        }
    }

    /// Reads base64 of the binary form; line breaks are allowed.
    pub fn from_base64(text: &str) -> Self {
        if text.len() > 2 * LICENSE_BYTES_MAX {
            return Self::malformed(format!(
                "the text has {} bytes, more than a licence can have",
                text.len()
            ));
        }
        let text: String = text.split_ascii_whitespace().collect();
        match STANDARD.decode(text) {
            Ok(bytes) => Self::from_bytes(&bytes),
            Err(error) => Self::malformed(format!("expected base64: {error}")),
        }
    }

    fn from_file(path: &Path) -> Self {
        let mut bytes = Vec::new();
        let read = std::fs::File::open(path).and_then(|file| {
            file.take(LICENSE_BYTES_MAX as u64 + 1)
                .read_to_end(&mut bytes)
        });
        match read {
            Ok(_) => Self::from_bytes(&bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => Self::malformed(format!("{}: {error}", path.display())),
        }
    }

    fn malformed(problem: String) -> Self {
        Self {
            features: None,
            problem: Some(problem),
        }
    }

    /// The state at this moment, Unix milliseconds.
    pub fn state(&self, now_ms: i64) -> LicenseState {
        match (&self.features, &self.problem) {
            (None, None) => LicenseState::Absent,
            (None, Some(_)) => LicenseState::Malformed,
            (Some(_), _) if self.expires_at_ms().is_some_and(|expiry| expiry <= now_ms) => {
                LicenseState::Expired
            }
            (Some(_), _) => LicenseState::Unverified,
        }
    }

    /// Why it cannot be read.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Expiry, Unix milliseconds.
    pub fn expires_at_ms(&self) -> Option<i64> {
        match self.features.as_ref()?.get(EXPIRY)? {
            Feature::Date(ms) => Some(*ms),
            _ => None,
        }
    }

    /// Every feature as text, and `state`: the body of `/_node/license`. The signature is among them: not for logs.
    pub fn attributes(&self, now_ms: i64) -> BTreeMap<String, String> {
        let mut attributes = BTreeMap::new();
        match &self.features {
            None => {
                attributes.insert("tier".to_owned(), "oss".to_owned());
            }
            Some(features) => {
                for (name, feature) in features {
                    attributes.insert(name.clone(), feature.text());
                }
            }
        }
        attributes.insert("state".to_owned(), self.state(now_ms).as_str().to_owned());
        attributes
    }

    /// The line an operator should see at start and once a day, with true when it is a warning; `None` when all is well.
    pub fn notice(&self, now_ms: i64, cloud: bool) -> Option<(bool, String)> {
        match self.state(now_ms) {
            LicenseState::Absent => Some((
                cloud,
                "there is no licence; nothing is withheld for that".to_owned(),
            )),
            LicenseState::Malformed => {
                let problem = self.problem().unwrap_or_default();
                Some((
                    true,
                    format!("the licence cannot be read ({problem}); nothing is withheld for that"),
                ))
            }
            LicenseState::Expired => Some((
                true,
                "the licence has expired; nothing is withheld for that".to_owned(),
            )),
            LicenseState::Unverified => {
                let days = (self.expires_at_ms()? - now_ms) / DAY_MS;
                (days < WARNING_DAYS).then(|| (true, format!("the licence expires in {days} days")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use turnpike_config::Secret;

    use super::format::tests::{binary, sample};
    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn license(expiry_ms: i64) -> License {
        License::from_bytes(&binary(&[
            (11, "expiryDate", expiry_ms.to_be_bytes().to_vec()),
            (1, "licenseSignature", vec![1, 2, 3]),
            (2, "tier", b"universe".to_vec()),
        ]))
    }

    #[test]
    fn each_state_has_its_name_and_its_notice() {
        let far = license(NOW_MS + 365 * DAY_MS);
        let soon = license(NOW_MS + 10 * DAY_MS + 1);
        let cases = [
            (License::default(), "absent", Some(false)),
            (License::from_base64("?"), "malformed", Some(true)),
            (License::from_bytes(b"nothing"), "malformed", Some(true)),
            (license(NOW_MS), "expired", Some(true)),
            (far, "unverified", None),
            (soon, "unverified", Some(true)),
        ];
        for (license, state, warning) in cases {
            assert_eq!(license.attributes(NOW_MS)["state"], state);
            assert_eq!(
                license.notice(NOW_MS, false).map(|(warning, _)| warning),
                warning,
                "{state}"
            );
        }
        assert_eq!(
            License::default()
                .notice(NOW_MS, true)
                .map(|(warning, _)| warning),
            Some(true),
            "in cloud mode"
        );
    }

    #[test]
    fn attributes_show_every_feature_as_text() {
        let attributes = license(NOW_MS + DAY_MS).attributes(NOW_MS);
        assert_eq!(attributes["tier"], "universe");
        assert_eq!(attributes["expiryDate"], "2023-11-15 22:13:20.000");
        assert_eq!(attributes["licenseSignature"], "AQID");
        assert_eq!(License::default().attributes(NOW_MS)["tier"], "oss");
    }

    #[test]
    fn the_key_wins_over_the_file_and_a_missing_file_is_no_licence() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("license.key");
        let absent = LicenseConfig {
            key: None,
            path: Some(path.clone()),
        };
        assert_eq!(License::load(&absent).state(NOW_MS), LicenseState::Absent);
        std::fs::write(&path, sample()).expect("a file");
        assert_eq!(
            License::load(&absent).state(NOW_MS),
            LicenseState::Unverified
        );
        let both = LicenseConfig {
            key: Some(Secret::new("no base64!")),
            path: Some(path.clone()),
        };
        assert_eq!(License::load(&both).state(NOW_MS), LicenseState::Malformed);
        let encoded = STANDARD.encode(sample());
        assert!(encoded.starts_with("Ic5OX"));
        let (first, second) = encoded.split_at(20);
        let key = LicenseConfig {
            key: Some(Secret::new(format!("{first}\n{second}\n"))),
            path: None,
        };
        assert_eq!(License::load(&key).state(NOW_MS), LicenseState::Unverified);
        std::fs::write(&path, vec![0; LICENSE_BYTES_MAX + 1]).expect("a file");
        assert_eq!(
            License::load(&absent).state(NOW_MS),
            LicenseState::Malformed
        );
    }
}
