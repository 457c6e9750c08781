//! API definitions as a control plane sends them.

use serde_json::{Value, json};

/// A definition under construction.
#[derive(Debug, Clone)]
pub(crate) struct Definition(Value);

/// A V4 API under one context path, with one endpoint and a key-less plan.
pub(crate) fn v4(id: &str, path: &str, target: &str) -> Definition {
    Definition(json!({
        "id": id,
        "name": id,
        "type": "proxy",
        "apiVersion": "1",
        "definitionVersion": "4.0.0",
        "listeners": [{
            "type": "http",
            "paths": [{ "path": path }],
            "entrypoints": [{ "type": "http-proxy" }],
        }],
        "endpointGroups": [{
            "name": "default-group",
            "type": "http-proxy",
            "endpoints": [endpoint("default", target)],
        }],
        "plans": [plan(id, "key-less")],
        "analytics": { "enabled": true },
    }))
}

/// A V2 API (emulation mode) under one context path, with one endpoint and a key-less plan.
pub(crate) fn v2(id: &str, path: &str, target: &str) -> Definition {
    Definition(json!({
        "id": id,
        "name": id,
        "version": "1",
        "gravitee": "2.0.0",
        "execution_mode": "v4-emulation-engine",
        "proxy": {
            "virtual_hosts": [{ "path": path }],
            "groups": [{
                "name": "default-group",
                "endpoints": [{ "name": "default", "target": target, "type": "http" }],
            }],
        },
        "plans": [{
            "id": format!("{id}-plan"),
            "name": "Free",
            "security": "KEY_LESS",
            "status": "PUBLISHED",
        }],
    }))
}

/// An endpoint of a V4 group.
pub(crate) fn endpoint(name: &str, target: &str) -> Value {
    json!({
        "name": name,
        "type": "http-proxy",
        "inheritConfiguration": true,
        "configuration": { "target": target },
    })
}

fn plan(id: &str, security: &str) -> Value {
    json!({
        "id": format!("{id}-plan"),
        "name": "Plan",
        "mode": "standard",
        "status": "published",
        "security": { "type": security, "configuration": {} },
    })
}

impl Definition {
    /// Changes anything.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.0);
        self
    }

    /// The V4 group's `http` options.
    pub(crate) fn http(self, options: Value) -> Self {
        self.shared("http", options)
    }

    /// A member of the V4 group's shared configuration.
    pub(crate) fn shared(self, member: &str, value: Value) -> Self {
        self.with(|definition| {
            definition["endpointGroups"][0]["sharedConfiguration"][member] = value;
        })
    }

    /// Replaces the V4 plan by one that asks for a key.
    pub(crate) fn api_key(self) -> Self {
        self.with(|definition| {
            let id = definition["id"].as_str().unwrap_or_default().to_owned();
            definition["plans"] = json!([plan(&id, "api-key")]);
        })
    }

    pub(crate) fn id(&self) -> &str {
        self.0["id"].as_str().unwrap_or_default()
    }

    pub(crate) fn is_v4(&self) -> bool {
        self.0["definitionVersion"] == "4.0.0"
    }
}

impl std::fmt::Display for Definition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}
