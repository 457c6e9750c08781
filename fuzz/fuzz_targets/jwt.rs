//! A token that nobody signed is never let in, whatever its bytes; and what is refused is refused with a key.
#![no_main]

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use turnpike_core::definition::{Api, Engine, Processing, Subscriptions};
use turnpike_core::exchange::{Exchange, Memory};
use turnpike_core::policy::registry::{self, GatewayParts};
use turnpike_core::policy::{Builder, Policy, Verdict};
use turnpike_core::snapshot::{DeployedApi, Platform};

fn policy() -> &'static Arc<dyn Policy> {
    static POLICY: OnceLock<Arc<dyn Policy>> = OnceLock::new();
    POLICY.get_or_init(|| {
        let (_, entry) = registry::find("jwt").expect("a policy");
        (entry.build)(&Builder {
            configuration: &json!({
                "signature": "HMAC_HS256",
                "publicKeyResolver": "GIVEN_KEY",
                "resolverParameter": "a secret of more than thirty-two bytes, never told",
                "extractClaims": true,
            }),
            legacy_engine: false,
            resources: &HashMap::new(),
            gateway: &GatewayParts::default(),
        })
        .expect("a configuration")
    })
}

fn deployed() -> &'static DeployedApi {
    static DEPLOYED: OnceLock<DeployedApi> = OnceLock::new();
    DEPLOYED.get_or_init(|| DeployedApi {
        api: Arc::new(Api {
            id: "api".into(),
            name: "api".into(),
            version: "1".into(),
            environment_id: "".into(),
            organization_id: "".into(),
            engine: Engine::V4,
            deployed_at_ms: 0,
            revision: "1".into(),
            listeners: [].into(),
            plans: [].into(),
            groups: [].into(),
            analytics: false,
            reject_null_byte: false,
            processing: Processing::default(),
        }),
        subscriptions: Arc::new(Subscriptions::default()),
        platform: Arc::new(Platform::default()),
    })
}

fuzz_target!(|data: &[u8]| {
    let mut exchange = Exchange::new(Memory::default(), deployed());
    exchange.now_ms = 1_700_000_000_000;
    let mut value = b"Bearer ".to_vec();
    value.extend_from_slice(data);
    if exchange.request.headers.add("Authorization", value).is_err() {
        return;
    }
    match policy().on_request(&mut exchange) {
        Verdict::Fail(failure) => assert_eq!(failure.status, 401, "{failure:?}"),
        other => panic!("a token that nobody signed led to {other:?}"),
    }
});
