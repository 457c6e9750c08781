//! One record per request: what happened, in a form that is cheap to write on a worker and rich enough for every sink.
//! Contract: reporting 2.1 and 2.4.

mod ring;
mod warnings;

pub use ring::{PushOutcome, ReportReceiver, ReportSender, ring};
pub use warnings::{WARNING_KEY_BYTES_MAX, WARNING_MESSAGE_BYTES_MAX, Warnings};

use crate::definition::Engine;

/// How a consumer authenticated (`securityType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecurityType {
    /// No credentials were needed or none were accepted.
    #[default]
    None,
    /// An API key.
    ApiKey,
    /// A JSON web token.
    Jwt,
    /// An OAuth2 access token.
    OAuth2,
}

/// One finished request. Texts borrow from the worker's buffers, or from the ring after decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Arrival, Unix milliseconds.
    pub timestamp_ms: u64,
    /// Engine of the API; `None` for a request that matched no API.
    pub engine: Option<Engine>,
    /// `X-Gravitee-Request-Id` of this exchange.
    pub request_id: &'a str,
    /// `X-Gravitee-Transaction-Id`.
    pub transaction_id: &'a str,
    /// API id; `1` when none matched.
    pub api_id: &'a str,
    /// API name.
    pub api_name: &'a str,
    /// Organization id.
    pub organization_id: &'a str,
    /// Environment id.
    pub environment_id: &'a str,
    /// Plan that served the request, empty when none did.
    pub plan_id: &'a str,
    /// Application; `1` for an anonymous one.
    pub application_id: &'a str,
    /// Subscription; the remote address for a key-less plan.
    pub subscription_id: &'a str,
    /// `X-Gravitee-Client-Identifier`.
    pub client_identifier: &'a str,
    /// Method as sent by the client (`GET`); unknown tokens are `OTHER`.
    pub method: &'a str,
    /// Address of the listener that accepted, without port.
    pub local_address: &'a str,
    /// Address of the client (or of the first `X-Forwarded-For`), without port.
    pub remote_address: &'a str,
    /// `Host` of the request.
    pub host: &'a str,
    /// Path and query as received.
    pub uri: &'a str,
    /// Path below the context path.
    pub path_info: &'a str,
    /// Path mapping that matched, empty when none did.
    pub mapped_path: &'a str,
    /// `User-Agent` of the request.
    pub user_agent: &'a str,
    /// Absolute URI called, empty when no backend was.
    pub endpoint: &'a str,
    /// Status sent to the client; 499 when the client went away before a response.
    pub status: u16,
    /// Request body bytes read.
    pub request_body_bytes: u64,
    /// Response body bytes written.
    pub response_body_bytes: u64,
    /// Arrival to end of response, nanoseconds.
    pub response_time_ns: u64,
    /// Backend call to its last byte, nanoseconds; `None` when no backend was called.
    pub endpoint_response_time_ns: Option<u64>,
    /// Backend call to its response head, nanoseconds.
    pub endpoint_ttfb_ns: Option<u64>,
    /// Time to get a connection, nanoseconds.
    pub endpoint_connect_ns: Option<u64>,
    /// How the consumer authenticated.
    pub security_type: SecurityType,
    /// API key or client id, empty when none.
    pub security_token: &'a str,
    /// Authenticated user, empty when none.
    pub user: &'a str,
    /// Error key, empty when none.
    pub error_key: &'a str,
    /// Message for the operator about the error, empty when none.
    pub error_message: &'a str,
    /// What went wrong without failing the request.
    pub warnings: Warnings<'a>,
}

const NONE: u64 = u64::MAX;
const TEXTS: usize = 23;
/// Texts longer than this are cut in the report (bytes).
pub const TEXT_BYTES_MAX: usize = 8_192;

