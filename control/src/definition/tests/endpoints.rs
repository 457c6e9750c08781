use turnpike_core::definition::{Addresses, ConnectorOptions, Endpoint, TlsSettings};

use super::*;

const V2_ENDPOINT: &str = "/proxy/groups/0/endpoints/0";
const V4_ENDPOINT: &str = "/endpointGroups/0/endpoints/0";

fn first(api: &Api) -> &Endpoint {
    &api.groups[0].endpoints[0]
}

fn headers(api: &Api) -> Vec<(&str, &str)> {
    first(api)
        .headers
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect()
}

fn tls(definition: &Value) -> TlsSettings {
    first(&api(definition))
        .connector
        .tls
        .clone()
        .expect("a secure target")
}

fn v4_target(target: &str) -> Value {
    with(
        v4(),
        "/endpointGroups/0/endpoints/0/configuration/target",
        json!(target),
    )
}

fn v2_target(target: &str) -> Value {
    with(v2(), "/proxy/groups/0/endpoints/0/target", json!(target))
}

#[test]
fn both_versions_compile_to_the_same_endpoint() {
    for (definition, connections_max) in [(v2(), 100), (v4(), 20)] {
        let api = api(&definition);
        assert_eq!(
            (&*api.id, &*api.name, &*api.version),
            ("api", "Orders", "1.2")
        );
        assert_eq!(
            (&*api.environment_id, &*api.organization_id),
            ("env", "org")
        );
        assert_eq!(
            (api.deployed_at_ms, &*api.revision, api.analytics),
            (42, "3", true)
        );
        assert_eq!(api.listeners.len(), 1);
        assert_eq!(
            (api.listeners[0].host.as_deref(), &*api.listeners[0].path),
            (Some("api.example.com"), "/orders")
        );
        assert_eq!((api.groups.len(), &*api.groups[0].name), (1, "group"));
        let endpoint = first(&api);
        assert_eq!(
            (&*endpoint.name, &*endpoint.origin),
            ("one", "http://backend:8080")
        );
        assert_eq!(
            (&*endpoint.target_path, endpoint.target_query.as_deref()),
            ("/base", Some("k=v"))
        );
        assert_eq!((endpoint.weight, endpoint.secondary), (1, false));
        let connector = &endpoint.connector;
        assert_eq!(
            (&*connector.host, connector.port, &*connector.authority),
            ("backend", 8080, "backend:8080")
        );
        assert_eq!(connector.tls, None);
        let expected = ConnectorOptions {
            connect_timeout_ms: 3_000,
            read_timeout_ms: 7_000,
            idle_timeout_ms: 5_000,
            connections_max,
            ..ConnectorOptions::default()
        };
        assert_eq!(connector.options, expected);
    }
}

#[test]
fn every_http_option_is_read() {
    let http = json!({
        "connectTimeout": 1, "readTimeout": 2, "idleTimeout": 3_000, "keepAlive": false, "keepAliveTimeout": 4_999,
        "maxConcurrentConnections": 5, "maxWaitQueueSize": 6, "maxConnectionLifetime": 7, "maxHeaderSize": 8,
        "useCompression": false, "propagateClientAcceptEncoding": true, "propagateClientHost": true, "unknown": [],
    });
    let v4_api = api(&with(
        v4(),
        "/endpointGroups/0/sharedConfiguration/http",
        http.clone(),
    ));
    let expected = ConnectorOptions {
        connect_timeout_ms: 1,
        read_timeout_ms: 2,
        idle_timeout_ms: 3_000,
        keep_alive: false,
        keep_alive_timeout_ms: 4_000,
        connections_max: 5,
        wait_queue_max: 6,
        connection_lifetime_max_ms: 7,
        response_head_bytes_max: 8,
        proxy: None,
    };
    assert_eq!(first(&v4_api).connector.options, expected);
    assert!(
        first(&v4_api).propagate_client_host && first(&v4_api).propagate_client_accept_encoding
    );
    let v2_api = api(&with(v2(), "/proxy/groups/0/http", http));
    let expected = ConnectorOptions {
        wait_queue_max: -1,
        connection_lifetime_max_ms: 0,
        ..expected
    };
    assert_eq!(
        first(&v2_api).connector.options,
        expected,
        "V2 has neither a wait queue nor a lifetime"
    );
    assert!(
        !first(&v2_api).propagate_client_host && first(&v2_api).propagate_client_accept_encoding
    );
}

