//! The exact words, places and hints.

use crate::support::{Sources, yaml};

/// Every text is what an operator sees, to the character.
#[test]
fn diagnostics_say_what_was_expected_what_was_found_where_and_what_to_do() {
    for (sources, expected) in [
        (
            yaml("# ports\nhttp:\n  port: abc\n"),
            "error: http.port: expected a number between 0 and 65535, found \"abc\"\n\
             \x20--> config/gravitee.yml:3:9\n\
             \x20 |\n\
             3 |   port: abc\n\
             \x20 |         ^^^\n\
             hint: set `port: 8082`, or the variable `gravitee_http_port`\n",
        ),
        (
            yaml("").env("gravitee_http_port", "70000"),
            "error: http.port: expected a number between 0 and 65535, found \"70000\"\n\
             \x20 --> variable gravitee_http_port\n\
             hint: set `port: 8082`, or the variable `gravitee_http_port`\n",
        ),
        (
            yaml("").set("services.sync.unit=FORTNIGHTS"),
            "error: services.sync.unit: expected `MILLISECONDS`, `SECONDS`, `MINUTES`, `HOURS` or `DAYS`, found \"FORTNIGHTS\"\n\
             \x20 --> argument --set services.sync.unit\n\
             hint: set `unit: MILLISECONDS`, or the variable `gravitee_services_sync_unit`\n",
        ),
        (
            yaml("http:\n  port: 1\nzone: a\nhttp:\n  host: b\n"),
            "error: key \"http\" is written twice, first on line 1\n\
             \x20--> config/gravitee.yml:4:1\n\
             \x20 |\n\
             4 | http:\n\
             \x20 | ^^^^\n\
             hint: merge both blocks: YAML would keep only one of them\n",
        ),
        (
            yaml("http.port: 1\nhttp:\n  port: 2\n"),
            "error: key \"http.port\" is written twice, first on line 1\n\
             \x20--> config/gravitee.yml:3:9\n\
             \x20 |\n\
             3 |   port: 2\n\
             \x20 |         ^\n\
             hint: `a.b: …` and `a: {b: …}` are the same setting: keep one of them\n",
        ),
        (
            yaml("http:\n  maxHeadersize: 1\n"),
            "warning: http.maxHeadersize: unknown key, it has no effect\n\
             \x20--> config/gravitee.yml:2:3\n\
             \x20 |\n\
             2 |   maxHeadersize: ***\n\
             \x20 |   ^^^^^^^^^^^^^\n\
             hint: did you mean `http.maxHeaderSize`?\n",
        ),
        (
            yaml("").env("gravitee_http_maxheadersize", "1"),
            "warning: gravitee_http_maxheadersize: unknown setting, it has no effect\n\
             \x20 --> variable gravitee_http_maxheadersize\n\
             hint: did you mean `gravitee_http_maxHeaderSize`?\n",
        ),
        (
            yaml("http:\n  secured: true\n"),
            "error: http.secured: TLS on the server side is not supported yet, and plain text in its place would be unsafe\n\
             \x20--> config/gravitee.yml:2:12\n\
             \x20 |\n\
             2 |   secured: true\n\
             \x20 |            ^^^^\n\
             hint: set it to `false`, or the variable `gravitee_http_secured`\n",
        ),
        (
            yaml("cloud:\n  token: secret://kubernetes/cloud:token\n"),
            "error: cloud.token: values from `secret://` are not supported\n\
             \x20--> config/gravitee.yml:2:10\n\
             \x20 |\n\
             2 |   token: ***\n\
             \x20 |          ^^^\n\
             hint: mount the secret and use `file:///path`, or set the variable `gravitee_cloud_token`\n",
        ),
        (
            yaml("zone: ${WHERE}\n"),
            "error: zone: nothing sets `WHERE`, which the placeholder `${WHERE}` asks for\n\
             \x20--> config/gravitee.yml:1:7\n\
             \x20 |\n\
             1 | zone: ${WHERE}\n\
             \x20 |       ^^^^^^^^\n\
             hint: set `WHERE`, or give a default: `${WHERE:…}`; a value with a literal `${` goes into a file: `file:///path`\n",
        ),
        (
            yaml("ratelimit:\n  type: mongodb\n"),
            "error: ratelimit.type: expected `none`, `redis` or `local`, found \"mongodb\"\n\
             \x20--> config/gravitee.yml:2:9\n\
             \x20 |\n\
             2 |   type: mongodb\n\
             \x20 |         ^^^^^^^\n\
             hint: set `type: none`, or the variable `gravitee_ratelimit_type`\n",
        ),
        (
            yaml("").set("http.port"),
            "error: --set http.port: expected KEY=VALUE, found no `=`\n\
             hint: for example `--set http.port=8082`\n",
        ),
        (
            Sources::new(),
            "warning: nothing says where the control plane is: no API will be deployed\n\
             hint: set the variable `gravitee_cloud_token`, or `management.http.url`\n",
        ),
        (
            yaml(
                "http: {alpn: true}\nreporters:\n  elasticsearch:\n    enabled: false\n    endpoints: [x]\nkafka: {port: 1}\n",
            ),
            "note: settings of the Java gateway without effect here: http.alpn, kafka\n",
        ),
        (
            yaml("")
                .env("GRAVITEE_HTTP_PORT", "tcp://10.0.0.7:82")
                .env("GRAVITEE_APIM_SERVICE_HOST", "10.0.0.8"),
            "warning: GRAVITEE_HTTP_PORT: the address of a service, not a setting; it has no effect\n\
             \x20 --> variable GRAVITEE_HTTP_PORT\n\
             hint: set `enableServiceLinks: false` for the pod, or give the service another name\n",
        ),
        (
            yaml("services: {core: {http: {host: 0.0.0.0}}}\n"),
            "warning: services.core.http.authentication.users.admin: the node API listens on 0.0.0.0 with the well-known default \
             password\n\
             hint: set the variable `gravitee_services_core_http_authentication_users_admin`\n",
        ),
    ] {
        assert_eq!(sources.diagnostics(), expected);
    }
}

