//! Raw settings to the typed [`Config`]: defaults, units, ranges, fallbacks. One file per part of the settings.

mod client;
mod cloud;
mod effective;
mod expressions;
mod known;
mod policies;
mod ratelimit;
mod reader;
mod request;
mod server;
mod services;

use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Severity};
use crate::raw::RawConfig;
use crate::settings::{Config, LicenseConfig, NodeConfig};
pub(crate) use reader::Reader;

/// Resolves everything; the configuration is only good when no diagnostic is an error.
pub(crate) fn resolve(
    raw: &RawConfig,
    files: Vec<PathBuf>,
    home: &Path,
) -> (Config, Vec<Diagnostic>) {
    let mut reader = Reader::new(raw);
    known::report(&mut reader);
    let cloud = cloud::cloud(&mut reader);
    let management = cloud::management(&mut reader, cloud.is_some());
    let ratelimit_type = ratelimit::kind(&mut reader);
    let config = Config {
        files,
        servers: server::servers(&mut reader),
        request: request::request(&mut reader),
        not_found: request::not_found(&mut reader),
        runtime: server::runtime(&mut reader),
        api: request::api(&mut reader),
        policies: policies::policies(&mut reader),
        expressions: expressions::expressions(&mut reader),
        reporters: cloud::reporters(&mut reader, cloud.is_some()),
        management,
        sync: services::sync(&mut reader),
        heartbeat: services::periodic(&mut reader, "services.heartbeat"),
        monitoring: services::periodic(&mut reader, "services.monitoring"),
        health: services::periodic(&mut reader, "services.health"),
        ratelimit_type,
        ratelimit: ratelimit::ratelimit(&mut reader, ratelimit_type),
        node_api: services::node_api(&mut reader),
        metrics: services::metrics(&mut reader),
        shutdown: services::shutdown(&mut reader),
        license: license(&mut reader, home),
        node: node(&mut reader),
        system_proxy: client::system_proxy(&mut reader),
        effective: effective::effective(raw),
        cloud,
    };
    if config.sync.enabled && config.cloud.is_none() && config.management.url.is_none() {
        let warning =
            Diagnostic::warning("nothing says where the control plane is: no API will be deployed")
                .hint("set the variable `gravitee_cloud_token`, or `management.http.url`");
        reader.report(warning);
    }
    (config, reader.into_diagnostics())
}

/// The key itself wins over a file; a file that was named wins over the usual one.
fn license(reader: &mut Reader<'_>, home: &Path) -> LicenseConfig {
    let key = reader.secret("license.key");
    let path = match reader.text("license.path").map(PathBuf::from) {
        Some(path) => {
            if key.is_none() && !path.is_file() {
                let what = format!("there is no file `{}`", path.display());
                reader.about(
                    Severity::Warning,
                    "license.path",
                    &what,
                    "mount the licence there, or set `license.key`",
                );
            }
            Some(path)
        }
        None => Some(home.join("license/license.key")).filter(|path| path.is_file()),
    };
    LicenseConfig { key, path }
}

fn node(reader: &mut Reader<'_>) -> NodeConfig {
    NodeConfig {
        tags: reader.list("tags").unwrap_or_default(),
        zone: reader.text("zone"),
        tenant: reader.text("tenant"),
        organizations: reader.list("organizations").unwrap_or_default(),
        environments: reader.list("environments").unwrap_or_default(),
    }
}
