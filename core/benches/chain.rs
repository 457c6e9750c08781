//! The chain of policies: what every exchange pays for phases, flows and steps, beside what the policies themselves cost.
//!
//! `cargo bench -p turnpike-core --bench chain`

mod support;

use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use turnpike_core::definition::{PlanSecurity, Processing, Subscriptions};
use turnpike_core::exchange::{Call, Exchange, Memory};
use turnpike_core::flow::{
    Flow, FlowMode, FlowPath, FlowSet, Methods, Next, PathOperator, Run, Step, Surroundings,
};
use turnpike_core::policy::{Phase, Policy, Verdict};
use turnpike_core::security::ApiKeySettings;
use turnpike_core::snapshot::{DeployedApi, Platform};

use support::{api, plan};

/// Shows allocations beside the times: one is the subscription of a key-less plan (the client's address), the chain itself has none.
#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// A policy that costs nothing, so that the way to it is measured.
#[derive(Debug)]
struct Trivial;

impl Policy for Trivial {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        black_box(&exchange.request.path);
        Verdict::Continue
    }

    fn on_response(&self, exchange: &mut Exchange<'_>) -> Verdict {
        black_box(exchange.response.status);
        Verdict::Continue
    }
}

fn steps(phase: Phase, count: usize) -> Box<[Step]> {
    (0..count)
        .map(|_| Step::new("", 0, Arc::new(Trivial), Vec::new(), phase))
        .collect()
}

/// A flow with this many steps in each phase.
fn flow(path: &str, operator: PathOperator, request: usize, response: usize) -> Flow {
    Flow {
        name: "".into(),
        path: FlowPath::new(path, operator).expect("a flow path"),
        methods: Methods::ALL,
        condition: None,
        request: steps(Phase::Request, request),
        response: steps(Phase::Response, response),
    }
}

fn deployed(mode: FlowMode, flows: Vec<Flow>) -> DeployedApi {
    let processing = Processing {
        flows: FlowSet {
            mode,
            flows: flows.into(),
        },
        ..Processing::default()
    };
    let api = api([plan("open", PlanSecurity::KeyLess)], processing);
    DeployedApi {
        api: Arc::new(api),
        subscriptions: Arc::new(Subscriptions::default()),
        platform: Arc::new(Platform::default()),
    }
}

/// Runs whole exchanges of `GET /api<path_info>`, each on the memory of the one before, as a worker does.
fn exchanges(bencher: Bencher<'_, '_>, deployed: &DeployedApi, path_info: &str, items: usize) {
    let security = ApiKeySettings::default();
    let mut memory = Some(Memory::default());
    bencher.counter(ItemsCount::new(items)).bench_local(|| {
        let mut exchange = Exchange::new(memory.take().unwrap_or_default(), deployed);
        exchange.request.path.push_str("/api");
        exchange.request.path.push_str(black_box(path_info));
        exchange.request.path_info_start = 4;
        exchange.request.remote.push_str("10.1.2.3");
        let mut run = Run::new(Surroundings {
            security: &security,
            meter: None,
        });
        assert!(matches!(run.start(&mut exchange), Next::Call));
        exchange.call = Call::Answered;
        exchange.response.status = 200;
        assert!(matches!(run.called(&mut exchange), Next::Respond));
        assert!(exchange.failure.is_none());
        memory = Some(exchange.into_memory());
    });
}

/// Phases, security and bookkeeping alone.
#[divan::bench]
fn without_flows(bencher: Bencher<'_, '_>) {
    exchanges(
        bencher,
        &deployed(FlowMode::Default, Vec::new()),
        "/orders/42",
        1,
    );
}

/// One flow, half of its steps in each phase. The throughput counts steps.
#[divan::bench(args = [2, 8, 32, 128])]
fn steps_of_one_flow(bencher: Bencher<'_, '_>, count: usize) {
    let flow = flow("/", PathOperator::StartsWith, count / 2, count / 2);
    let deployed = deployed(FlowMode::Default, vec![flow]);
    exchanges(bencher, &deployed, "/orders/42", count);
}

const FLOWS: [usize; 3] = [4, 32, 256];

/// Only the last flow matches. The throughput counts flows.
fn selection(
    bencher: Bencher<'_, '_>,
    mode: FlowMode,
    count: usize,
    path: impl Fn(usize) -> String,
) {
    let flows = (0..count)
        .map(|number| flow(&path(number), PathOperator::StartsWith, 1, 1))
        .collect();
    let path_info = format!("/service-{}/42", count - 1);
    exchanges(bencher, &deployed(mode, flows), &path_info, count);
}

#[divan::bench(args = FLOWS)]
fn selection_by_plain_paths(bencher: Bencher<'_, '_>, count: usize) {
    selection(bencher, FlowMode::Default, count, |number| {
        format!("/service-{number}/42")
    });
}

#[divan::bench(args = FLOWS)]
fn selection_by_paths_with_parameters(bencher: Bencher<'_, '_>, count: usize) {
    selection(bencher, FlowMode::Default, count, |number| {
        format!("/service-{number}/:order")
    });
}

/// Every flow matches, and the most specific one of all is looked for.
#[divan::bench(args = FLOWS)]
fn selection_of_the_best_match(bencher: Bencher<'_, '_>, count: usize) {
    selection(bencher, FlowMode::BestMatch, count, |number| {
        if number + 1 == count {
            format!("/service-{number}/:order")
        } else {
            "/:service".to_owned()
        }
    });
}
