//! Many requests on one connection, and what each was reported with.

use serde_json::Value;

use super::client::{Client, Response, request};
use super::definition::v4;
use super::gateway::Start;
use super::site::Site;
use super::wire::chunked;

/// One client that sends request after request on one connection as long as the gateway keeps it, and remembers which error key each answer
/// must have been reported with.
pub(crate) struct Talk<'s> {
    site: &'s Site,
    client: Option<Client>,
    keys: Vec<(String, String, &'static str)>,
}

impl<'s> Talk<'s> {
    pub(crate) fn with(site: &'s Site) -> Self {
        Self {
            site,
            client: None,
            keys: Vec::new(),
        }
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) -> Response {
        let site = self.site;
        let client = self.client.get_or_insert_with(|| site.client());
        let response = if bytes.starts_with(b"HEAD ") {
            client.send(bytes).response_to_head()
        } else {
            client.send(bytes).response()
        };
        if response.closes() {
            assert!(client.ends());
            self.client = None;
        }
        response
    }

    /// Sends, and expects this status and error key.
    pub(crate) fn expect(
        &mut self,
        what: &str,
        bytes: &[u8],
        status: u16,
        key: &'static str,
    ) -> Response {
        let response = self.say(bytes);
        assert_eq!(response.status, status, "{what}: {}", response.text());
        let id = response.field("X-Gravitee-Request-Id").expect("an id");
        self.keys.push((what.to_owned(), id.to_owned(), key));
        response
    }

    pub(crate) fn get(&mut self, path: &str, fields: &[(&str, &str)]) -> Response {
        self.say(&request("GET", path, fields, b""))
    }

    /// Whether every exchange was reported with its key.
    pub(crate) fn reported(self) {
        for (what, id, key) in self.keys {
            let report = self.site.plane.report_of(&id);
            let found = report["error-key"].as_str().unwrap_or_default();
            assert_eq!(found, key, "{what}");
        }
    }
}

/// A request with a chunked body.
pub(crate) fn in_chunks(path: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut all = fields.to_vec();
    all.push(("Transfer-Encoding", "chunked"));
    let mut bytes = request("POST", path, &all, b"");
    bytes.extend_from_slice(&chunked(body));
    bytes
}

pub(crate) fn post(path: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    request("POST", path, fields, body)
}

/// Many APIs with one request step each: `/<id>`.
pub(crate) fn with_steps(steps: &[(&str, &str, Value)]) -> Site {
    Site::with(
        Start::new().set("gateway.policies.bodyBytesMax", "100000"),
        |backend| {
            steps
                .iter()
                .map(|(id, policy, configuration)| {
                    v4(id, &format!("/{id}"), &backend.target(""))
                        .request(policy, configuration.clone())
                })
                .collect()
        },
    )
}