#[test]
fn invalid_yaml_is_shown_where_it_breaks() {
    let diagnostics = yaml("http:\n  port: 1\n\thost: b\n").diagnostics();
    assert!(
        diagnostics.starts_with("error: invalid YAML: "),
        "{diagnostics}"
    );
    assert!(
        diagnostics.contains("--> config/gravitee.yml:3:"),
        "{diagnostics}"
    );
    assert!(
        diagnostics.ends_with("hint: indent with spaces: YAML does not allow tabs there\n"),
        "{diagnostics}"
    );
    for text in [
        "http: {port: 1\n",
        "http: \"1\n",
        "a: b: c\n",
        "- a\n",
        "just text\n",
        "? [a]\n: b\n",
        "a: *b\n",
        "x: &x [*x]\n",
    ] {
        let diagnostics = yaml(text).diagnostics();
        assert!(
            diagnostics.starts_with("error: "),
            "{text:?}: {diagnostics}"
        );
        assert!(
            diagnostics.contains("--> config/gravitee.yml:"),
            "{text:?}: {diagnostics}"
        );
    }
}

#[test]
fn every_problem_is_reported_at_once() {
    let diagnostics = yaml("http: {port: a, host: b}\nservices: {sync: {delay: c, enabled: maybe}}\ngracefulShutdown: {unit: d}\n").diagnostics();
    assert_eq!(diagnostics.matches("error: ").count(), 4, "{diagnostics}");
}

#[test]
fn values_out_of_range_or_shape_are_errors() {
    for text in [
        "http: {port: 65536}",
        "http: {port: -1}",
        "http: {port: 8082.0}",
        "http: {port: 8_}",
        "http: {maxHeaderSize: 1}",
        "http: {errors: {404: {contentType: \"a\\nb\"}}}",
        "handlers: {request: {transaction: {header: \"X Y\"}}}",
        "policy: {api-key: {header: \"a:b\"}}",
        "gateway: {runtime: {cpus: 3-1}}",
        "gateway: {runtime: {driver: kqueue}}",
        "services: {sync: {delay: 0}}",
        "services: {sync: {delay: 400, unit: DAYS}}",
        "services: {core: {http: {authentication: {type: digest}}}}",
        "services: {core: {http: {secured: true}}}",
        "services: {sync: {kubernetes: {enabled: true}}}",
        "services: {bridge: {http: {enabled: true}}}",
        "management: {type: mongodb}",
        "management: {http: {url: \"bridge:18092\"}}",
        "management: {http: {url: \"https://\"}}",
        "management: {http: {authentication: {type: jwt}}}",
        "management: {http: {connectionRetry: {backoffFactor: 0.5}}}",
        "management: {http: {paths: {licenses: nope}}}",
        "management: {http: {ssl: {truststore: {type: JKS, path: /x}}}}",
        "management: {http: {ssl: {truststore: {type: PEM}}}}",
        "management: {http: {ssl: {truststore: {path: /does/not/exist.pem}}}}",
        "management: {http: {proxy: {enabled: true}}}",
        "management: {http: {proxy: {enabled: true, host: h, type: SOCKS5}}}",
        "cloud: {verification: {algorithms: [RS256, none]}}",
        "cloud: {gate: {url: ftp://x}}",
        "servers: [{port: 9000}, {port: 9000}]",
        "servers: [{type: tcp}]",
        "servers: [{secured: true}]",
        "zone: kubernetes://ns/secrets/a/b",
        "zone: file:///does/not/exist",
        "zone: file://relative",
    ] {
        // `management.http.url` of the file must be seen, so nothing else names it.
        let sources = Sources::new().yaml(text);
        assert!(sources.load().is_err(), "{text}: {}", sources.diagnostics());
    }
}

