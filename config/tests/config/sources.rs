//! Where values come from: spellings of variables, precedence, placeholders, files.

use crate::support::{Sources, yaml};

#[test]
fn every_spelling_of_a_variable_is_found_and_mixed_ones_are_not() {
    for (variable, found) in [
        ("gravitee_http_maxHeaderSize", true),
        ("gravitee.http.maxHeaderSize", true),
        ("GRAVITEE_http_maxHeaderSize", true),
        ("GRAVITEE.http.maxHeaderSize", true),
        ("GRAVITEE_HTTP_MAXHEADERSIZE", true),
        ("gravitee_HTTP_MAXHEADERSIZE", true),
        ("gravitee_http_maxheadersize", false),
        ("gravitee_http_MaxHeaderSize", false),
        ("Gravitee_http_maxHeaderSize", false),
        ("http_maxHeaderSize", false),
        ("http.maxHeaderSize", true),
    ] {
        let bytes = Sources::new().env(variable, "5000").config().servers[0].header_bytes_max;
        assert_eq!(bytes, if found { 5_000 } else { 8_192 }, "{variable}");
    }
}

#[test]
fn hyphens_disappear_and_indices_become_numbers() {
    for (variable, value) in [
        ("gravitee_policy_apikey_header", "X-One"),
        ("gravitee_policy_api-key_header", "X-One"),
        ("gravitee.policy.api-key.header", "X-One"),
        ("GRAVITEE_POLICY_APIKEY_HEADER", "X-One"),
    ] {
        let config = Sources::new().env(variable, value).config();
        assert_eq!(
            config.api.key_header.as_deref(),
            Some("X-One"),
            "{variable}"
        );
    }
    for (first, second) in [
        ("gravitee_tags_0", "gravitee_tags_1"),
        ("gravitee_tags[0]", "gravitee_tags[1]"),
        ("gravitee.tags.0", "gravitee.tags.1"),
        ("GRAVITEE_TAGS_0", "GRAVITEE_TAGS_1"),
    ] {
        let config = Sources::new().env(first, "a").env(second, "!b").config();
        assert_eq!(config.node.tags, ["a", "!b"], "{first}");
    }
    let config = Sources::new()
        .env("gravitee_servers_0_port", "9001")
        .env("GRAVITEE_SERVERS_1_PORT", "9002")
        .config();
    let ports: Vec<u16> = config.servers.iter().map(|server| server.port).collect();
    assert_eq!(ports, [9_001, 9_002]);
    let config = Sources::new()
        .env("gravitee_http_errors_404_message", "nothing here")
        .config();
    assert_eq!(config.not_found.message, "nothing here");
}

#[test]
fn lower_case_wins_over_upper_case_whatever_their_order() {
    let (lower, upper) = (
        ("gravitee_http_port", "1001"),
        ("GRAVITEE_HTTP_PORT", "1002"),
    );
    for order in [[lower, upper], [upper, lower]] {
        let sources = order.iter().fold(Sources::new(), |sources, (name, value)| {
            sources.env(name, value)
        });
        assert_eq!(sources.config().servers[0].port, 1_001);
    }
    let (lower, upper) = (
        ("gravitee_HTTP_PORT", "1001"),
        ("GRAVITEE_HTTP_PORT", "1002"),
    );
    for order in [[lower, upper], [upper, lower]] {
        let sources = order.iter().fold(Sources::new(), |sources, (name, value)| {
            sources.env(name, value)
        });
        assert_eq!(sources.config().servers[0].port, 1_001, "prefixes too");
    }
}

#[test]
fn variables_win_over_arguments_arguments_over_files_and_later_files_over_earlier_ones() {
    let base = || {
        Sources::new()
            .file("a.yml", "http: {port: 1, host: a}\ntags: [x, y]\n")
            .file("b.yml", "http:\n  port: 2\ntags: [z]\n")
    };
    let both = |mut sources: Sources| {
        let list = format!(
            "{},{}",
            sources.path("a.yml").display(),
            sources.path("b.yml").display()
        );
        sources.options.config = Some(list.into());
        sources
    };
    let port = |sources: Sources| sources.config().servers[0].port;
    let config = both(base()).config();
    assert_eq!(
        (config.servers[0].port, config.servers[0].host.as_str()),
        (2, "a")
    );
    assert_eq!(config.node.tags, ["z"], "a list replaces a list");
    assert_eq!(config.files.len(), 2);
    assert_eq!(port(both(base().set("http.port=3"))), 3);
    assert_eq!(port(both(base().set("http.port=3").set("http.port=4"))), 4);
    assert_eq!(
        port(both(
            base().set("http.port=3").env("gravitee_http_port", "5")
        )),
        5
    );
    assert_eq!(
        both(base().env("gravitee_tags", "p, q")).config().node.tags,
        ["p", "q"]
    );
    assert_eq!(
        both(base().env("gravitee_tags_0", "p")).config().node.tags,
        ["p"]
    );
}

#[test]
fn the_source_that_names_a_key_decides_even_when_it_says_nothing() {
    let sources = yaml("http:\n  port: 9000\ncloud:\n  token: abc\n")
        .env("gravitee_http_port", "")
        .env("gravitee_cloud_token", " ");
    let config = sources.config();
    assert_eq!(config.servers[0].port, 8_082);
    assert!(config.cloud.is_none());
}