#[test]
fn compression_keeps_the_clients_accept_encoding_away_in_v4_only() {
    let http = json!({"useCompression": true, "propagateClientAcceptEncoding": true});
    assert!(
        !first(&api(&with(
            v4(),
            "/endpointGroups/0/sharedConfiguration/http",
            http.clone()
        )))
        .propagate_client_accept_encoding
    );
    assert!(
        first(&api(&with(v2(), "/proxy/groups/0/http", http))).propagate_client_accept_encoding
    );
}

#[test]
fn v2_coerces_options_and_v4_leaves_out_an_endpoint_whose_options_cannot_be_read() {
    for (value, expected_ms) in [
        (json!("1500"), 1_500),
        (json!("soon"), 5_000),
        (json!([]), 5_000),
        (json!(9e99), 5_000),
        (json!(2.9), 2),
    ] {
        let api = api(&with(v2(), "/proxy/groups/0/http/connectTimeout", value));
        assert_eq!(
            first(&api).connector.options.connect_timeout_ms,
            expected_ms
        );
    }
    for value in [json!("soon"), json!([]), json!(-1)] {
        let definition = with(
            v4(),
            "/endpointGroups/0/sharedConfiguration/http/connectTimeout",
            value,
        );
        let compiled = compiled(&definition);
        assert!(compiled.api.groups[0].endpoints.is_empty());
        assert_eq!(
            compiled.warnings[0].member,
            "endpointGroups[0].sharedConfiguration.http.connectTimeout"
        );
        assert!(
            compiled.warnings[0]
                .text
                .contains("the endpoint \"one\" is left out"),
            "{}",
            compiled.warnings[0]
        );
    }
}

#[test]
fn an_endpoint_that_cannot_start_is_left_out_and_the_api_is_served() {
    for target in [
        Value::Null,
        json!(" "),
        json!("backend:80"),
        json!("ftp://h"),
        json!("http://h:0"),
        json!("{#properties['x']}"),
    ] {
        let definition = with(
            v4(),
            "/endpointGroups/0/endpoints/0/configuration/target",
            target,
        );
        let compiled = compiled(&definition);
        assert!(compiled.api.groups[0].endpoints.is_empty());
        assert!(compiled.api.groups[0].next().is_none());
        assert_eq!(
            compiled.warnings[0].member,
            "endpointGroups[0].endpoints[0].configuration.target"
        );
    }
    assert!(notes(&v2_target("mailto:h"))[0].starts_with("proxy.groups[0].endpoints[0].target: "));
    let other_type = with(
        v4(),
        "/endpointGroups/0/endpoints/0/type",
        json!("teleport"),
    );
    assert!(notes(&other_type)[0].starts_with("endpointGroups[0].endpoints[0].type: "));
}

#[test]
fn properties_are_put_into_targets_and_headers() {
    let definition = with(
        v4_target("http://{#properties['host']}:{#properties['port']}/x"),
        "/properties",
        json!([
            {"key": "host", "value": "real"}, {"key": "port", "value": "81"},
        ]),
    );
    let definition = with(
        definition,
        "/endpointGroups/0/sharedConfiguration/headers",
        json!([
            {"name": "X-Where", "value": "at {#properties['host']}"},
        ]),
    );
    let api = api(&definition);
    assert_eq!(
        (&*first(&api).connector.host, first(&api).connector.port),
        ("real", 81)
    );
    assert_eq!(headers(&api), [("X-Where", "at real")]);
}

