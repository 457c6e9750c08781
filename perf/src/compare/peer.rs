//! The proxies that are compared, each started the way its users would start it.

use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};

use super::process::{Placement, Process, free_addresses, output_of, own_binary};
use super::scenario::{self, LoadedScenario, NginxSpec};
use crate::load::{Expectation, ResponseReader};

/// Time for a peer to serve its first correct response. The gateway must fetch its definitions first.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for one probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Nice value of the Cloud Gate.
const NICE_ASIDE: i32 = 19;
/// Prefix of the names of the gateway's traffic threads.
const GATEWAY_WORKER_PREFIX: &str = "turnpike-w";

/// A proxy that can take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PeerName {
    /// The raw TCP forwarder.
    Hop,
    /// nginx from the distribution, one worker.
    Nginx,
    /// The gateway, one worker.
    Turnpike,
}

impl fmt::Display for PeerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Hop => "hop",
            Self::Nginx => "nginx",
            Self::Turnpike => "turnpike",
        })
    }
}

/// What all peers are started with.
pub(crate) struct Setup<'a> {
    pub(crate) scenario: &'a LoadedScenario,
    pub(crate) origin: SocketAddr,
    /// Where the measured proxy runs.
    pub(crate) proxy: Placement,
    /// Where everything else runs.
    pub(crate) helpers: Placement,
    /// Folder for configuration, removed afterwards.
    pub(crate) scratch: PathBuf,
    /// Folder for the logs of children, kept.
    pub(crate) logs: PathBuf,
    pub(crate) nginx: PathBuf,
    pub(crate) gateway: Option<PathBuf>,
    /// A request as the scenario sends it, and what must come back.
    pub(crate) request: Vec<u8>,
    pub(crate) expectation: Expectation,
}

/// A proxy that is running and has answered correctly once.
pub(crate) struct Peer {
    pub(crate) name: PeerName,
    pub(crate) address: SocketAddr,
    /// The proxy first: it is ended before what it depends on.
    pub(crate) process: Process,
    /// What it needs beside it: the gateway's Cloud Gate.
    _helpers: Vec<Process>,
    /// Its version, for the report.
    pub(crate) version: String,
    /// How it was started, for the report.
    pub(crate) command: String,
}

impl Peer {
    /// Starts a peer and waits until it serves.
    pub(crate) fn start(name: PeerName, setup: &Setup<'_>) -> anyhow::Result<Self> {
        let mut peer = match name {
            PeerName::Hop => start_hop(setup),
            PeerName::Nginx => start_nginx(setup),
            PeerName::Turnpike => start_turnpike(setup),
        }
        .with_context(|| format!("peer {name}"))?;
        peer.process.wait_until(START_TIMEOUT, || {
            probe(peer.address, &setup.request, setup.expectation)
        })?;
        Ok(peer)
    }

    /// Threads that carry this peer's traffic; `None` is all of them.
    pub(crate) fn worker_prefix(&self) -> Option<&'static str> {
        (self.name == PeerName::Turnpike).then_some(GATEWAY_WORKER_PREFIX)
    }
}

/// Starts the origin that all peers share.
pub(crate) fn start_origin(setup: &Setup<'_>) -> anyhow::Result<Process> {
    let arguments = [
        "origin".to_owned(),
        "--listen".to_owned(),
        setup.origin.to_string(),
    ];
    let mut process = Process::start(
        "origin",
        &own_binary()?,
        arguments,
        &[],
        &setup.helpers,
        &setup.logs,
    )?;
    process.wait_until(START_TIMEOUT, || {
        probe(setup.origin, &setup.request, setup.expectation)
    })?;
    Ok(process)
}

fn start_hop(setup: &Setup<'_>) -> anyhow::Result<Peer> {
    let [address] = free_addresses()?;
    let arguments = [
        "hop".to_owned(),
        format!("--listen={address}"),
        format!("--target={}", setup.origin),
    ];
    let command = format!("turnpike-perf {}", arguments.join(" "));
    let process = Process::start(
        "hop",
        &own_binary()?,
        arguments,
        &[],
        &setup.proxy,
        &setup.logs,
    )?;
    let version = format!("turnpike-perf {}", env!("CARGO_PKG_VERSION"));
    Ok(Peer {
        name: PeerName::Hop,
        address,
        process,
        _helpers: Vec::new(),
        version,
        command,
    })
}

/// Our configuration of nginx; `${…}` are filled in below.
const NGINX_TEMPLATE: &str = include_str!("../../peers/nginx.conf.template");

