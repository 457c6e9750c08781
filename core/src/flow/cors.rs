//! CORS (contract request-lifecycle 10).

use regex::Regex;

use crate::definition::Engine;
use crate::exchange::Exchange;
use crate::http::Method;

/// CORS of an API.
#[derive(Debug, Default)]
pub struct Cors {
    /// Allowed origins, as written; `*` allows any.
    pub origins: Box<[Box<str>]>,
    /// Allowed origins that are regular expressions.
    pub origin_patterns: Box<[Regex]>,
    /// Allowed methods, as written.
    pub methods: Box<[Box<str>]>,
    /// Allowed request headers, as written.
    pub headers: Box<[Box<str>]>,
    /// Response headers that scripts may read.
    pub expose_headers: Box<[Box<str>]>,
    /// Send `Access-Control-Allow-Credentials: true`.
    pub credentials: bool,
    /// Seconds that a preflight answer may be kept; `None` says nothing.
    pub max_age_s: Option<i64>,
    /// Run the policies of a preflight.
    pub run_policies: bool,
    /// Allow requests from public to private networks.
    pub private_network: bool,
}

/// What a preflight leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preflight {
    /// It is no preflight.
    Ordinary,
    /// It is answered at once.
    Answered,
    /// The policies run without security, and the backend is replaced by an empty 200.
    RunPolicies,
    /// It is not allowed.
    Refused,
}

const ALLOW_CREDENTIALS: &str = "Access-Control-Allow-Credentials";
const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
const EXPOSE_HEADERS: &str = "Access-Control-Expose-Headers";

impl Cors {
    /// Judges a preflight and writes its response fields.
    pub(super) fn preflight(&self, exchange: &mut Exchange<'_>) -> Preflight {
        let request = &exchange.request.headers;
        if exchange.request.method != Method::Options
            || !request.contains("origin")
            || !request.contains("access-control-request-method")
        {
            return Preflight::Ordinary;
        }
        if self.answer_preflight(exchange) {
            if self.run_policies {
                Preflight::RunPolicies
            } else {
                Preflight::Answered
            }
        } else if self.run_policies && exchange.api.engine == Engine::V2Legacy {
            // The legacy engine runs the policies of a preflight whether it is allowed or not.
            Preflight::RunPolicies
        } else {
            Preflight::Refused
        }
    }

    /// False when the preflight is not allowed; the fields written until then stay, as in the reference.
    fn answer_preflight(&self, exchange: &mut Exchange<'_>) -> bool {
        let request = &exchange.request.headers;
        let Some(origin) = request.text("origin").filter(|origin| self.allows(origin)) else {
            return false;
        };
        let origin = self.sent_origin(exchange, origin).to_owned();
        let method_allowed = request
            .text("access-control-request-method")
            .is_some_and(|asked| {
                self.methods.is_empty()
                    || lists(&self.methods, asked, |allowed, asked| allowed == asked)
            });
        if !method_allowed {
            return false;
        }
        let asked_headers = request
            .text("access-control-request-headers")
            .unwrap_or_default();
        if !lists(&self.headers, asked_headers, |allowed, asked| {
            allowed.eq_ignore_ascii_case(asked)
        }) {
            return false;
        }
        let private_network = self.private_network
            && request.text("access-control-request-private-network") == Some("true");
        let response = &mut exchange.response.headers;
        if self.credentials {
            let _ = response.set(ALLOW_CREDENTIALS, "true");
        }
        let _ = response.set(ALLOW_ORIGIN, origin);
        if self.methods.is_empty() {
            return false;
        }
        let methods: Vec<String> = self
            .methods
            .iter()
            .map(|method| method.to_ascii_uppercase())
            .collect();
        let _ = response.set("Access-Control-Allow-Methods", methods.join(", "));
        let _ = response.set("Access-Control-Allow-Headers", self.headers.join(", "));
        if let Some(max_age_s) = self.max_age_s.filter(|seconds| *seconds > -1) {
            let _ = response.set("Access-Control-Max-Age", max_age_s.to_string());
        }
        if private_network {
            let _ = response.set("Access-Control-Allow-Private-Network", "true");
        }
        true
    }

