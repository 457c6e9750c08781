//! What is sent to authorization servers.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::policy::ConfigError;
use crate::policy::registry::GatewayParts;
use crate::policy::resource::{self, ResourceBuilder};
use crate::policy::testing::Bench;

fn build(kind: &str, configuration: &Value) -> Result<Arc<AuthorizationServer>, ConfigError> {
    let entry = resource::find(kind).expect("a known type");
    let built = (entry.build)(&ResourceBuilder {
        name: "server",
        api_id: "api",
        configuration,
        gateway: &GatewayParts::default(),
    })?;
    Ok(built.downcast().expect("a server"))
}

#[test]
fn the_question_is_put_as_configured() {
    for (configuration, method, url, header, body) in [
        (
            json!({"authorizationServerUrl": "http://as/", "introspectionEndpoint": "//check//token"}),
            "GET",
            "http://as/check/token",
            None,
            "",
        ),
        (
            json!({"introspectionEndpoint": "https:////as//check?x=1", "tokenIsSuppliedByQueryParam": "true", "tokenQueryParamName": "t"}),
            "GET",
            "https://as/check?x=1&t=token",
            None,
            "",
        ),
        (
            json!({"introspectionEndpoint": "http://as", "tokenIsSuppliedByHttpHeader": true, "tokenHeaderName": "X-Token"}),
            "GET",
            "http://as",
            Some(("X-Token", "token")),
            "",
        ),
        (
            json!({"introspectionEndpoint": "http://as", "introspectionEndpointMethod": "POST", "tokenIsSuppliedByFormUrlEncoded": true}),
            "POST",
            "http://as",
            Some(("Content-Type", "application/x-www-form-urlencoded")),
            "token=token",
        ),
        // A form needs a body, and GET has none.
        (
            json!({"introspectionEndpoint": "http://as", "tokenIsSuppliedByFormUrlEncoded": true}),
            "GET",
            "http://as",
            None,
            "",
        ),
        (
            json!({
                "introspectionEndpoint": "http://as", "useClientAuthorizationHeader": true, "clientId": "a", "clientSecret": "b",
                "clientAuthorizationHeaderName": "X-Client", "clientAuthorizationHeaderScheme": "Own",
            }),
            "GET",
            "http://as",
            Some(("X-Client", "Own YTpi")),
            "",
        ),
    ] {
        let server = build("oauth2", &configuration).expect("a server");
        let mut bench = Bench::new();
        let call = server
            .introspect(&mut bench.exchange(), "token")
            .expect("a call");
        assert_eq!(
            (&*call.method, &*call.url),
            (method, url),
            "{configuration}"
        );
        assert_eq!(call.body, body.as_bytes());
        let value = |name: &str| {
            call.headers
                .iter()
                .find(|(own, _)| own == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(value("Accept"), Some("application/json"));
        match header {
            Some((name, expected)) => assert_eq!(value(name), Some(expected)),
            None => assert_eq!(call.headers.len(), 3, "{:?}", call.headers),
        }
        assert!(!call.options.follow_redirects);
    }
}

#[test]
fn access_management_is_asked_at_the_place_of_its_version() {
    for (version, path, userinfo, needs_active) in [
        (json!("V1_X"), "oauth/check_token", "userinfo", false),
        (json!("V2_X"), "oauth/introspect", "oidc/userinfo", true),
        (json!("V3_X"), "oauth/introspect", "oidc/userinfo", true),
        (Value::Null, "oauth/introspect", "oidc/userinfo", true),
    ] {
        let server = build("oauth2-am-resource", &json!({
            "serverURL": "http://am/gateway/", "version": version, "securityDomain": "domain", "clientId": "a", "clientSecret": "b",
        }))
        .expect("a server");
        let mut bench = Bench::new();
        let call = server
            .introspect(&mut bench.exchange(), "t")
            .expect("a call");
        assert_eq!(
            (&*call.method, &*call.url),
            ("POST", &*format!("http://am/gateway/domain/{path}"))
        );
        assert_eq!(call.body, b"token=t");
        assert!(
            call.headers
                .contains(&("Authorization".into(), "Basic YTpi".to_owned()))
        );
        let call = server.userinfo(&mut bench.exchange(), "t").expect("a call");
        assert_eq!(
            (&*call.method, &*call.url),
            ("GET", &*format!("http://am/gateway/domain/{userinfo}"))
        );
        assert!(
            call.headers
                .contains(&("Authorization".into(), "Bearer t".to_owned()))
        );
        let reply = crate::need::HttpReply {
            status: 200,
            headers: Vec::new(),
            body: b"{}".to_vec(),
        };
        let accepted = matches!(server.read(Ok(Box::new(reply))), Introspection::Accepted(_));
        assert_eq!(accepted, !needs_active, "{version}");
    }
}

#[test]
fn a_server_without_a_place_is_refused_by_name() {
    for (kind, configuration, member) in [
        ("oauth2", json!({}), "introspectionEndpoint"),
        (
            "oauth2",
            json!({"introspectionEndpoint": "http://as", "introspectionEndpointMethod": "PUT"}),
            "introspectionEndpointMethod",
        ),
        (
            "oauth2",
            json!({"introspectionEndpoint": "http://as", "tokenIsSuppliedByHttpHeader": true}),
            "tokenHeaderName",
        ),
        (
            "oauth2-am-resource",
            json!({"securityDomain": "domain"}),
            "serverURL",
        ),
        (
            "oauth2-am-resource",
            json!({"serverURL": "http://am"}),
            "securityDomain",
        ),
        (
            "oauth2-am-resource",
            json!({"serverURL": "http://am", "securityDomain": "d", "version": "V9_X"}),
            "version",
        ),
    ] {
        let error = build(kind, &configuration).expect_err("refused");
        assert_eq!(error.member, member, "{configuration}");
    }
    let relative =
        build("oauth2", &json!({"introspectionEndpoint": "/introspect"})).expect("a server");
    let mut bench = Bench::new();
    assert!(relative.introspect(&mut bench.exchange(), "t").is_err());
}

#[test]
fn secrets_do_not_show() {
    let server = build("oauth2", &json!({
        "introspectionEndpoint": "http://as", "useClientAuthorizationHeader": true, "clientId": "a", "clientSecret": "planted",
    }))
    .expect("a server");
    assert!(!format!("{server:?}").contains("planted"));
    assert_eq!(format!("{:?}", Secret("planted".into())), "***");
    assert!(!format!("{:?}", Payload::new(r#"{"a":"planted"}"#)).contains("planted"));
}

#[test]
fn the_client_is_named_by_its_id_or_else_by_the_first_audience() {
    for (payload, expected) in [
        (json!({"client_id": "me", "aud": "other"}), Some("me")),
        (json!({"client_id": " ", "aud": "me"}), Some("me")),
        (json!({"aud": ["me", "other"]}), Some("me")),
        (json!({"client_id": 7}), Some("7")),
        (json!({"aud": []}), None),
        (json!({"aud": [7, "me"]}), None),
        (json!({"aud": ""}), None),
        (json!({}), None),
    ] {
        let found = Payload::new(payload.to_string()).client_id();
        assert_eq!(found.as_deref(), expected, "{payload}");
    }
}

#[test]
fn a_trust_store_is_trusted_instead_of_everybody() {
    let store = |kind: &str| json!({"type": kind, "content": "a certificate"});
    for (ssl, trust_all, trust_pem) in [
        (Value::Null, true, None),
        (json!({}), true, None),
        (json!({"trustAll": false}), false, None),
        (
            json!({"trustStore": store("PEM")}),
            false,
            Some("a certificate"),
        ),
        (
            json!({"trustAll": true, "trustStore": store("JKS")}),
            true,
            None,
        ),
        (
            json!({"trustAll": false, "trustStore": store("NONE")}),
            false,
            None,
        ),
    ] {
        let server = build(
            "oauth2",
            &json!({"introspectionEndpoint": "https://as", "ssl": ssl}),
        )
        .expect("a server");
        assert_eq!(server.options.trust_all, trust_all, "{ssl}");
        assert_eq!(server.options.trust_pem.as_deref(), trust_pem, "{ssl}");
    }
    for (store, member) in [
        (store("JKS"), "ssl.trustStore.type"),
        (
            json!({"type": "PEM", "path": "/ca.pem"}),
            "ssl.trustStore.path",
        ),
        (json!({"type": "PEM"}), "ssl.trustStore.content"),
    ] {
        let configuration =
            json!({"introspectionEndpoint": "https://as", "ssl": {"trustStore": store}});
        let error = build("oauth2", &configuration).expect_err("refused");
        assert_eq!(error.member, member);
    }
}