#[test]
fn settings_may_stand_at_the_root_or_under_repositories() {
    for text in [
        "ratelimit: {type: redis}\nmanagement: {http: {url: http://one}}\n",
        "repositories: {ratelimit: {type: redis}, management: {http: {url: http://one}}}\n",
        "repositories.ratelimit.type: redis\nmanagement.http.url: http://one\n",
    ] {
        let config = Sources::new().yaml(text).config();
        assert_eq!(
            config.ratelimit_type,
            turnpike_config::RatelimitType::Redis,
            "{text}"
        );
        assert_eq!(
            config.management.url.as_deref(),
            Some("http://one"),
            "{text}"
        );
    }
    let chart = "repositories: {ratelimit: {type: mongodb}}\n";
    let config = yaml(chart).env("gravitee_ratelimit_type", "none").config();
    assert_eq!(
        config.ratelimit_type,
        turnpike_config::RatelimitType::None,
        "a variable wins in either spelling"
    );
}

#[test]
fn placeholders_are_resolved_from_all_sources_nested_and_with_defaults() {
    for (value, expected) in [
        ("${zone}", Some("eu")),
        ("${FROM_ENV}", Some("exact")),
        ("${nobody:fallback}", Some("fallback")),
        ("${nobody:}", None),
        ("a-${zone}-${FROM_ENV}-b", Some("a-eu-exact-b")),
        ("${nobody:${zone}}", Some("eu")),
        ("${nobody:http://host:1/x}", Some("http://host:1/x")),
        ("${${POINTER}}", Some("eu")),
        ("${chained}", Some("eu")),
        ("costs 5$ {or} ${less", Some("costs 5$ {or} ${less")),
        ("${gravitee.home}", Some("HOME")),
    ] {
        let sources = yaml(&format!(
            "zone: eu\nchained: \"${{zone}}\"\ntenant: {value:?}\n"
        ))
        .env("FROM_ENV", "exact")
        .env("POINTER", "zone");
        let expected =
            expected.map(|text| text.replace("HOME", &sources.folder.path().display().to_string()));
        assert_eq!(sources.config().node.tenant, expected, "{value}");
    }
}

#[test]
fn placeholders_that_never_end_are_cut_off() {
    let doubling: String = (0..40)
        .map(|n| format!("p{n}: \"${{p{}}}${{p{}}}\"\n", n + 1, n + 1))
        .collect();
    for (text, expected) in [
        (
            "tenant: ${tenant}\n".to_owned(),
            "placeholders go in a circle: tenant -> tenant",
        ),
        (
            "tenant: ${zone}\nzone: ${a:${tenant}}\n".to_owned(),
            "placeholders go in a circle: tenant -> zone",
        ),
        (
            format!("tenant: ${{p0}}\n{doubling}p40: x\n"),
            "expand to more than",
        ),
        (
            format!("tenant: ${{p0}}\n{doubling}p40: \"\"\n"),
            "expand to more than",
        ),
    ] {
        let diagnostics = yaml(&text).diagnostics();
        assert!(diagnostics.contains(expected), "{text}\n{diagnostics}");
    }
}

#[test]
fn a_value_may_be_the_content_of_a_file() {
    let sources = Sources::new().file("secrets/token", "  abc.def.ghi \n");
    let path = sources.path("secrets/token");
    let sources = sources.env(
        "gravitee_cloud_token",
        &format!("file://{}", path.display()),
    );
    assert_eq!(
        sources.config().cloud.unwrap().token.expose(),
        "abc.def.ghi"
    );
}

#[test]
fn the_settings_file_is_looked_for_in_both_homes_and_a_named_one_must_exist() {
    let sources = Sources::new()
        .yaml("http: {port: 1}\n")
        .file("own/config/gravitee.yml", "http: {port: 2}\n");
    assert_eq!(sources.config().servers[0].port, 1);
    let own = sources.path("own").display().to_string();
    let sources = sources.env("GRAVITEE_HOME", &own);
    assert_eq!(sources.config().servers[0].port, 2);
    let mut missing = Sources::new();
    missing.options.config = Some(missing.path("nowhere.yml"));
    assert!(
        missing
            .diagnostics()
            .starts_with("error: nowhere.yml: cannot read the settings file: "),
        "{}",
        missing.diagnostics()
    );
    assert!(
        Sources::new().config().files.is_empty(),
        "defaults alone are fine"
    );
}

#[test]
fn yaml_is_read_as_the_java_gateway_reads_it() {
    for (what, text) in [
        ("nested", "http:\n  port: 30_00\n"),
        ("dotted", "http.port: 3000\n"),
        ("quoted", "http: {port: \"3000\"}\n"),
        (
            "anchor and merge",
            "x: &x {port: 1}\nbase: &b {<<: *x, port: 3000}\nhttp:\n  <<: *b\n",
        ),
        (
            "several documents",
            "http: {port: 1}\n---\nhttp: {port: 3000}\n",
        ),
        ("byte order mark", "\u{feff}http: {port: 3000}\n"),
        ("block text", "http:\n  port: >-\n    3000\n"),
    ] {
        assert_eq!(yaml(text).config().servers[0].port, 3_000, "{what}");
    }
    for text in [
        "",
        "# nothing\n",
        "---\n",
        "~\n",
        "http:\n",
        "http: {}\n",
        "tags: []\n",
        "http:\n  port:\n  host: ~\n",
    ] {
        let sources = yaml(text);
        assert_eq!(sources.config().servers[0].port, 8_082, "{text:?}");
        assert_eq!(sources.diagnostics(), "", "{text:?}");
    }
    let config = yaml("http:\n  errors:\n    404:\n      message: \"0123\"\nzone: 0123\n").config();
    assert_eq!(
        (
            config.not_found.message.as_str(),
            config.node.zone.as_deref()
        ),
        ("0123", Some("0123"))
    );
}
