use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::model::Model;
use super::*;
use crate::definition::ListenerPath;

fn listener(host: Option<&str>, path: &str, servers: &[&str]) -> ListenerPath {
    ListenerPath {
        host: host.map(Into::into),
        path: path.into(),
        servers: servers.iter().map(|server| (*server).into()).collect(),
    }
}

/// A table of APIs numbered from 0 with one listener each.
fn table(overlap: Overlap, listeners: &[(Option<&str>, &str)]) -> RouteTable {
    let mut builder = RouteTableBuilder::new(overlap);
    for (api, (host, path)) in (0..).zip(listeners) {
        builder
            .add(api, &[listener(*host, path, &[])])
            .expect("no conflict");
    }
    builder.build()
}

#[track_caller]
fn assert_api(table: &RouteTable, host: Option<&str>, path: &str, api: Option<u32>) {
    assert_eq!(
        table.find(None, host, path).map(|route| route.api),
        api,
        "{host:?} {path}"
    );
}

#[test]
fn an_empty_table_matches_nothing() {
    assert_api(&RouteTable::default(), Some("acme.com"), "/", None);
    assert!(RouteTableBuilder::new(Overlap::Allowed).build().is_empty());
}

#[test]
fn a_context_path_matches_itself_and_what_is_below_it() {
    let table = table(Overlap::Forbidden, &[(None, "/api"), (None, "/a//b/")]);
    assert_eq!(table.len(), 2);
    for (path, api) in [
        ("/api", Some(0)),
        ("/api/", Some(0)),
        ("/api/x", Some(0)),
        ("/api//x", Some(0)),
        ("/apis", None),
        ("/ap", None),
        ("/API", None),
        ("//api", None),
        ("/", None),
        ("", None),
        ("/a//b", Some(1)),
        ("/a/b", None),
        ("/a/b/", Some(1)),
        ("/a/b/c", Some(1)),
        ("/a//b/", None),
        ("/a//b/c", None),
    ] {
        assert_api(&table, None, path, api);
    }
}

#[test]
fn the_root_takes_every_path() {
    let table = table(Overlap::Forbidden, &[(None, "/")]);
    for path in ["/", "/x", "//", "/x//y"] {
        assert_api(&table, Some("any"), path, Some(0));
    }
    assert_api(&table, None, "*", None);
}

#[test]
fn the_shorter_of_nested_paths_wins_by_default_and_the_longer_one_when_overlap_is_allowed() {
    let nested = [(None, "/a/b"), (None, "/a"), (None, "/a/b/c")];
    let shortest = table(Overlap::Forbidden, &nested);
    let longest = table(Overlap::Allowed, &nested);
    for (path, short, long) in [
        ("/a", 1, 1),
        ("/a/x", 1, 1),
        ("/a/b", 1, 0),
        ("/a/b/x", 1, 0),
        ("/a/b/c", 1, 2),
        ("/a/b/c/d", 1, 2),
    ] {
        assert_api(&shortest, None, path, Some(short));
        assert_api(&longest, None, path, Some(long));
    }
}

#[test]
fn by_default_a_host_compares_with_its_port_and_goes_before_no_host() {
    let table = table(
        Overlap::Forbidden,
        &[
            (None, "/a"),
            (Some("Acme.com"), "/a"),
            (Some("acme.com:8082"), "/a"),
            (Some("*.acme.com"), "/a"),
        ],
    );
    for (host, api) in [
        (None, 0),
        (Some("other.com"), 0),
        (Some("ACME.com"), 1),
        (Some("acme.com:8082"), 2),
        (Some("acme.com:8083"), 0),
        (Some("x.acme.com"), 0),
    ] {
        assert_api(&table, host, "/a/x", Some(api));
    }
}

#[test]
fn a_named_host_without_a_matching_path_leaves_the_request_to_any_host() {
    for overlap in [Overlap::Forbidden, Overlap::Allowed] {
        let table = table(overlap, &[(None, "/a"), (Some("acme.com"), "/b")]);
        assert_api(&table, Some("acme.com"), "/a", Some(0));
        assert_api(&table, Some("acme.com"), "/b", Some(1));
        assert_api(&table, Some("other.com"), "/b", None);
    }
}

#[test]
fn with_overlap_the_most_specific_host_wins_before_the_path_and_ports_are_ignored() {
    let table = table(
        Overlap::Allowed,
        &[
            (None, "/a/b"),
            (Some("*.acme.com"), "/a/b"),
            (Some("*.api.acme.com"), "/a"),
            (Some("x.api.acme.com"), "/"),
            (Some("port.acme.com:8082"), "/"),
        ],
    );
    for (host, api) in [
        (None, 0),
        (Some("acme.com"), 0),
        (Some("y.acme.com:1234"), 1),
        (Some(".acme.com"), 1),
        (Some("y.api.acme.com"), 2),
        (Some("X.API.acme.com:80"), 3),
        (Some("y.API.acme.com"), 1),
        (Some("y.api.ACME.com"), 0),
        (Some("port.acme.com:8082"), 1),
    ] {
        assert_api(&table, host, "/a/b", Some(api));
    }
}

