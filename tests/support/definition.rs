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

    /// Adds a step to the first flow, which is for every path and method: `request` or `response` of a V4 definition.
    pub(crate) fn step(self, phase: &str, policy: &str, configuration: Value) -> Self {
        let phase = match (self.is_v4(), phase) {
            (false, "request") => "pre",
            (false, "response") => "post",
            (_, phase) => phase,
        }
        .to_owned();
        let step = json!({
            "name": policy,
            "policy": policy,
            "enabled": true,
            "configuration": configuration,
        });
        self.with(|definition| {
            let is_v4 = definition["definitionVersion"] == "4.0.0";
            if definition["flows"][0].is_null() {
                definition["flows"] = json!([if is_v4 {
                    json!({
                        "name": "all",
                        "enabled": true,
                        "selectors": [{ "type": "HTTP", "path": "/", "pathOperator": "STARTS_WITH", "methods": [] }],
                        "request": [],
                        "response": [],
                    })
                } else {
                    json!({
                        "name": "all",
                        "enabled": true,
                        "path-operator": { "path": "/", "operator": "STARTS_WITH" },
                        "methods": [],
                        "pre": [],
                        "post": [],
                    })
                }]);
            }
            definition["flows"][0][&phase]
                .as_array_mut()
                .expect("a phase of the flow")
                .push(step);
        })
    }

    /// Adds a request step.
    pub(crate) fn request(self, policy: &str, configuration: Value) -> Self {
        self.step("request", policy, configuration)
    }

    /// Adds a response step.
    pub(crate) fn response(self, policy: &str, configuration: Value) -> Self {
        self.step("response", policy, configuration)
    }

    /// Adds a resource.
    pub(crate) fn resource(self, name: &str, kind: &str, configuration: Value) -> Self {
        self.with(|definition| {
            if definition["resources"].is_null() {
                definition["resources"] = json!([]);
            }
            definition["resources"]
                .as_array_mut()
                .expect("resources")
                .push(json!({
                    "name": name,
                    "type": kind,
                    "enabled": true,
                    "configuration": configuration,
                }));
        })
    }

    /// Replaces the plans of a V4 definition by these: id, security type, configuration.
    pub(crate) fn plans(self, plans: &[(&str, &str, Value)]) -> Self {
        self.with(|definition| {
            definition["plans"] = plans
                .iter()
                .map(|(id, security, configuration)| {
                    json!({
                        "id": id,
                        "name": id,
                        "mode": "standard",
                        "status": "published",
                        "security": { "type": security, "configuration": configuration },
                        "flows": [],
                    })
                })
                .collect();
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
