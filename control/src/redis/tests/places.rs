use std::net::IpAddr;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use redis::AsyncCommands as _;
use rustix::process::Signal;
use turnpike_config::{RedisConfig, RedisPlaceConfig, RedisTlsConfig, Secret};

use super::support::{Process, Server, request, until};

fn sentinel_conf(port: u16) -> String {
    format!(
        "sentinel monitor mymaster 127.0.0.1 {port} 1\nsentinel down-after-milliseconds mymaster 500\n\
         sentinel failover-timeout mymaster 3000\nrequirepass guard\n"
    )
}

#[tokio::test]
async fn a_primary_that_is_killed_is_followed_by_another_and_the_counters_survive() {
    failover(Signal::KILL).await;
}

#[tokio::test]
async fn a_primary_that_hangs_is_followed_by_another_and_the_counters_survive() {
    failover(Signal::STOP).await;
}

async fn failover(signal: Signal) {
    let Some(primary) = Server::redis(&[]) else {
        return;
    };
    let replica_of = format!("127.0.0.1 {}", primary.port);
    let Some(replica) = Server::redis(&[
        "--replicaof",
        &replica_of,
        "--repl-diskless-sync-delay",
        "0",
    ]) else {
        return;
    };
    let mut client = primary.client().await;
    replica.client().await;
    let Some(sentinel) = Server::sentinel(&sentinel_conf(primary.port)) else {
        return;
    };
    let watcher = sentinel.client_as(":guard@").await;
    until("the sentinel knows the replica", || {
        let mut watcher = watcher.clone();
        async move {
            let known: Vec<redis::Value> = redis::cmd("SENTINEL")
                .arg("REPLICAS")
                .arg("mymaster")
                .query_async(&mut watcher)
                .await
                .unwrap_or_default();
            format!("{known:?}").contains("master-link-status")
                && format!("{known:?}").contains(&hex("ok"))
        }
    })
    .await;
    let config = RedisConfig {
        place: RedisPlaceConfig::Sentinel {
            master: "mymaster".to_owned(),
            nodes: vec![
                // One that is not there: the next one is asked.
                ("127.0.0.1".to_owned(), super::support::free_port()),
                ("127.0.0.1".to_owned(), sentinel.port),
            ],
            password: Some(Secret::new("guard")),
        },
        operation_timeout_ms: 200,
        ..primary.config()
    };
    let mut process = Process::start(&config);
    process.connected().await;
    for _ in 0..3 {
        process.count(request("k")).await.expect("a count");
    }
    // A wait is for the writes of its own connection.
    let _: () = client.set("last", "write").await.expect("OK");
    until("the replica has it all", || {
        let mut client = client.clone();
        async move {
            let copies: redis::RedisResult<i64> = redis::cmd("WAIT")
                .arg(1)
                .arg(100)
                .query_async(&mut client)
                .await;
            copies == Ok(1)
        }
    })
    .await;
    primary.signal(signal);
    process.counts_again().await;
    let rate = process.count(request("k")).await.expect("a count");
    assert_eq!(rate.counter, 4, "the counter survives");
    let mut new = replica.client().await;
    let counter: i64 = new.hget("ratelimit:k", "counter").await.expect("a counter");
    assert_eq!(counter, 4);
}

/// How the debug form of a bulk string shows a text: as its bytes or as the text itself.
fn hex(text: &str) -> String {
    format!("{:?}", redis::Value::BulkString(text.as_bytes().to_vec()))
}

#[tokio::test]
async fn a_sentinel_that_names_a_replica_is_not_believed_and_another_one_is_asked() {
    let (Some(primary), Some(other)) = (Server::redis(&[]), Server::redis(&[])) else {
        return;
    };
    let mut client = primary.client().await;
    other.client().await;
    let _: () = redis::cmd("REPLICAOF")
        .arg("127.0.0.1")
        .arg(other.port)
        .query_async(&mut client)
        .await
        .expect("OK");
    // Monitored by nobody else: it goes on naming the replica for a while.
    let configuration = sentinel_conf(primary.port).replace(
        "down-after-milliseconds mymaster 500",
        "down-after-milliseconds mymaster 600000",
    );
    let Some(sentinel) = Server::sentinel(&configuration) else {
        return;
    };
    sentinel.client_as(":guard@").await;
    let Some(better) = Server::sentinel(&sentinel_conf(other.port)) else {
        return;
    };
    better.client_as(":guard@").await;
    let config = RedisConfig {
        place: RedisPlaceConfig::Sentinel {
            master: "mymaster".to_owned(),
            nodes: [&sentinel, &better]
                .map(|sentinel| ("127.0.0.1".to_owned(), sentinel.port))
                .to_vec(),
            password: Some(Secret::new("guard")),
        },
        ..primary.config()
    };
    let target = crate::redis::Target::new(&config).expect("a target");
    let Err(error) = target.connect(&[]).await else {
        panic!("a replica is taken for the primary");
    };
    let error = error.to_string();
    assert!(error.contains("is no primary but `slave`"), "{error}");
    // It is not asked for ever: another one knows better.
    let session = target.connect(&[]).await.expect("the primary");
    assert_eq!(session.address.1, other.port);
}

