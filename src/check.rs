//! `turnpike check`.

use std::process::ExitCode;

use crate::cli::CheckOptions;

pub(crate) fn check(_options: &CheckOptions) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
