//! The route table against the sorted list of the contract. Hosts and paths are made of few letters, so that they meet.
#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
// The model names these two as the core crate does.
use turnpike_core::definition;
use turnpike_core::route::{self, Overlap};

#[path = "../../core/src/route/model.rs"]
mod model;

const HOST_PIECES: &[&str] = &["a", "b", "A", ".", "*", "!", ":80", ":0", ":", "[::1]", "é"];
const PATH_PIECES: &[&str] = &["/", "/", "a", "b", "ab", "%2F", ".", "é"];
const SERVERS: &[&str] = &["s1", "s2", "s3"];
const PIECES_MAX: usize = 8;
const APIS_MAX: usize = 16;

#[derive(Debug)]
struct Case {
    overlap: Overlap,
    apis: Vec<Vec<definition::ListenerPath>>,
    requests: Vec<(Option<&'static str>, Option<String>, String)>,
}

impl<'a> Arbitrary<'a> for Case {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let overlap = if bytes.arbitrary()? {
            Overlap::Allowed
        } else {
            Overlap::Forbidden
        };
        let apis = list(bytes, APIS_MAX, |bytes| list(bytes, 3, listener))?;
        let requests = list(bytes, APIS_MAX, |bytes| {
            let server = if bytes.arbitrary()? {
                Some(*bytes.choose(SERVERS)?)
            } else {
                None
            };
            Ok((server, host(bytes)?, text(bytes, PATH_PIECES)?))
        })?;
        Ok(Self {
            overlap,
            apis,
            requests,
        })
    }
}

fuzz_target!(|case: Case| {
    let mut model = model::Model::new(case.overlap);
    let mut builder = route::RouteTableBuilder::new(case.overlap);
    for (api, listeners) in (0..).zip(&case.apis) {
        let conflicts = model.conflicts(api, listeners);
        assert_eq!(builder.add(api, listeners).is_err(), conflicts, "API {api}");
        if !conflicts {
            model.add(api, listeners);
        }
    }
    let table = builder.build();
    for (server, host, path) in &case.requests {
        let found = table.find(*server, host.as_deref(), path);
        let expected = model.find(*server, host.as_deref(), path);
        assert_eq!(
            found.map(|route| (route.api, &*route.context_path, &route.servers)),
            expected.map(|acceptor| (acceptor.api, &*acceptor.p, &acceptor.servers)),
            "{server:?} {host:?} {path:?}",
        );
    }
});

fn listener(bytes: &mut Unstructured<'_>) -> Result<definition::ListenerPath> {
    Ok(definition::ListenerPath {
        host: host(bytes)?.map(Into::into),
        path: text(bytes, PATH_PIECES)?.into(),
        servers: list(bytes, 2, |bytes| Ok((*bytes.choose(SERVERS)?).into()))?.into(),
    })
}

fn host(bytes: &mut Unstructured<'_>) -> Result<Option<String>> {
    if bytes.arbitrary()? {
        text(bytes, HOST_PIECES).map(Some)
    } else {
        Ok(None)
    }
}

fn text(bytes: &mut Unstructured<'_>, pieces: &[&str]) -> Result<String> {
    Ok(list(bytes, PIECES_MAX, |bytes| bytes.choose(pieces).copied())?.concat())
}

fn list<'a, T>(
    bytes: &mut Unstructured<'a>,
    len_max: usize,
    mut item: impl FnMut(&mut Unstructured<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    let len = bytes.int_in_range(0..=len_max)?;
    (0..len).map(|_| item(bytes)).collect()
}