#[tokio::test]
async fn a_cluster_counts_where_the_key_belongs() {
    let options = ["--cluster-enabled", "yes"];
    let (Some(one), Some(two)) = (Server::redis(&options), Server::redis(&options)) else {
        return;
    };
    let mut clients = [one.client().await, two.client().await];
    for (client, (from, to)) in clients.iter_mut().zip([(0, 8_191), (8_192, 16_383)]) {
        let _: () = redis::cmd("CLUSTER")
            .arg("ADDSLOTSRANGE")
            .arg(from)
            .arg(to)
            .query_async(client)
            .await
            .expect("OK");
    }
    let _: () = redis::cmd("CLUSTER")
        .arg("MEET")
        .arg("127.0.0.1")
        .arg(two.port)
        .query_async(&mut clients[0])
        .await
        .expect("OK");
    for client in &clients {
        until("the cluster is well", || {
            let mut client = client.clone();
            async move {
                let info: String = redis::cmd("CLUSTER")
                    .arg("INFO")
                    .query_async(&mut client)
                    .await
                    .unwrap_or_default();
                info.contains("cluster_state:ok") && info.contains("cluster_slots_assigned:16384")
            }
        })
        .await;
    }
    let config = RedisConfig {
        place: RedisPlaceConfig::Cluster {
            nodes: vec![("127.0.0.1".to_owned(), one.port)],
        },
        ..one.config()
    };
    let mut process = Process::start(&config);
    for round in 1..=2 {
        for key in 0..40 {
            let key = format!("key-{key}");
            loop {
                match process.count(request(&key)).await {
                    Ok(rate) => {
                        assert_eq!(rate.counter, round, "{key}");
                        break;
                    }
                    // Only until both nodes are known and connected.
                    Err(error) => assert_eq!(
                        (round, error),
                        (1, turnpike_core::quota::CountError::NotConnected)
                    ),
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    }
    let mut keys = Vec::new();
    for client in &mut clients {
        let size: i64 = redis::cmd("DBSIZE")
            .query_async(client)
            .await
            .expect("a number");
        keys.push(size);
    }
    assert!(keys.iter().all(|keys| *keys > 0), "{keys:?}");
    assert_eq!(keys.iter().sum::<i64>(), 40);
}

#[tokio::test]
async fn tls_trusts_what_it_is_told_to_trust() {
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, text: String| std::fs::write(folder.path().join(name), text).expect("a file");
    // Two authorities: one for the server, one for a stranger.
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        (pem, Issuer::new(params, key))
    };
    let (ca_pem, issuer) = authority("ours");
    let (other_pem, _) = authority("other");
    let certificate = || {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        let address: IpAddr = "127.0.0.1".parse().expect("an address");
        params.subject_alt_names = vec![SanType::IpAddress(address)];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    };
    let (server_pem, server_key) = certificate();
    let (client_pem, client_key) = certificate();
    write("ca.crt", ca_pem);
    write("other.crt", other_pem);
    write("server.crt", server_pem);
    write("server.key", server_key);
    write("client.pem", format!("{client_pem}{client_key}"));
    let Some(server) = Server::tls(folder.path()) else {
        return;
    };
    let path = |name: &str| folder.path().join(name);
    let with = |tls: RedisTlsConfig| RedisConfig {
        tls: Some(tls),
        ..server.config()
    };
    let trusting = |name: &str| RedisTlsConfig {
        trust_all: false,
        verify_hostname: true,
        truststore_path: Some(path(name)),
        ..RedisTlsConfig::default()
    };
    let client = RedisTlsConfig {
        keystore: Some((path("client.pem"), path("client.pem"))),
        protocols: vec!["TLSv1.3".to_owned()],
        ciphers: vec!["TLS_AES_256_GCM_SHA384".to_owned()],
        ..RedisTlsConfig::default()
    };
    for tls in [RedisTlsConfig::default(), trusting("ca.crt"), client] {
        let mut process = Process::start(&with(tls));
        process.connected().await;
        process.count(request("k")).await.expect("a count");
    }
    let stranger = Process::start(&with(trusting("other.crt")));
    until("it was refused", async || {
        stranger.backend.figures().connect_failures >= 2
    })
    .await;
    assert_eq!(stranger.backend.figures().connects, 0);
    for (tls, member) in [
        (
            RedisTlsConfig {
                protocols: vec!["SSLv3".to_owned()],
                ..RedisTlsConfig::default()
            },
            "tlsProtocols",
        ),
        (
            RedisTlsConfig {
                ciphers: vec!["NONE".to_owned()],
                ..RedisTlsConfig::default()
            },
            "tlsCiphers",
        ),
        (
            RedisTlsConfig {
                keystore: Some((path("no.pem"), path("no.pem"))),
                ..RedisTlsConfig::default()
            },
            "keystore",
        ),
    ] {
        let error = crate::redis::Target::new(&with(tls)).expect_err("settings that cannot work");
        assert!(error.to_string().contains(member), "{error}");
    }
}
