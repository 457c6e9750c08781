//! AWS Signature Version 4, for services whose paths are encoded twice (every one but S3).

use std::borrow::Cow;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::credentials::Credentials;
use crate::calendar::date_of;

/// A request to sign.
#[derive(Debug, Clone, Copy)]
pub(in crate::policy) struct Unsigned<'r> {
    /// Method.
    pub(in crate::policy) method: &'r str,
    /// Value of `Host` as it is sent.
    pub(in crate::policy) host: &'r str,
    /// Path as it is sent, encoded once.
    pub(in crate::policy) path: &'r str,
    /// Query as it is sent, in order and encoded; without `?`.
    pub(in crate::policy) query: &'r str,
    /// Header fields to sign and send besides `host` and those that signing adds; names in lower case.
    pub(in crate::policy) headers: &'r [(&'static str, &'r str)],
    /// Body.
    pub(in crate::policy) body: &'r [u8],
    /// Region, such as `us-east-1`.
    pub(in crate::policy) region: &'r str,
    /// Service, such as `lambda`.
    pub(in crate::policy) service: &'r str,
}

/// The header fields to send, `host` left out: those given, and those that sign them. `now_ms` in Unix milliseconds.
pub(in crate::policy) fn sign(
    request: &Unsigned<'_>,
    credentials: &Credentials,
    now_ms: u64,
) -> Vec<(Cow<'static, str>, String)> {
    let time = timestamp(now_ms);
    let date = time.get(..8).unwrap_or_default();
    let mut headers: Vec<(&'static str, &str)> = request.headers.to_vec();
    headers.push(("x-amz-date", &time));
    if let Some(token) = &credentials.token {
        headers.push(("x-amz-security-token", token));
    }
    let mut signed = headers.clone();
    signed.push(("host", request.host));
    signed.sort_unstable();
    let names = signed
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(";");
    let mut canonical = format!(
        "{}\n{}\n{}\n",
        request.method,
        encode(request.path, true),
        request.query
    );
    for (name, value) in &signed {
        canonical.push_str(&format!("{name}:{}\n", value.trim()));
    }
    canonical.push_str(&format!(
        "\n{names}\n{}",
        hex(&Sha256::digest(request.body))
    ));

    let scope = format!("{date}/{}/{}/aws4_request", request.region, request.service);
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex(&Sha256::digest(&canonical))
    );
    let mut key = hmac(format!("AWS4{}", credentials.secret_key).as_bytes(), date);
    for part in [request.region, request.service, "aws4_request"] {
        key = hmac(&key, part);
    }
    let signature = hex(&hmac(&key, &text));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        credentials.access_key
    );
    headers
        .into_iter()
        .map(|(name, value)| (name.into(), value.to_owned()))
        .chain([("authorization".into(), authorization)])
        .collect()
}

fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    // A key of any length is taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| DIGITS[usize::from(digit)] as char)
        .collect()
}

/// Encodes everything but unreserved characters (RFC 3986 2.3), and slashes where they are kept.
pub(in crate::policy) fn encode(text: &str, keep_slashes: bool) -> String {
    let mut encoded = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(byte as char);
            }
            b'/' if keep_slashes => encoded.push('/'),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// A time such as `20231114T221320Z`.
fn timestamp(now_ms: u64) -> String {
    let seconds = now_ms / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date_of(days as i64);
    format!(
        "{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn authorization(request: &Unsigned<'_>, credentials: &Credentials) -> String {
        let headers = sign(request, credentials, NOW_MS);
        let found = headers
            .into_iter()
            .find(|(name, _)| name == "authorization");
        found.expect("a signature").1
    }

    #[test]
    fn signatures_are_those_of_an_independent_implementation() {
        // Computed with Python's hmac and hashlib.
        let credentials = Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            None,
        );
        let request = Unsigned {
            method: "POST",
            host: "lambda.us-east-1.amazonaws.com",
            path: "/2015-03-31/functions/my-function/invocations",
            query: "",
            headers: &[],
            body: b"{\"a\":1}",
            region: "us-east-1",
            service: "lambda",
        };
        assert_eq!(
            authorization(&request, &credentials),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20231114/us-east-1/lambda/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=c474165e1250fa7c10f393dd9b8e945c332a2a9042d93254c2029e0fbdd50619"
        );
        let credentials = Credentials::new("AKID", "secret", Some("token+/="));
        let function = encode("arn:aws:lambda:eu-west-1:123:function:f", false);
        let request = Unsigned {
            host: "localhost:4566",
            path: &format!("/2015-03-31/functions/{function}/invocations"),
            query: "Qualifier=%24LATEST",
            headers: &[("x-amz-invocation-type", "Event")],
            body: b"",
            region: "eu-west-1",
            ..request
        };
        assert_eq!(
            authorization(&request, &credentials),
            "AWS4-HMAC-SHA256 Credential=AKID/20231114/eu-west-1/lambda/aws4_request, \
             SignedHeaders=host;x-amz-date;x-amz-invocation-type;x-amz-security-token, \
             Signature=f3f10d081ff602165175c702c6a130aff21f42c616740ef656a3f993e1dff9cc"
        );
    }

    #[test]
    fn times_are_written_in_the_calendar() {
        for (now_ms, expected) in [
            (0, "19700101T000000Z"),
            (NOW_MS, "20231114T221320Z"),
            (951_782_400_000, "20000229T000000Z"),
            (1_709_164_799_999, "20240228T235959Z"),
            (1_709_251_200_000, "20240301T000000Z"),
            (4_102_444_800_000, "21000101T000000Z"),
        ] {
            assert_eq!(timestamp(now_ms), expected);
        }
    }

    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(encode("a-._~/b:%é", true), "a-._~/b%3A%25%C3%A9");
        assert_eq!(encode("/", false), "%2F");
    }
}
