//! Management exports (`{"api": {…}, "plans": […]}`, upper-case names) turned into the form of a V4 definition.

use serde_json::{Map, Value};

use super::Problem;

/// Members of exports that mean nothing to a gateway and may be large.
const MANAGEMENT_MEMBERS: [&str; 10] = [
    "pages",
    "members",
    "metadata",
    "picture",
    "background",
    "primaryOwner",
    "groups",
    "categories",
    "apiMedia",
    "originContext",
];

/// Takes the definition out of an export envelope; anything else is returned as it is.
pub(crate) fn unwrap_envelope(
    mut document: Map<String, Value>,
) -> Result<Map<String, Value>, Problem> {
    if !document.contains_key("api")
        || document.contains_key("proxy")
        || document.contains_key("listeners")
    {
        drop_management_members(&mut document);
        return Ok(document);
    }
    let Some(Value::Object(mut definition)) = document.remove("api") else {
        return Err(Problem::whole(
            "expected an object as member `api` of the export",
        ));
    };
    if let Some(plans) = document.remove("plans").filter(|plans| !plans.is_null()) {
        definition.insert("plans".to_owned(), plans);
    }
    // `lifecycleState` of an export is the publication in the portal; `state` is whether the API runs.
    definition.remove("lifecycleState");
    drop_management_members(&mut definition);
    Ok(definition)
}

/// Writes the names of a V4 export the way a control plane sends them: `KEY_LESS` becomes `key-less`.
pub(crate) fn lower_names(definition: &mut Map<String, Value>) {
    definition.insert("definitionVersion".to_owned(), Value::from("4.0.0"));
    lower(definition, "type");
    each(definition.get_mut("listeners"), |listener| {
        lower(listener, "type");
        each(listener.get_mut("entrypoints"), |entrypoint| {
            lower(entrypoint, "qos")
        });
    });
    each(definition.get_mut("endpointGroups"), |group| {
        if let Some(Value::Object(balancer)) = group.get_mut("loadBalancer") {
            lower(balancer, "type");
        }
    });
    if let Some(Value::Object(execution)) = definition.get_mut("flowExecution") {
        lower(execution, "mode");
    }
    lower_flows(definition);
    each(definition.get_mut("plans"), |plan| {
        lower(plan, "mode");
        lower(plan, "status");
        if let Some(Value::Object(security)) = plan.get_mut("security") {
            lower(security, "type");
        }
        lower_flows(plan);
    });
}

fn lower_flows(holder: &mut Map<String, Value>) {
    each(holder.get_mut("flows"), |flow| {
        each(flow.get_mut("selectors"), |selector| {
            lower(selector, "type")
        })
    });
}

fn lower(object: &mut Map<String, Value>, member: &str) {
    if let Some(Value::String(text)) = object.get_mut(member) {
        *text = text.to_ascii_lowercase().replace('_', "-");
    }
}

fn drop_management_members(object: &mut Map<String, Value>) {
    object.retain(|name, _| !MANAGEMENT_MEMBERS.contains(&name.as_str()));
}

/// Calls `visit` for each object of an array; anything else has nothing to visit.
pub(crate) fn each(array: Option<&mut Value>, mut visit: impl FnMut(&mut Map<String, Value>)) {
    if let Some(Value::Array(items)) = array {
        items
            .iter_mut()
            .filter_map(Value::as_object_mut)
            .for_each(&mut visit);
    }
}
