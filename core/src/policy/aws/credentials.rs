//! Credentials of AWS, and the answers that bring temporary ones: a role that was taken on (STS), and the agent of a container.

use std::fmt;

use crate::calendar::days_of;

/// Time before their end at which temporary credentials are replaced, milliseconds.
const REFRESH_BEFORE_MS: u64 = 120_000;

/// A key, its secret, and what makes them temporary.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::policy) struct Credentials {
    pub(in crate::policy) access_key: Box<str>,
    pub(in crate::policy) secret_key: Box<str>,
    pub(in crate::policy) token: Option<Box<str>>,
    /// Unix milliseconds; `None` is no end.
    pub(in crate::policy) expires_at_ms: Option<u64>,
}

// None of them is printed.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("expires_at_ms", &self.expires_at_ms)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Credentials that have no end.
    pub(in crate::policy) fn new(access_key: &str, secret_key: &str, token: Option<&str>) -> Self {
        Self {
            access_key: access_key.into(),
            secret_key: secret_key.into(),
            token: token.map(Into::into),
            expires_at_ms: None,
        }
    }

    /// Whether they can still be used for a while.
    pub(in crate::policy) fn are_fresh(&self, now_ms: u64) -> bool {
        self.expires_at_ms
            .is_none_or(|end_ms| now_ms.saturating_add(REFRESH_BEFORE_MS) < end_ms)
    }

    /// Credentials whose parts may stand in a header.
    fn checked(
        access_key: &str,
        secret_key: &str,
        token: Option<&str>,
        expires: Option<&str>,
    ) -> Option<Self> {
        let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if !is_plain(access_key) || !is_plain(secret_key) || !token.is_none_or(is_plain) {
            return None;
        }
        Some(Self {
            expires_at_ms: match expires {
                Some(expires) => Some(time_ms(expires)?),
                None => None,
            },
            ..Self::new(access_key, secret_key, token)
        })
    }

    /// The credentials in STS's answer to `AssumeRole`.
    pub(in crate::policy) fn of_role(answer: &[u8]) -> Option<Self> {
        let answer = std::str::from_utf8(answer).ok()?;
        Self::checked(
            element(answer, "AccessKeyId")?,
            element(answer, "SecretAccessKey")?,
            Some(element(answer, "SessionToken")?),
            Some(element(answer, "Expiration")?),
        )
    }

    /// The credentials in the answer of a container's agent.
    pub(in crate::policy) fn of_container(answer: &[u8]) -> Option<Self> {
        let answer: serde_json::Value = serde_json::from_slice(answer).ok()?;
        let text = |name: &str| answer.get(name).and_then(serde_json::Value::as_str);
        Self::checked(
            text("AccessKeyId")?,
            text("SecretAccessKey")?,
            text("Token"),
            text("Expiration"),
        )
    }
}

/// The text of the first element of this name.
pub(in crate::policy) fn element<'x>(xml: &'x str, name: &str) -> Option<&'x str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim())
}

/// Unix milliseconds of a time in UTC such as `2023-11-14T22:13:20Z`, with a fraction or without.
fn time_ms(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let number = |text: Option<&str>, max: i64| {
        let number: i64 = text?.parse().ok()?;
        (0..=max).contains(&number).then_some(number)
    };
    let mut date = date.split('-');
    let year = number(date.next(), 9_999).filter(|year| *year >= 1_970)?;
    let month = number(date.next(), 12).filter(|month| *month > 0)?;
    let day = number(date.next(), 31).filter(|day| *day > 0)?;
    let mut time = time.split(['.', ':']);
    let hour = number(time.next(), 23)?;
    let minute = number(time.next(), 59)?;
    let second = number(time.next(), 60)?;
    let seconds = days_of(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    u64::try_from(seconds * 1_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROLE: &str = "<AssumeRoleResponse><AssumeRoleResult><Credentials>
        <AccessKeyId>AKID</AccessKeyId><SecretAccessKey>hidden</SecretAccessKey>
        <SessionToken> token </SessionToken><Expiration>2023-11-14T22:13:20.5Z</Expiration>
        </Credentials></AssumeRoleResult></AssumeRoleResponse>";

    #[test]
    fn temporary_credentials_are_read_and_have_an_end() {
        let role = Credentials::of_role(ROLE.as_bytes()).expect("credentials");
        assert_eq!(role.token.as_deref(), Some("token"));
        let end_ms = 1_700_000_000_000;
        assert_eq!(role.expires_at_ms, Some(end_ms));
        assert!(role.are_fresh(end_ms - REFRESH_BEFORE_MS - 1));
        assert!(!role.are_fresh(end_ms - REFRESH_BEFORE_MS));
        let container = Credentials::of_container(
            br#"{"AccessKeyId": "AKID", "SecretAccessKey": "hidden", "Token": "token", "Expiration": "2023-11-14T22:13:20Z"}"#,
        );
        assert_eq!(container, Some(role));
    }

    #[test]
    fn answers_that_hold_no_credentials_are_refused() {
        for answer in ["", "<AccessKeyId>a</AccessKeyId>", "{}", "\u{ff}"] {
            assert!(Credentials::of_role(answer.as_bytes()).is_none());
            assert!(Credentials::of_container(answer.as_bytes()).is_none());
        }
        for (from, to) in [("AKID", "A\nB"), ("2023-11", "2023-13"), ("Z<", "<")] {
            let answer = ROLE.replace(from, to);
            assert!(Credentials::of_role(answer.as_bytes()).is_none(), "{to}");
        }
    }

    #[test]
    fn credentials_are_not_printed() {
        let credentials = Credentials::new("hidden-a", "hidden-b", Some("hidden-c"));
        assert!(!format!("{credentials:?}").contains("hidden"));
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in ".{0,80}") {
            let _ = time_ms(&text);
            let _ = Credentials::of_role(text.as_bytes());
        }
    }
}
