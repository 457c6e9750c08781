//! Turnpike's performance suite. It knows the gateway only as a program and over HTTP; it shares no code with it.
//!
//! - [`load`]: the generator, closed or open loop, coordinated-omission-safe.
//! - [`origin`]: the server behind the proxies. [`hop`]: the floor, a proxy that only moves bytes.
//! - [`compare`]: proxies side by side, in interleaved rounds, from a scenario file.
//! - [`report`]: summaries, percentile texts and pictures.
//!
//! How to run it and how to read the numbers: `perf/README.md`.

#![forbid(unsafe_code)]

mod cli;
mod compare;
mod hop;
mod host;
mod load;
mod load_command;
mod origin;
mod poller;
mod report;

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use cli::{Arguments, Command};

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Origin(options) => {
            bind(options.listen).and_then(|listener| Ok(origin::serve(&listener)?))
        }
        Command::Hop(options) => {
            bind(options.listen).and_then(|listener| Ok(hop::serve(&listener, options.target)?))
        }
        Command::Load(options) => load_command::run(&options),
        Command::Compare(options) => compare::run(&options),
        Command::Pin(options) => compare::pin(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener =
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    eprintln!("listening on {}", listener.local_addr()?);
    Ok(listener)
}