    /// Writes the fields of an ordinary response. Those of a backend that knows nothing of the API's rules go.
    pub(super) fn simple(&self, exchange: &mut Exchange<'_>) {
        let allowed = exchange
            .request
            .headers
            .text("origin")
            .filter(|origin| self.allows(origin))
            .map(|origin| self.sent_origin(exchange, origin).to_owned());
        let response = &mut exchange.response.headers;
        match allowed {
            Some(origin) => {
                if self.credentials {
                    let _ = response.set(ALLOW_CREDENTIALS, "true");
                }
                let _ = response.set(ALLOW_ORIGIN, origin);
                if !self.expose_headers.is_empty() {
                    let _ = response.set(EXPOSE_HEADERS, self.expose_headers.join(", "));
                }
            }
            None => {
                for name in [ALLOW_CREDENTIALS, ALLOW_ORIGIN, EXPOSE_HEADERS] {
                    response.remove(name);
                }
            }
        }
    }

    fn allows(&self, origin: &str) -> bool {
        self.allows_any()
            || self
                .origins
                .iter()
                .any(|own| own.eq_ignore_ascii_case(origin))
            || self
                .origin_patterns
                .iter()
                .any(|pattern| is_whole_match(pattern, origin))
    }

    fn allows_any(&self) -> bool {
        self.origins.iter().any(|own| &**own == "*")
    }

    /// The origin itself; the legacy engine says `*` where any is allowed (contract request-lifecycle 3.3).
    fn sent_origin<'o>(&self, exchange: &Exchange<'_>, origin: &'o str) -> &'o str {
        if exchange.api.engine == Engine::V2Legacy && self.allows_any() {
            "*"
        } else {
            origin
        }
    }
}

fn is_whole_match(pattern: &Regex, text: &str) -> bool {
    // A pattern may find a shorter match first; only one over the whole text counts.
    pattern
        .find_iter(text)
        .any(|found| found.start() == 0 && found.end() == text.len())
}

