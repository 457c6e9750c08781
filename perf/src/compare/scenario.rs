//! Scenario files: what is requested, how hard, and how the peers are set up for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::Deserialize;

/// One scenario, as written in `perf/scenarios/*.yml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Short name; part of the results folder's name.
    pub(crate) name: String,
    /// Headline of tables and pictures.
    pub(crate) title: String,
    pub(crate) request: RequestSpec,
    pub(crate) response: ResponseSpec,
    pub(crate) load: LoadSpec,
    pub(crate) gateway: GatewaySpec,
    pub(crate) nginx: NginxSpec,
}

/// The request that is sent again and again.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestSpec {
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) body_bytes: usize,
}

/// What every response must be.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResponseSpec {
    #[serde(default = "ok")]
    pub(crate) status: u16,
    pub(crate) body_bytes: u64,
}

fn ok() -> u16 {
    200
}

/// How hard, how long, how often.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoadSpec {
    pub(crate) connections: usize,
    /// Load before each measurement, seconds.
    pub(crate) warm_up_s: f64,
    /// Each measurement, seconds.
    pub(crate) duration_s: f64,
    /// Rounds; tables show medians over them.
    pub(crate) repeats: u32,
    /// Open-loop rates in percent of the slowest peer's median maximum.
    #[serde(default)]
    pub(crate) rates_percent: Vec<f64>,
    /// Further open-loop rates, requests per second.
    #[serde(default)]
    pub(crate) rates_per_s: Vec<f64>,
}

/// How the gateway is set up.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GatewaySpec {
    /// API definition, relative to the scenario file; `${origin}` stands for the origin's `host:port`.
    pub(crate) definition: PathBuf,
    /// Applications subscribed to the definition's first plan, each with one API key. `${key}` in a header of the request and `${keys}` in
    /// nginx's directives stand for one of the keys, and for a line `"key" application;` for each.
    #[serde(default)]
    pub(crate) keys: usize,
    /// Further variables for `turnpike run`.
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
}

/// How nginx is set up.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NginxSpec {
    /// Directives of the `http` block, beside the server.
    #[serde(default)]
    pub(crate) http: String,
    /// Directives inside `location /`; the pool of origin connections is the upstream `origin`.
    pub(crate) location: String,
}

/// A scenario and the definition that it names.
#[derive(Debug, Clone)]
pub(crate) struct LoadedScenario {
    pub(crate) scenario: Scenario,
    pub(crate) definition: String,
}

/// Reads a scenario file and the definition beside it.
pub(crate) fn load(path: &Path) -> anyhow::Result<LoadedScenario> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read scenario {}", path.display()))?;
    let mut scenario = parse(&text).with_context(|| format!("scenario {}", path.display()))?;
    fill_in_keys(&mut scenario);
    let definition = path
        .parent()
        .unwrap_or_else(|| Path::new("."))
        .join(&scenario.gateway.definition);
    let definition = fs::read_to_string(&definition)
        .with_context(|| format!("cannot read definition {}", definition.display()))?;
    Ok(LoadedScenario {
        scenario,
        definition,
    })
}

