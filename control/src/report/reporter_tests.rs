//! The reporter from the ring to an HTTP server in this process that behaves badly on purpose.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Mutex;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use turnpike_config::Secret;
use turnpike_core::definition::Engine;
use turnpike_core::report::{PushOutcome, Record, ReportSender, ring};

use super::*;
use crate::bridge::HttpClient;
use crate::report::{BATCH_ID, CloudSink, REPORT_COUNT};

/// How the server treats the next request.
#[derive(Clone, Copy)]
enum Manner {
    Accept,
    /// Takes the batch and then answers 502, as when the answer is lost behind a proxy.
    TakeAndFail,
    Answer(u16),
}

#[derive(Default)]
struct Gate {
    manners: Mutex<Vec<Manner>>,
    batches: Mutex<HashSet<String>>,
    /// Documents by `_id`, with how many distinct batches brought them.
    documents: Mutex<HashMap<String, usize>>,
    requests: Mutex<usize>,
    heads: Mutex<Vec<http::HeaderMap>>,
}

impl Gate {
    fn documents(&self) -> HashMap<String, usize> {
        self.documents.lock().expect("no panic").clone()
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        *self.requests.lock().expect("no panic") += 1;
        let mut manners = self.manners.lock().expect("no panic");
        let manner = if manners.is_empty() {
            Manner::Accept
        } else {
            manners.remove(0)
        };
        let status = match manner {
            Manner::Accept => 202,
            Manner::TakeAndFail => 502,
            Manner::Answer(status) => status,
        };
        if !matches!(manner, Manner::Answer(_)) {
            self.take(&parts.headers, &body);
        }
        self.heads.lock().expect("no panic").push(parts.headers);
        Ok(Response::builder()
            .status(status)
            .body(Full::default())
            .expect("a response"))
    }

    fn take(&self, headers: &http::HeaderMap, body: &[u8]) {
        let id = headers[BATCH_ID].to_str().expect("text").to_owned();
        if !self.batches.lock().expect("no panic").insert(id) {
            return;
        }
        let mut text = String::new();
        flate2::read::GzDecoder::new(body)
            .read_to_string(&mut text)
            .expect("gzip");
        assert_eq!(
            headers[REPORT_COUNT],
            text.lines().count().to_string().as_str()
        );
        let mut documents = self.documents.lock().expect("no panic");
        for line in text.lines() {
            let document: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let id = document["_id"]
                .as_str()
                .or_else(|| document["type"].as_str())
                .expect("an id or a type");
            *documents.entry(id.to_owned()).or_default() += 1;
        }
    }
}

