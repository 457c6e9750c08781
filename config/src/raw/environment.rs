//! `gravitee_*` variables: four prefixes, and the spellings of a key that they are found under (contract operations 1).

use std::collections::{BTreeMap, HashMap};

/// The only prefixes; `Gravitee_` is none.
const PREFIXES: [&str; 4] = ["gravitee.", "gravitee_", "GRAVITEE.", "GRAVITEE_"];

/// One `gravitee*` variable.
pub(crate) struct Variable {
    /// Full name.
    pub(crate) name: String,
    /// Value.
    pub(crate) value: String,
}

/// The environment, as it was handed in.
#[derive(Default)]
pub(crate) struct Environment {
    /// Variables by their name without prefix, original spelling.
    settings: BTreeMap<String, Variable>,
    /// What a container runtime put there for services named `gravitee…`: not settings.
    links: Vec<Variable>,
    /// Every variable by its exact name.
    exact: HashMap<String, String>,
}

impl Environment {
    pub(crate) fn new(variables: &[(String, String)]) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            environment.exact.insert(name.clone(), value.clone());
            let Some(stripped) = strip_prefix(name) else {
                continue;
            };
            let variable = Variable {
                name: name.clone(),
                value: value.clone(),
            };
            if is_service_link(stripped, value) {
                environment.links.push(variable);
                continue;
            }
            // `gravitee_x` wins over `GRAVITEE_x`: lower case sorts after upper case.
            let previous = environment
                .settings
                .get(stripped)
                .map(|variable| &variable.name);
            if previous.is_none_or(|previous| previous < name) {
                environment.settings.insert(stripped.to_owned(), variable);
            }
        }
        environment
    }

    /// The variable that sets `key`, if any: lower-case spellings before upper-case ones.
    pub(crate) fn get(&self, key: &str) -> Option<&Variable> {
        if self.settings.is_empty() {
            return None;
        }
        spellings(key)
            .into_iter()
            .find_map(|spelling| self.settings.get(&spelling))
    }

    /// A variable by its exact name, whatever it is.
    pub(crate) fn exact(&self, name: &str) -> Option<&str> {
        self.exact.get(name).map(String::as_str)
    }

    /// Variables whose exact name begins with `prefix`.
    pub(crate) fn starting_with<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.exact
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// All `gravitee*` variables: name without prefix, variable.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&str, &Variable)> {
        self.settings
            .iter()
            .map(|(stripped, variable)| (stripped.as_str(), variable))
    }

    /// Variables that were set aside as service links.
    pub(crate) fn links(&self) -> &[Variable] {
        &self.links
    }

    /// Variables under a key prefix such as `a.b-c.`: what follows the prefix in the variable's spelling, and the variable.
    pub(crate) fn under(&self, prefix: &str) -> Vec<(&str, &Variable)> {
        let wanted = comparable(prefix);
        let without_hyphens = wanted.replace('-', "");
        self.settings
            .iter()
            .filter_map(|(stripped, variable)| {
                let compared = comparable(stripped);
                // `]` is dropped by the comparison, so lengths only agree without one; names of users hold none.
                let rest = [&wanted, &without_hyphens]
                    .into_iter()
                    .find(|wanted| {
                        compared.starts_with(wanted.as_str()) && compared.len() == stripped.len()
                    })
                    .and_then(|wanted| stripped.get(wanted.len()..))?;
                (!rest.is_empty()).then_some((rest, variable))
            })
            .collect()
    }
}

/// A name without its `gravitee` prefix.
pub(crate) fn strip_prefix(name: &str) -> Option<&str> {
    PREFIXES
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .filter(|rest| !rest.is_empty())
}

/// The spellings of a key, in the order in which they are looked up.
pub(crate) fn spellings(key: &str) -> Vec<String> {
    let mut forms = Vec::with_capacity(16);
    let mut push = |form: String| {
        if !forms.contains(&form) {
            forms.push(form);
        }
    };
    let array = key.replace('[', ".").replace(']', "");
    for base in [key, &array] {
        push(base.to_owned());
        push(base.replace('.', "_"));
        push(base.replace('-', ""));
        push(base.replace('.', "_").replace('-', ""));
    }
    for index in 0..forms.len() {
        let upper = forms[index].to_ascii_uppercase();
        if !forms.contains(&upper) {
            forms.push(upper);
        }
    }
    forms
}

/// The variable that messages recommend for a key.
pub(crate) fn recommended(key: &str) -> String {
    format!(
        "gravitee_{}",
        key.replace('[', "_")
            .replace(']', "")
            .replace('.', "_")
            .replace('-', "")
    )
}

/// How names are compared when they are enumerated by prefix.
fn comparable(name: &str) -> String {
    name.replace(['.', '['], "_")
        .replace(']', "")
        .to_ascii_uppercase()
}

/// Whether Kubernetes (or Docker's `--link`) wrote this variable for a service whose name starts with `gravitee`:
/// `GRAVITEE_HTTP_PORT=tcp://10.0.0.7:82` is an address, not a port to listen on.
fn is_service_link(stripped: &str, value: &str) -> bool {
    let upper = !stripped.bytes().any(|byte| byte.is_ascii_lowercase());
    let address = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    let protocol = ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
        stripped.ends_with(protocol)
            || ["_ADDR", "_PORT", "_PROTO"].iter().any(|end| {
                stripped
                    .strip_suffix(end)
                    .is_some_and(|rest| rest.ends_with(protocol))
            })
    });
    let service = stripped.ends_with("_SERVICE_HOST") || stripped.contains("_SERVICE_PORT");
    upper && ((address && stripped.ends_with("_PORT")) || protocol || service)
}