/// The API key of one application.
pub(crate) fn key(application: usize) -> String {
    // The shape of the keys that the control plane makes, and nothing in common at their beginning.
    let bits = (application as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bits = (u128::from(bits) << 64) | u128::from(bits.rotate_left(29) ^ 0x5851_f42d_4c95_7f2d);
    let hex = format!("{bits:032x}");
    let (a, b, c, d, e) = (
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    );
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// The name of one application.
pub(crate) fn application(number: usize) -> String {
    format!("application-{number}")
}

fn fill_in_keys(scenario: &mut Scenario) {
    let keys = scenario.gateway.keys;
    for value in scenario.request.headers.values_mut() {
        // One from the middle: neither the first nor the last that was loaded.
        *value = value.replace("${key}", &key(keys / 2));
    }
    let lines: String = (0..keys)
        .map(|number| format!("        \"{}\" {};\n", key(number), application(number)))
        .collect();
    scenario.nginx.http = scenario.nginx.http.replace("${keys}", lines.trim());
}

fn parse(text: &str) -> anyhow::Result<Scenario> {
    let scenario: Scenario = serde_saphyr::from_str(text)?;
    let LoadSpec {
        connections,
        warm_up_s,
        duration_s,
        repeats,
        rates_percent,
        rates_per_s,
    } = &scenario.load;
    ensure!(
        (1..=10_000).contains(connections),
        "load.connections: expected 1 to 10000, found {connections}"
    );
    ensure!(
        (1..=1_000).contains(repeats),
        "load.repeats: expected 1 to 1000, found {repeats}"
    );
    ensure!(
        (0.0..=600.0).contains(warm_up_s),
        "load.warm_up_s: expected 0 to 600, found {warm_up_s}"
    );
    ensure!(
        (0.05..=3_600.0).contains(duration_s),
        "load.duration_s: expected 0.05 to 3600, found {duration_s}"
    );
    for percent in rates_percent {
        ensure!(
            (0.1..=100.0).contains(percent),
            "load.rates_percent: expected 0.1 to 100, found {percent}"
        );
    }
    for rate in rates_per_s {
        ensure!(
            (0.1..=1e7).contains(rate),
            "load.rates_per_s: expected 0.1 to 10000000, found {rate}"
        );
    }
    ensure!(
        scenario.gateway.keys <= 100_000,
        "gateway.keys: expected at most 100000, found {}",
        scenario.gateway.keys
    );
    ensure!(
        scenario.request.path.starts_with('/'),
        "request.path: expected it to begin with /"
    );
    Ok(scenario)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every scenario of the repository loads, and its definition is JSON that names the origin.
    #[test]
    fn the_scenarios_of_the_repository_load() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yml") {
                let loaded = load(&path).unwrap_or_else(|error| panic!("{error:#}"));
                serde_json::from_str::<serde_json::Value>(&loaded.definition).unwrap();
                assert!(
                    loaded.definition.contains("${origin}")
                        && loaded.scenario.nginx.location.contains("proxy_pass")
                );
                names.push(loaded.scenario.name);
            }
        }
        names.sort();
        let count = names.len();
        names.dedup();
        assert!(
            count >= 5 && names.len() == count,
            "names must differ: {names:?}"
        );
    }

    /// Every application has a key of its own, and the request carries one of those that nginx knows.
    #[test]
    fn keys_are_filled_in() {
        let keys: std::collections::HashSet<String> = (0..1_000).map(key).collect();
        assert_eq!(keys.len(), 1_000);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let loaded = load(&folder.join("gateway-like.yml")).unwrap();
        let scenario = loaded.scenario;
        let sent = &scenario.request.headers["X-Gravitee-Api-Key"];
        assert!(keys.contains(sent), "{sent}");
        assert!(
            scenario
                .nginx
                .http
                .contains(&format!("\"{sent}\" application-500;"))
        );
        assert_eq!(scenario.nginx.http.matches(" application-").count(), 1_000);
    }

    /// Values outside their limits, and keys that do not exist, are refused by name.
    #[test]
    fn mistakes_are_named() {
        let text = fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/pass-through.yml"),
        )
        .unwrap();
        for (from, to, expected) in [
            ("connections: 64", "connections: 0", "load.connections"),
            ("repeats: 3", "repeats: 0", "load.repeats"),
            ("path: /b/100", "path: b", "request.path"),
            ("gateway:", "gateway:\n  keys: 100001", "gateway.keys"),
            ("method: GET", "methot: GET", "methot"),
        ] {
            assert!(text.contains(from), "the scenario no longer has {from:?}");
            let error = format!("{:#}", parse(&text.replace(from, to)).unwrap_err());
            assert!(error.contains(expected), "{to}: {error}");
        }
    }
}