#[test]
fn v4_takes_the_groups_configuration_only_when_told_to_inherit() {
    let definition = with(
        v4(),
        "/endpointGroups/0/sharedConfiguration/headers",
        json!([{"name": "A", "value": "group"}]),
    );
    assert_eq!(headers(&api(&definition)), [("A", "group")]);
    let own = with(
        definition,
        &format!("{V4_ENDPOINT}/inheritConfiguration"),
        json!(false),
    );
    let without_override = api(&own);
    assert_eq!(headers(&without_override), []);
    assert_eq!(
        first(&without_override)
            .connector
            .options
            .connect_timeout_ms,
        5_000,
        "nothing is merged"
    );
    let overridden = with(
        own,
        &format!("{V4_ENDPOINT}/sharedConfigurationOverride"),
        json!("{\"http\":{\"connectTimeout\":9}}"),
    );
    assert_eq!(
        first(&api(&overridden))
            .connector
            .options
            .connect_timeout_ms,
        9
    );
}

#[test]
fn v2_takes_the_groups_configuration_when_told_or_when_it_has_no_http_of_its_own() {
    let definition = with(
        v2(),
        "/proxy/groups/0/headers",
        json!({"A": "group", "B": 1}),
    );
    let definition = with(
        definition,
        &format!("{V2_ENDPOINT}/headers"),
        json!([{"name": "A", "value": "own"}]),
    );
    assert_eq!(headers(&api(&definition)), [("A", "group"), ("B", "1")]);
    assert_eq!(
        notes(&definition),
        [
            "proxy.groups[0].endpoints[0].headers: is ignored: the endpoint inherits its group's configuration"
        ]
    );
    let definition = with(definition, &format!("{V2_ENDPOINT}/inherit"), json!(false));
    let without_http = api(&definition);
    assert_eq!(
        headers(&without_http),
        [("A", "own")],
        "a part that it has is its own"
    );
    assert_eq!(
        first(&without_http).connector.options.connect_timeout_ms,
        3_000,
        "a part that it lacks is the group's"
    );
    let definition = with(
        definition,
        &format!("{V2_ENDPOINT}/http"),
        json!({"connectTimeout": 8}),
    );
    let own = api(&definition);
    assert_eq!(headers(&own), [("A", "own")]);
    assert_eq!(first(&own).connector.options.connect_timeout_ms, 8);
    assert_eq!(first(&own).connector.options.read_timeout_ms, 10_000);
    let definition = with(definition, &format!("{V2_ENDPOINT}/hostHeader"), json!("h"));
    assert_eq!(headers(&api(&definition)), [("A", "own"), ("Host", "h")]);
}

#[test]
fn legacy_v2_forms_are_read() {
    let definition = json!({
        "id": "api", "name": "Legacy",
        "plans": [{"id": "p", "security": "key_less", "status": "published"}],
        "proxy": {
            "context_path": "//a//b/",
            "servers": ["blue"],
            "hostHeader": "forced",
            "headers": [{"name": "host", "value": "replaced"}, {"name": "X", "value": "1"}],
            "load_balancing": {"type": "weighted_random"},
            "groups": [{"name": "ignored"}],
            "endpoints": [
                {"name": "eu", "target": "http://eu", "tenant": "eu", "weight": 0},
                {"name": "us", "target": "http://us", "tenant": "us", "weight": "3", "backup": true},
                {"name": "any", "target": "http://any", "tenants": [], "healthcheck": true},
            ],
        },
    });
    let all = api(&definition);
    assert_eq!(
        (all.listeners[0].host.as_deref(), &*all.listeners[0].path),
        (None, "/a/b")
    );
    assert_eq!(&*all.listeners[0].servers, ["blue".into()]);
    assert_eq!(all.engine, Engine::V2Legacy);
    assert_eq!(
        (all.groups.len(), &*all.groups[0].name),
        (1, "default-group")
    );
    assert_eq!(headers(&all), [("X", "1"), ("Host", "forced")]);
    let weights: Vec<(u32, bool)> = all.groups[0]
        .endpoints
        .iter()
        .map(|one| (one.weight, one.secondary))
        .collect();
    assert_eq!(weights, [(1, false), (3, true), (1, false)]);

    let context = CompileContext {
        tenant: Some("us".to_owned()),
        ..CompileContext::default()
    };
    let ours = compile_in(&definition, &context).expect("it compiles").api;
    let names: Vec<&str> = ours.groups[0]
        .endpoints
        .iter()
        .map(|one| &*one.name)
        .collect();
    assert_eq!(names, ["us", "any"]);
    assert_eq!(
        &*api(&with(definition, "/proxy/context_path", json!("///"))).listeners[0].path,
        "/"
    );
}

