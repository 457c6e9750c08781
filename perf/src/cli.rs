//! Arguments, declared once; help texts are the comments.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Turnpike's performance suite: origin, TCP floor, load generator and the comparison with other proxies.
#[derive(Parser)]
#[command(version, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the origin: `GET /b/<n>` answers n bytes, `POST /echo` sends the body back.
    Origin(OriginOptions),
    /// Run the raw TCP forwarder, the floor for any proxy.
    Hop(HopOptions),
    /// Put load on a URL and report throughput and latency.
    Load(LoadOptions),
    /// Measure proxies side by side in interleaved rounds.
    Compare(CompareOptions),
    /// Run a program on one CPU, with a priority, for no longer than its parent lives.
    #[command(hide = true)]
    Pin(PinOptions),
}

#[derive(Debug, Args)]
pub(crate) struct OriginOptions {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9000")]
    pub(crate) listen: SocketAddr,
}

#[derive(Debug, Args)]
pub(crate) struct HopOptions {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9001")]
    pub(crate) listen: SocketAddr,
    /// Address to forward to.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9000")]
    pub(crate) target: SocketAddr,
}

// No `Debug`: it would print the API key.
#[derive(Args)]
pub(crate) struct LoadOptions {
    /// What to request: `http://host:port/path`.
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// Keep-alive connections.
    #[arg(long, short = 'c', default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: u32,
    /// Requests per second, open loop; without it every connection sends as fast as it is answered.
    #[arg(long, short = 'r', value_name = "PER_SECOND", value_parser = positive)]
    pub(crate) rate: Option<f64>,
    /// Seconds of load before the measurement.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.6, value_parser = non_negative)]
    pub(crate) warm_up: f64,
    /// Seconds of measurement.
    #[arg(long, short = 'd', value_name = "SECONDS", default_value_t = 5.0, value_parser = positive)]
    pub(crate) duration: f64,
    /// Seconds after which a request has failed.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = positive)]
    pub(crate) timeout: f64,
    /// Request method.
    #[arg(long, short = 'X', default_value = "GET", value_parser = token)]
    pub(crate) method: String,
    /// Bytes of request body.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub(crate) body_bytes: u32,
    /// Header field, `Name: value`; may be repeated.
    #[arg(long = "header", short = 'H', value_name = "FIELD", value_parser = header)]
    pub(crate) headers: Vec<(String, String)>,
    /// API key, sent as `X-Gravitee-Api-Key`; never printed.
    #[arg(long, value_name = "KEY", value_parser = field_value)]
    pub(crate) api_key: Option<String>,
    /// Status that every response must have.
    #[arg(long, value_name = "STATUS", default_value_t = 200)]
    pub(crate) expect_status: u16,
    /// Body length that every response must have [default: any].
    #[arg(long, value_name = "BYTES")]
    pub(crate) expect_bytes: Option<u64>,
    /// CPU to run on [default: any].
    #[arg(long)]
    pub(crate) cpu: Option<usize>,
    /// Write the summary as JSON here; `-` is standard output, in place of the table.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the percentile distribution here, in HdrHistogram's text format.
    #[arg(long, value_name = "FILE")]
    pub(crate) hgrm: Option<PathBuf>,
    /// Write a picture of the percentile distribution here.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CompareOptions {
    /// Scenario file.
    #[arg(long, value_name = "FILE")]
    pub(crate) scenario: PathBuf,
    /// Proxies in the order of a round.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "hop,nginx,turnpike"
    )]
    pub(crate) peers: Vec<crate::compare::PeerName>,
    /// The gateway's binary; needed when `turnpike` is among the peers.
    #[arg(long, value_name = "FILE")]
    pub(crate) gateway: Option<PathBuf>,
    /// nginx's binary.
    #[arg(long, value_name = "FILE", default_value = "nginx")]
    pub(crate) nginx: PathBuf,
    /// Rounds [default: the scenario's].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) repeats: Option<u32>,
    /// Seconds of each measurement [default: the scenario's].
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    pub(crate) duration: Option<f64>,
    /// Seconds of load before each measurement [default: the scenario's].
    #[arg(long, value_name = "SECONDS", value_parser = non_negative)]
    pub(crate) warm_up: Option<f64>,
    /// CPU of the proxy that is measured.
    #[arg(long, default_value_t = 1)]
    pub(crate) proxy_cpu: usize,
    /// CPU that the origin and the generator share.
    #[arg(long, default_value_t = 0)]
    pub(crate) load_cpu: usize,
    /// Nice value of everything that takes part; below 0 needs the permission and is reported when refused.
    #[arg(long, default_value_t = -10, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-20..=19))]
    pub(crate) nice: i32,
    /// Folder under which results are written.
    #[arg(long, value_name = "FOLDER", default_value = "perf/results")]
    pub(crate) results: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct PinOptions {
    /// Process id of the parent whose end ends the program.
    #[arg(long)]
    pub(crate) parent: i32,
    /// CPU to stay on.
    #[arg(long)]
    pub(crate) cpu: usize,
    /// Nice value.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) nice: i32,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, required = true, allow_hyphen_values = true)]
    pub(crate) program: Vec<String>,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1e7 => Ok(value),
        _ => Err(format!(
            "expected a number above 0 and up to 10000000, found {text:?}"
        )),
    }
}

fn non_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1e7).contains(&value) => Ok(value),
        _ => Err(format!(
            "expected a number from 0 to 10000000, found {text:?}"
        )),
    }
}

fn token(text: &str) -> Result<String, String> {
    let valid = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    if valid {
        Ok(text.to_owned())
    } else {
        Err(format!("expected an HTTP token, found {text:?}"))
    }
}

fn field_value(text: &str) -> Result<String, String> {
    let valid = text
        .bytes()
        .all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
    if valid {
        Ok(text.to_owned())
    } else {
        Err("expected no control characters in a header value".to_owned())
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| format!("expected `Name: value`, found {text:?}"))?;
    Ok((token(name)?, field_value(value.trim())?))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// The declarations are consistent.
    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    /// What would break out of a header field is refused, with the expectation in the message.
    #[test]
    fn header_fields_are_checked() {
        assert_eq!(
            header("A-b:  c d "),
            Ok(("A-b".to_owned(), "c d".to_owned()))
        );
        for text in ["no colon", "a b: c", ": c", "a: b\r\nc: d"] {
            assert!(header(text).unwrap_err().contains("expected"), "{text:?}");
        }
    }
}
