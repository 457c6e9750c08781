//! A request on warm connections allocates nothing: the allocator of this process is counted while thousands of them pass.
#![allow(unsafe_code, reason = "a global allocator cannot be written without")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use turnpike_config::DriverChoice;
use turnpike_core::definition::{ApiKey, ApiKeyPlan, Plan, PlanSecurity, Subscription};
use turnpike_core::exchange::Exchange;
use turnpike_core::flow::{Flow, FlowMode, FlowPath, FlowSet, Methods, PathOperator, Step};
use turnpike_core::policy::{Phase, Policy, Verdict};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed to the system's allocator unchanged; only a counter is added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises about `layout` are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above, which is the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as for `dealloc`, and the caller promises that `size` is not zero.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONNECTIONS: usize = 8;
const WARM_UP: usize = 500;
const MEASURED: usize = 5_000;
const REQUEST: &[u8] = b"GET /orders/some/path?a=1&b=2 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: test\r\nAccept: */*\r\nX-Gravitee-Api-Key: the-key\r\n\r\n";
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";

/// A backend whose threads allocate nothing once they run.
fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let mut bytes = [0; 4_096];
    let mut filled = 0;
    while let Ok(count) = stream.read(&mut bytes[filled..]) {
        filled += count;
        if count == 0 {
            return;
        }
        if bytes[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            if stream.write_all(ANSWER).is_err() {
                return;
            }
        }
    }
}

/// Sends `count` requests over each connection, one after the other, without allocating.
fn exchange(clients: &mut [TcpStream], count: usize) {
    let mut bytes = [0; 4_096];
    for _ in 0..count {
        for client in &mut *clients {
            client.write_all(REQUEST).expect("written");
        }
        for client in &mut *clients {
            let mut filled = 0;
            while !bytes[..filled].ends_with(b"\r\n\r\nhello") {
                let read = client.read(&mut bytes[filled..]).expect("an answer");
                assert!(read > 0, "the gateway closed the connection");
                filled += read;
            }
        }
    }
}

/// A step that never waits: it sets a field in each direction.
#[derive(Debug)]
struct SetField(&'static str);

impl Policy for SetField {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let _ = exchange.request.headers.set(self.0, "1");
        Verdict::Continue
    }

    fn on_response(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let _ = exchange.response.headers.set(self.0, "1");
        Verdict::Continue
    }
}

/// An API-key plan, and a flow of two steps in both directions.
fn with_policies(setup: &mut support::Setup) {
    let subscription = Arc::new(Subscription {
        id: "subscription".into(),
        plan_id: "gold".into(),
        application_id: "application".into(),
        application_name: "Application".into(),
        client_id: None,
        thumbprints: [].into(),
        kind: "STANDARD".into(),
        metadata: Default::default(),
        starting_at_ms: None,
        ending_at_ms: None,
    });
    let key = ApiKey {
        subscription,
        expire_at_ms: None,
    };
    setup.subscriptions.keys.insert("the-key".into(), key);
    setup.api.plans = [Plan {
        id: "gold".into(),
        name: "Gold".into(),
        security: PlanSecurity::ApiKey(ApiKeyPlan::default()),
        selection_rule: None,
        flows: FlowSet::default(),
    }]
    .into();
    let steps = |phase| -> Box<[Step]> {
        ["X-One", "X-Two"]
            .map(|name| Step::new("", 0, Arc::new(SetField(name)), Vec::new(), phase))
            .into()
    };
    setup.api.processing.flows = FlowSet {
        mode: FlowMode::Default,
        flows: [Flow {
            name: "all".into(),
            path: FlowPath::new("/", PathOperator::StartsWith).expect("a path"),
            methods: Methods::ALL,
            condition: None,
            request: steps(Phase::Request),
            response: steps(Phase::Response),
        }]
        .into(),
    };
}

/// Both roads in one test: the counter is the process's.
#[test]
fn requests_on_warm_connections_allocate_nothing() {
    measure(support::start(backend(), DriverChoice::Auto, 5_000));
    let proxy = support::start_with(backend(), DriverChoice::Auto, 5_000, with_policies);
    let stats = Arc::clone(&proxy.stats);
    measure(proxy);
    let steps = 4 * (CONNECTIONS * (WARM_UP + MEASURED)) as u64;
    assert_eq!(stats.policies[0].executed.get(), steps);
}

fn measure(mut proxy: support::Proxy) {
    let mut clients: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| TcpStream::connect(proxy.address).expect("connected"))
        .collect();
    exchange(&mut clients, WARM_UP);
    proxy.reports.drain(usize::MAX, |_| {});
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    exchange(&mut clients, MEASURED);
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    let requests = (CONNECTIONS * MEASURED) as u64;
    // The worker's once-a-second housekeeping may allocate; a request may not.
    assert!(
        allocations < 100,
        "{allocations} allocations in {requests} requests"
    );
    // Each was reported, a moment after its answer.
    let reported = requests + (CONNECTIONS * WARM_UP) as u64;
    while proxy.stats.reports_pushed.get() + proxy.stats.reports_dropped.get() < reported {
        thread::yield_now();
    }
    println!("{allocations} allocations in {requests} requests");
    assert_eq!(proxy.fleet.stop().cut, 0);
}
