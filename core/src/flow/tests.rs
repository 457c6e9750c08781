//! The order of phases, steps and failures, on policies made for the purpose.

use std::sync::Arc;

use super::*;
use crate::definition::{Engine, Processing};
use crate::el::Template;
use crate::error::{ErrorKey, Failure};
use crate::exchange::{Body, Call, Exchange};
use crate::http::Method;
use crate::need::{Answer, Need};
use crate::policy::testing::Bench;
use crate::policy::{Stage, Verdict};
use crate::security::ApiKeySettings;
use crate::snapshot::Platform;

type Act = fn(&mut Exchange<'_>, Stage, Option<Answer>) -> Verdict;

/// A policy that leaves its name in the response header `X-Log` wherever it is called, and then does what it is told.
#[derive(Clone)]
struct Probe {
    name: &'static str,
    act: Act,
    needs: BodyNeeds,
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Probe {
    fn call(&self, exchange: &mut Exchange<'_>, stage: Stage, answer: Option<Answer>) -> Verdict {
        let mark = match stage {
            Stage::Request => "",
            Stage::Response => "'",
            Stage::BeforeCall => "<",
            Stage::AfterCall => ">",
        };
        exchange
            .response
            .headers
            .add("X-Log", format!("{}{mark}", self.name))
            .expect("a field");
        (self.act)(exchange, stage, answer)
    }
}

impl Policy for Probe {
    fn body_needs(&self, _phase: Phase) -> BodyNeeds {
        self.needs
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        self.call(exchange, Stage::Request, None)
    }

    fn on_response(&self, exchange: &mut Exchange<'_>) -> Verdict {
        self.call(exchange, Stage::Response, None)
    }

    fn resume(&self, stage: Stage, exchange: &mut Exchange<'_>, answer: Answer) -> Verdict {
        self.call(exchange, stage, Some(answer))
    }

    fn before_call(&self, exchange: &mut Exchange<'_>) -> Verdict {
        self.call(exchange, Stage::BeforeCall, None)
    }

    fn after_call(&self, exchange: &mut Exchange<'_>) -> Verdict {
        self.call(exchange, Stage::AfterCall, None)
    }
}

fn go_on(_: &mut Exchange<'_>, _: Stage, _: Option<Answer>) -> Verdict {
    Verdict::Continue
}

fn wrap(_: &mut Exchange<'_>, stage: Stage, _: Option<Answer>) -> Verdict {
    match stage {
        Stage::Request => Verdict::Wrap(None),
        _ => Verdict::Continue,
    }
}

fn fail(_: &mut Exchange<'_>, _: Stage, _: Option<Answer>) -> Verdict {
    Verdict::fail(Failure::policy(418, "TEAPOT", "short and stout"))
}

fn interrupt(_: &mut Exchange<'_>, _: Stage, _: Option<Answer>) -> Verdict {
    Verdict::Interrupt
}

fn pause(_: &mut Exchange<'_>, _: Stage, answer: Option<Answer>) -> Verdict {
    match answer {
        None => Verdict::Await(Need::Pause(5)),
        Some(_) => Verdict::Continue,
    }
}

fn probe(name: &'static str, act: Act) -> Probe {
    Probe {
        name,
        act,
        needs: BodyNeeds::default(),
    }
}

fn steps(probes: &[Probe], phase: Phase) -> Box<[Step]> {
    probes
        .iter()
        .map(|probe| Step::new(probe.name, 0, Arc::new(probe.clone()), Vec::new(), phase))
        .collect()
}

fn flow(path: &str, request: &[Probe], response: &[Probe]) -> Flow {
    Flow {
        name: path.into(),
        path: FlowPath::new(path, PathOperator::StartsWith).expect("a path"),
        methods: Methods::ALL,
        condition: None,
        request: steps(request, Phase::Request),
        response: steps(response, Phase::Response),
    }
}

fn set(flows: Vec<Flow>) -> FlowSet {
    FlowSet {
        mode: FlowMode::Default,
        flows: flows.into(),
    }
}

fn processing(flows: Vec<Flow>) -> Processing {
    Processing {
        flows: set(flows),
        ..Processing::default()
    }
}

/// What a worker would have seen.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    /// The names left behind, in order; `CALL` for a call, `WAIT` for a wait.
    log: String,
    body: String,
    error_key: String,
}

/// Runs an exchange to its end. The backend answers 200; the first `failures` calls fail.
fn run(bench: &mut Bench, method: Method, mut failures: usize) -> Seen {
    let settings = ApiKeySettings::default();
    let mut exchange = bench.exchange();
    exchange.request.method = method;
    exchange.request.body = Body::Streaming;
    let mut run = Run::new(Surroundings {
        security: &settings,
        meter: None,
    });
    let log = |exchange: &mut Exchange<'_>, what: &str| {
        exchange
            .response
            .headers
            .add("X-Log", what)
            .expect("a field");
    };
    let mut next = run.start(&mut exchange);
    for _ in 0..100 {
        next = match next {
            Next::Respond => {
                let words: Vec<String> = exchange
                    .response
                    .headers
                    .values("x-log")
                    .map(|value| String::from_utf8_lossy(value).into_owned())
                    .collect();
                let body = match &exchange.response.body {
                    Body::Buffered(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    Body::Streaming => "streamed".to_owned(),
                    Body::None => String::new(),
                };
                return Seen {
                    status: exchange.response.status,
                    log: words.join(" "),
                    body,
                    error_key: exchange
                        .failure
                        .as_ref()
                        .map_or(String::new(), |failure| failure.key_str().to_owned()),
                };
            }
            Next::Call => {
                log(&mut exchange, "CALL");
                if failures > 0 {
                    failures -= 1;
                    let failure = Failure::of(ErrorKey::GatewayClientConnectionRefused);
                    exchange.call = Call::Failed(Box::new(failure));
                } else {
                    exchange.response.status = 200;
                    exchange.response.body = Body::Streaming;
                    exchange.call = Call::Answered;
                }
                run.called(&mut exchange)
            }
            Next::Await(need) => {
                log(&mut exchange, "WAIT");
                match need {
                    Need::RequestBody => exchange.request.body = Body::Buffered(b"asked".to_vec()),
                    Need::ResponseBody | Need::SmallResponseBody { .. } => {
                        exchange.response.body = Body::Buffered(b"answered".to_vec());
                    }
                    Need::Pause(_) | Need::Errand(_) => {}
                }
                run.answer(&mut exchange, Answer::Done)
            }
        };
    }
    panic!("the run does not end");
}

fn log_of(engine: Engine, processing: Processing, platform: Platform) -> Seen {
    run(
        &mut Bench::with(engine, processing, platform),
        Method::Get,
        0,
    )
}

#[test]
fn levels_run_in_the_order_of_their_engine() {
    for (engine, expected) in [
        (Engine::V4, "o a CALL a' o'"),
        (Engine::V2Emulation, "o a CALL a' o'"),
        (Engine::V2Legacy, "o a CALL a' o'"),
    ] {
        let both = |name| flow("/", &[probe(name, go_on)], &[probe(name, go_on)]);
        let platform = Platform {
            flows: set(vec![both("o")]),
            ..Platform::default()
        };
        let seen = log_of(engine, processing(vec![both("a")]), platform);
        assert_eq!((seen.status, &*seen.log), (200, expected), "{engine:?}");
    }
}

#[test]
fn flows_run_in_order_and_are_replayed_in_the_response_phase() {
    let flows = vec![
        flow("/orders", &[probe("1", go_on)], &[probe("1", go_on)]),
        flow("/other", &[probe("2", go_on)], &[probe("2", go_on)]),
        flow("/", &[probe("3", go_on), probe("4", go_on)], &[]),
    ];
    let seen = log_of(Engine::V4, processing(flows), Platform::default());
    assert_eq!(seen.log, "1 3 4 CALL 1'");
}

#[test]
fn the_best_flow_alone_runs_in_best_match_mode() {
    let flows = vec![
        flow("/", &[probe("root", go_on)], &[]),
        flow("/:what", &[probe("any", go_on)], &[]),
        flow(
            "/orders",
            &[probe("orders", go_on)],
            &[probe("orders", go_on)],
        ),
    ];
    let mut processing = processing(flows);
    processing.flows.mode = FlowMode::BestMatch;
    let seen = log_of(Engine::V4, processing, Platform::default());
    assert_eq!(seen.log, "orders CALL orders'");
}

#[test]
fn a_step_that_waits_is_resumed_and_the_next_one_follows() {
    let flows = vec![flow(
        "/",
        &[probe("1", pause), probe("2", go_on)],
        &[probe("3", pause)],
    )];
    let seen = log_of(Engine::V4, processing(flows), Platform::default());
    assert_eq!(seen.log, "1 WAIT 1 2 CALL 3' WAIT 3'");
}

#[test]
fn bodies_are_read_before_the_step_that_needs_them() {
    let needs = |name, request_body, response_body| Probe {
        needs: BodyNeeds {
            request_body,
            response_body,
        },
        ..probe(name, go_on)
    };
    let flows = vec![flow(
        "/",
        &[
            probe("1", go_on),
            needs("2", true, false),
            needs("3", true, false),
        ],
        &[needs("4", true, true)],
    )];
    let seen = log_of(Engine::V4, processing(flows), Platform::default());
    assert_eq!(seen.log, "1 WAIT 2 3 CALL WAIT 4'");
    let flows = vec![flow("/", &[], &[needs("4", true, false)])];
    let seen = log_of(Engine::V4, processing(flows), Platform::default());
    assert_eq!(seen.log, "WAIT CALL 4'", "kept before it is sent away");
}

#[test]
fn a_failure_is_answered_and_only_the_organization_still_runs() {
    let platform = || Platform {
        flows: set(vec![flow("/", &[], &[probe("o", go_on)])]),
        ..Platform::default()
    };
    let failing = |request: Act, response: Act| {
        vec![flow(
            "/",
            &[probe("1", request), probe("2", go_on)],
            &[probe("3", response), probe("4", go_on)],
        )]
    };
    let seen = log_of(Engine::V4, processing(failing(fail, go_on)), platform());
    assert_eq!(
        seen,
        Seen {
            status: 418,
            log: "1 o'".to_owned(),
            body: "short and stout".to_owned(),
            error_key: "TEAPOT".to_owned(),
        }
    );
    let seen = log_of(Engine::V4, processing(failing(go_on, fail)), platform());
    assert_eq!((seen.status, &*seen.log), (418, "1 2 CALL 3' o'"));
    let seen = log_of(
        Engine::V2Legacy,
        processing(failing(fail, go_on)),
        platform(),
    );
    assert_eq!((seen.status, &*seen.log), (418, "1"), "legacy ends here");
}

#[test]
fn a_failure_in_the_organizations_response_flows_is_answered_too() {
    let platform = Platform {
        flows: set(vec![flow("/", &[], &[probe("o", fail), probe("p", go_on)])]),
        ..Platform::default()
    };
    let seen = log_of(Engine::V4, Processing::default(), platform);
    assert_eq!((seen.status, &*seen.log), (418, "CALL o'"));
}

#[test]
fn an_interruption_sends_what_is_prepared() {
    let flows = vec![flow(
        "/",
        &[probe("1", interrupt), probe("2", go_on)],
        &[probe("3", go_on)],
    )];
    let platform = Platform {
        flows: set(vec![flow("/", &[], &[probe("o", go_on)])]),
        ..Platform::default()
    };
    let seen = log_of(Engine::V4, processing(flows), platform);
    assert_eq!(
        (seen.status, &*seen.log, &*seen.error_key),
        (200, "1 o'", "")
    );
}

#[test]
fn an_organization_may_end_a_request_before_security() {
    let platform = Platform {
        flows: set(vec![flow("/", &[probe("o", fail)], &[])]),
        ..Platform::default()
    };
    let seen = log_of(Engine::V4, Processing::default(), platform);
    assert_eq!((seen.status, &*seen.log), (418, "o"));
}

#[test]
fn the_last_wrapper_is_the_outermost() {
    let flows = vec![flow(
        "/",
        &[probe("1", wrap), probe("2", wrap)],
        &[probe("3", go_on)],
    )];
    let seen = log_of(Engine::V4, processing(flows), Platform::default());
    assert_eq!(seen.log, "1 2 2< 1< CALL 1> 2> 3'");
}

#[test]
fn a_wrapper_may_answer_in_the_place_of_the_backend() {
    fn answers(exchange: &mut Exchange<'_>, stage: Stage, _: Option<Answer>) -> Verdict {
        match stage {
            Stage::Request => Verdict::Wrap(None),
            Stage::BeforeCall => {
                exchange.response.status = 203;
                exchange.response.body = Body::Buffered(b"mine".to_vec());
                Verdict::Interrupt
            }
            _ => Verdict::Continue,
        }
    }
    let flows = vec![flow(
        "/",
        &[probe("1", wrap), probe("2", answers), probe("3", wrap)],
        &[probe("4", go_on)],
    )];
    let seen = log_of(Engine::V4, processing(flows), Platform::default());
    assert_eq!(
        (seen.status, &*seen.log, &*seen.body),
        (203, "1 2 3 3< 2< 3> 4'", "mine")
    );
}

#[test]
fn a_wrapper_may_ask_for_another_call() {
    fn retry(exchange: &mut Exchange<'_>, stage: Stage, _: Option<Answer>) -> Verdict {
        match (stage, &exchange.call) {
            (Stage::Request, _) => Verdict::Wrap(None),
            (Stage::AfterCall, Call::Failed(_)) => Verdict::Again(10),
            _ => Verdict::Continue,
        }
    }
    let flows = || {
        vec![flow(
            "/",
            &[probe("1", wrap), probe("2", retry)],
            &[probe("3", go_on)],
        )]
    };
    let mut bench = Bench::with(Engine::V4, processing(flows()), Platform::default());
    let seen = run(&mut bench, Method::Get, 2);
    assert_eq!(
        (seen.status, &*seen.log),
        (
            200,
            "1 2 2< 1< CALL 1> 2> WAIT 2< 1< CALL 1> 2> WAIT 2< 1< CALL 1> 2> 3'"
        )
    );
}

#[test]
fn a_failed_call_is_answered_with_its_failure() {
    let mut bench = Bench::with(Engine::V4, processing(vec![]), Platform::default());
    let seen = run(&mut bench, Method::Get, 1);
    assert_eq!(
        (seen.status, &*seen.error_key),
        (502, "GATEWAY_CLIENT_CONNECTION_REFUSED")
    );
}

#[test]
fn a_flow_must_run_where_that_is_required() {
    for (path, status) in [("/orders", 200), ("/other", 404)] {
        let processing = Processing {
            match_required: true,
            ..processing(vec![flow(path, &[probe("1", go_on)], &[])])
        };
        let seen = log_of(Engine::V4, processing, Platform::default());
        assert_eq!(seen.status, status, "{path}");
    }
}

#[test]
fn conditions_decide_about_flows_and_steps() {
    for (condition, expected) in [("true", "1 CALL"), ("no", "CALL"), ("", "CALL")] {
        let mut conditional = flow("/", &[probe("1", go_on)], &[]);
        conditional.condition = Some(Template::new(condition));
        let seen = log_of(
            Engine::V4,
            processing(vec![conditional]),
            Platform::default(),
        );
        assert_eq!(seen.log, expected, "flow {condition:?}");
        let step = Step::new(
            "1",
            0,
            Arc::new(probe("1", go_on)),
            vec![Template::new("true"), Template::new(condition)],
            Phase::Request,
        );
        let mut stepped = flow("/", &[], &[]);
        stepped.request = [step].into();
        let seen = log_of(Engine::V4, processing(vec![stepped]), Platform::default());
        assert_eq!(seen.log, expected, "step {condition:?}");
    }
}

#[test]
fn a_condition_that_cannot_be_evaluated_skips_with_a_warning() {
    let settings = ApiKeySettings::default();
    let mut conditional = flow("/", &[probe("1", go_on)], &[]);
    conditional.condition = Some(Template::new("maybe"));
    let mut bench = Bench::with(
        Engine::V4,
        processing(vec![conditional]),
        Platform::default(),
    );
    let mut exchange = bench.exchange();
    let mut run = Run::new(Surroundings {
        security: &settings,
        meter: None,
    });
    assert!(matches!(run.start(&mut exchange), Next::Call));
    assert_eq!(exchange.warnings.len(), 1);
    assert_eq!(exchange.warnings[0].key, "EXPRESSION_EVALUATION_ERROR");
    assert_eq!(
        &*exchange.warnings[0].message,
        "Unable to execute EL condition maybe"
    );
}

#[test]
fn a_preflight_that_is_allowed_never_reaches_the_backend() {
    for (run_policies, expected) in [(false, ""), (true, "1")] {
        let cors = Cors {
            origins: ["*".into()].into(),
            methods: ["GET".into()].into(),
            run_policies,
            ..Cors::default()
        };
        let mut bench = Bench::with(
            Engine::V4,
            Processing {
                cors: Some(Box::new(cors)),
                ..processing(vec![flow("/", &[probe("1", go_on)], &[])])
            },
            Platform::default(),
        );
        let settings = ApiKeySettings::default();
        let mut exchange = bench.exchange();
        exchange.request.method = Method::Options;
        for (name, value) in [
            ("Origin", "https://a"),
            ("Access-Control-Request-Method", "GET"),
        ] {
            exchange.request.headers.add(name, value).expect("a field");
        }
        let mut run = Run::new(Surroundings {
            security: &settings,
            meter: None,
        });
        assert!(matches!(run.start(&mut exchange), Next::Respond));
        assert_eq!(exchange.response.status, 200);
        let log: Vec<&[u8]> = exchange.response.headers.values("x-log").collect();
        assert_eq!(log.concat(), expected.as_bytes());
    }
}

#[test]
fn a_request_whose_time_is_over_gets_504_and_wrappers_give_back_what_they_took() {
    let settings = ApiKeySettings::default();
    let platform = Platform {
        flows: set(vec![flow("/", &[], &[probe("o", go_on)])]),
        ..Platform::default()
    };
    let flows = vec![flow("/", &[probe("1", wrap)], &[])];
    let mut bench = Bench::with(Engine::V4, processing(flows), platform);
    let mut exchange = bench.exchange();
    let mut run = Run::new(Surroundings {
        security: &settings,
        meter: None,
    });
    assert!(matches!(run.start(&mut exchange), Next::Call));
    assert!(run.is_timed());
    assert!(matches!(run.time_out(&mut exchange), Next::Respond));
    assert_eq!(exchange.response.status, 504);
    assert!(!run.is_timed());
    let failure = exchange.failure.as_ref().expect("a failure");
    assert_eq!(failure.key_str(), "REQUEST_TIMEOUT");
}
