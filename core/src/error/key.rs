//! The error keys that the gateway itself emits (contract request-lifecycle 7.6).

use std::borrow::Cow;

use super::Source;

/// The key of a failure: one of the gateway's own, or a policy's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureKey {
    /// One of the gateway's own.
    Gateway(ErrorKey),
    /// A policy's.
    Policy(Cow<'static, str>),
}

impl FailureKey {
    /// The key as written in reports and templates.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Gateway(key) => key.as_str(),
            Self::Policy(key) => key,
        }
    }

    /// The umbrella key whose response template applies when this key has none.
    pub fn parent(&self) -> Option<&'static str> {
        match self {
            Self::Gateway(key) => key.parent().map(ErrorKey::as_str),
            Self::Policy(_) => None,
        }
    }
}

/// An error key: the same word in reports, response templates and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "the names are the contract's own and are explained there, section 7.6"
)]
pub enum ErrorKey {
    RequestTimeout,
    RequestNullByteRejected,
    GatewayPlanUnresolvable,
    GatewayPlanResolutionFailure,
    ApiKeyMissing,
    ApiKeyInvalid,
    NoEndpointFound,
    GatewayClientConnectionRefused,
    GatewayClientDnsResolutionError,
    GatewayClientUnreachable,
    GatewayClientTlsHandshakeError,
    GatewayClientConnectionReset,
    GatewayClientConnectionClosed,
    GatewayClientConnectionPoolExhausted,
    GatewayClientConnectionError,
    GatewayClientConnectTimeout,
    GatewayClientReadTimeout,
    GatewayClientConnectionTimeout,
    GatewayClientStreamEndedEarly,
    ClientAbortedDuringRequestError,
    ClientAbortedDuringResponseError,
    FlowExecutionFlowMatchedFailure,
    CorsPreflightFailed,
    InvalidHttpMethod,
    GatewayPolicyInternalError,
    GatewayRequestBodyTooLarge,
    GatewayResponseBodyTooLarge,
}

