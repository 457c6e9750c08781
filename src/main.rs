//! `turnpike`: an API gateway on io_uring that takes the place of the self-hosted hybrid Gravitee APIM gateway.
//!
//! Composition root only: arguments, settings, wiring, exit code. The logic is in the member crates.
#![forbid(unsafe_code)]

mod check;
mod cli;
mod cloud_gate;
mod expressions;
mod logging;
mod policies;
mod quickstart;
mod run;
mod token;

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let outcome = match arguments.command {
        cli::Command::Run(options) => run::run(&options),
        cli::Command::Check(options) => check::check(&options),
        cli::Command::CloudGate(options) => cloud_gate::run(&options),
        cli::Command::Policies(options) => policies::run(&options),
        cli::Command::Token(command) => token::run(&command),
        cli::Command::Quickstart(options) => quickstart::run(&options),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
