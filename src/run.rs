//! `turnpike run`.

use std::process::ExitCode;

use crate::cli::SettingsOptions;

pub(crate) fn run(_options: &SettingsOptions) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