#[test]
fn a_default_port_is_left_out_of_the_host_header() {
    for (target, v4_authority, v2_authority) in [
        ("http://h:80", "h", "h"),
        ("https://h", "h", "h"),
        ("http://h:443", "h:443", "h"),
        ("https://h:80", "h:80", "h"),
        ("http://[::1]:81", "[::1]:81", "[::1]:81"),
    ] {
        assert_eq!(
            &*first(&api(&v4_target(target))).connector.authority,
            v4_authority,
            "{target}"
        );
        assert_eq!(
            &*first(&api(&v2_target(target))).connector.authority,
            v2_authority,
            "{target}"
        );
    }
}

#[test]
fn connectors_survive_a_redeployment_that_did_not_touch_them() {
    let context = CompileContext::default();
    let compile = |definition: &Value| compile_in(definition, &context).expect("it compiles").api;
    let before = compile(&v4());
    let renamed = compile(&with(v4(), "/name", json!("Renamed")));
    assert!(Arc::ptr_eq(
        &first(&before).connector,
        &first(&renamed).connector
    ));
    let slower = compile(&with(
        v4(),
        "/endpointGroups/0/sharedConfiguration/http/readTimeout",
        json!(99),
    ));
    assert_ne!(first(&before).connector.id, first(&slower).connector.id);
    let literal = compile(&v4_target("http://127.0.0.1:9"));
    let expected = Addresses::Resolved(Box::new(["127.0.0.1:9".parse().expect("an address")]));
    assert_eq!(**first(&literal).connector.addresses.load(), expected);
    assert_eq!(context.connectors.live().len(), 3);
    drop((before, renamed, slower));
    assert_eq!(context.connectors.live().len(), 1);
}

fn pem_pair() -> (String, String) {
    let pair = rcgen::generate_simple_self_signed(["backend".to_owned()]).expect("a certificate");
    (pair.cert.pem(), pair.signing_key.serialize_pem())
}

#[test]
fn host_names_are_verified_by_default_except_by_a_v2_ssl_block() {
    let v2_secure = v2_target("https://h");
    let v4_secure = v4_target("https://h");
    assert!(tls(&v2_secure).verify_hostname && tls(&v4_secure).verify_hostname);
    assert!(!tls(&with(v2_secure, "/proxy/groups/0/ssl", json!({}))).verify_hostname);
    assert!(
        tls(&with(
            v4_secure,
            "/endpointGroups/0/sharedConfiguration/ssl",
            json!({})
        ))
        .verify_hostname
    );
}

#[test]
fn pem_stores_are_read_from_the_definition_and_from_files() {
    let (certificate, key) = pem_pair();
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("the folder is ours");
        path.to_str().expect("UTF-8").to_owned()
    };
    let (certificate_file, key_file) = (file("cert.pem", &certificate), file("key.pem", &key));
    let by_content = json!({
        "trustStore": {"type": "pem", "content": certificate},
        "keyStore": {"type": "PEM", "certContent": certificate, "keyContent": key},
    });
    let by_path = json!({
        "trustStore": {"type": "PEM", "path": certificate_file, "content": "ignored"},
        "keyStore": {"type": "PEM", "certPath": certificate_file, "keyPath": key_file},
    });
    for ssl in [by_content, by_path] {
        for definition in [
            with(v2_target("https://h"), "/proxy/groups/0/ssl", ssl.clone()),
            with(
                v4_target("https://h"),
                "/endpointGroups/0/sharedConfiguration/ssl",
                ssl.clone(),
            ),
        ] {
            let tls = tls(&definition);
            assert_eq!(tls.trust_pem.as_deref(), Some(certificate.as_bytes()));
            let client = tls.client_certificate.expect("a client certificate");
            assert_eq!(
                (&*client.chain_pem, &*client.key_pem),
                (certificate.as_bytes(), key.as_bytes())
            );
        }
    }
    let legacy = with(
        v2_target("https://h"),
        "/proxy/groups/0/ssl",
        json!({"pem": certificate}),
    );
    assert_eq!(
        tls(&legacy).trust_pem.as_deref(),
        Some(certificate.as_bytes())
    );
    let trusting = json!({"trustAll": true, "trustStore": {"type": "PEM", "content": "bad"}});
    assert_eq!(
        tls(&with(
            v2_target("https://h"),
            "/proxy/groups/0/ssl",
            trusting
        ))
        .trust_pem,
        None
    );
}