impl<'a> Record<'a> {
    /// A record with nothing filled in.
    pub fn empty() -> Self {
        Self {
            timestamp_ms: 0,
            engine: None,
            request_id: "",
            transaction_id: "",
            api_id: "",
            api_name: "",
            organization_id: "",
            environment_id: "",
            plan_id: "",
            application_id: "",
            subscription_id: "",
            client_identifier: "",
            method: "",
            local_address: "",
            remote_address: "",
            host: "",
            uri: "",
            path_info: "",
            mapped_path: "",
            user_agent: "",
            endpoint: "",
            status: 0,
            request_body_bytes: 0,
            response_body_bytes: 0,
            response_time_ns: 0,
            endpoint_response_time_ns: None,
            endpoint_ttfb_ns: None,
            endpoint_connect_ns: None,
            security_type: SecurityType::None,
            security_token: "",
            user: "",
            error_key: "",
            error_message: "",
            warnings: Warnings::default(),
        }
    }

    fn texts(&self) -> [&'a str; TEXTS] {
        [
            self.request_id,
            self.transaction_id,
            self.api_id,
            self.api_name,
            self.organization_id,
            self.environment_id,
            self.plan_id,
            self.application_id,
            self.subscription_id,
            self.client_identifier,
            self.method,
            self.local_address,
            self.remote_address,
            self.host,
            self.uri,
            self.path_info,
            self.user_agent,
            self.endpoint,
            self.security_token,
            self.error_key,
            self.error_message,
            self.mapped_path,
            self.user,
        ]
    }

    /// Appends the encoded record to `out`: fixed numbers, then each text with a two-byte length, then the warnings. Allocates only when `out`
    /// has to grow, which ends once it has met the longest record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let engine = match self.engine {
            None => 0_u8,
            Some(Engine::V4) => 1,
            Some(Engine::V2Emulation) => 2,
            Some(Engine::V2Legacy) => 3,
        };
        let security = match self.security_type {
            SecurityType::None => 0_u8,
            SecurityType::ApiKey => 1,
            SecurityType::Jwt => 2,
            SecurityType::OAuth2 => 3,
        };
        out.extend_from_slice(&[engine, security]);
        out.extend_from_slice(&self.status.to_le_bytes());
        for number in [
            self.timestamp_ms,
            self.request_body_bytes,
            self.response_body_bytes,
            self.response_time_ns,
            self.endpoint_response_time_ns.unwrap_or(NONE),
            self.endpoint_ttfb_ns.unwrap_or(NONE),
            self.endpoint_connect_ns.unwrap_or(NONE),
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for text in self.texts() {
            put_text(out, text, TEXT_BYTES_MAX);
        }
        self.warnings.encode(out);
    }

    /// Reads a record back. `None` when the bytes are not one whole record.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let [engine, security] = reader.array::<2>()?;
        let status = u16::from_le_bytes(reader.array()?);
        let mut numbers = [0_u64; 7];
        for number in &mut numbers {
            *number = u64::from_le_bytes(reader.array()?);
        }
        let mut texts = [""; TEXTS];
        for text in &mut texts {
            *text = reader.text()?;
        }
        let warnings = Warnings::decode(&mut reader)?;
        if !reader.0.is_empty() {
            return None;
        }
        let optional = |number: u64| (number != NONE).then_some(number);
        Some(Self {
            timestamp_ms: numbers[0],
            engine: match engine {
                0 => None,
                1 => Some(Engine::V4),
                2 => Some(Engine::V2Emulation),
                3 => Some(Engine::V2Legacy),
                _ => return None,
            },
            status,
            request_body_bytes: numbers[1],
            response_body_bytes: numbers[2],
            response_time_ns: numbers[3],
            endpoint_response_time_ns: optional(numbers[4]),
            endpoint_ttfb_ns: optional(numbers[5]),
            endpoint_connect_ns: optional(numbers[6]),
            security_type: match security {
                0 => SecurityType::None,
                1 => SecurityType::ApiKey,
                2 => SecurityType::Jwt,
                3 => SecurityType::OAuth2,
                _ => return None,
            },
            request_id: texts[0],
            transaction_id: texts[1],
            api_id: texts[2],
            api_name: texts[3],
            organization_id: texts[4],
            environment_id: texts[5],
            plan_id: texts[6],
            application_id: texts[7],
            subscription_id: texts[8],
            client_identifier: texts[9],
            method: texts[10],
            local_address: texts[11],
            remote_address: texts[12],
            host: texts[13],
            uri: texts[14],
            path_info: texts[15],
            user_agent: texts[16],
            endpoint: texts[17],
            security_token: texts[18],
            error_key: texts[19],
            error_message: texts[20],
            mapped_path: texts[21],
            user: texts[22],
            warnings,
        })
    }
}

