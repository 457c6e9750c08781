//! The configurations in the reference's own tests (contract policies 0): every policy of the registry must take them.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::registry::{GatewayParts, REGISTRY};
use super::testing::build_with;

#[test]
fn the_configurations_of_the_reference_can_be_deployed() {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/contracts/samples/policies");
    if !folder.is_dir() {
        println!("the samples of the contracts are not here: nothing is tested");
        return;
    }
    let mut built = 0;
    for entry in REGISTRY {
        let Ok(text) = std::fs::read(folder.join(format!("{}.samples.json", entry.id))) else {
            continue;
        };
        let samples: Vec<Value> = serde_json::from_slice(&text).expect("a list of samples");
        for sample in samples {
            // Configurations alone test how the reference reads them, and may lack what is required.
            let Some(configuration) = sample.pointer("/step/configuration").cloned() else {
                continue;
            };
            let configuration = match configuration {
                Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::Null),
                configuration => configuration,
            };
            // The samples name the helpers of the reference's tests, which have no configuration, as the policy under test.
            if configuration.as_object().is_some_and(|c| c.is_empty()) {
                continue;
            }
            let policy = build_with(
                entry.id,
                &configuration,
                false,
                &HashMap::new(),
                &GatewayParts::default(),
            );
            assert!(
                policy.is_ok(),
                "{}: {:?}: {configuration}",
                entry.id,
                policy.err()
            );
            built += 1;
        }
    }
    assert!(built > 0, "no sample was found");
}
