//! `resource-filtering`: which paths and methods may be called (contract policies 13).

use std::sync::Arc;

use serde::Deserialize;

use super::ant::AntPattern;
use super::lenient::de_bool;
use super::registry::Entry;
use super::{Builder, ConfigError, Phases, Policy, Verdict};
use crate::el::Value;
use crate::error::Failure;
use crate::exchange::Exchange;
use crate::http::Method;
use crate::java_regex::TooHard;

pub(super) const ENTRY: Entry = Entry {
    id: "resource-filtering",
    phases: Phases::REQUEST,
    summary: "which paths and methods may be called",
    members: &[
        "whitelist",
        "blacklist",
        "normalizeRequestPath",
        "decodeEncodedSlash",
    ],
    differences: "dot segments and encoded unreserved characters are resolved before any policy sees the path",
    build,
};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Configuration {
    whitelist: Option<Vec<Resource>>,
    blacklist: Option<Vec<Resource>>,
    #[serde(deserialize_with = "de_bool")]
    normalize_request_path: bool,
    #[serde(deserialize_with = "de_bool")]
    decode_encoded_slash: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resource {
    pattern: Option<String>,
    methods: Option<Vec<String>>,
}

#[derive(Debug)]
struct ResourceFiltering {
    whitelist: Box<[Rule]>,
    blacklist: Box<[Rule]>,
    normalize: bool,
    decode_slash: bool,
}

#[derive(Debug)]
struct Rule {
    /// As written, to be joined with the context path.
    pattern: Option<(Box<str>, AntPattern)>,
    methods: Option<Box<[Method]>>,
}

fn rules(list: &str, resources: Option<Vec<Resource>>) -> Result<Box<[Rule]>, ConfigError> {
    let rule = |(index, resource): (usize, Resource)| {
        let pattern = resource
            .pattern
            .map(|pattern| {
                AntPattern::new(&pattern)
                    .map(|compiled| (pattern.into_boxed_str(), compiled))
                    .map_err(|reason| ConfigError::new(format!("{list}[{index}].pattern"), reason))
            })
            .transpose()?;
        let methods = resource
            .methods
            .map(|methods| {
                methods
                    .iter()
                    .enumerate()
                    .map(|(at, method)| match Method::of(method.as_bytes()) {
                        Method::Other if method != "OTHER" => Err(ConfigError::new(
                            format!("{list}[{index}].methods[{at}]"),
                            format!("{method:?} is no method"),
                        )),
                        known => Ok(known),
                    })
                    .collect()
            })
            .transpose()?;
        Ok(Rule { pattern, methods })
    };
    resources
        .unwrap_or_default()
        .into_iter()
        .enumerate()
        .map(rule)
        .collect()
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    Ok(Arc::new(ResourceFiltering {
        whitelist: rules("whitelist", configuration.whitelist)?,
        blacklist: rules("blacklist", configuration.blacklist)?,
        normalize: configuration.normalize_request_path,
        decode_slash: configuration.decode_encoded_slash,
    }))
}

impl Rule {
    fn path_matches(&self, path: &str, context_path: &str) -> Result<bool, TooHard> {
        let Some((written, pattern)) = &self.pattern else {
            return Ok(true);
        };
        if pattern.matches(path)? {
            return Ok(true);
        }
        // The pattern may also be written below the context path. Only a path below it can match then.
        let context = context_path.trim_end_matches('/');
        let Some(below) = path.strip_prefix(context) else {
            return Ok(false);
        };
        if context.is_empty() {
            return match written.starts_with('/') {
                true => Ok(false),
                false => pattern.matches(below.trim_start_matches('/')),
            };
        }
        if !(below.is_empty() || below.starts_with('/')) {
            return Ok(false);
        }
        if written.starts_with('/') {
            return match below {
                "" => pattern.matches("/"),
                below => pattern.matches(below),
            };
        }
        pattern.matches(below.trim_start_matches('/'))
    }

    fn method_matches(&self, method: Method) -> bool {
        self.methods
            .as_ref()
            .is_none_or(|methods| methods.is_empty() || methods.contains(&method))
    }

    fn lists(&self, method: Method) -> bool {
        self.methods
            .as_ref()
            .is_some_and(|methods| methods.contains(&method))
    }
}

impl ResourceFiltering {
    fn judge(
        &self,
        path: &str,
        context_path: &str,
        method: Method,
    ) -> Result<Option<Failure>, TooHard> {
        let refuse = |by_method: bool| {
            let failure = if by_method {
                Failure::policy(
                    405,
                    "RESOURCE_FILTERING_METHOD_NOT_ALLOWED",
                    "Method not allowed while accessing this resource",
                )
            } else {
                Failure::policy(
                    403,
                    "RESOURCE_FILTERING_FORBIDDEN",
                    "You're not allowed to access this resource",
                )
            };
            Some(
                failure
                    .with("path", Value::from(path.to_owned()))
                    .with("method", Value::text(method.as_str())),
            )
        };
        if !self.whitelist.is_empty() {
            let (mut allowed, mut by_method) = (false, false);
            for rule in &self.whitelist {
                if rule.path_matches(path, context_path)? {
                    if rule.method_matches(method) {
                        allowed = true;
                        break;
                    }
                    by_method = true;
                }
            }
            if !allowed {
                return Ok(refuse(by_method));
            }
        }
        for rule in &self.blacklist {
            if rule.method_matches(method) && rule.path_matches(path, context_path)? {
                return Ok(refuse(rule.lists(method)));
            }
        }
        Ok(None)
    }
}

/// Decodes a path, slashes only when asked for, and resolves its dot segments and empty segments.
fn normalized(path: &str, decode_slash: bool) -> String {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digit = |at: usize| bytes.get(at).and_then(|byte| (*byte as char).to_digit(16));
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                let value = (high * 16 + low) as u8;
                if value == b'/' && !decode_slash {
                    decoded.extend_from_slice(b"%2F");
                } else {
                    decoded.push(value);
                }
                at += 3;
            }
            (byte, ..) => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    let decoded = String::from_utf8_lossy(&decoded);
    let mut kept: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(decoded.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() || decoded.ends_with('/') {
        out.push('/');
    }
    out
}

impl Policy for ResourceFiltering {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let request = &exchange.request;
        let judged = if self.normalize {
            let path = normalized(&request.path, self.decode_slash);
            self.judge(&path, &request.context_path, request.method)
        } else {
            self.judge(&request.path, &request.context_path, request.method)
        };
        match judged {
            Ok(None) => Verdict::Continue,
            Ok(Some(failure)) => Verdict::fail(failure),
            Err(error) => {
                Verdict::fail(Failure::internal().because(format!("resource-filtering: {error}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Bench, build};
    use serde_json::{Value as Json, json};

    /// The status of the failure, 0 when the request passes. The context path is `/api/`.
    fn status(configuration: &Json, method: &str, path: &str) -> u16 {
        let policy = build("resource-filtering", configuration).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange.request.method = Method::of(method.as_bytes());
        exchange.request.path = path.to_owned();
        match policy.on_request(&mut exchange) {
            Verdict::Continue => 0,
            Verdict::Fail(failure) => {
                let expected = match failure.status {
                    403 => "RESOURCE_FILTERING_FORBIDDEN",
                    _ => "RESOURCE_FILTERING_METHOD_NOT_ALLOWED",
                };
                assert_eq!(failure.key_str(), expected);
                let names: Vec<_> = failure.parameters.iter().map(|(name, _)| &**name).collect();
                assert_eq!(names, ["path", "method"]);
                failure.status
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rules_decide_by_path_and_method() {
        let white = |pattern: &str| json!({"whitelist": [{"pattern": pattern}]});
        let black = |pattern: &str| json!({"blacklist": [{"pattern": pattern}]});
        let both = json!({
            "whitelist": [{"pattern": "/a/**", "methods": ["GET", "POST"]}],
            "blacklist": [{"pattern": "/a/admin/**", "methods": ["POST"]}, {"pattern": "/a/secret"}],
        });
        for (configuration, method, path, expected) in [
            (&json!(null), "GET", "/api/x", 0),
            (
                &json!({"whitelist": [], "blacklist": []}),
                "GET",
                "/api/x",
                0,
            ),
            (&white("/api/x"), "GET", "/api/x", 0),
            (&white("/x"), "GET", "/api/x", 0),
            (&white("/x"), "GET", "/api/y", 403),
            (&white("/"), "GET", "/api/", 0),
            (&white("/**"), "GET", "/api/y/z", 0),
            (&white("/y/*"), "GET", "/api/y/z", 0),
            (&white("/y/?"), "GET", "/api/y/z", 0),
            (&white("**/public/**"), "GET", "/api/v1/public/x", 0),
            (&white("**/public/**"), "GET", "/api/private", 403),
            (&black("/x"), "GET", "/api/x", 403),
            (&black("/api/x"), "GET", "/api/x", 403),
            (&black("/x"), "GET", "/api/y", 0),
            (&black("**/admin/**"), "GET", "/api/admin/users", 403),
            (&black(r"/x/{id:\d+}"), "GET", "/api/x/12", 403),
            (&black(r"/x/{id:\d+}"), "GET", "/api/x/ab", 0),
            (&json!({"whitelist": [{"path": "/"}]}), "GET", "/api/x", 0),
            (&both, "GET", "/api/a/x", 0),
            (&both, "DELETE", "/api/a/x", 405),
            (&both, "DELETE", "/api/b", 403),
            (&both, "GET", "/api/a/admin/x", 0),
            (&both, "POST", "/api/a/admin/x", 405),
            (&both, "GET", "/api/a/secret", 403),
            (
                &json!({"whitelist": [{"pattern": "/x", "methods": []}]}),
                "PUT",
                "/api/x",
                0,
            ),
        ] {
            assert_eq!(
                status(configuration, method, path),
                expected,
                "{configuration} {method} {path}"
            );
        }
    }

    #[test]
    fn an_encoded_path_is_decoded_when_asked_for() {
        let rule = json!([{"pattern": "**/admin/test/**"}]);
        for (normalize, decode_slash, path, expected) in [
            (false, false, "/api/%2561dmin/test/x", 0),
            (false, false, "/api/adm%69n/test/x", 0),
            (true, false, "/api/adm%69n/test/x", 403),
            (true, false, "/api/x/../admin//test/x", 403),
            (true, false, "/api/admin%2Ftest/x", 0),
            (true, true, "/api/admin%2Ftest/x", 403),
        ] {
            let configuration = json!({"blacklist": rule, "normalizeRequestPath": normalize, "decodeEncodedSlash": decode_slash});
            assert_eq!(
                status(&configuration, "GET", path),
                expected,
                "{configuration} {path}"
            );
        }
    }

    #[test]
    fn the_collected_samples_are_understood() {
        crate::policy::testing::builds_samples("resource-filtering", &[]);
    }

    #[test]
    fn a_configuration_that_cannot_be_used_names_its_member() {
        for (configuration, member) in [
            (json!({"whitelist": "x"}), "whitelist"),
            (
                json!({"whitelist": [{"pattern": "/{a"}]}),
                "whitelist[0].pattern",
            ),
            (
                json!({"blacklist": [{"pattern": "/"}, {"pattern": "/{a:(}"}]}),
                "blacklist[1].pattern",
            ),
            (
                json!({"blacklist": [{"pattern": "/", "methods": ["GET", "FETCH"]}]}),
                "blacklist[0].methods[1]",
            ),
        ] {
            let error = build("resource-filtering", &configuration).expect_err("unusable");
            assert_eq!(error.member, member);
        }
    }
}
