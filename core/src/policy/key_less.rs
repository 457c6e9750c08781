//! `key-less`: the consumer is nobody in particular (contract policies 13). As security of a plan it is part of the chain itself.

use std::borrow::Cow;
use std::sync::Arc;

use super::registry::Entry;
use super::{Phases, Policy, Verdict};
use crate::exchange::Exchange;

pub(super) const ENTRY: Entry = Entry {
    id: "key-less",
    phases: Phases::REQUEST,
    summary: "counts the consumer as nobody in particular",
    members: &[],
    differences: "",
    build: |_| Ok(Arc::new(KeyLess)),
};

#[derive(Debug)]
struct KeyLess;

impl Policy for KeyLess {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        exchange.application_id = Cow::Borrowed("1");
        exchange.subscription_id = Cow::Owned(exchange.request.remote.clone());
        Verdict::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Bench, build};
    use serde_json::json;

    #[test]
    fn the_address_stands_for_the_subscription() {
        let policy = build("key-less", &json!({})).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange.application_id = Cow::Borrowed("application");
        assert!(matches!(
            policy.on_request(&mut exchange),
            Verdict::Continue
        ));
        assert_eq!(exchange.application_id, "1");
        assert_eq!(exchange.subscription_id, "10.1.2.3");
    }
}
