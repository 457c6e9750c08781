//! Plan selection and load balancing: what every request pays after it was routed.
//!
//! `cargo bench -p turnpike-core --bench security`

mod support;

use std::sync::Arc;

use divan::{AllocProfiler, Bencher, black_box};
use turnpike_core::definition::{
    Api, ApiKey, ApiKeyPlan, Balancing, LoadBalancer, PlanSecurity, Processing, Subscription,
    Subscriptions,
};
use turnpike_core::security::{ApiKeySettings, Credentials, select};

use support::plan;

const KEYS: u32 = 1_000;
const NOW_MS: u64 = 1_760_000_000_000;

/// Shows allocations beside the times: a look-up must have none.
#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// A request whose header look-up costs nothing, so that the selection itself is measured.
struct Request(Option<String>);

impl Credentials for Request {
    fn header(&self, _name: &str) -> Option<&[u8]> {
        self.0.as_deref().map(str::as_bytes)
    }

    fn parameter(&self, _name: &str) -> Option<&[u8]> {
        None
    }
}

fn key(number: u32) -> String {
    format!("{number:08x}-5c3d-4b6e-9f2a-{:012x}", number * 7)
}

fn api() -> Api {
    let keyed = || PlanSecurity::ApiKey(ApiKeyPlan::default());
    let plans = [
        plan("gold", keyed()),
        plan("silver", keyed()),
        plan("open", PlanSecurity::KeyLess),
    ];
    support::api(plans, Processing::default())
}

fn subscriptions() -> Subscriptions {
    let mut subscriptions = Subscriptions::default();
    for number in 0..KEYS {
        let subscription = Arc::new(Subscription {
            id: format!("subscription-{number}").into(),
            plan_id: if number % 2 == 0 { "gold" } else { "silver" }.into(),
            application_id: format!("application-{number}").into(),
            starting_at_ms: Some(NOW_MS - 1),
            ending_at_ms: None,
            ..Subscription::default()
        });
        subscriptions.keys.insert(
            key(number).into(),
            ApiKey {
                subscription,
                expire_at_ms: None,
            },
        );
    }
    subscriptions
}

fn bench_select(bencher: Bencher<'_, '_>, requests: &[Request], granted: bool) {
    let (api, subscriptions, settings) = (api(), subscriptions(), ApiKeySettings::default());
    let mut requests = requests.iter().cycle();
    bencher.bench_local(|| {
        let request = requests.next().expect("requests go round");
        let answer = select(
            &api,
            &subscriptions,
            black_box(request),
            &settings,
            black_box(NOW_MS),
        );
        assert_eq!(answer.is_ok(), granted);
    });
}

#[divan::bench]
fn one_key_of_a_thousand(bencher: Bencher<'_, '_>) {
    let requests: Vec<_> = (0..KEYS).map(|number| Request(Some(key(number)))).collect();
    bench_select(bencher, &requests, true);
}

#[divan::bench]
fn unknown_key(bencher: Bencher<'_, '_>) {
    let requests: Vec<_> = (KEYS..2 * KEYS)
        .map(|number| Request(Some(key(number))))
        .collect();
    bench_select(bencher, &requests, false);
}

#[divan::bench]
fn key_less(bencher: Bencher<'_, '_>) {
    bench_select(bencher, &[Request(None)], true);
}

#[divan::bench(args = [
    Balancing::RoundRobin,
    Balancing::Random,
    Balancing::WeightedRoundRobin,
    Balancing::WeightedRandom,
])]
fn next_endpoint(bencher: Bencher<'_, '_>, strategy: Balancing) {
    let balancer = LoadBalancer::new(strategy, &[(3, false), (7, false), (1, false), (5, false)]);
    bencher.bench_local(|| black_box(&balancer).next());
}
