//! `turnpike cloud-gate`.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use turnpike_control::cloud_gate::{CloudGate, CloudGateOptions as GateOptions, Transport};

use crate::cli::CloudGateOptions;
use crate::logging;

pub(crate) fn run(options: &CloudGateOptions) -> anyhow::Result<ExitCode> {
    logging::init()?;
    runtime()?.block_on(async {
        let gate = CloudGate::bind(gate_options(options)).await?;
        let shutdown = shutdown_signal()?;
        print!("{}", introduction(&gate, options));
        gate.run(shutdown).await;
        tracing::info!("Cloud Gate stopped");
        Ok(ExitCode::SUCCESS)
    })
}

fn gate_options(options: &CloudGateOptions) -> GateOptions {
    let transport = match (&options.tls_certificate, &options.tls_key) {
        _ if options.plain_http => Transport::Plain,
        (Some(certificate), Some(key)) => Transport::Own {
            certificate: certificate.clone(),
            key: key.clone(),
        },
        _ => Transport::Generated,
    };
    GateOptions {
        definitions: options.definitions.clone(),
        data: options.data.clone(),
        listen: options.listen.clone(),
        transport,
        organization: options.org.clone(),
        environment: options.env.clone(),
    }
}

/// Where it is, what it keeps, and how a gateway is started against it.
fn introduction(gate: &CloudGate, options: &CloudGateOptions) -> String {
    let url = gate.url();
    let data = absolute(&options.data);
    let mut text = format!(
        "Cloud Gate {version} listens on {address}\n\
         \n  sync         {url}/sync\
         \n  reports      {url}/reports, kept in {reports}\
         \n  status       {url}/_gate/status\
         \n  definitions  {definitions}, looked at twice a second\n",
        version = env!("CARGO_PKG_VERSION"),
        address = gate.address(),
        reports = data.join("reports").display(),
        definitions = absolute(&options.definitions).display(),
    );
    if let Some(certificate) = gate.certificate_path() {
        text.push_str(&format!(
            "  certificate  {}\n",
            absolute(certificate).display()
        ));
    }
    text.push_str(&format!(
        "\nStart a gateway against it:\n\
         \n  export gravitee_cloud_token=\"$(turnpike token issue --data {} --org {} --env {})\"\
         \n  export gravitee_cloud_gate_url={url}\n",
        quoted(&data.display().to_string()),
        quoted(&options.org),
        quoted(&options.env),
    ));
    if let Some(certificate) = gate.certificate_path() {
        text.push_str(&format!(
            "  export gravitee_cloud_client_ssl_truststore_type=PEM\n  export gravitee_cloud_client_ssl_truststore_path={}\n",
            quoted(&absolute(certificate).display().to_string()),
        ));
    }
    text.push_str("  turnpike run\n\n");
    text
}

/// The path from the root, as far as that can be told.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A text as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./:@%+=,".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// One thread is enough here; files are read and written on others.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")
}

/// Done at Ctrl-C or SIGTERM. The handlers are in place when this returns.
pub(crate) fn shutdown_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for (text, expected) in [
            ("/data/cloud-gate", "/data/cloud-gate"),
            ("/my data", "'/my data'"),
            ("it's", r"'it'\''s'"),
            ("$(rm)", "'$(rm)'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }
}
