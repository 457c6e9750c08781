//! Calls of HTTP servers.

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;
use turnpike_config::Secret;

use super::server::{Act, Server, ok, status};
use super::*;
use crate::errand::ErrandKind;

#[tokio::test]
async fn a_call_carries_method_fields_and_body_and_its_reply_comes_as_it_was_sent() {
    let server = Server::start(|_| {
        status(
            207,
            "X-A: 1\r\nx-a: 2\r\ncontent-encoding: gzip\r\n",
            "not unpacked",
        )
    })
    .await;
    let mut bench = Bench::new();
    let reply = bench
        .call(HttpCall {
            method: "PATCH".into(),
            url: server.url("/a%20b?c=d#e").into(),
            headers: vec![
                ("X-One".into(), "1".to_owned()),
                ("Host".into(), "other.test".to_owned()),
                ("Transfer-Encoding".into(), "chunked".to_owned()),
                ("Content-Length".into(), "999".to_owned()),
            ],
            body: b"hello".to_vec(),
            options: Arc::default(),
        })
        .await
        .expect("a reply");
    assert_eq!(reply.status, 207);
    assert_eq!(reply.body, b"not unpacked");
    let values: Vec<_> = reply
        .headers
        .iter()
        .filter(|(name, _)| name == "x-a")
        .collect();
    assert_eq!(values.len(), 2);
    let [request] = &server.requests()[..] else {
        panic!("one request");
    };
    let (head, body) = request.split_once("\r\n\r\n").expect("a body");
    let mut lines: Vec<_> = head.lines().map(str::to_ascii_lowercase).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "content-length: 5",
            "host: other.test",
            "patch /a%20b?c=d http/1.1",
            "x-one: 1"
        ]
    );
    assert_eq!(body, "hello");
    assert_eq!(bench.stats.taken(ErrandKind::Http), 1);
    assert_eq!(bench.stats.failed(ErrandKind::Http), 0);
}

#[tokio::test]
async fn calls_share_a_connection() {
    let server = Server::start(|_| ok("")).await;
    let mut bench = Bench::new();
    for _ in 0..5 {
        bench.call(get(server.url("/"))).await.expect("a reply");
    }
    assert_eq!(server.requests().len(), 5);
    assert_eq!(bench.stats.links()[0].in_flight(), 0);
}

#[tokio::test]
async fn a_call_that_goes_wrong_says_how() {
    let server = Server::start(|request| match request.split(' ').nth(1) {
        Some("/silent") => Act::Silence,
        Some("/slow-body") => {
            Act::Write(b"HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\nhalf".to_vec())
        }
        Some("/cut-head") => Act::WriteAndClose(b"HTTP/1.1 200 X\r\ncont".to_vec()),
        Some("/cut-body") => {
            Act::WriteAndClose(b"HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\nhalf".to_vec())
        }
        Some("/closed") => Act::WriteAndClose(Vec::new()),
        Some("/no-http") => Act::WriteAndClose(b"220 mail.test ESMTP\r\n\r\n".to_vec()),
        Some("/long-head") => Act::Write(
            format!("HTTP/1.1 200 X\r\nx: {}\r\n\r\n", "x".repeat(300 << 10)).into_bytes(),
        ),
        Some("/declared") => ok(&"x".repeat(101)),
        Some("/chunked") => Act::Write(
            [
                b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
                b"4\r\nabcd\r\n".repeat(30),
            ]
            .concat(),
        ),
        Some("/fits") => ok(&"x".repeat(100)),
        other => panic!("{other:?}"),
    })
    .await;
    let options = HttpOptions {
        timeout_ms: 400,
        body_bytes_max: 100,
        ..HttpOptions::default()
    };
    let mut bench = Bench::new();
    let cases = [
        ("/silent", "the call took longer than 400 ms"),
        ("/slow-body", "the call took longer than 400 ms"),
        ("/cut-head", "broken"),
        ("/cut-body", "broken"),
        ("/closed", "broken"),
        ("/no-http", "broken"),
        ("/long-head", "broken"),
        ("/declared", "the response body is larger than 100 bytes"),
        ("/chunked", "the response body is larger than 100 bytes"),
    ];
    for (path, expected) in cases {
        let error = bench
            .call(with(options.clone(), get(server.url(path))))
            .await
            .expect_err(path);
        if expected == "broken" {
            assert!(matches!(error, HttpError::Broken(_)), "{path}: {error:?}");
        } else {
            assert_eq!(error.to_string(), expected, "{path}");
        }
    }
    let failed = bench.stats.failed(ErrandKind::Http);
    assert_eq!(failed, cases.len() as u64);
    bench
        .call(with(options, get(server.url("/fits"))))
        .await
        .expect("the largest body that is allowed");
    for url in ["ftp://127.0.0.1/", "/relative", "http://", "http://h:0/"] {
        let error = bench.call(get(url)).await.expect_err(url);
        assert!(matches!(error, HttpError::Url(_)), "{url}: {error:?}");
    }
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = nobody.local_addr().expect("its address");
    drop(nobody);
    let error = bench.call(get(format!("http://{address}/"))).await;
    assert!(matches!(error, Err(HttpError::Connect(_))), "{error:?}");
}