async fn serve(gate: Arc<Gate>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let gate = gate.clone();
            let service = service_fn(move |request| {
                let gate = gate.clone();
                async move { gate.answer(request).await }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

struct Bench {
    gate: Arc<Gate>,
    sender: ReportSender,
    reporter: Reporter,
    stats: Arc<ReporterStats>,
}

async fn bench(manners: &[Manner], change: impl FnOnce(&mut CloudReporterConfig)) -> Bench {
    let gate = Arc::new(Gate {
        manners: Mutex::new(manners.to_vec()),
        ..Gate::default()
    });
    let address = serve(gate.clone()).await;
    bench_at(gate, address, change)
}

fn bench_at(
    gate: Arc<Gate>,
    address: SocketAddr,
    change: impl FnOnce(&mut CloudReporterConfig),
) -> Bench {
    let mut cloud = CloudReporterConfig {
        bulk_items: 10,
        flush_interval_ms: 50,
        retry_delay_ms: 20,
        retry_delay_ms_max: 100,
        ..CloudReporterConfig::default()
    };
    change(&mut cloud);
    let client = HttpClient::new(&cloud.client).expect("settings");
    let settings = ReporterSettings {
        node_id: "node-1".to_owned(),
        tenant: String::new(),
        zone: String::new(),
        cloud,
        warnings: true,
        monitor: None,
    };
    let url = format!("http://{address}/reports");
    let sink = CloudSink::new(
        &url,
        Arc::new(|| Secret::new("token")),
        "turnpike/test",
        Arc::new(client),
    )
    .expect("an address");
    let stats = Arc::new(ReporterStats::default());
    let (sender, receiver) = ring(1 << 20);
    let reporter = Reporter::new(&settings, vec![receiver], Arc::new(sink), stats.clone());
    Bench {
        gate,
        sender,
        reporter,
        stats,
    }
}

fn push(sender: &mut ReportSender, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let id = format!("r-{number}");
        let record = Record {
            request_id: &id,
            engine: Some(Engine::V4),
            timestamp_ms: 1_760_000_000_000,
            ..Record::empty()
        };
        assert_eq!(sender.push(&record), PushOutcome::Pushed);
    }
}

/// Polls until `done`, at most 20 s.
async fn until(done: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen within 20 s");
}

fn assert_each_once(gate: &Gate, expected: usize) {
    let documents = gate.documents();
    assert_eq!(documents.len(), expected);
    assert!(
        documents.values().all(|times| *times == 1),
        "a document came in two batches"
    );
}

#[tokio::test]
async fn records_arrive_in_batches_with_the_heads_of_the_wire() {
    let mut bench = bench(&[], |_| {}).await;
    push(&mut bench.sender, 0..25);
    let stats = bench.stats.clone();
    bench.reporter.run(until(|| stats.sent() == 25)).await;
    assert_each_once(&bench.gate, 25);
    assert_eq!(
        (
            bench.stats.received(),
            bench.stats.batches_sent(),
            bench.stats.dropped_total()
        ),
        (25, 3, 0)
    );
    assert!(bench.stats.last_success_ms().is_some());
    let heads = bench.gate.heads.lock().expect("no panic");
    let expected = [
        ("authorization", "Bearer token"),
        ("content-type", "application/x-ndjson"),
        ("content-encoding", "gzip"),
        ("user-agent", "turnpike/test"),
    ];
    for (name, value) in expected {
        assert_eq!(heads[0][name], value);
    }
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_is_sent_again_and_counts_once() {
    let mut bench = bench(
        &[
            Manner::TakeAndFail,
            Manner::Answer(503),
            Manner::TakeAndFail,
        ],
        |_| {},
    )
    .await;
    push(&mut bench.sender, 0..10);
    let stats = bench.stats.clone();
    bench.reporter.run(until(|| stats.sent() == 10)).await;
    assert_each_once(&bench.gate, 10);
    assert_eq!(bench.stats.failures(), 3);
    assert_eq!(bench.stats.dropped_total(), 0);
}

#[tokio::test]
async fn an_endpoint_that_comes_back_after_an_outage_gets_every_report_once() {
    // A port that nobody listens on until later.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    drop(socket);
    let gate = Arc::new(Gate::default());
    let mut bench = bench_at(gate.clone(), address, |_| {});
    push(&mut bench.sender, 0..95);
    let stats = bench.stats.clone();
    bench.reporter.run(until(|| stats.failures() >= 5)).await;
    assert_eq!(
        (
            bench.stats.sent(),
            bench.stats.dropped_total(),
            bench.stats.pending_records()
        ),
        (0, 0, 95)
    );
    push(&mut bench.sender, 95..130);
    let listener = TcpListener::bind(address)
        .await
        .expect("the port is still free");
    let late = gate.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let gate = late.clone();
            let service = service_fn(move |request| {
                let gate = gate.clone();
                async move { gate.answer(request).await }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    bench.reporter.run(until(|| stats.sent() == 130)).await;
    assert_each_once(&gate, 130);
    assert_eq!(
        (bench.stats.dropped_total(), bench.stats.pending_records()),
        (0, 0)
    );
}

#[tokio::test]
async fn beyond_the_memory_limit_the_oldest_reports_are_dropped_and_counted() {
    let bad = [Manner::Answer(500); 400];
    let mut bench = bench(&bad, |cloud| cloud.pending_bytes_max = 4_000).await;
    push(&mut bench.sender, 0..500);
    let stats = bench.stats.clone();
    bench
        .reporter
        .run(until(|| stats.received() == 500 && stats.failures() > 2))
        .await;
    let dropped = bench.stats.dropped(DropReason::QueueFull);
    assert!(dropped > 300, "dropped {dropped}");
    assert!(bench.stats.pending_bytes() <= 4_000);
    bench.gate.manners.lock().expect("no panic").clear();
    bench
        .reporter
        .run(until(|| stats.pending_records() == 0))
        .await;
    assert_eq!(bench.stats.sent() + bench.stats.dropped_total(), 500);
    assert_each_once(&bench.gate, bench.stats.sent() as usize);
    assert!(
        bench.gate.documents().contains_key("r-499"),
        "the newest is kept"
    );
}

#[tokio::test]
async fn a_refused_batch_is_dropped_and_counted_and_the_next_goes_on() {
    let mut bench = bench(&[Manner::Answer(400)], |_| {}).await;
    push(&mut bench.sender, 0..20);
    let stats = bench.stats.clone();
    bench
        .reporter
        .run(until(|| {
            stats.sent() + stats.dropped(DropReason::Rejected) == 20
        }))
        .await;
    assert_eq!(
        (
            bench.stats.sent(),
            bench.stats.dropped(DropReason::Rejected)
        ),
        (10, 10)
    );
}

#[tokio::test]
async fn a_batch_that_is_too_large_arrives_in_parts() {
    let mut bench = bench(&[Manner::Answer(413), Manner::Answer(413)], |_| {}).await;
    push(&mut bench.sender, 0..10);
    let stats = bench.stats.clone();
    bench.reporter.run(until(|| stats.sent() == 10)).await;
    assert_each_once(&bench.gate, 10);
    assert!(bench.stats.batches_sent() >= 2);
}

#[tokio::test]
async fn a_flush_sends_what_is_left_in_the_rings_at_once() {
    let mut bench = bench(&[], |cloud| cloud.flush_interval_ms = 3_600_000).await;
    push(&mut bench.sender, 0..1_005);
    drop(bench.sender);
    bench.reporter.flush(Duration::from_secs(20)).await;
    assert_each_once(&bench.gate, 1_005);
    assert_eq!(
        (bench.stats.sent(), bench.stats.pending_records()),
        (1_005, 0)
    );
}

#[tokio::test]
async fn a_flush_towards_a_dead_endpoint_ends_in_time_and_counts_what_it_leaves() {
    let bad = [Manner::Answer(503); 400];
    let mut bench = bench(&bad, |_| {}).await;
    push(&mut bench.sender, 0..35);
    let begun = Instant::now();
    bench.reporter.flush(Duration::from_millis(300)).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(bench.stats.dropped(DropReason::Shutdown), 35);
    assert_eq!(
        (
            bench.stats.sent(),
            bench.stats.pending_records(),
            bench.stats.pending_bytes()
        ),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn refused_credentials_keep_the_reports_and_stop_the_attempts() {
    let mut bench = bench(&[Manner::Answer(401)], |_| {}).await;
    push(&mut bench.sender, 0..10);
    let stats = bench.stats.clone();
    bench.reporter.run(until(|| stats.failures() == 1)).await;
    push(&mut bench.sender, 10..30);
    bench.reporter.run(until(|| stats.received() == 30)).await;
    assert_eq!(*bench.gate.requests.lock().expect("no panic"), 1);
    assert_eq!(
        (bench.stats.pending_records(), bench.stats.dropped_total()),
        (30, 0)
    );
}

#[test]
fn a_loss_is_told_when_it_begins_and_when_it_is_over() {
    let mut watch = LossWatch::default();
    let steps = [
        (0, 0, None),
        (5, 1_000, Some(Loss::Begun)),
        (7, 9_000, None),
        (7, 18_999, None),
        (7, 19_000, Some(Loss::Over { lost: 7 })),
        (7, 90_000, None),
        (8, 91_000, Some(Loss::Begun)),
        (8, 101_000, Some(Loss::Over { lost: 1 })),
    ];
    for (dropped, now_ms, expected) in steps {
        assert_eq!(watch.look(dropped, now_ms), expected, "at {now_ms}");
    }
}

#[tokio::test]
async fn without_a_reporter_the_rings_are_kept_empty() {
    let (mut sender, receiver) = ring(4_096);
    let pushing = async {
        let mut pushed = 0;
        for _ in 0..2_000 {
            let record = Record {
                uri: "/some/path",
                ..Record::empty()
            };
            if sender.push(&record) == PushOutcome::Pushed {
                pushed += 1;
            } else {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if pushed == 200 {
                return;
            }
        }
        panic!("the ring stays full");
    };
    discard(vec![receiver], pushing).await;
}

#[tokio::test]
async fn host_and_process_are_reported_between_requests() {
    let mut bench = bench(&[], |_| {}).await;
    bench.reporter.monitor = Some(MonitorReports {
        monitor: Arc::new(Monitor::new()),
        hostname: "gw-1".to_owned(),
        period_ms: 10,
    });
    push(&mut bench.sender, 0..3);
    let stats = bench.stats.clone();
    bench.reporter.run(until(|| stats.sent() >= 6)).await;
    bench.reporter.monitor = None;
    bench
        .reporter
        .run(until(|| stats.pending_records() == 0))
        .await;
    let documents = bench.gate.documents();
    assert_eq!(documents["r-2"], 1);
    assert_eq!(stats.sent(), 3 + documents["monitor"] as u64);
    assert_eq!(stats.received(), stats.sent());
}
