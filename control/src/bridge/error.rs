//! How a call to the control plane fails, and what may be done about it (contract sync 2.2).

use http::StatusCode;

use super::http::HttpError;

/// What a failure means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BridgeErrorKind {
    /// Try again: transport, timeout, 408, 429, 5xx, an answer that is no JSON.
    Transient,
    /// 401: our credentials were refused; try again, and tell the operator once.
    Unauthorized,
    /// 403: not for us; skip this object.
    Forbidden,
    /// 404, 405 or 501 on a path that the server does not have.
    NotFound,
    /// Any other refusal: trying again will not help.
    Permanent,
}

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {reason}")]
pub struct BridgeError {
    /// Method and path.
    pub call: String,
    /// What it means.
    pub kind: BridgeErrorKind,
    /// Status, when there was an answer.
    pub status: Option<StatusCode>,
    /// What happened.
    pub reason: String,
}

impl BridgeError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            BridgeErrorKind::Transient | BridgeErrorKind::Unauthorized
        )
    }

    pub(super) fn transport(call: &str, error: &HttpError) -> Self {
        let kind = if error.is_transient() {
            BridgeErrorKind::Transient
        } else {
            BridgeErrorKind::Permanent
        };
        Self {
            call: call.to_owned(),
            kind,
            status: None,
            reason: error.to_string(),
        }
    }

    pub(super) fn status(call: &str, status: StatusCode, body: &[u8]) -> Self {
        let kind = match status.as_u16() {
            401 => BridgeErrorKind::Unauthorized,
            403 => BridgeErrorKind::Forbidden,
            404 | 405 | 501 => BridgeErrorKind::NotFound,
            408 | 429 | 500.. => BridgeErrorKind::Transient,
            _ => BridgeErrorKind::Permanent,
        };
        let message = excerpt(body);
        let separator = if message.is_empty() { "" } else { ": " };
        let reason = format!(
            "control plane answered {}{separator}{message}",
            status.as_u16()
        );
        Self {
            call: call.to_owned(),
            kind,
            status: Some(status),
            reason,
        }
    }

    pub(super) fn unreadable(call: &str, status: StatusCode, error: &serde_json::Error) -> Self {
        let reason = format!("expected JSON in the answer, found something else: {error}");
        Self {
            call: call.to_owned(),
            kind: BridgeErrorKind::Transient,
            status: Some(status),
            reason,
        }
    }
}

/// The start of a plain-text body on one line, for messages.
fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(200)])
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_meaning() {
        let cases = [
            (400, BridgeErrorKind::Permanent),
            (401, BridgeErrorKind::Unauthorized),
            (403, BridgeErrorKind::Forbidden),
            (404, BridgeErrorKind::NotFound),
            (405, BridgeErrorKind::NotFound),
            (408, BridgeErrorKind::Transient),
            (429, BridgeErrorKind::Transient),
            (500, BridgeErrorKind::Transient),
            (501, BridgeErrorKind::NotFound),
            (503, BridgeErrorKind::Transient),
            (302, BridgeErrorKind::Permanent),
        ];
        for (status, kind) in cases {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(
                BridgeError::status("GET /", status, b"").kind,
                kind,
                "{status}"
            );
        }
    }

    #[test]
    fn a_message_from_the_server_is_shown_on_one_line_and_cut() {
        let error = BridgeError::status(
            "GET /",
            StatusCode::BAD_REQUEST,
            format!("a\nb{}", "c".repeat(500)).as_bytes(),
        );
        assert!(error.reason.starts_with("control plane answered 400: a bc"));
        assert!(error.reason.len() < 240);
    }
}