#[tokio::test]
async fn redirects_are_followed_when_asked_for_with_a_safe_method() {
    let server = Server::start(|request| match request.split(' ').nth(1) {
        Some("/a/302") => status(302, "Location: ../end?x#y\r\n", "moved"),
        Some("/303") => status(303, "Location: /end\r\n", "moved"),
        Some("/nowhere") => status(302, "Location: ftp://h/\r\n", ""),
        Some("/none") => status(302, "", ""),
        Some("/loop") => status(302, "Location: /loop\r\n", ""),
        _ => ok("end"),
    })
    .await;
    let mut bench = Bench::new();
    let following = HttpOptions {
        follow_redirects: true,
        ..HttpOptions::default()
    };
    let cases = [
        ("GET", "/a/302", true, 200, "GET /end?x "),
        ("GET", "/a/302", false, 302, "GET /a/302 "),
        ("POST", "/a/302", true, 302, "POST /a/302 "),
        ("POST", "/303", true, 200, "GET /end "),
        ("GET", "/nowhere", true, 302, "GET /nowhere "),
        ("GET", "/none", true, 302, "GET /none "),
    ];
    for (method, path, follow_redirects, expected, last) in cases {
        let options = HttpOptions {
            follow_redirects,
            ..HttpOptions::default()
        };
        let call = HttpCall {
            method: method.into(),
            body: if method == "POST" {
                b"body".to_vec()
            } else {
                Vec::new()
            },
            ..with(options, get(server.url(path)))
        };
        let reply = bench.call(call).await.expect("a reply");
        assert_eq!(reply.status, expected, "{method} {path}");
        let request = server.requests().pop().expect("a request");
        assert!(request.starts_with(last), "{method} {path}: {request}");
        assert_eq!(request.ends_with("body"), last.starts_with("POST"));
    }
    let before = server.requests().len();
    let reply = bench
        .call(with(following, get(server.url("/loop"))))
        .await
        .expect("the last redirect");
    assert_eq!((reply.status, server.requests().len() - before), (302, 17));
}

#[tokio::test]
async fn credentials_do_not_follow_to_another_origin() {
    let other = Server::start(|_| ok("")).await;
    let location = format!("Location: {}\r\n", other.url("/"));
    let server = Server::start(move |_| status(302, &location, "")).await;
    let options = HttpOptions {
        follow_redirects: true,
        ..HttpOptions::default()
    };
    let call = HttpCall {
        headers: vec![
            ("Authorization".into(), "secret".to_owned()),
            ("Accept".into(), "kept".to_owned()),
        ],
        ..with(options, get(server.url("/")))
    };
    Bench::new().call(call).await.expect("a reply");
    assert!(server.requests()[0].contains("secret"));
    let request = other.requests().pop().expect("a request");
    assert!(
        request.contains("kept") && !request.contains("secret"),
        "{request}"
    );
}