#[test]
fn a_store_that_does_not_load_leaves_the_endpoint_out_and_shows_no_key() {
    let (certificate, key) = pem_pair();
    let (_, other_key) = pem_pair();
    let large = tempfile::NamedTempFile::new().expect("a file");
    large
        .as_file()
        .set_len((1 << 20) + 1)
        .expect("the file is ours");
    for ssl in [
        json!({"trustStore": {"type": "PEM"}}),
        json!({"trustStore": {"type": "PEM", "content": "no certificate"}}),
        json!({"trustStore": {"type": "PEM", "content": key}}),
        json!({"trustStore": {"type": "PEM", "content": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}}),
        json!({"trustStore": {"type": "PEM", "path": "/nowhere/at/all.pem"}}),
        json!({"trustStore": {"type": "PEM", "path": "/dev/zero"}}),
        json!({"trustStore": {"type": "PEM", "path": large.path().to_str()}}),
        json!({"keyStore": {"type": "PEM", "certContent": certificate}}),
        json!({"keyStore": {"type": "PEM", "certContent": certificate, "keyContent": certificate}}),
        json!({"keyStore": {"type": "PEM", "certContent": certificate, "keyContent": other_key}}),
    ] {
        for (definition, member) in [
            (
                with(v2_target("https://h"), "/proxy/groups/0/ssl", ssl.clone()),
                "proxy.groups[0].ssl",
            ),
            (
                with(
                    v4_target("https://h"),
                    "/endpointGroups/0/sharedConfiguration/ssl",
                    ssl.clone(),
                ),
                "endpointGroups[0].sharedConfiguration.ssl",
            ),
        ] {
            let compiled = compiled(&definition);
            assert!(compiled.api.groups[0].endpoints.is_empty(), "{ssl}");
            let note = compiled.warnings[0].to_string();
            assert!(
                note.starts_with(member) && !note.contains("BEGIN"),
                "{note}"
            );
        }
        // Towards a plain target the block is not read.
        assert_eq!(
            notes(&with(v2(), "/proxy/groups/0/ssl", ssl)),
            Vec::<String>::new()
        );
    }
}

#[test]
fn a_java_store_without_content_leaves_its_endpoint_out_and_an_empty_one_is_none() {
    for kind in ["JKS", "pkcs12"] {
        let definition = with(
            v4_target("https://h"),
            "/endpointGroups/0/sharedConfiguration/ssl/keyStore",
            json!({"type": kind, "content": "bm90IGEgc3RvcmU=", "password": "hunter2"}),
        );
        let notes = notes(&definition);
        assert!(notes[0].contains("keyStore"), "{notes:?}");
        assert!(notes[0].contains("cannot be opened"), "{notes:?}");
        assert!(!notes[0].contains("hunter2"), "{notes:?}");
    }
    let console =
        json!({"truststore": {"type": ""}, "keystore": {"type": "NONE"}, "trustStore": null});
    let tls = tls(&with(
        v4_target("https://h"),
        "/endpointGroups/0/sharedConfiguration/ssl",
        console,
    ));
    assert!(tls.trust_pem.is_none() && tls.client_certificate.is_none());
}

#[test]
fn a_target_that_may_hold_a_secret_is_not_shown() {
    let definition = with(
        v4_target("http://{#properties['host']}"),
        "/properties",
        json!([{"key": "host", "value": "hunter2:hunter2"}]),
    );
    for definition in [definition, v4_target("http://user:hunter2/x@h")] {
        let notes = notes(&definition);
        assert!(notes[0].contains("left out"), "{notes:?}");
        assert!(!notes[0].contains("hunter2"), "{notes:?}");
    }
}
