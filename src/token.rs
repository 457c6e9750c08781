//! `turnpike token`.

use std::process::ExitCode;

use crate::cli::TokenCommand;

pub(crate) fn run(_options: &TokenCommand) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
