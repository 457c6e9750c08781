//! Whatever people write, loading ends with settings or with diagnostics.

use crate::support::Sources;
use proptest::prelude::*;

fn check(sources: &Sources) {
    match sources.load() {
        Ok(loaded) => {
            assert!(!loaded.config.servers.is_empty());
            assert!(
                loaded
                    .diagnostics
                    .iter()
                    .all(|diagnostic| !diagnostic.is_error())
            );
        }
        Err(error) => {
            assert!(
                error
                    .diagnostics
                    .iter()
                    .any(|diagnostic| diagnostic.is_error()),
                "{error}"
            );
            assert!(!error.to_string().is_empty());
        }
    }
}

/// Pieces that settings are made of, so that deep parts are reached.
fn fragment() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "http",
        "port",
        "servers",
        "- ",
        ": ",
        "\n",
        "  ",
        "    ",
        "\t",
        "{",
        "}",
        "[",
        "]",
        ",",
        "&a ",
        "*a",
        "<<: *a",
        "\"",
        "'",
        "|\n",
        "${",
        "}",
        "${http.port}",
        "${a:b}",
        "file:///",
        "secret://x",
        "tags",
        "cloud",
        "token",
        "404",
        "null",
        "~",
        "---\n",
        "...\n",
        "#",
        "!",
        "http:\n  port: 1\n",
        "servers:\n  - port: 1\n",
        "services.sync.delay: 99999999999\n",
        "🦀",
        "\u{0}",
        "\u{7f}",
        "%YAML 9\n",
        "? ",
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => "\\PC{0,8}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_text_loads_or_is_explained(text in ".{0,200}") {
        check(&Sources::new().yaml(&text));
    }

    #[test]
    fn any_text_made_of_yaml_pieces_loads_or_is_explained(pieces in prop::collection::vec(fragment(), 0..40)) {
        check(&Sources::new().yaml(&pieces.concat()));
    }

    #[test]
    fn any_variables_and_arguments_load_or_are_explained(
        variables in prop::collection::vec(("(gravitee|GRAVITEE)?[._]?[a-zA-Z0-9_.\\[\\]-]{0,24}", "\\PC{0,24}"), 0..8),
        known in prop::collection::vec((prop::sample::select(vec![
            "gravitee_http_port", "GRAVITEE_HTTP_HOST", "gravitee_servers_0_port", "gravitee_servers_999999999999_port",
            "gravitee_gateway_runtime_cpus", "gravitee_services_sync_delay", "gravitee_tags_0", "gravitee_zone", "gravitee_cloud_token",
            "gravitee_services_core_http_authentication_users_", "gravitee_management_http_url",
        ]), "(\\$\\{)?\\PC{0,12}(:?\\})?"), 0..8),
        arguments in prop::collection::vec("[a-z.\\[\\]0-9=$\\{\\}]{0,24}", 0..4),
    ) {
        let mut sources = Sources::new();
        sources.options.env = variables;
        sources.options.env.extend(known.into_iter().map(|(name, value)| (name.to_owned(), value)));
        sources.options.set = arguments;
        check(&sources);
    }

    #[test]
    fn an_integer_in_range_is_read_and_one_out_of_range_is_refused(port in any::<i64>()) {
        let loaded = Sources::new().env("gravitee_http_port", &port.to_string()).load();
        match u16::try_from(port) {
            Ok(port) => prop_assert_eq!(loaded.unwrap().config.servers[0].port, port),
            Err(_) => prop_assert!(loaded.is_err()),
        }
    }
}

#[test]
fn small_files_that_would_grow_large_are_refused_quickly() {
    let laughs: String = (1..30)
        .map(|n| format!("a{n}: &a{n} [*a{}, *a{}]\n", n - 1, n - 1))
        .collect();
    let chain: String = (1..5_000)
        .map(|n| format!("- &b{n} [*b{}]\n", n - 1))
        .collect();
    for text in [
        format!("a0: &a0 [x]\n{laughs}"),
        format!("list:\n- &b0 [x]\n{chain}"),
        "[".repeat(100_000),
        "a:\n".repeat(5) + &"- ".repeat(100_000),
        "{a: ".repeat(50_000),
        "x: y\n".repeat(300_000),
    ] {
        assert!(Sources::new().yaml(&text).load().is_err());
    }
}
