//! Expressions: what a condition or a value costs at each request.
//!
//! `cargo bench -p turnpike-core --bench el`

use divan::{AllocProfiler, Bencher, black_box};
use turnpike_core::el::{Lookup, Object, Scope, Template, Value};
use turnpike_core::exchange::Headers;

/// Shows allocations beside the times: the common expressions have none.
#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[derive(Debug)]
struct Request(Headers);

impl Object for Request {
    fn kind(&self) -> &'static str {
        "request"
    }

    fn property(&self, name: &str) -> Option<Value<'_>> {
        Some(match name {
            "method" => Value::text("GET"),
            "path" => Value::text("/orders/42/items"),
            "headers" => Value::Headers(&self.0),
            "content" => Value::text(r#"{"user":{"name":"Ann","roles":["admin"]}}"#),
            _ => return None,
        })
    }
}

#[derive(Debug)]
struct Attributes;

impl Lookup for Attributes {
    fn get(&self, key: &str) -> Value<'_> {
        match key {
            "plan" => Value::text("gold"),
            _ => Value::Null,
        }
    }

    fn contains_key(&self, key: &str) -> bool {
        key == "plan"
    }

    fn keys(&self) -> Vec<std::borrow::Cow<'_, str>> {
        vec!["plan".into()]
    }
}

#[derive(Debug)]
struct Context(Attributes);

impl Object for Context {
    fn kind(&self) -> &'static str {
        "context"
    }

    fn property(&self, name: &str) -> Option<Value<'_>> {
        (name == "attributes").then_some(Value::Lookup(&self.0))
    }
}

struct Variables {
    request: Request,
    context: Context,
}

impl Variables {
    fn new() -> Self {
        let mut headers = Headers::default();
        for index in 0..12 {
            headers
                .add(&format!("X-Header-{index}"), "value")
                .expect("a header");
        }
        headers.add("X-Client", "web").expect("a header");
        Self {
            request: Request(headers),
            context: Context(Attributes),
        }
    }
}

impl Scope for Variables {
    fn variable(&self, name: &str) -> Value<'_> {
        match name {
            "request" => Value::Object(&self.request),
            "context" => Value::Object(&self.context),
            _ => Value::Null,
        }
    }
}

const EXPRESSIONS: &[&str] = &[
    "literal",
    "{('a' == 'a')}",
    "{#request.method == 'GET'}",
    "{#request.headers['X-Client'][0]}",
    "{#request.headers['X-Client'] != null && #request.headers['X-Client'][0] == 'web'}",
    "{#context.attributes['plan']}",
    "{#request.path matches '/orders/[0-9]+/.*'}",
    "{#request.path.split('/')[2]}",
    "client-{#request.headers['X-Client'][0]}-{#context.attributes['plan']}",
    "{#jsonPath(#request.content, '$.user.roles[0]')}",
];

#[divan::bench(args = EXPRESSIONS)]
fn evaluate(bencher: Bencher<'_, '_>, source: &str) {
    let variables = Variables::new();
    let template = Template::new(source);
    bencher.bench_local(|| black_box(template.eval(&variables)).is_ok());
}

#[divan::bench(args = EXPRESSIONS)]
fn compile(bencher: Bencher<'_, '_>, source: &str) {
    bencher.bench_local(|| black_box(Template::new(source)));
}
