//! Rendering of a failure without a response template (contract request-lifecycle 7.3).

use super::Failure;

/// Head and body of a rendered failure. The body is written to the caller's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rendered {
    /// `Content-Type`, absent when there is no message.
    pub content_type: Option<&'static str>,
    /// `Connection: close` goes with every status that is not 4xx.
    pub close: bool,
}

/// Renders `failure` for a client that sent these `Accept` values (raw), appending the body to `body`.
pub fn render<'a>(
    failure: &Failure,
    accept: impl IntoIterator<Item = &'a [u8]>,
    body: &mut Vec<u8>,
) -> Rendered {
    let close = !(400..500).contains(&failure.status);
    let Some(message) = &failure.message else {
        return Rendered {
            content_type: None,
            close,
        };
    };
    let json = accept.into_iter().any(|value| {
        memchr::memmem::find(value, b"application/json").is_some()
            || memchr::memmem::find(value, b"*/*").is_some()
    });
    if json && failure.is_json {
        body.extend_from_slice(message.as_bytes());
        Rendered {
            content_type: Some("application/json"),
            close,
        }
    } else if json {
        body.extend_from_slice(b"{\"message\":\"");
        for byte in message.bytes() {
            if matches!(byte, b'"' | b'\\') {
                body.push(b'\\');
            }
            body.push(byte);
        }
        body.extend_from_slice(b"\",\"http_status_code\":");
        body.extend_from_slice(failure.status.to_string().as_bytes());
        body.push(b'}');
        Rendered {
            content_type: Some("application/json"),
            close,
        }
    } else {
        body.extend_from_slice(message.as_bytes());
        Rendered {
            content_type: Some("text/plain"),
            close,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKey;

    fn rendered(failure: &Failure, accept: &[&[u8]]) -> (Rendered, String) {
        let mut body = Vec::new();
        let rendered = render(failure, accept.iter().copied(), &mut body);
        (rendered, String::from_utf8(body).expect("UTF-8"))
    }

    #[test]
    fn json_is_sent_to_a_client_that_accepts_it_or_anything() {
        let failure = Failure::of(ErrorKey::GatewayPlanUnresolvable);
        for accept in [
            &b"application/json"[..],
            b"text/html, application/json;q=0.1",
            b"*/*",
        ] {
            let (head, body) = rendered(&failure, &[accept]);
            assert_eq!(
                head,
                Rendered {
                    content_type: Some("application/json"),
                    close: false
                }
            );
            assert_eq!(body, r#"{"message":"Unauthorized","http_status_code":401}"#);
        }
    }

    #[test]
    fn text_is_sent_without_an_accept_header_or_with_another_one() {
        let failure = Failure::of(ErrorKey::RequestTimeout);
        for accept in [&[][..], &[&b"text/html"[..]]] {
            let (head, body) = rendered(&failure, accept);
            assert_eq!(
                head,
                Rendered {
                    content_type: Some("text/plain"),
                    close: true
                }
            );
            assert_eq!(body, "Request timeout");
        }
    }

    #[test]
    fn a_failure_without_message_has_no_body_and_no_content_type() {
        let (head, body) = rendered(&Failure::of(ErrorKey::NoEndpointFound), &[b"*/*"]);
        assert_eq!(
            head,
            Rendered {
                content_type: None,
                close: true
            }
        );
        assert_eq!(body, "");
    }
}
