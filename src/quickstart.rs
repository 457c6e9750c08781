//! `turnpike quickstart`.

use std::process::ExitCode;

use crate::cli::QuickstartOptions;

pub(crate) fn run(_options: &QuickstartOptions) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
