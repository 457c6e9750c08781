//! Route look-up: its cost should follow the depth of the path and not the number of APIs.
//!
//! `cargo bench -p turnpike-core --bench route`

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use turnpike_core::definition::ListenerPath;
use turnpike_core::route::{Overlap, RouteTable, RouteTableBuilder};

const SIZES: [u32; 3] = [10, 1_000, 100_000];

/// Shows allocations beside the times: a look-up must have none.
#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn listener(host: Option<String>, path: String) -> ListenerPath {
    ListenerPath {
        host: host.map(Into::into),
        path: path.into(),
        servers: [].into(),
    }
}

fn table(overlap: Overlap, apis: u32, of: impl Fn(u32) -> (Option<String>, String)) -> RouteTable {
    let mut builder = RouteTableBuilder::new(overlap);
    for api in 0..apis {
        let (host, path) = of(api);
        builder
            .add(api, &[listener(host, path)])
            .expect("every path is different");
    }
    builder.build()
}

fn context_path(api: u32) -> String {
    format!("/team-{}/service-{api}/v1", api % 40)
}

/// Looks up 64 paths in turn, so that the table's cache misses show.
fn find_each(
    bencher: Bencher<'_, '_>,
    table: &RouteTable,
    requests: &[(Option<String>, String)],
    hit: bool,
) {
    bencher
        .counter(ItemsCount::new(requests.len()))
        .bench_local(|| {
            for (host, path) in requests {
                let found = table.find(None, black_box(host.as_deref()), black_box(path));
                assert_eq!(found.is_some(), hit);
            }
        });
}

/// 64 APIs spread over the table.
fn sampled(apis: u32) -> impl Iterator<Item = u32> {
    (0..64_u32).map(move |at| (u64::from(at) * 0x9e37_79b9 % u64::from(apis)) as u32)
}

#[divan::bench(args = SIZES)]
fn hit(bencher: Bencher<'_, '_>, apis: u32) {
    let table = table(Overlap::Forbidden, apis, |api| (None, context_path(api)));
    let requests: Vec<_> = sampled(apis)
        .map(|api| (None, context_path(api) + "/orders/42"))
        .collect();
    find_each(bencher, &table, &requests, true);
}

#[divan::bench(args = SIZES)]
fn miss(bencher: Bencher<'_, '_>, apis: u32) {
    let table = table(Overlap::Forbidden, apis, |api| (None, context_path(api)));
    let requests: Vec<_> = sampled(apis)
        .map(|api| (None, format!("/team-{}/nothing-{api}/v1/orders", api % 40)))
        .collect();
    find_each(bencher, &table, &requests, false);
}

#[divan::bench(args = SIZES)]
fn deep_path(bencher: Bencher<'_, '_>, apis: u32) {
    let table = table(Overlap::Allowed, apis, |api| {
        (None, format!("/a/b/c/d/e/f/g/service-{api}"))
    });
    let requests: Vec<_> = sampled(apis)
        .map(|api| (None, format!("/a/b/c/d/e/f/g/service-{api}/h/i/j/k/l/m/n")))
        .collect();
    find_each(bencher, &table, &requests, true);
}

#[divan::bench(args = SIZES)]
fn host(bencher: Bencher<'_, '_>, apis: u32) {
    let host = |api| format!("service-{api}.apis.acme.com");
    let table = table(Overlap::Forbidden, apis, |api| {
        (Some(host(api)), "/v1".to_owned())
    });
    let requests: Vec<_> = sampled(apis)
        .map(|api| (Some(host(api)), "/v1/orders/42".to_owned()))
        .collect();
    find_each(bencher, &table, &requests, true);
}

#[divan::bench(args = SIZES)]
fn wildcard_host(bencher: Bencher<'_, '_>, apis: u32) {
    let table = table(Overlap::Allowed, apis, |api| {
        (Some(format!("*.team-{api}.acme.com")), "/v1".to_owned())
    });
    let requests: Vec<_> = sampled(apis)
        .map(|api| {
            (
                Some(format!("orders.team-{api}.acme.com:8443")),
                "/v1/42".to_owned(),
            )
        })
        .collect();
    find_each(bencher, &table, &requests, true);
}

/// The control thread's side: what a new table costs.
#[divan::bench(args = SIZES, sample_count = 10)]
fn build(bencher: Bencher<'_, '_>, apis: u32) {
    let listeners: Vec<_> = (0..apis)
        .map(|api| [listener(None, context_path(api))])
        .collect();
    bencher.counter(ItemsCount::new(apis)).bench_local(|| {
        let mut builder = RouteTableBuilder::new(Overlap::Forbidden);
        for (api, listeners) in (0..).zip(&listeners) {
            builder
                .add(api, listeners)
                .expect("every path is different");
        }
        builder.build()
    });
}