fn start_nginx(setup: &Setup<'_>) -> anyhow::Result<Peer> {
    let version = output_of(&setup.nginx, &["-v"], PROBE_TIMEOUT)
        .context("hint: apt-get install nginx-light, or --nginx FILE")?;
    let [address] = free_addresses()?;
    let folder = setup.scratch.join("nginx");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let configuration = nginx_configuration(
        &folder,
        address,
        setup.origin,
        &setup.scenario.scenario.nginx,
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, configuration).with_context(|| format!("cannot write {}", file.display()))?;
    let (file, prefix) = (file.display().to_string(), folder.display().to_string());
    let arguments = ["-p", &prefix, "-c", &file, "-e", "stderr"];
    let process = Process::start(
        "nginx",
        &setup.nginx,
        arguments,
        &[],
        &setup.proxy,
        &setup.logs,
    )?;
    let command = "nginx -c nginx.conf (perf/peers/nginx.conf.template)".to_owned();
    let version = version.trim().to_owned();
    Ok(Peer {
        name: PeerName::Nginx,
        address,
        process,
        _helpers: Vec::new(),
        version,
        command,
    })
}

fn nginx_configuration(
    folder: &Path,
    listen: SocketAddr,
    origin: SocketAddr,
    spec: &NginxSpec,
) -> String {
    NGINX_TEMPLATE
        .replace("${location}", spec.location.trim_end())
        .replace("${http}", spec.http.trim_end())
        .replace("${folder}", &folder.display().to_string())
        .replace("${listen}", &listen.to_string())
        .replace("${origin}", &origin.to_string())
}