#[test]
fn one_path_leads_to_different_apis_on_different_servers() {
    let mut builder = RouteTableBuilder::new(Overlap::Forbidden);
    builder
        .add(0, &[listener(None, "/a", &["public"])])
        .expect("free");
    builder
        .add(1, &[listener(None, "/a/", &["private", "admin"])])
        .expect("no server in common");
    let conflict = builder
        .add(
            2,
            &[listener(None, "/b", &[]), listener(None, "//a", &["admin"])],
        )
        .expect_err("taken");
    assert_eq!(
        conflict,
        Conflict {
            held_by: 1,
            host: None,
            path: "/a/".into()
        }
    );
    assert!(conflict.to_string().contains("/a/"), "{conflict}");
    assert!(
        builder.add(3, &[listener(None, "/a", &[])]).is_err(),
        "every server includes the taken ones"
    );
    builder
        .add(4, &[listener(None, "/b", &[])])
        .expect("a refused API left nothing behind");
    let table = builder.build();
    for (server, api) in [
        (Some("public"), Some(0)),
        (Some("admin"), Some(1)),
        (Some("other"), None),
        (None, None),
    ] {
        assert_eq!(
            table.find(server, None, "/a/x").map(|route| route.api),
            api,
            "{server:?}"
        );
    }
    assert_eq!(table.find(None, None, "/b").map(|route| route.api), Some(4));
}

#[test]
fn one_api_may_list_a_path_twice() {
    let mut builder = RouteTableBuilder::new(Overlap::Forbidden);
    let twice = [
        listener(Some("acme.com"), "/a", &[]),
        listener(Some("ACME.com"), "/a/", &[]),
        listener(None, "/a", &[]),
    ];
    builder.add(7, &twice).expect("its own paths");
    let table = builder.build();
    assert_eq!(table.len(), 2, "the same acceptor is kept once");
    assert_api(&table, Some("acme.com"), "/a", Some(7));
}

#[test]
fn path_info_is_what_follows_the_context_path() {
    for (context_path, path, info) in [
        ("/api/", "/api/x", "/x"),
        ("/api/", "/api/", "/"),
        ("/api/", "/api", ""),
        ("/", "/", ""),
        ("/", "/x/y", "/x/y"),
        ("/a/b/", "/a//b", "b"),
        ("", "/x", "/x"),
        ("/api/", "/é", ""),
    ] {
        assert_eq!(
            path_info(context_path, path),
            info,
            "{path} below {context_path}"
        );
    }
}

fn any_path() -> impl Strategy<Value = String> {
    let segment = select(vec!["a", "b", "ab", "a", "b", "", "é"]);
    let tail = select(vec!["", "", "/", "//"]);
    let head = select(vec!["/", "/", "/", "/", ""]);
    (head, prop::collection::vec(segment, 0..5), tail)
        .prop_map(|(head, segments, tail)| format!("{head}{}{tail}", segments.join("/")))
}

fn any_host() -> impl Strategy<Value = String> {
    let label = select(vec!["a", "b", "A", "a!", "*"]);
    let head = select(vec!["", "", "*", "*.", "."]);
    let port = select(vec!["", "", "", ":80", ":8082", ":0", ":"]);
    (head, prop::collection::vec(label, 0..4), port)
        .prop_map(|(head, labels, port)| format!("{head}{}{port}", labels.join(".")))
}

fn any_listener() -> impl Strategy<Value = ListenerPath> {
    let servers =
        prop_oneof![3 => Just(Vec::new()), 2 => subsequence(vec!["s1", "s2", "s3"], 1..3)];
    (prop::option::of(any_host()), any_path(), servers)
        .prop_map(|(host, path, servers)| listener(host.as_deref(), &path, &servers))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_table_answers_as_the_sorted_list_of_the_contract(
        overlap in select(vec![Overlap::Forbidden, Overlap::Allowed]),
        apis in prop::collection::vec(prop::collection::vec(any_listener(), 1..4), 0..14),
        requests in prop::collection::vec((prop::option::of(any_host()), any_path()), 1..12),
    ) {
        let mut model = Model::new(overlap);
        let mut builder = RouteTableBuilder::new(overlap);
        for (api, listeners) in (0..).zip(&apis) {
            let conflicts = model.conflicts(api, listeners);
            prop_assert_eq!(builder.add(api, listeners).is_err(), conflicts, "API {} {:?}", api, listeners);
            if !conflicts {
                model.add(api, listeners);
            }
        }
        let table = builder.build();
        // Asking for what is registered makes hits likely; the random requests look for what should be missed.
        let registered = apis.iter().flatten().flat_map(|listener| {
            let host = listener.host.as_ref().map(|host| host.replace('*', "a"));
            let path = &listener.path;
            [(host.clone(), path.to_string()), (host.clone(), format!("{path}/a")), (host, path.replace("//", "/"))]
        });
        for (host, path) in registered.chain(requests) {
            for server in [None, Some("s1"), Some("s2"), Some("s4")] {
                let found = table.find(server, host.as_deref(), &path);
                let expected = model.find(server, host.as_deref(), &path);
                prop_assert_eq!(
                    found.map(|route| (route.api, &*route.context_path, &route.servers)),
                    expected.map(|acceptor| (acceptor.api, &*acceptor.p, &acceptor.servers)),
                    "{:?} {:?} {:?}", server, host, path
                );
            }
        }
    }
}
