//! Flows. Policies are not built yet: a flow that would run one refuses its API.

use super::reader::Node;
use super::refusal::Refusal;

/// Refuses the first enabled step of an enabled flow in `holder.flows`. Flows that are disabled, or whose steps are, change
/// nothing.
pub(super) fn refuse_active_steps(holder: &Node<'_>, phases: &[&str]) -> Result<(), Refusal> {
    for flow in holder.objects("flows")? {
        if !flow.boolean("enabled", true)? {
            continue;
        }
        for phase in phases {
            for step in flow.objects(phase)? {
                if step.boolean("enabled", true)? {
                    let what = match step.text("policy")? {
                        Some(policy) => format!("the policy `{policy}`"),
                        None => "a policy".to_owned(),
                    };
                    return Err(step
                        .unsupported("policy", &what)
                        .hint("disable the step or its flow to serve the API without it"));
                }
            }
        }
    }
    Ok(())
}

/// Phases of V2 flows.
pub(super) const V2_PHASES: [&str; 2] = ["pre", "post"];

/// Phases of V4 flows.
pub(super) const V4_PHASES: [&str; 4] = ["request", "response", "publish", "subscribe"];
