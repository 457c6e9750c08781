//! Policies: what one step of each of the most used ones adds to an exchange, and the chain of a usual gateway as a whole.
//!
//! `cargo bench -p turnpike-core --bench policies`. Every row is a whole exchange with the step in it; `nothing` is the exchange without one.

mod support;

use std::collections::HashMap;
use std::sync::Arc;

use divan::{AllocProfiler, Bencher, black_box};
use serde_json::{Value, json};
use turnpike_core::definition::{
    ApiKey, ApiKeyPlan, PlanSecurity, Processing, Subscription, Subscriptions,
};
use turnpike_core::exchange::{Body, Call, Exchange, Memory};
use turnpike_core::flow::{
    Flow, FlowMode, FlowPath, FlowSet, Methods, Next, PathOperator, Run, Step, Surroundings,
};
use turnpike_core::need::{Answer, Errand, HttpReply, Need};
use turnpike_core::policy::registry::{self, GatewayParts};
use turnpike_core::policy::resource::{self, ResourceBuilder};
use turnpike_core::policy::{Builder, Phase, Resource};
use turnpike_core::quota::{QuotaSettings, Quotas, Store};
use turnpike_core::security::ApiKeySettings;
use turnpike_core::snapshot::{DeployedApi, Platform};

use support::{api, plan};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const KEYS: usize = 1_000;

fn main() {
    divan::main();
}

fn parts() -> GatewayParts {
    GatewayParts {
        quotas: Arc::new(Quotas::new(QuotaSettings {
            store: Store::Local,
            asynchronous: true,
            lease: None,
            keys_max: 100_000,
            zone: jiff::tz::TimeZone::UTC,
        })),
        ..GatewayParts::default()
    }
}

/// A cache, and an authorization server that remembers its answers in it; each is named as its type.
fn resources(parts: &GatewayParts) -> HashMap<Box<str>, Resource> {
    let configurations = [
        ("cache", json!({"timeToLiveSeconds": 60})),
        (
            "oauth2",
            json!({"introspectionEndpoint": "http://127.0.0.1:1/introspect"}),
        ),
    ];
    configurations
        .iter()
        .map(|(kind, configuration)| {
            let entry = resource::find(kind).expect("a resource");
            let instance = (entry.build)(&ResourceBuilder {
                name: kind,
                api_id: "api",
                configuration,
                gateway: parts,
            });
            let resource = Resource {
                kind: entry.kind.into(),
                instance: instance.expect("a configuration"),
            };
            ((*kind).into(), resource)
        })
        .collect()
}

/// An API-key plan with 1,000 keys and a flow of these steps: phase, policy, configuration.
fn deployed(steps: &[(Phase, &str, Value)]) -> DeployedApi {
    let parts = parts();
    let resources = resources(&parts);
    let of = |wanted: Phase| -> Box<[Step]> {
        steps
            .iter()
            .filter(|(phase, ..)| *phase == wanted)
            .map(|(phase, id, configuration)| {
                let (index, entry) = registry::find(id).expect("a policy");
                let policy = (entry.build)(&Builder {
                    configuration,
                    legacy_engine: false,
                    resources: &resources,
                    gateway: &parts,
                });
                Step::new(
                    id,
                    index,
                    policy.expect("a configuration"),
                    Vec::new(),
                    *phase,
                )
            })
            .collect()
    };
    let flow = Flow {
        name: "".into(),
        path: FlowPath::new("/", PathOperator::StartsWith).expect("a flow path"),
        methods: Methods::ALL,
        condition: None,
        request: of(Phase::Request),
        response: of(Phase::Response),
    };
    let processing = Processing {
        flows: FlowSet {
            mode: FlowMode::Default,
            flows: [flow].into(),
        },
        ..Processing::default()
    };
    let security = PlanSecurity::ApiKey(ApiKeyPlan::default());
    let api = api([plan("gold", security)], processing);
    let mut subscriptions = Subscriptions::default();
    for index in 0..KEYS {
        let subscription = Arc::new(Subscription {
            id: format!("subscription-{index}").into(),
            plan_id: "gold".into(),
            application_id: "application".into(),
            ..Subscription::default()
        });
        let key = ApiKey {
            subscription,
            expire_at_ms: None,
        };
        subscriptions
            .keys
            .insert(format!("key-{index}").into(), key);
    }
    DeployedApi {
        api: Arc::new(api),
        subscriptions: Arc::new(subscriptions),
        platform: Arc::new(Platform::default()),
    }
}

