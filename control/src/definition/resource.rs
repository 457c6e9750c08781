//! Resources (contract api-definition 2.11).

use std::collections::HashMap;

use turnpike_core::policy::Resource;
use turnpike_core::policy::resource::{ResourceBuilder, find};

use super::CompileContext;
use super::flow::{configuration, unusable};
use super::reader::{Node, quote};
use super::refusal::{Notes, Refusal};

/// The enabled resources of a type that is known here, by name.
pub(super) fn read(
    root: &Node<'_>,
    api_id: &str,
    context: &CompileContext,
    notes: &mut Notes,
) -> Result<HashMap<Box<str>, Resource>, Refusal> {
    let mut resources = HashMap::new();
    for node in root.objects("resources")? {
        if !node.boolean("enabled", true)? {
            continue;
        }
        let (Some(name), Some(kind)) = (node.filled_text("name")?, node.filled_text("type")?)
        else {
            notes.push(node.path(), "has no name or no type: left out");
            continue;
        };
        let Some(entry) = find(kind.trim()) else {
            let text = format!(
                "{} is not a type of resource that is known here: policies that name the resource find none",
                quote(&kind)
            );
            notes.warn(node.path_of("type"), text);
            continue;
        };
        let configuration = configuration(&node, "configuration")?;
        let builder = ResourceBuilder {
            name: &name,
            api_id,
            configuration: &configuration,
            gateway: &context.gateway,
        };
        let instance = match (entry.build)(&builder) {
            Ok(instance) => instance,
            // The reference serves such an API, too: a policy that names the resource then finds none, and fails its requests.
            Err(error) => {
                let refusal = unusable(&node.path_of("configuration"), error);
                let text = format!("{}: the resource is left out", refusal.reason);
                notes.warn(refusal.member, text);
                continue;
            }
        };
        let resource = Resource {
            kind: entry.kind.into(),
            instance,
        };
        if resources.insert(name.as_ref().into(), resource).is_some() {
            let text = format!(
                "{} is used by another resource: the last counts",
                quote(&name)
            );
            notes.push(node.path_of("name"), text);
        }
    }
    Ok(resources)
}