/// Appends a text with its two-byte length, cut to `bytes_max` (at most 65,535).
fn put_text(out: &mut Vec<u8>, text: &str, bytes_max: usize) {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::from(u16::from_le_bytes(self.array()?));
        std::str::from_utf8(self.take(len)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{WARNINGS_MAX, Warning};

    fn sample() -> Record<'static> {
        Record {
            timestamp_ms: 1_760_000_000_000,
            engine: Some(Engine::V4),
            request_id: "r",
            api_id: "api",
            uri: "/a?b=c",
            status: 200,
            response_time_ns: 12_345,
            endpoint_ttfb_ns: Some(7),
            security_type: SecurityType::ApiKey,
            error_message: "é",
            mapped_path: "/a/:id",
            user: "u",
            ..Record::empty()
        }
    }

    #[test]
    fn an_encoded_record_reads_back_the_same() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        assert_eq!(Record::decode(&bytes), Some(sample()));
    }

    fn warnings() -> Vec<Warning> {
        [("EXPRESSION_EVALUATION_ERROR", "no such member"), ("K", "")]
            .map(|(key, message)| Warning {
                key: key.into(),
                message: message.into(),
            })
            .into()
    }

    #[test]
    fn warnings_read_back_the_same() {
        let warnings = warnings();
        let record = Record {
            warnings: Warnings::of(&warnings),
            ..sample()
        };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let read = Record::decode(&bytes).expect("a whole record");
        assert_eq!(read, record);
        assert_ne!(read, sample());
        let pairs: Vec<_> = read.warnings.iter().collect();
        assert_eq!(
            pairs,
            [("EXPRESSION_EVALUATION_ERROR", "no such member"), ("K", "")]
        );
    }

    #[test]
    fn warnings_are_bounded_in_number_and_length() {
        let warning = Warning {
            key: "k".repeat(WARNING_KEY_BYTES_MAX + 1).into(),
            message: "é".repeat(WARNING_MESSAGE_BYTES_MAX).into(),
        };
        let many = vec![warning; WARNINGS_MAX + 5];
        let mut bytes = Vec::new();
        Record {
            warnings: Warnings::of(&many),
            ..sample()
        }
        .encode(&mut bytes);
        let read = Record::decode(&bytes).expect("a whole record");
        assert_eq!(read.warnings.iter().count(), WARNINGS_MAX);
        for (key, message) in read.warnings.iter() {
            assert_eq!(key.len(), WARNING_KEY_BYTES_MAX);
            assert_eq!(message.len(), WARNING_MESSAGE_BYTES_MAX);
        }
    }

    #[test]
    fn a_cut_record_is_not_read() {
        let mut bytes = Vec::new();
        let warnings = warnings();
        Record {
            warnings: Warnings::of(&warnings),
            ..sample()
        }
        .encode(&mut bytes);
        for end in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn a_text_beyond_the_limit_is_cut_on_a_character_border() {
        let long = "é".repeat(TEXT_BYTES_MAX);
        let mut bytes = Vec::new();
        Record {
            uri: &long,
            ..sample()
        }
        .encode(&mut bytes);
        let record = Record::decode(&bytes).expect("a whole record");
        assert_eq!(record.uri.len(), TEXT_BYTES_MAX);
    }
}