impl ErrorKey {
    /// The key as written in reports and templates.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestTimeout => "REQUEST_TIMEOUT",
            Self::RequestNullByteRejected => "REQUEST_NULL_BYTE_REJECTED",
            Self::GatewayPlanUnresolvable => "GATEWAY_PLAN_UNRESOLVABLE",
            Self::GatewayPlanResolutionFailure => "GATEWAY_PLAN_RESOLUTION_FAILURE",
            Self::ApiKeyMissing => "API_KEY_MISSING",
            Self::ApiKeyInvalid => "API_KEY_INVALID",
            Self::NoEndpointFound => "NO_ENDPOINT_FOUND",
            Self::GatewayClientConnectionRefused => "GATEWAY_CLIENT_CONNECTION_REFUSED",
            Self::GatewayClientDnsResolutionError => "GATEWAY_CLIENT_DNS_RESOLUTION_ERROR",
            Self::GatewayClientUnreachable => "GATEWAY_CLIENT_UNREACHABLE",
            Self::GatewayClientTlsHandshakeError => "GATEWAY_CLIENT_TLS_HANDSHAKE_ERROR",
            Self::GatewayClientConnectionReset => "GATEWAY_CLIENT_CONNECTION_RESET",
            Self::GatewayClientConnectionClosed => "GATEWAY_CLIENT_CONNECTION_CLOSED",
            Self::GatewayClientConnectionPoolExhausted => {
                "GATEWAY_CLIENT_CONNECTION_POOL_EXHAUSTED"
            }
            Self::GatewayClientConnectionError => "GATEWAY_CLIENT_CONNECTION_ERROR",
            Self::GatewayClientConnectTimeout => "GATEWAY_CLIENT_CONNECT_TIMEOUT",
            Self::GatewayClientReadTimeout => "GATEWAY_CLIENT_READ_TIMEOUT",
            Self::GatewayClientConnectionTimeout => "GATEWAY_CLIENT_CONNECTION_TIMEOUT",
            Self::GatewayClientStreamEndedEarly => "GATEWAY_CLIENT_STREAM_ENDED_EARLY",
            Self::ClientAbortedDuringRequestError => "CLIENT_ABORTED_DURING_REQUEST_ERROR",
            Self::ClientAbortedDuringResponseError => "CLIENT_ABORTED_DURING_RESPONSE_ERROR",
            Self::FlowExecutionFlowMatchedFailure => "FLOW_EXECUTION_FLOW_MATCHED_FAILURE",
            Self::CorsPreflightFailed => "CORS_PREFLIGHT_FAILED",
            Self::InvalidHttpMethod => "INVALID_HTTP_METHOD",
            Self::GatewayPolicyInternalError => "GATEWAY_POLICY_INTERNAL_ERROR",
            Self::GatewayRequestBodyTooLarge => "GATEWAY_REQUEST_BODY_TOO_LARGE",
            Self::GatewayResponseBodyTooLarge => "GATEWAY_RESPONSE_BODY_TOO_LARGE",
        }
    }

    /// HTTP status of the answer; 499 is only reported, never sent.
    pub fn status(self) -> u16 {
        match self {
            Self::RequestNullByteRejected | Self::CorsPreflightFailed | Self::InvalidHttpMethod => {
                400
            }
            Self::FlowExecutionFlowMatchedFailure => 404,
            Self::GatewayRequestBodyTooLarge => 413,
            Self::GatewayPolicyInternalError => 500,
            Self::GatewayPlanUnresolvable | Self::ApiKeyMissing | Self::ApiKeyInvalid => 401,
            Self::ClientAbortedDuringRequestError | Self::ClientAbortedDuringResponseError => 499,
            Self::GatewayClientConnectionRefused
            | Self::GatewayClientDnsResolutionError
            | Self::GatewayClientUnreachable
            | Self::GatewayClientTlsHandshakeError
            | Self::GatewayClientConnectionReset
            | Self::GatewayClientConnectionClosed
            | Self::GatewayClientConnectionError
            | Self::GatewayClientStreamEndedEarly
            | Self::GatewayResponseBodyTooLarge => 502,
            Self::GatewayPlanResolutionFailure
            | Self::NoEndpointFound
            | Self::GatewayClientConnectionPoolExhausted => 503,
            Self::RequestTimeout
            | Self::GatewayClientConnectTimeout
            | Self::GatewayClientReadTimeout
            | Self::GatewayClientConnectionTimeout => 504,
        }
    }

    /// Text sent to the client, if the contract gives one.
    pub fn message(self) -> Option<&'static str> {
        match self {
            Self::RequestTimeout => Some("Request timeout"),
            Self::RequestNullByteRejected => Some("The request contains invalid characters."),
            Self::GatewayPlanUnresolvable | Self::ApiKeyMissing | Self::ApiKeyInvalid => {
                Some("Unauthorized")
            }
            Self::GatewayPlanResolutionFailure => Some("Temporarily Unavailable"),
            Self::InvalidHttpMethod => Some(
                "Http method cannot be overridden because ATTR_REQUEST_METHOD attribute is invalid",
            ),
            Self::GatewayRequestBodyTooLarge => Some("The request body is too large"),
            _ => None,
        }
    }

    /// The umbrella key whose response template applies when this key has none.
    pub fn parent(self) -> Option<Self> {
        match self {
            Self::GatewayClientConnectionRefused
            | Self::GatewayClientDnsResolutionError
            | Self::GatewayClientUnreachable
            | Self::GatewayClientTlsHandshakeError
            | Self::GatewayClientConnectionReset
            | Self::GatewayClientConnectionClosed
            | Self::GatewayClientConnectionPoolExhausted => {
                Some(Self::GatewayClientConnectionError)
            }
            Self::GatewayClientConnectTimeout | Self::GatewayClientReadTimeout => {
                Some(Self::RequestTimeout)
            }
            _ => None,
        }
    }

    /// Who failed.
    pub fn source(self) -> Source {
        match self {
            Self::RequestTimeout
            | Self::GatewayPlanResolutionFailure
            | Self::InvalidHttpMethod
            | Self::GatewayPolicyInternalError
            | Self::NoEndpointFound => Source::Gateway,
            Self::RequestNullByteRejected
            | Self::GatewayPlanUnresolvable
            | Self::ApiKeyMissing
            | Self::ApiKeyInvalid
            | Self::FlowExecutionFlowMatchedFailure
            | Self::CorsPreflightFailed
            | Self::GatewayRequestBodyTooLarge
            | Self::ClientAbortedDuringRequestError
            | Self::ClientAbortedDuringResponseError => Source::Client,
            _ => Source::Upstream,
        }
    }
}