#[test]
fn what_does_not_exist_yet_is_a_warning_and_switched_off_it_is_nothing() {
    for (text, warns) in [
        ("http: {compressionSupported: true}", true),
        ("http: {compressionSupported: false}", false),
        ("http: {websocket: {enabled: true}}", true),
        ("http: {haproxy: {proxyProtocol: true}}", true),
        ("servers: [{port: 1, websocket: {enabled: true}}]", true),
        ("services: {opentelemetry: {enabled: true}}", true),
        ("reporters: {elasticsearch: {enabled: true}}", true),
        (
            "management: {http: {ssl: {keystore: {type: pkcs12, path: x}}}}",
            true,
        ),
        (
            "services: {sync: {kubernetes: {enabled: false}}, bridge: {enabled: false}}",
            false,
        ),
        ("http: {secured: false, alpn: false}", false),
        ("cloud: {token: t}\nmanagement: {type: mongodb}", true),
        (
            "cloud: {token: t}\nrepositories: {management: {type: mongodb}}",
            true,
        ),
        ("management: {type: http}", false),
        (
            "ratelimit: {type: none}\nrepositories: {ratelimit: {type: redis}}",
            true,
        ),
    ] {
        let sources = yaml(text);
        let diagnostics = sources.diagnostics();
        assert!(sources.load().is_ok(), "{text}: {diagnostics}");
        assert_eq!(
            diagnostics.contains("warning: "),
            warns,
            "{text}: {diagnostics}"
        );
    }
}

#[test]
fn a_foreign_block_is_one_warning_and_many_unknown_keys_are_cut_off() {
    let diagnostics = yaml("foreign:\n  a: {b: 1, c: [1, 2]}\n  d: 2\n").diagnostics();
    assert_eq!(diagnostics.matches("warning: ").count(), 1, "{diagnostics}");
    assert!(
        diagnostics.contains("warning: foreign: unknown key"),
        "{diagnostics}"
    );
    let many: String = (0..50).map(|n| format!("foreign{n}: 1\n")).collect();
    let diagnostics = yaml(&many).diagnostics();
    assert_eq!(
        diagnostics.matches("warning: ").count(),
        21,
        "{diagnostics}"
    );
    assert!(
        diagnostics.contains("warning: 30 more keys are unknown"),
        "{diagnostics}"
    );
}

#[test]
fn known_variables_are_not_unknown() {
    let sources = [
        ("GRAVITEE_HOME", "/nowhere"),
        ("GRAVITEE_PLUGINS_PATH_0", "/plugins"),
        ("GRAVITEE_LOG_FORMAT", "json"),
        ("gravitee_repositories_ratelimit_type", "none"),
        ("gravitee_servers_0_port", "1"),
        ("gravitee_tags_0", "a"),
        (
            "GRAVITEE_SERVICES_SYNC_APIKEY_SUBSCRIPTIONS_CHUNK_SIZE",
            "5",
        ),
        ("gravitee_services_core_http_authentication_users_bob", "x"),
        ("gravitee_reporters_cloud_bulk_flushInterval", "1"),
        ("gravitee_handlers_request_xforward_enabled", "true"),
    ]
    .iter()
    .fold(yaml(""), |sources, (name, value)| sources.env(name, value));
    assert_eq!(sources.diagnostics(), "");
}

#[test]
fn no_diagnostic_shows_a_secret() {
    for text in [
        "cloud: {token: \"${HUNTER2}\"}",
        "cloud:\n  token: secret://HUNTER2",
        "cloud:\n  tokn: HUNTER2",
        "redis:\n  pasword: HUNTER2\nfoo:\n  bar: HUNTER2",
        "cloud:\n  token: \"HUNTER2\n",
        "cloud:\n  token \"HUNTER2\"\n  enabled: true\n",
        "{password: HUNTER2, prot: 1}",
        "management: {http: {authentication: {type: basic, basic: {password: HUNTER2}}}}",
        "services: {core: {http: {authentication: {users: {bob: \"secret://HUNTER2\"}}}}}",
        "management: {http: {proxy: {password: HUNTER2, enabled: maybe}}}",
    ] {
        let diagnostics = Sources::new().yaml(text).diagnostics();
        let named_by_placeholder = text.contains("${");
        assert!(
            named_by_placeholder || !diagnostics.contains("HUNTER2"),
            "{text}\n{diagnostics}"
        );
        assert!(!diagnostics.is_empty(), "{text}");
    }
}

#[test]
fn control_characters_never_reach_the_terminal() {
    for sources in [
        yaml("\"\\e[31mred\": 1\n"),
        yaml("zone: [\u{9b}1\n"),
        yaml("http: {port: \"\\e[31m\"}\n"),
        yaml("").env("gravitee_\u{1b}[31m", "x"),
        yaml("").set("http.port=\u{1b}[31m"),
        yaml("").set("\u{1b}[31m=1"),
        yaml("zone: ${\u{9f}}\n"),
    ] {
        let diagnostics = sources.diagnostics();
        assert!(!diagnostics.is_empty());
        assert!(
            !diagnostics.chars().any(|c| c.is_control() && c != '\n'),
            "{diagnostics:?}"
        );
    }
}

#[test]
fn colour_is_only_an_addition() {
    let diagnostic = turnpike_config::Diagnostic::error("x");
    assert_eq!(diagnostic.render(false), "error: x\n");
    assert_eq!(diagnostic.render(true), "\u{1b}[1;31merror\u{1b}[0m: x\n");
}
