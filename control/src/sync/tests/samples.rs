//! Wire payloads that were collected outside this repository; the test is skipped where they are not at hand.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::bridge::wire::{ApiKey, ApiRecord, Event, Subscription};
use crate::token::{CloudToken, inspect};

fn sample(name: &str) -> Option<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/contracts/samples/sync")
        .join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).expect("a sample is JSON")),
        Err(_) => {
            println!("skipped: {} is not here", path.display());
            None
        }
    }
}

#[test]
fn collected_event_payloads_are_read_whole() {
    for name in [
        "04-events-latest-api-initial.json",
        "05-events-latest-api-incremental.json",
    ] {
        let Some(sample) = sample(name) else { return };
        let body = sample["response"]["body"].clone();
        let events: Vec<Event> = serde_json::from_value(body).expect("events");
        assert_eq!(events.len(), 2);
        for event in events {
            assert!(event.property("api_id").is_some() && event.updated_at.is_some());
            if let Some(payload) = &event.payload {
                let record: ApiRecord = serde_json::from_str(payload).expect("an API");
                assert!(
                    record.definition.is_some()
                        && record.environment_id.is_some()
                        && record.lifecycle_state.is_some()
                );
            }
        }
    }
}

#[test]
fn collected_subscriptions_and_keys_are_read_whole() {
    let Some(first) = sample("10-subscriptions-initial.json") else {
        return;
    };
    let Some(keys) = sample("12-api-keys.json") else {
        return;
    };
    let subscriptions: Vec<Subscription> =
        serde_json::from_value(first["response"]["body"].clone()).expect("subscriptions");
    assert!(
        subscriptions
            .iter()
            .all(|one| one.plan.is_some() && one.status.as_deref() == Some("ACCEPTED"))
    );
    let body = keys
        .pointer("/response/body")
        .or_else(|| keys.pointer("/initial/response/body"));
    let keys: Vec<ApiKey> =
        serde_json::from_value(body.cloned().unwrap_or_default()).expect("keys");
    assert!(
        !keys.is_empty()
            && keys
                .iter()
                .all(|key| !key.key.is_empty() && !key.subscriptions.is_empty())
    );
}

#[test]
fn a_collected_token_is_usable_and_verifies() {
    let Some(sample) = sample("03-cloud-token-our-choice.json") else {
        return;
    };
    let text = sample["token"].as_str().expect("a token");
    let token = CloudToken::parse(text).expect("a token");
    token
        .check(&turnpike_config::CloudVerification::default())
        .expect("usable");
    let shown = inspect(text, sample["publicKeyPem"].as_str(), 1_760_000_000).expect("a token");
    assert_eq!(shown.signature, crate::token::SignatureCheck::Verified);
    assert_eq!(shown.problems, Vec::<String>::new());
}