/// Whether every element of a comma-separated list is allowed; an empty list is.
fn lists(allowed: &[Box<str>], asked: &str, is: impl Fn(&str, &str) -> bool) -> bool {
    if allowed.iter().any(|own| &**own == "*") {
        return true;
    }
    asked
        .split(',')
        .map(str::trim)
        .filter(|asked| !asked.is_empty())
        .all(|asked| allowed.iter().any(|own| is(own, asked)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::Processing;
    use crate::policy::testing::Bench;
    use crate::snapshot::Platform;

    fn texts(texts: &[&str]) -> Box<[Box<str>]> {
        texts.iter().map(|text| Box::from(*text)).collect()
    }

    fn cors() -> Cors {
        Cors {
            origins: texts(&["https://a.example", "https://B.example"]),
            origin_patterns: [Regex::new(r"https://.*\.c\.example").expect("a pattern")].into(),
            methods: texts(&["GET", "post"]),
            headers: texts(&["X-One", "X-Two"]),
            ..Cors::default()
        }
    }

    fn preflight(
        cors: &Cors,
        engine: Engine,
        fields: &[(&str, &str)],
    ) -> (Preflight, Vec<(String, String)>) {
        let mut bench = Bench::with(engine, Processing::default(), Platform::default());
        let mut exchange = bench.exchange();
        exchange.request.method = Method::Options;
        for (name, value) in fields {
            exchange.request.headers.add(name, value).expect("a field");
        }
        let judged = cors.preflight(&mut exchange);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = exchange
            .response
            .headers
            .iter()
            .map(|field| (text(field.name), text(field.value)))
            .collect();
        (judged, fields)
    }

    #[test]
    fn a_preflight_is_judged_by_origin_method_and_headers() {
        let origin = ("Origin", "https://a.example");
        let method = ("Access-Control-Request-Method", "GET");
        let headers = |value| ("Access-Control-Request-Headers", value);
        for (fields, expected) in [
            (&[origin][..], Preflight::Ordinary),
            (&[method], Preflight::Ordinary),
            (&[origin, method], Preflight::Answered),
            (
                &[("Origin", "https://b.EXAMPLE"), method],
                Preflight::Answered,
            ),
            (
                &[("Origin", "https://x.c.example"), method],
                Preflight::Answered,
            ),
            (
                &[("Origin", "https://x.c.example.evil"), method],
                Preflight::Refused,
            ),
            (&[("Origin", "https://evil"), method], Preflight::Refused),
            (
                &[origin, ("Access-Control-Request-Method", "PUT")],
                Preflight::Refused,
            ),
            (
                &[origin, ("Access-Control-Request-Method", "get")],
                Preflight::Refused,
            ),
            (
                &[origin, method, headers("x-one, X-TWO")],
                Preflight::Answered,
            ),
            (&[origin, method, headers("X-Three")], Preflight::Refused),
            (&[origin, method, headers("")], Preflight::Answered),
        ] {
            assert_eq!(
                preflight(&cors(), Engine::V4, fields).0,
                expected,
                "{fields:?}"
            );
        }
    }

    #[test]
    fn an_allowed_preflight_tells_what_is_allowed() {
        let full = Cors {
            credentials: true,
            max_age_s: Some(600),
            private_network: true,
            ..cors()
        };
        let (_, fields) = preflight(
            &full,
            Engine::V4,
            &[
                ("Origin", "https://a.example"),
                ("Access-Control-Request-Method", "GET"),
                ("Access-Control-Request-Private-Network", "true"),
            ],
        );
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(
            fields,
            [
                ("Access-Control-Allow-Credentials", "true"),
                ("Access-Control-Allow-Origin", "https://a.example"),
                ("Access-Control-Allow-Methods", "GET, POST"),
                ("Access-Control-Allow-Headers", "X-One, X-Two"),
                ("Access-Control-Max-Age", "600"),
                ("Access-Control-Allow-Private-Network", "true"),
            ]
        );
    }

    #[test]
    fn any_origin_is_echoed_but_on_the_legacy_engine() {
        let any = Cors {
            origins: texts(&["*"]),
            ..cors()
        };
        for (engine, expected) in [
            (Engine::V4, "https://x.example"),
            (Engine::V2Emulation, "https://x.example"),
            (Engine::V2Legacy, "*"),
        ] {
            let (_, fields) = preflight(
                &any,
                engine,
                &[
                    ("Origin", "https://x.example"),
                    ("Access-Control-Request-Method", "GET"),
                ],
            );
            let sent = fields.iter().find(|(name, _)| name == ALLOW_ORIGIN);
            assert_eq!(
                sent.map(|(_, value)| &**value),
                Some(expected),
                "{engine:?}"
            );
        }
    }

    #[test]
    fn without_methods_a_preflight_fails_after_the_origin_was_written() {
        let none = Cors {
            methods: texts(&[]),
            ..cors()
        };
        let fields = [
            ("Origin", "https://a.example"),
            ("Access-Control-Request-Method", "GET"),
        ];
        let (judged, written) = preflight(&none, Engine::V4, &fields);
        assert_eq!(judged, Preflight::Refused);
        assert_eq!(written.len(), 1);
        let running = Cors {
            run_policies: true,
            ..none
        };
        assert_eq!(
            preflight(&running, Engine::V4, &fields).0,
            Preflight::Refused
        );
        assert_eq!(
            preflight(&running, Engine::V2Legacy, &fields).0,
            Preflight::RunPolicies
        );
    }

    #[test]
    fn the_fields_of_the_backend_go_when_the_origin_is_not_allowed() {
        for origin in [None, Some("https://evil"), Some("https://a.example")] {
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            if let Some(origin) = origin {
                exchange
                    .request
                    .headers
                    .add("Origin", origin)
                    .expect("a field");
            }
            let backend = &mut exchange.response.headers;
            backend
                .add(ALLOW_ORIGIN, "https://backend")
                .expect("a field");
            backend.add(EXPOSE_HEADERS, "X-B").expect("a field");
            let cors = Cors {
                expose_headers: texts(&["X-A", "X-C"]),
                ..cors()
            };
            cors.simple(&mut exchange);
            let headers = &exchange.response.headers;
            if origin == Some("https://a.example") {
                assert_eq!(headers.text(ALLOW_ORIGIN), origin);
                assert_eq!(headers.text(EXPOSE_HEADERS), Some("X-A, X-C"));
            } else {
                assert!(headers.is_empty(), "{origin:?}");
            }
        }
    }
}
