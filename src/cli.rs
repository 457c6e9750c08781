//! Arguments, declared once; help texts are the comments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// An API gateway on io_uring that takes the place of the self-hosted hybrid Gravitee APIM gateway.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway.
    Run(SettingsOptions),
    /// Check settings and API definitions as `run` would load them; binds nothing.
    Check(CheckOptions),
    /// List the policies and resources that this gateway runs.
    Policies(PoliciesOptions),
    /// Run a local Cloud Gate that serves API definitions from a folder.
    CloudGate(CloudGateOptions),
    /// Issue or inspect Cloud Tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Run a Cloud Gate, a sample backend and a gateway together, ready to try.
    Quickstart(QuickstartOptions),
}

/// Where settings come from.
#[derive(Debug, Args, Default)]
pub(crate) struct SettingsOptions {
    /// Settings file [default: $GRAVITEE_HOME/config/gravitee.yml, else /opt/graviteeio-gateway/config/gravitee.yml].
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Sets one setting, above the file and below the variables; may be repeated.
    #[arg(long = "set", short = 'D', value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PoliciesOptions {
    /// As JSON, with members and differences.
    #[arg(long)]
    pub(crate) json: bool,
    /// As the page `docs/policies.md`.
    #[arg(long, conflicts_with = "json")]
    pub(crate) markdown: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckOptions {
    #[command(flatten)]
    pub(crate) settings: SettingsOptions,
    /// Also checks the API definitions in these files or folders.
    #[arg(long, value_name = "PATH")]
    pub(crate) definitions: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CloudGateOptions {
    /// Folder of API definitions (V2 or V4, JSON or YAML), keys and subscriptions; watched for changes.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) definitions: PathBuf,
    /// Folder for what the Cloud Gate keeps: signing key, certificate, reports [default: .turnpike/cloud-gate].
    #[arg(long, value_name = "FOLDER", default_value = ".turnpike/cloud-gate")]
    pub(crate) data: PathBuf,
    /// Address to listen on.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8072")]
    pub(crate) listen: String,
    /// Organization id.
    #[arg(long, default_value = "DEFAULT")]
    pub(crate) org: String,
    /// Environment id that the APIs live in; gateways need a token that names it.
    #[arg(long, default_value = "DEFAULT")]
    pub(crate) env: String,
    /// Serve plain HTTP instead of HTTPS.
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// Certificate chain, PEM [default: generated, self-signed].
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Issue a Cloud Token signed with the key of a local Cloud Gate.
    Issue(TokenIssueOptions),
    /// Show what a Cloud Token says; the signature is never printed.
    Inspect(TokenInspectOptions),
}

#[derive(Debug, Args)]
pub(crate) struct TokenIssueOptions {
    /// Data folder of the Cloud Gate whose key signs; created when absent.
    #[arg(long, value_name = "FOLDER", default_value = ".turnpike/cloud-gate")]
    pub(crate) data: PathBuf,
    /// Address under which gateways reach the Cloud Gate, for example https://127.0.0.1:8072.
    #[arg(long, value_name = "URL")]
    pub(crate) gateway_url: Option<String>,
    /// Organization id.
    #[arg(long, default_value = "DEFAULT")]
    pub(crate) org: String,
    /// Environment id; may be repeated.
    #[arg(long = "env", default_value = "DEFAULT")]
    pub(crate) envs: Vec<String>,
    /// Control plane geography.
    #[arg(long, default_value = "local")]
    pub(crate) cpg: String,
    /// Validity in days; negative issues an expired token, for tests.
    #[arg(
        long,
        value_name = "DAYS",
        default_value_t = 365,
        allow_negative_numbers = true
    )]
    pub(crate) days: i64,
}

#[derive(Debug, Args)]
pub(crate) struct TokenInspectOptions {
    /// The token; read from standard input when absent.
    pub(crate) token: Option<String>,
    /// Public key to verify the signature with, PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) public_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct QuickstartOptions {
    /// Folder to work in: definitions, reports, certificate [default: .turnpike/quickstart].
    #[arg(long, value_name = "FOLDER", default_value = ".turnpike/quickstart")]
    pub(crate) folder: PathBuf,
    /// Gateway port; a free one is taken when it is in use.
    #[arg(long, default_value_t = 8082)]
    pub(crate) port: u16,
}
