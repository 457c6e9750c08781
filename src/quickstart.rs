//! `turnpike quickstart`: a Cloud Gate, a sample backend and a gateway, over the real protocol, in one command.

mod gateway;
mod samples;

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tokio::sync::watch;
use turnpike_control::cloud_gate::{CloudGate, CloudGateOptions, SampleBackend, Transport};
use turnpike_control::token::{IssueRequest, issue};

use self::gateway::{Gateway, Settings};
use self::samples::{SAMPLE_KEY, Site};
use crate::cli::QuickstartOptions;
use crate::cloud_gate::{absolute, runtime, shutdown_signal};
use crate::logging;

/// Organization and environment of the samples.
const PLACE: &str = "DEFAULT";
/// Life of the token, which is issued anew at each start.
const TOKEN_LIFETIME_S: i64 = 365 * 86_400;

pub(crate) fn run(options: &QuickstartOptions) -> anyhow::Result<ExitCode> {
    logging::init()?;
    runtime()?.block_on(start(options))?;
    Ok(ExitCode::SUCCESS)
}

async fn start(options: &QuickstartOptions) -> anyhow::Result<()> {
    let shutdown = shutdown_signal()?;
    let folder = absolute(&options.folder);
    let site = Site::take(&folder)?;
    let backend = bind_backend(site.backend_port())
        .await
        .context("the sample backend could not be started")?;
    let backend_address = backend.address();
    for path in site.write(backend_address.port())? {
        tracing::warn!(
            "{} still names the old port of the sample backend, now {backend_address}",
            path.display()
        );
    }
    let gate = CloudGate::bind(CloudGateOptions {
        definitions: site.definitions.clone(),
        data: site.data.clone(),
        listen: "127.0.0.1:0".to_owned(),
        transport: Transport::Generated,
        organization: PLACE.to_owned(),
        environment: PLACE.to_owned(),
    })
    .await?;
    let gate_url = gate.url();
    let certificate = gate
        .certificate_path()
        .context("the Cloud Gate has no certificate")?
        .to_owned();
    let mut request = IssueRequest::new(PLACE, vec![PLACE.to_owned()], now_s()?, TOKEN_LIFETIME_S);
    request.gateway_url = Some(gate_url.clone());
    let token = issue(&request, gate.signing_key())?;

    let (stopping, stopped) = watch::channel(false);
    let servers = [
        tokio::spawn(gate.run(until(stopped.clone()))),
        tokio::spawn(backend.run(until(stopped))),
    ];

    let settings = Settings {
        file: &site.settings,
        port: free_port(options.port).context("no port for the gateway")?,
        node_port: free_port(0).context("no port for the gateway's node API")?,
        token: &token,
        gate_url: &gate_url,
        certificate: &certificate,
    };
    let mut gateway = Gateway::start(&settings)?;
    let served = tokio::select! {
        () = shutdown => Ok(()),
        error = serve(&mut gateway, &settings, &site, backend_address) => Err(error),
    };
    eprintln!("stopping");
    // The gateway first: its last reports and its farewell still find the Cloud Gate.
    let gateway_stopped = gateway.stop().await;
    let _ = stopping.send(true);
    for server in servers {
        server.await.context("a server of the quickstart failed")?;
    }
    served?;
    gateway_stopped?;
    eprintln!("stopped");
    Ok(())
}

/// Introduces the gateway once it is ready, and watches it until it ends by itself.
async fn serve(
    gateway: &mut Gateway,
    settings: &Settings<'_>,
    site: &Site,
    backend: SocketAddr,
) -> anyhow::Error {
    if let Err(error) = gateway.until_ready().await {
        return error;
    }
    println!("{}", introduction(gateway.id(), settings, site, backend));
    gateway.until_death().await
}

fn introduction(process: u32, settings: &Settings<'_>, site: &Site, backend: SocketAddr) -> String {
    let Settings {
        port,
        node_port,
        gate_url,
        ..
    } = settings;
    format!(
        "\nReady.\
         \n  gateway         http://127.0.0.1:{port} (process {process}, node API http://127.0.0.1:{node_port}/_node)\
         \n  Cloud Gate      {gate_url}\
         \n  sample backend  http://{backend}\n\
         \nTry:\
         \n  curl -i http://127.0.0.1:{port}/open/hello\
         \n  curl -i -H 'X-Gravitee-Api-Key: {SAMPLE_KEY}' http://127.0.0.1:{port}/protected/hello\
         \n  curl -i http://127.0.0.1:{port}/unknown\n\
         \nAdd an API: put a V2 or V4 definition (JSON or YAML) into {definitions};\
         \nkeys and subscriptions are in subscriptions.yaml there. Changes are served within seconds.\
         \nReports are kept in {reports}.\
         \nCtrl-C stops everything.\n",
        definitions = site.definitions.display(),
        reports = site.data.join("reports").display(),
    )
}

/// The port that the definitions name, or another one when something else has it.
async fn bind_backend(preferred: u16) -> std::io::Result<SampleBackend> {
    match SampleBackend::bind(preferred).await {
        Err(error) if preferred != 0 && error.kind() == std::io::ErrorKind::AddrInUse => {
            SampleBackend::bind(0).await
        }
        bound => bound,
    }
}

/// `preferred` if it is free, else one that is. It is free again when this returns, until the gateway takes it.
fn free_port(preferred: u16) -> std::io::Result<u16> {
    let bound = TcpListener::bind(("127.0.0.1", preferred))
        .or_else(|_| TcpListener::bind(("127.0.0.1", 0)));
    Ok(bound?.local_addr()?.port())
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

fn now_s() -> anyhow::Result<i64> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?;
    i64::try_from(since.as_secs()).context("the clock is too far ahead")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_replaced_by_a_free_one() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).expect("bound");
        let port = taken.local_addr().expect("an address").port();
        let other = free_port(port).expect("a port");
        assert!(other != port && other != 0);
        drop(taken);
        assert_eq!(free_port(port).expect("a port"), port);
    }
}
