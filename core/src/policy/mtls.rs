//! `mtls`: lets requests with a client certificate through (contract policies 13). Security of a plan.
//!
//! The certificate was verified in the TLS handshake, or comes in a header from a proxy that the operator trusts; which subscription it
//! stands for is the security chain's business.

use std::sync::Arc;

use super::registry::Entry;
use super::{Builder, ConfigError, Phases, Policy, Verdict};
use crate::error::Failure;
use crate::exchange::Exchange;
use crate::security::certificate;

pub(super) const ENTRY: Entry = Entry {
    id: "mtls",
    phases: Phases::REQUEST,
    summary: "lets requests with a client certificate through",
    members: &[],
    differences: "a subscription is always found by the SHA-256 thumbprint of the certificate",
    build: |builder| Ok(Arc::new(Mtls::build(builder)?)),
};

/// The policy. Also the security of mTLS plans.
#[derive(Debug, Default)]
pub struct Mtls {}

/// What plan selection learns from a request.
#[derive(Debug)]
pub(crate) enum Presented {
    /// No certificate.
    Nothing,
    /// Something that is no certificate.
    Invalid,
    /// A certificate with this thumbprint.
    Certificate(Box<str>),
}

impl Mtls {
    /// Builds the policy. It has no configuration.
    pub(crate) fn build(_builder: &Builder<'_>) -> Result<Self, ConfigError> {
        Ok(Self {})
    }

    /// What plan selection goes by.
    pub(crate) fn present(&self, exchange: &Exchange<'_>) -> Presented {
        match &exchange.request.certificate {
            None => Presented::Nothing,
            Some(presented) if !certificate::is_certificate(&presented.der) => Presented::Invalid,
            Some(presented) => {
                Presented::Certificate(certificate::thumbprint(&presented.der).into())
            }
        }
    }
}

impl Policy for Mtls {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let key = match (&exchange.request.certificate, exchange.request.tls) {
            (Some(presented), _) if certificate::is_certificate(&presented.der) => {
                return Verdict::Continue;
            }
            (Some(_), _) => "CLIENT_CERTIFICATE_INVALID",
            (None, true) => "CLIENT_CERTIFICATE_MISSING",
            (None, false) => "SSL_SESSION_REQUIRED",
        };
        Verdict::fail(Failure::policy(401, key, "Unauthorized"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::ClientCertificate;
    use crate::policy::testing::{Bench, build, failure};
    use serde_json::json;

    #[test]
    fn without_a_certificate_the_request_is_refused() {
        let certified =
            rcgen::generate_simple_self_signed(["client".to_owned()]).expect("a certificate");
        let good = certified.cert.der().to_vec();
        let policy = build("mtls", &json!({})).expect("a policy");
        for (tls, der, key) in [
            (false, None, Some("SSL_SESSION_REQUIRED")),
            (true, None, Some("CLIENT_CERTIFICATE_MISSING")),
            (
                true,
                Some(b"no certificate".to_vec()),
                Some("CLIENT_CERTIFICATE_INVALID"),
            ),
            (true, Some(Vec::new()), Some("CLIENT_CERTIFICATE_INVALID")),
            (true, Some(good.clone()), None),
            // A proxy in front of the gateway speaks TLS and hands the certificate on.
            (false, Some(good), None),
        ] {
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            exchange.request.tls = tls;
            exchange.request.certificate = der.map(|der| ClientCertificate { der: der.into() });
            let verdict = policy.on_request(&mut exchange);
            match key {
                None => assert!(matches!(verdict, Verdict::Continue)),
                Some(key) => {
                    let failure = failure(verdict);
                    assert_eq!((failure.status, failure.key_str()), (401, key));
                    assert_eq!(failure.message.as_deref(), Some("Unauthorized"));
                }
            }
        }
    }
}
