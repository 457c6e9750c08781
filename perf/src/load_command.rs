//! `turnpike-perf load`: one run against a URL.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::cli::LoadOptions;
use crate::load::{Expectation, LoadPlan, Pacing, request_bytes};
use crate::report::{Summary, hgrm, svg};
use crate::{host, load};

/// Time for the last requests of an open loop to be answered.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs the load, prints the summary and writes the files that were asked for.
pub(crate) fn run(options: &LoadOptions) -> anyhow::Result<()> {
    let url = Url::parse(&options.url)?;
    if let Some(cpu) = options.cpu {
        host::pin_to_cpu(cpu).with_context(|| format!("cannot stay on cpu {cpu}"))?;
    }
    let mut headers = options.headers.clone();
    if let Some(key) = &options.api_key {
        headers.push(("X-Gravitee-Api-Key".to_owned(), key.clone()));
    }
    let plan = LoadPlan {
        target: url.resolve()?,
        request: request_bytes(
            &options.method,
            url.authority,
            url.path,
            &headers,
            usize::try_from(options.body_bytes)?,
        ),
        head_request: options.method == "HEAD",
        expectation: Expectation {
            status: options.expect_status,
            body_bytes: options.expect_bytes,
        },
        connections: usize::try_from(options.connections)?,
        pacing: options.rate.map_or(Pacing::Saturate, Pacing::Rate),
        warm_up: Duration::from_secs_f64(options.warm_up),
        duration: Duration::from_secs_f64(options.duration),
        request_timeout: Duration::from_secs_f64(options.timeout),
        drain: DRAIN,
    };
    let outcome = load::run(&plan, &mut ())?;

    let pacing = options.rate.map_or_else(
        || "saturated".to_owned(),
        |rate| format!("{rate} requests/s"),
    );
    let run = format!(
        "{} {}, {} connections, {pacing}",
        options.method, options.url, options.connections
    );
    let summary = Summary::new(run, &outcome);
    let json = serde_json::to_string_pretty(&summary)? + "\n";
    match &options.json {
        Some(path) if path == Path::new("-") => print!("{json}"),
        path => {
            print!("{}", summary.to_table());
            if let Some(path) = path {
                write(path, &json)?;
            }
        }
    }
    if let Some(path) = &options.hgrm {
        write(path, &hgrm::to_text(&outcome.histogram))?;
    }
    if let Some(path) = &options.svg {
        let series = svg::Series {
            name: pacing,
            points: hgrm::points(&outcome.histogram),
        };
        write(
            path,
            &svg::draw(&format!("{} {}", options.method, options.url), &[series]),
        )?;
    }
    if outcome.completed == 0 {
        bail!("no request was answered as expected; failures by kind are in the summary");
    }
    Ok(())
}

/// Writes a file, naming it when that fails.
pub(crate) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The parts of `http://host:port/path`.
#[derive(Debug, PartialEq, Eq)]
struct Url<'a> {
    authority: &'a str,
    path: &'a str,
}

impl<'a> Url<'a> {
    fn parse(text: &'a str) -> anyhow::Result<Self> {
        let rest = text.strip_prefix("http://").with_context(|| {
            format!("url {text:?}: expected it to begin with http:// (TLS is not supported)")
        })?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let path = if path.is_empty() { "/" } else { path };
        if authority.is_empty()
            || authority.contains('@')
            || !path.starts_with('/')
            || path.contains('#')
        {
            bail!("url {text:?}: expected http://host:port/path without user or fragment");
        }
        if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            bail!("url {text:?}: expected no blanks or control characters");
        }
        Ok(Self { authority, path })
    }

    fn resolve(&self) -> anyhow::Result<SocketAddr> {
        let bare = self
            .authority
            .rsplit_once(':')
            .is_none_or(|(_, port)| port.parse::<u16>().is_err());
        let authority = if bare {
            format!("{}:80", self.authority)
        } else {
            self.authority.to_owned()
        };
        let mut addresses = authority
            .to_socket_addrs()
            .with_context(|| format!("cannot resolve {authority}"))?;
        addresses
            .next()
            .with_context(|| format!("{authority} has no address"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// URLs are taken apart; the port defaults to 80, also behind an IPv6 address.
    #[test]
    fn urls_are_taken_apart() {
        for (text, authority, path, address) in [
            (
                "http://127.0.0.1:8082/b/1?x",
                "127.0.0.1:8082",
                "/b/1?x",
                "127.0.0.1:8082",
            ),
            ("http://127.0.0.1", "127.0.0.1", "/", "127.0.0.1:80"),
            ("http://[::1]:81/", "[::1]:81", "/", "[::1]:81"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.authority, url.path), (authority, path));
            assert_eq!(url.resolve().unwrap(), address.parse().unwrap());
        }
        for text in [
            "https://a/",
            "http:///x",
            "http://u@a/",
            "http://a?x",
            "http://a/ b",
            "http://a/\r\nX: y",
        ] {
            assert!(
                Url::parse(text)
                    .unwrap_err()
                    .to_string()
                    .contains("expected"),
                "{text:?}"
            );
        }
    }
}
