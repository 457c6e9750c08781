//! Plans that wait for a key set.

use super::*;

fn published(parts: &GatewayParts) -> PlanSecurity {
    let configuration = json!({
        "signature": "RSA_RS256", "publicKeyResolver": "JWKS_URL", "resolverParameter": "https://issuer.example.com/jwks",
    });
    secured("jwt", &configuration, parts)
}

fn document_of(selection: Selection) -> Arc<SharedDocument> {
    match selection {
        Selection::Await(Need::Errand(errand)) => match *errand {
            Errand::Refresh(document) => document,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn fill(document: &SharedDocument, keys: &Value, at_ms: u64) {
    let reply = HttpReply {
        status: 200,
        headers: Vec::new(),
        body: json!({"keys": keys}).to_string().into_bytes(),
    };
    let parsed = (document.parse)(&reply).expect("a key set");
    document.asked.store(false, Ordering::Relaxed);
    document.content.store(Some(Arc::new(DocumentContent {
        fetched_at_ms: at_ms,
        parsed,
    })));
}

#[test]
fn a_key_set_is_waited_for_once_and_refreshed_in_the_background() {
    let parts = GatewayParts::default();
    let bench = bench(vec![("jwt", published(&parts), None)]);
    let signed = Signer::rs256().sign(&json!({"alg": "RS256", "kid": "one"}), &claims());
    let headers = bearer(&signed);
    let mut exchange = bench.with(&[("Authorization", &headers)]);
    let (mut selector, selection) = bench.start(&mut exchange);
    let document = document_of(selection);
    assert_eq!(&*document.call.url, "https://issuer.example.com/jwks");
    fill(&document, &json!([jwk(rsa_key(), "one")]), NOW_MS);
    let selection = bench.resume(&mut selector, &mut exchange, Answer::Done);
    assert_eq!(ended(selection, &exchange), Ok("jwt".to_owned()));
    assert!(exchange.detached.is_empty());
    // Six minutes later the old set still serves, and one refresh is sent.
    let later_ms = NOW_MS + 310_000;
    for sent in [1, 0] {
        let mut exchange = bench.with(&[("Authorization", &headers)]);
        exchange.now_ms = later_ms;
        assert_eq!(bench.outcome(&mut exchange), Ok("jwt".to_owned()));
        assert_eq!(exchange.detached.len(), sent);
    }
    // The key has gone: a token that was good is verified anew.
    fill(&document, &json!([jwk(other_rsa_key(), "one")]), later_ms);
    let mut exchange = bench.with(&[("Authorization", &headers)]);
    exchange.now_ms = later_ms;
    assert_eq!(
        bench.outcome(&mut exchange),
        Err("401 JWT_INVALID_TOKEN".to_owned())
    );
    assert!(exchange.detached.is_empty());
}

#[test]
fn the_operator_says_how_old_a_key_set_gets() {
    for (setting, fresh_ms, aged_ms) in [
        ("60000", 60_000, 60_001),
        ("0", 1_000, 1_001),
        ("nonsense", 300_000, 300_001),
    ] {
        let parts = GatewayParts {
            settings: [("policy.jwt.jwks.ageMax".to_owned(), setting.to_owned())].into(),
            ..GatewayParts::default()
        };
        let bench = bench(vec![("jwt", published(&parts), None)]);
        let signed = Signer::rs256().sign(&json!({"alg": "RS256", "kid": "one"}), &claims());
        let headers = bearer(&signed);
        let mut exchange = bench.with(&[("Authorization", &headers)]);
        let document = document_of(bench.start(&mut exchange).1);
        fill(&document, &json!([jwk(rsa_key(), "one")]), NOW_MS);
        for (age_ms, sent) in [(fresh_ms, 0), (aged_ms, 1)] {
            let mut exchange = bench.with(&[("Authorization", &headers)]);
            exchange.now_ms = NOW_MS + age_ms;
            assert_eq!(bench.outcome(&mut exchange), Ok("jwt".to_owned()));
            assert_eq!(exchange.detached.len(), sent, "{setting} {age_ms}");
        }
    }
}

#[test]
fn without_a_key_set_nobody_passes() {
    let parts = GatewayParts::default();
    let bench = bench(vec![
        ("jwt", published(&parts), None),
        ("open", PlanSecurity::KeyLess, None),
    ]);
    let signed = bearer(&Signer::rs256().sign(&json!({"alg": "RS256"}), &claims()));
    for answer in [Answer::Done, Answer::Refused] {
        let mut exchange = bench.with(&[("Authorization", &signed)]);
        let (mut selector, selection) = bench.start(&mut exchange);
        let document = document_of(selection);
        let selection = bench.resume(&mut selector, &mut exchange, answer);
        let Selection::Failed(failure) = selection else {
            panic!("not refused");
        };
        assert_eq!(
            (failure.status, failure.message.as_deref()),
            (500, Some("Internal Server Error"))
        );
        // A fetch that failed just now is not repeated at once.
        document.failed_at_ms.store(NOW_MS, Ordering::Relaxed);
        let mut exchange = bench.with(&[("Authorization", &signed)]);
        let outcome = bench.outcome(&mut exchange);
        assert_eq!(outcome, Err("500 JWT_JWKS_RESOLUTION_ERROR".to_owned()));
        document.failed_at_ms.store(0, Ordering::Relaxed);
    }
    // A header that is refused anyway fetches nothing.
    let mut exchange = bench.with(&[("Authorization", &bearer(&token(&json!({}))))]);
    assert_eq!(
        bench.outcome(&mut exchange),
        Err("401 JWT_INVALID_TOKEN".to_owned())
    );
}

#[test]
fn the_metadata_of_the_resource_are_told_without_a_token() {
    let configuration = json!({
        "signature": "HMAC_HS256", "resolverParameter": SECRET, "checkRequiredScopes": true, "requiredScopes": ["read"],
        "protectedResourceMetadata": {"authorizationServers": ["https://as.example.com"]},
    });
    let security = secured("jwt", &configuration, &GatewayParts::default());
    let described = bench(vec![("jwt", security, None)]);
    let mut exchange = described.exchange();
    exchange.request.path = "/api/.well-known/oauth-protected-resource".into();
    assert!(matches!(
        described.start(&mut exchange).1,
        Selection::Interrupt
    ));
    assert_eq!(exchange.response.status, 200);
    let Body::Buffered(body) = &exchange.response.body else {
        panic!("no body");
    };
    let expected = json!({
        "resource": "http://gateway.example.com/api", "authorization_servers": ["https://as.example.com"], "scopes_supported": ["read"],
    });
    assert_eq!(serde_json::from_slice::<Value>(body).ok(), Some(expected));
    // A plan without metadata has nothing to tell: the request needs a token as any other.
    let plain = bench(vec![("jwt", jwt(), None)]);
    let mut exchange = plain.exchange();
    exchange.request.path = "/api/.well-known/oauth-protected-resource".into();
    assert_eq!(plain.outcome(&mut exchange), Err(UNRESOLVABLE.to_owned()));
}

#[test]
fn a_rule_reads_the_claims_of_a_token_that_is_not_verified_yet() {
    let issuer = |name: &str| format!("{{#context.attributes['jwt'].claims['iss'] == '{name}'}}");
    let (first, second) = (issuer("https://a"), issuer("https://b"));
    let bench = bench(vec![
        ("a", jwt(), Some(&first)),
        ("b", jwt(), Some(&second)),
        ("open", PlanSecurity::KeyLess, None),
    ]);
    let forged = Signer::Hmac(aws_lc_rs::hmac::HMAC_SHA256, &[7; 32]);
    for (signer, iss, expected) in [
        (Signer::HS256, "https://a", Ok("a")),
        (Signer::HS256, "https://b", Ok("b")),
        (Signer::HS256, "https://c", Ok("open")),
        (forged, "https://b", Err("401 JWT_INVALID_TOKEN")),
    ] {
        let token = signer.sign(&json!({"alg": "HS256"}), &claims_with(&json!({"iss": iss})));
        let mut exchange = bench.with(&[("Authorization", &bearer(&token))]);
        let outcome = bench.outcome(&mut exchange);
        assert_eq!(
            outcome.as_deref().map_err(String::as_str),
            expected,
            "{iss}"
        );
    }
    // Text of a claim is text, whatever it looks like.
    let token = token(&json!({"iss": "{#request.path}"}));
    let mut exchange = bench.with(&[("Authorization", &bearer(&token))]);
    assert_eq!(bench.outcome(&mut exchange), Ok("open".to_owned()));
}

#[test]
fn a_rule_that_reads_the_body_waits_for_it() {
    let bench = bench(vec![("jwt", jwt(), Some("{#request.content == 'yes'}"))]);
    for (answer, body, expected) in [
        (Answer::Done, "yes", Ok("jwt")),
        (Answer::Done, "no", Err(UNRESOLVABLE)),
        (
            Answer::TooLarge(7),
            "",
            Err("413 GATEWAY_REQUEST_BODY_TOO_LARGE"),
        ),
    ] {
        let mut exchange = bench.with(&[("Authorization", &bearer(&token(&json!({}))))]);
        exchange.request.body = Body::Streaming;
        let (mut selector, selection) = bench.start(&mut exchange);
        assert!(
            matches!(selection, Selection::Await(Need::RequestBody)),
            "{selection:?}"
        );
        exchange.request.body = Body::Buffered(body.into());
        let selection = bench.resume(&mut selector, &mut exchange, answer);
        let outcome = ended(selection, &exchange);
        assert_eq!(
            outcome.as_deref().map_err(String::as_str),
            expected,
            "{body}"
        );
    }
}

#[test]
fn an_expression_may_choose_among_keys() {
    let configuration =
        json!({"signature": "HMAC_HS256", "resolverParameter": "{#request.headers['X-Key'][0]}"});
    let security = secured("jwt", &configuration, &GatewayParts::default());
    let bench = bench(vec![("jwt", security, None)]);
    let signed = bearer(&token(&json!({})));
    // The token is remembered with one key: with another it must not pass.
    for (key, expected) in [
        (SECRET, Ok("jwt")),
        (
            "Another secret of sufficient length!",
            Err("401 JWT_INVALID_TOKEN"),
        ),
        (SECRET, Ok("jwt")),
        ("short", Err("401 JWT_INVALID_TOKEN")),
    ] {
        let mut exchange = bench.with(&[("Authorization", &signed), ("X-Key", key)]);
        let outcome = bench.outcome(&mut exchange);
        assert_eq!(
            outcome.as_deref().map_err(String::as_str),
            expected,
            "{key}"
        );
    }
    let mut exchange = bench.with(&[("Authorization", &signed)]);
    assert_eq!(
        bench.outcome(&mut exchange),
        Err("500 JWT_POLICY_ERROR".to_owned())
    );
}