fn exchanges(bencher: Bencher<'_, '_>, steps: &[(Phase, &str, Value)]) {
    exchanges_with(bencher, steps, |_| {});
}

fn exchanges_with(
    bencher: Bencher<'_, '_>,
    steps: &[(Phase, &str, Value)],
    prepare: impl Fn(&mut Exchange<'_>),
) {
    let deployed = deployed(steps);
    let security = ApiKeySettings::default();
    let mut memory = Some(Memory::default());
    let mut count = 0_usize;
    bencher.bench_local(|| {
        count += 1;
        let mut exchange = Exchange::new(memory.take().unwrap_or_default(), &deployed);
        let request = &mut exchange.request;
        request.path.push_str("/api/orders/42");
        request.path_info_start = 4;
        request.context_path.push_str("/api/");
        request.remote.push_str("10.1.2.3");
        request.timestamp_ms = 1_700_000_000_000;
        let key = ["key-1", "key-20", "key-300", "key-999"][count % 4];
        for (name, value) in [
            ("X-Gravitee-Api-Key", key),
            ("Accept", "*/*"),
            ("User-Agent", "bench"),
        ] {
            request.headers.add(name, value).expect("a field");
        }
        exchange.now_ms = 1_700_000_000_000;
        prepare(&mut exchange);
        let mut run = Run::new(Surroundings {
            security: &security,
            meter: None,
        });
        let mut next = run.start(&mut exchange);
        loop {
            next = match next {
                Next::Call => {
                    exchange.call = Call::Answered;
                    exchange.response.status = 200;
                    exchange.response.body = Body::Buffered(b"{}".to_vec());
                    run.called(&mut exchange)
                }
                Next::Await(Need::Errand(errand)) if matches!(*errand, Errand::Http(_)) => {
                    let reply = HttpReply {
                        status: 200,
                        headers: Vec::new(),
                        body: br#"{"active":true,"client_id":"client","scope":"read"}"#.to_vec(),
                    };
                    run.answer(&mut exchange, Answer::Http(Ok(Box::new(reply))))
                }
                Next::Await(_) => run.answer(&mut exchange, Answer::Done),
                Next::Respond => break,
            };
        }
        assert_eq!(black_box(exchange.response.status), 200);
        memory = Some(exchange.into_memory());
    });
}

#[divan::bench]
fn nothing(bencher: Bencher<'_, '_>) {
    exchanges(bencher, &[]);
}

fn header_edits() -> Value {
    json!({"addHeaders": [{"name": "X-One", "value": "1"}], "removeHeaders": ["User-Agent"]})
}

#[divan::bench]
fn transform_headers(bencher: Bencher<'_, '_>) {
    exchanges(
        bencher,
        &[(Phase::Request, "transform-headers", header_edits())],
    );
}

#[divan::bench]
fn transform_headers_with_an_expression(bencher: Bencher<'_, '_>) {
    let configuration =
        json!({"addHeaders": [{"name": "X-Path", "value": "{#request.headers['Accept'][0]}"}]});
    exchanges(
        bencher,
        &[(Phase::Request, "transform-headers", configuration)],
    );
}

fn window(member: &str, unit: &str) -> Value {
    json!({"addHeaders": true, member: {"limit": 2_000_000_000, "periodTime": 1, "periodTimeUnit": unit}})
}

#[divan::bench]
fn rate_limit(bencher: Bencher<'_, '_>) {
    exchanges(
        bencher,
        &[(Phase::Request, "rate-limit", window("rate", "MINUTES"))],
    );
}

#[divan::bench]
fn quota(bencher: Bencher<'_, '_>) {
    exchanges(
        bencher,
        &[(Phase::Request, "quota", window("quota", "DAYS"))],
    );
}

#[divan::bench]
fn spike_arrest(bencher: Bencher<'_, '_>) {
    exchanges(
        bencher,
        &[(Phase::Request, "spike-arrest", window("spike", "MINUTES"))],
    );
}

#[divan::bench]
fn cache_hit(bencher: Bencher<'_, '_>) {
    let configuration = json!({"cacheName": "cache", "timeToLiveSeconds": 60});
    exchanges(bencher, &[(Phase::Request, "cache", configuration)]);
}

#[divan::bench]
fn circuit_breaker(bencher: Bencher<'_, '_>) {
    let configuration = json!({
        "failureRateThreshold": 50, "slowCallRateThreshold": 100, "slowCallDurationThreshold": 1_000,
        "windowSize": 100, "waitDurationInOpenState": 1_000,
    });
    exchanges(
        bencher,
        &[(Phase::Request, "policy-circuit-breaker", configuration)],
    );
}

/// A token of HS256 that the step has verified before; with every new one the signature is checked.
#[divan::bench(args = [true, false])]
fn jwt(bencher: Bencher<'_, '_>, is_known: bool) {
    let configuration = json!({"signature": "HMAC_HS256", "publicKeyResolver": "GIVEN_KEY", "resolverParameter": SECRET});
    let count = std::cell::Cell::new(0_u64);
    exchanges_with(
        bencher,
        &[(Phase::Request, "jwt", configuration)],
        |exchange| {
            if !is_known {
                count.set(count.get() + 1);
            }
            let value = format!("Bearer {}", token(count.get()));
            exchange
                .request
                .headers
                .add("Authorization", value)
                .expect("a field");
        },
    );
}

/// A token that the authorization server was asked about before.
#[divan::bench]
fn oauth2(bencher: Bencher<'_, '_>) {
    let configuration = json!({"oauthResource": "oauth2", "oauthCacheResource": "cache"});
    exchanges_with(
        bencher,
        &[(Phase::Request, "oauth2", configuration)],
        |exchange| {
            let headers = &mut exchange.request.headers;
            headers
                .add("Authorization", "Bearer a-token")
                .expect("a field");
        },
    );
}

/// A call with its signature, without the network: it is answered on the spot.
#[divan::bench]
fn aws_lambda(bencher: Bencher<'_, '_>) {
    let configuration = json!({
        "region": "eu-west-1", "function": "bench", "accessKey": "AKIDEXAMPLE", "secretKey": "secret", "payload": "{}",
    });
    exchanges(bencher, &[(Phase::Request, "aws-lambda", configuration)]);
}

const SECRET: &str = "a secret of more than thirty-two bytes, which HS256 asks for!";

/// Signing is part of the row.
fn token(id: u64) -> String {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
    let header = BASE64.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = BASE64.encode(format!(
        r#"{{"sub":"someone","azp":"client","exp":9999999999,"jti":"{id}"}}"#
    ));
    let signed = format!("{header}.{claims}");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", BASE64.encode(signature))
}

/// API key among 1,000, rate limit, two header edits in each direction: the chain of the perf scenario `gateway-like`.
#[divan::bench]
fn gateway_like(bencher: Bencher<'_, '_>) {
    exchanges(
        bencher,
        &[
            (Phase::Request, "rate-limit", window("rate", "MINUTES")),
            (Phase::Request, "transform-headers", header_edits()),
            (Phase::Response, "transform-headers", header_edits()),
        ],
    );
}
