//! `turnpike cloud-gate`.

use std::process::ExitCode;

use crate::cli::CloudGateOptions;

pub(crate) fn run(_options: &CloudGateOptions) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
