use std::sync::atomic::{AtomicUsize, Ordering};

use turnpike_core::definition::ConnectorOptions;

use super::*;

/// Answers with what it is told, and counts.
#[derive(Debug, Clone, Default)]
struct Told(Arc<ToldState>);

#[derive(Debug, Default)]
struct ToldState {
    asked: AtomicUsize,
    answer: Mutex<Option<Vec<IpAddr>>>,
    /// Answers wait for a permit when this is set.
    gate: Option<Semaphore>,
}

impl Told {
    fn gated() -> Self {
        Self(Arc::new(ToldState {
            gate: Some(Semaphore::new(0)),
            ..ToldState::default()
        }))
    }

    fn say(&self, addresses: &[&str]) {
        let addresses = addresses
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect();
        *self.0.answer.lock().expect("no test panics here") = Some(addresses);
    }

    fn fail(&self) {
        *self.0.answer.lock().expect("no test panics here") = None;
    }

    fn asked(&self) -> usize {
        self.0.asked.load(Ordering::Relaxed)
    }
}

impl LookUp for Told {
    fn look_up(
        &self,
        _host: &str,
    ) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static {
        self.0.asked.fetch_add(1, Ordering::Relaxed);
        let state = Arc::clone(&self.0);
        async move {
            if let Some(gate) = &state.gate {
                gate.acquire()
                    .await
                    .expect("the gate is never closed")
                    .forget();
            }
            let answer = state.answer.lock().expect("no test panics here").clone();
            answer.ok_or_else(|| io::Error::other("told to fail"))
        }
    }
}

/// Every look-up is due at once.
const ALWAYS: RefreshPeriods = RefreshPeriods {
    good_ms: 0,
    failed_ms: 0,
};

fn connector(connectors: &Connectors, host: &str, port: u16) -> Arc<Connector> {
    connectors.intern(
        ("api", host),
        (host, port),
        host,
        None,
        ConnectorOptions::default(),
    )
}

fn resolved(addresses: &[&str]) -> Addresses {
    Addresses::Resolved(
        addresses
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect(),
    )
}

fn known(connector: &Connector) -> Addresses {
    (**connector.addresses.load()).clone()
}

#[tokio::test]
async fn the_system_finds_localhost_and_not_an_invalid_name() {
    let connectors = Connectors::default();
    let local = connector(&connectors, "localhost", 8080);
    let invalid = connector(&connectors, "nowhere.invalid", 80);
    let literal = connector(&connectors, "192.0.2.7", 80);
    Resolver::new(connectors).resolve_new().await;
    let Addresses::Resolved(addresses) = known(&local) else {
        panic!("{:?}", known(&local))
    };
    assert!(
        addresses
            .iter()
            .all(|address| address.ip().is_loopback() && address.port() == 8080),
        "{addresses:?}"
    );
    assert!(
        matches!(known(&invalid), Addresses::Failed(_)),
        "{:?}",
        known(&invalid)
    );
    assert_eq!(known(&literal), resolved(&["192.0.2.7:80"]));
}

#[tokio::test]
async fn one_look_up_serves_every_port_of_a_host_and_repeated_addresses_count_once() {
    let (connectors, told) = (Connectors::default(), Told::default());
    let first = connector(&connectors, "a", 80);
    let second = connector(&connectors, "a", 81);
    told.say(&["192.0.2.2", "192.0.2.1", "192.0.2.2"]);
    Resolver::with(connectors, told.clone(), ALWAYS)
        .resolve_new()
        .await;
    assert_eq!(told.asked(), 1);
    assert_eq!(known(&first), resolved(&["192.0.2.2:80", "192.0.2.1:80"]));
    assert_eq!(known(&second), resolved(&["192.0.2.2:81", "192.0.2.1:81"]));
}

#[tokio::test]
async fn a_failure_keeps_the_last_good_answer() {
    let (connectors, told) = (Connectors::default(), Told::default());
    let backend = connector(&connectors, "a", 80);
    let resolver = Resolver::with(connectors, told.clone(), ALWAYS);
    resolver.resolve_new().await;
    assert_eq!(known(&backend), Addresses::Failed("told to fail".into()));
    told.say(&["192.0.2.1"]);
    resolver.refresh().await;
    assert_eq!(known(&backend), resolved(&["192.0.2.1:80"]));
    told.fail();
    resolver.refresh().await;
    told.say(&[]);
    resolver.refresh().await;
    assert_eq!(known(&backend), resolved(&["192.0.2.1:80"]));
    told.say(&["192.0.2.9"]);
    resolver.refresh().await;
    assert_eq!(known(&backend), resolved(&["192.0.2.9:80"]));
    assert_eq!(told.asked(), 5);
}

#[tokio::test]
async fn only_hosts_that_are_due_are_asked_for_again() {
    let (connectors, told) = (Connectors::default(), Told::default());
    let periods = RefreshPeriods {
        good_ms: 3_600_000,
        failed_ms: 0,
    };
    let first = connector(&connectors, "a", 80);
    let resolver = Resolver::with(connectors.clone(), told.clone(), periods);
    resolver.refresh().await;
    resolver.refresh().await;
    assert_eq!(told.asked(), 2, "a failed look-up is repeated soon");
    told.say(&["192.0.2.1"]);
    resolver.refresh().await;
    resolver.refresh().await;
    resolver.resolve_new().await;
    assert_eq!(told.asked(), 3, "a good answer lasts");
    let late = connector(&connectors, "a", 81);
    resolver.refresh().await;
    assert_eq!(
        (told.asked(), known(&late)),
        (4, resolved(&["192.0.2.1:81"])),
        "a new connector does not wait for the period"
    );
    drop((first, late));
    resolver.refresh().await;
    assert!(
        resolver.0.hosts().is_empty(),
        "a host without connectors is forgotten"
    );
}

#[tokio::test]
async fn a_slow_look_up_fails_is_not_repeated_meanwhile_and_is_used_when_it_answers() {
    let (connectors, told) = (Connectors::default(), Told::gated());
    let backend = connector(&connectors, "a", 80);
    told.say(&["192.0.2.1"]);
    let resolver = Resolver::with(connectors, told.clone(), ALWAYS);
    resolver.resolve_new().await;
    assert_eq!(
        known(&backend),
        Addresses::Failed("no answer within 2000 ms".into())
    );
    resolver.refresh().await;
    assert_eq!(told.asked(), 1);
    told.0.gate.as_ref().expect("it has a gate").add_permits(1);
    let deadline = Instant::now() + Duration::from_secs(10);
    while known(&backend) != resolved(&["192.0.2.1:80"]) {
        assert!(
            Instant::now() < deadline,
            "the late answer was lost: {:?}",
            known(&backend)
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn many_hosts_are_looked_up_with_bounded_parallelism() {
    let (connectors, told) = (Connectors::default(), Told::gated());
    told.say(&["192.0.2.1"]);
    let held: Vec<_> = (0..100)
        .map(|index| connector(&connectors, &format!("h{index}"), 80))
        .collect();
    let resolver = Resolver::with(connectors, told.clone(), ALWAYS);
    let task = tokio::spawn(async move { resolver.resolve_new().await });
    let deadline = Instant::now() + Duration::from_secs(10);
    while told.asked() < LOOK_UPS_MAX {
        assert!(Instant::now() < deadline, "look-ups did not begin");
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(told.asked(), LOOK_UPS_MAX);
    told.0
        .gate
        .as_ref()
        .expect("it has a gate")
        .add_permits(100);
    task.await.expect("it does not panic");
    assert!(
        held.iter()
            .all(|connector| known(connector) == resolved(&["192.0.2.1:80"]))
    );
}