fn start_turnpike(setup: &Setup<'_>) -> anyhow::Result<Peer> {
    let binary = setup
        .gateway
        .as_deref()
        .context("expected --gateway FILE, the gateway's binary")?;
    let version = output_of(binary, &["--version"], PROBE_TIMEOUT)?;
    let [address, cloud_gate, node_api] = free_addresses()?;
    let folder = setup.scratch.join("turnpike");
    let (definitions, data) = (folder.join("definitions"), folder.join("cloud-gate"));
    for folder in [&definitions, &data] {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let definition = setup
        .scenario
        .definition
        .replace("${origin}", &setup.origin.to_string());
    let keys = setup.scenario.scenario.gateway.keys;
    if keys > 0 {
        fs::write(
            definitions.join("subscriptions.json"),
            subscriptions(&definition, keys)?,
        )
        .context("cannot write the subscriptions")?;
    }
    fs::write(definitions.join("api.json"), definition)
        .context("cannot write the API definition")?;

    let (definitions, data) = (
        definitions.display().to_string(),
        data.display().to_string(),
    );
    let url = format!("http://{cloud_gate}");
    // The token comes first: issuing it makes the signing key that the Cloud Gate then finds.
    let token = output_of(
        binary,
        &["token", "issue", "--data", &data, "--gateway-url", &url],
        START_TIMEOUT,
    )?;
    let token = token
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .context("`token issue` printed nothing")?;

    let listen = cloud_gate.to_string();
    let arguments = [
        "cloud-gate",
        "--definitions",
        &definitions,
        "--data",
        &data,
        "--listen",
        &listen,
        "--plain-http",
    ];
    // Reading reports must not delay the origin and the generator, which have the same CPU.
    let aside = Placement {
        nice: NICE_ASIDE,
        ..setup.helpers
    };
    let mut gate = Process::start("cloud-gate", binary, arguments, &[], &aside, &setup.logs)?;
    gate.wait_until(START_TIMEOUT, || connects(cloud_gate))?;

    let mut environment: Vec<(String, String)> =
        gateway_settings(setup.proxy.cpu, address, node_api)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
    let own = &setup.scenario.scenario.gateway.environment;
    environment.retain(|(name, _)| !own.contains_key(name));
    environment.extend(own.clone());
    let shown: Vec<String> = environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let command = format!("{} gravitee_cloud_token=*** turnpike run", shown.join(" "));
    environment.push(("gravitee_cloud_token".to_owned(), token.to_owned()));
    environment.push(("GRAVITEE_HOME".to_owned(), folder.display().to_string()));
    // The token names the address too, but an address in an unverified token is not followed.
    environment.push(("gravitee_cloud_gate_url".to_owned(), url));
    let process = Process::start(
        "turnpike",
        binary,
        ["run"],
        &environment,
        &setup.proxy,
        &setup.logs,
    )?;
    let version = version.trim().to_owned();
    Ok(Peer {
        name: PeerName::Turnpike,
        address,
        process,
        _helpers: vec![gate],
        version,
        command,
    })
}

/// The Cloud Gate's file of subscriptions: `keys` applications, each with one key to the definition's first plan.
fn subscriptions(definition: &str, keys: usize) -> anyhow::Result<String> {
    let definition: Value =
        serde_json::from_str(definition).context("the API definition is not JSON")?;
    let api = definition["id"]
        .as_str()
        .context("the API definition has no id")?;
    let plan = definition["plans"][0]["id"]
        .as_str()
        .context("the first plan of the API definition has no id")?;
    let entries: Vec<Value> = (0..keys)
        .map(|number| {
            json!({
                "application": scenario::application(number),
                "api": api,
                "plan": plan,
                "keys": [{ "key": scenario::key(number) }],
            })
        })
        .collect();
    Ok(serde_json::to_string(&entries)?)
}

/// The gateway's settings, as environment variables. The token is not among them, so that they can be shown.
fn gateway_settings(
    cpu: usize,
    listen: SocketAddr,
    node_api: SocketAddr,
) -> Vec<(&'static str, String)> {
    vec![
        ("gravitee_http_host", listen.ip().to_string()),
        ("gravitee_http_port", listen.port().to_string()),
        (
            "gravitee_services_core_http_port",
            node_api.port().to_string(),
        ),
        ("gravitee_ratelimit_type", "none".to_owned()),
        ("gravitee_gateway_runtime_cpus", cpu.to_string()),
        ("gravitee_services_sync_delay", "1000".to_owned()),
    ]
}

fn connects(address: SocketAddr) -> Result<(), String> {
    TcpStream::connect_timeout(&address, PROBE_TIMEOUT)
        .map(drop)
        .map_err(|error| format!("{address}: {error}"))
}

/// Sends one request and checks the response.
fn probe(address: SocketAddr, request: &[u8], expectation: Expectation) -> Result<(), String> {
    let exchange = || -> std::io::Result<Result<(), String>> {
        let mut stream = TcpStream::connect_timeout(&address, PROBE_TIMEOUT)?;
        stream.set_read_timeout(Some(PROBE_TIMEOUT))?;
        stream.set_write_timeout(Some(PROBE_TIMEOUT))?;
        stream.write_all(request)?;
        let mut reader = ResponseReader::new(request.starts_with(b"HEAD "));
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read_bytes = stream.read(&mut buffer)?;
            let response = match reader.feed(&buffer[..read_bytes]) {
                Ok((_, response)) if read_bytes > 0 => response,
                Ok(_) => match reader.end_of_stream() {
                    None => {
                        return Ok(Err(
                            "the connection was closed before the response was complete".to_owned(),
                        ));
                    }
                    response => response,
                },
                Err(malformed) => return Ok(Err(malformed.to_string())),
            };
            if let Some(response) = response {
                return Ok(expectation.verify(&response).map_err(|failure| {
                    format!("expected {expectation:?}, found {response:?} ({failure})")
                }));
            }
        }
    };
    exchange().unwrap_or_else(|error| Err(format!("{address}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nginx configuration has no place left to fill, and carries what was given.
    #[test]
    fn the_nginx_template_is_filled_in() {
        let (listen, origin) = (
            "127.0.0.1:81".parse().unwrap(),
            "127.0.0.1:82".parse().unwrap(),
        );
        let text = nginx_configuration(
            Path::new("/scratch"),
            listen,
            origin,
            &NginxSpec {
                http: "limit_req_zone x zone=one:1m rate=1r/s;\n".to_owned(),
                location: "proxy_pass http://origin;\naccess_log ${folder}/access.log;\n"
                    .to_owned(),
            },
        );
        assert!(!text.contains("${"), "{text}");
        for part in [
            "listen 127.0.0.1:81",
            "server 127.0.0.1:82;",
            "proxy_pass http://origin;",
            "worker_processes 1;",
            "limit_req_zone x zone=one:1m rate=1r/s;",
            "access_log /scratch/access.log;",
        ] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }

    /// Each application is subscribed once, with its own key, to the plan that the definition names.
    #[test]
    fn subscriptions_name_the_api_and_its_plan() {
        let text = subscriptions(r#"{"id": "a", "plans": [{"id": "p"}]}"#, 3).unwrap();
        let entries: Value = serde_json::from_str(&text).unwrap();
        let entries = entries.as_array().unwrap();
        assert_eq!(entries.len(), 3);
        for (number, entry) in entries.iter().enumerate() {
            assert_eq!((&entry["api"], &entry["plan"]), (&json!("a"), &json!("p")));
            assert_eq!(entry["keys"][0]["key"], scenario::key(number));
            assert_eq!(entry["application"], format!("application-{number}"));
        }
        for definition in ["{}", r#"{"id": "a", "plans": []}"#, "-"] {
            assert!(subscriptions(definition, 1).is_err(), "{definition}");
        }
    }

    /// A probe tells a wrong answer, a silent close and a refused connection apart.
    #[test]
    fn probes_say_what_is_wrong() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let expectation = Expectation {
            status: 200,
            body_bytes: Some(2),
        };
        let server = std::thread::spawn(move || {
            for answer in [
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                "HTTP/1.1 503 No\r\n\r\n",
                "",
            ] {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 512]);
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let request = b"GET / HTTP/1.1\r\n\r\n";
        assert_eq!(probe(address, request, expectation), Ok(()));
        assert!(
            probe(address, request, expectation)
                .unwrap_err()
                .contains("503")
        );
        assert!(
            probe(address, request, expectation)
                .unwrap_err()
                .contains("closed")
        );
        server.join().unwrap();
        let (_held, refusing) = crate::poller::refusing_address();
        assert!(
            probe(refusing, request, expectation)
                .unwrap_err()
                .contains("refused")
        );
    }
}