fn certificate() -> (TlsAcceptor, String) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a server");
    (TlsAcceptor::from(Arc::new(config)), cert.pem())
}

#[tokio::test]
async fn a_server_is_trusted_by_the_given_certificates_or_blindly_when_told() {
    let (acceptor, pem) = certificate();
    let server = Server::tls(acceptor, |_| ok("over TLS")).await;
    let url = format!("https://localhost:{}/", server.address.port());
    let mut bench = Bench::new();
    let options = |trust_all, trust_pem: Option<&str>| HttpOptions {
        trust_all,
        trust_pem: trust_pem.map(Into::into),
        ..HttpOptions::default()
    };
    let (_, other) = certificate();
    for (options, trusted) in [
        (options(true, None), true),
        (options(false, Some(&pem)), true),
        (options(false, Some(&other)), false),
        (options(false, None), false),
    ] {
        let outcome = bench.call(with(options.clone(), get(&*url))).await;
        match outcome {
            Ok(reply) => assert!(trusted && reply.body == b"over TLS", "{options:?}"),
            Err(HttpError::Connect(_)) => assert!(!trusted, "{options:?}"),
            Err(error) => panic!("{options:?}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up_with_the_connection() {
    // It reads the client's first message as a request that never ends.
    let server = Server::start(|_| Act::Silence).await;
    let options = HttpOptions {
        connect_timeout_ms: 200,
        ..HttpOptions::default()
    };
    let url = format!("https://{}/", server.address);
    let error = Bench::new().call(with(options, get(url))).await;
    let Err(HttpError::Connect(reason)) = error else {
        panic!("{error:?}");
    };
    assert!(reason.contains("no connection within 200 ms"), "{reason}");
}

#[tokio::test]
async fn the_system_proxy_forwards_plain_calls_and_tunnels_encrypted_ones() {
    let (acceptor, _) = certificate();
    let secured = Server::tls(acceptor, |_| ok("through the tunnel")).await;
    let target = secured.address;
    let proxy = Server::start(move |request| {
        if request.starts_with("CONNECT ") {
            Act::Tunnel(target)
        } else {
            ok("from the proxy")
        }
    })
    .await;
    let settings = ProxyConfig {
        host: "127.0.0.1".to_owned(),
        port: proxy.address.port(),
        credentials: Some(("u".to_owned(), Secret::new("p"))),
    };
    let mut bench = Bench::with(SystemLookUp, 1, Some(settings));
    let proxied = HttpOptions {
        system_proxy: true,
        ..HttpOptions::default()
    };
    for (url, body, first_line) in [
        (
            "http://plain.test/a?b",
            "from the proxy",
            "GET http://plain.test/a?b HTTP/1.1",
        ),
        (
            "https://secure.test/a",
            "through the tunnel",
            "CONNECT secure.test:443 HTTP/1.1",
        ),
    ] {
        let reply = bench
            .call(with(proxied.clone(), get(url)))
            .await
            .expect("a reply");
        assert_eq!(reply.body, body.as_bytes(), "{url}");
        let request = proxy.requests().pop().expect("a request");
        assert!(request.starts_with(first_line), "{request}");
        assert!(
            request
                .to_ascii_lowercase()
                .contains("proxy-authorization: basic dtpw"),
            "{request}"
        );
    }
    let seen = secured.requests().pop().expect("a request");
    assert!(
        seen.starts_with("GET /a HTTP/1.1") && !seen.contains("dTpw"),
        "{seen}"
    );
    // The same way without the option is a way of its own.
    let direct = Server::start(|_| ok("direct")).await;
    let reply = bench.call(get(direct.url("/"))).await.expect("a reply");
    assert_eq!(reply.body, b"direct");
}

#[tokio::test]
async fn without_a_system_proxy_calls_that_ask_for_one_go_out_directly() {
    let server = Server::start(|_| ok("direct")).await;
    let options = HttpOptions {
        system_proxy: true,
        ..HttpOptions::default()
    };
    let reply = Bench::new()
        .call(with(options, get(server.url("/"))))
        .await
        .expect("a reply");
    assert_eq!(reply.body, b"direct");
}
