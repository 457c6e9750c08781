use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::*;

fn quotas(store: Store, lease: Option<LeaseSettings>) -> Quotas {
    Quotas::new(QuotaSettings {
        store,
        lease,
        ..QuotaSettings::default()
    })
}

fn hit(key: &str, now_ms: u64) -> Hit<'_> {
    Hit {
        key,
        limit: 10,
        reset_at_ms: now_ms + 1_000,
        subscription: "s",
        is_async: false,
        now_ms,
    }
}

fn rate(counter: i64, reset_at_ms: u64) -> Counted {
    Counted::Now(Ok(Rate {
        counter,
        reset_at_ms,
    }))
}

#[test]
fn each_store_has_its_way_of_counting() {
    let asynchronous = |now_ms| Hit {
        is_async: true,
        ..hit("k", now_ms)
    };
    let none = quotas(Store::None, None);
    assert_eq!(
        none.count(&hit("k", 5)),
        Counted::Now(Err(CountError::NoStore))
    );
    assert_eq!(none.count(&asynchronous(5)), rate(1, 1_005));
    assert!(none.unsent_of_all(6).is_empty(), "nobody to tell");

    let local = quotas(Store::Local, None);
    assert_eq!(local.count(&hit("k", 5)), rate(1, 1_005));
    assert_eq!(
        local.count(&hit("k", 700)),
        rate(2, 1_005),
        "the first hit opens the window"
    );
    assert_eq!(
        local.count(&hit("k", 1_005)),
        rate(1, 2_005),
        "and its end closes it"
    );

    let redis = quotas(Store::Redis, None);
    assert_eq!(
        redis.count(&hit("k", 5)),
        Counted::Ask(hit("k", 5).request(1))
    );
    assert_eq!(redis.count(&asynchronous(5)), rate(1, 1_005));
    let off = Quotas::new(QuotaSettings {
        store: Store::Redis,
        asynchronous: false,
        ..QuotaSettings::default()
    });
    assert!(matches!(off.count(&asynchronous(5)), Counted::Ask(_)));
}

impl Quotas {
    fn unsent_of_all(&self, now_ms: u64) -> Vec<CountRequest> {
        Self::parts()
            .flat_map(|part| self.unsent(part, now_ms).0)
            .collect()
    }
}

#[test]
fn hits_of_the_asynchronous_mode_are_reconciled() {
    let quotas = quotas(Store::Redis, None);
    let hit = |now_ms| Hit {
        is_async: true,
        ..hit("k", now_ms)
    };
    quotas.count(&hit(0));
    assert_eq!(quotas.count(&hit(1)), rate(2, 1_000));
    let unsent = quotas.unsent_of_all(2);
    assert_eq!(
        (unsent.len(), unsent[0].weight, unsent[0].reset_at_ms),
        (1, 2, 1_000)
    );
    assert!(quotas.unsent_of_all(2).is_empty(), "they are on their way");
    quotas.count(&hit(3));
    // Others have counted nine meanwhile; the store's reset is not taken over.
    quotas.sent(
        &unsent[0],
        Ok(Some(Rate {
            counter: 11,
            reset_at_ms: 77,
        })),
    );
    assert_eq!(quotas.count(&hit(4)), rate(13, 1_000));
    let unsent = quotas.unsent_of_all(5);
    assert_eq!(unsent[0].weight, 2);
    quotas.sent(&unsent[0], Err(CountError::NotConnected));
    assert_eq!(quotas.count(&hit(6)), rate(14, 1_000));
    assert_eq!(
        quotas.unsent_of_all(7)[0].weight,
        3,
        "nothing is lost by a failure"
    );
    assert!(quotas.unsent_of_all(1_000).is_empty());
    assert_eq!(quotas.tracked_keys(), 0, "the window is over");
}

#[test]
fn an_answer_for_a_window_that_is_over_changes_nothing() {
    let quotas = quotas(Store::Redis, None);
    let hit = |now_ms| Hit {
        is_async: true,
        ..hit("k", now_ms)
    };
    quotas.count(&hit(0));
    let unsent = quotas.unsent_of_all(1);
    quotas.count(&hit(1_500));
    quotas.sent(
        &unsent[0],
        Ok(Some(Rate {
            counter: 100,
            reset_at_ms: 1_000,
        })),
    );
    assert_eq!(quotas.count(&hit(1_501)), rate(2, 2_500));
}

#[test]
fn local_counters_are_exact_under_threads() {
    let quotas = Arc::new(quotas(Store::Local, None));
    let admitted = Arc::new(AtomicI64::new(0));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (quotas, admitted) = (Arc::clone(&quotas), Arc::clone(&admitted));
            std::thread::spawn(move || {
                for index in 0..5_000 {
                    let key = if index % 2 == 0 { "a" } else { "b" };
                    let hit = Hit {
                        limit: 1_234,
                        ..hit(key, 10)
                    };
                    if let Counted::Now(Ok(rate)) = quotas.count(&hit)
                        && rate.counter <= 1_234
                    {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("a thread that ends well");
    }
    assert_eq!(admitted.load(Ordering::Relaxed), 2 * 1_234);
}

#[test]
fn too_many_keys_are_counted_and_go_the_strict_way() {
    let settings = |store| QuotaSettings {
        store,
        keys_max: 2,
        ..QuotaSettings::default()
    };
    let redis = Quotas::new(settings(Store::Redis));
    let local = Quotas::new(settings(Store::Local));
    for key in ["a", "b", "c"] {
        let hit = Hit {
            is_async: true,
            ..hit(key, 0)
        };
        let (redis, local) = (redis.count(&hit), local.count(&hit));
        if key == "c" {
            assert_eq!(redis, Counted::Ask(hit.request(1)));
            assert_eq!(local, Counted::Now(Err(CountError::TooManyKeys)));
        } else {
            assert_eq!((redis, local), (rate(1, 1_000), rate(1, 1_000)));
        }
    }
    assert_eq!(redis.stats().dropped_keys.load(Ordering::Relaxed), 1);
    assert_eq!(local.stats().dropped_keys.load(Ordering::Relaxed), 1);
}

const LEASE: LeaseSettings = LeaseSettings {
    percent: 50,
    retry_ms: 100,
};

fn grant(units: u64, counter: i64, is_last: bool) -> Grant {
    Grant {
        units,
        counter,
        reset_at_ms: 1_000,
        limit: 10,
        is_last,
    }
}

#[test]
fn a_lease_serves_from_what_it_holds_and_refills_before_it_is_empty() {
    let quotas = quotas(Store::Redis, Some(LEASE));
    let hit = |now_ms| Hit {
        reset_at_ms: 1_000,
        ..hit("k", now_ms)
    };
    assert_eq!(quotas.count(&hit(0)), Counted::Ask(hit(0).request(1)));
    assert_eq!(quotas.lease_units("k", 10, 1), 5);
    // One of the five units was for the hit that waited.
    assert_eq!(quotas.granted("k", &grant(4, 5, false), 0), 0);
    assert_eq!(quotas.count(&hit(1)), rate(2, 1_000));
    let Counted::NowAndSend(third, refill) = quotas.count(&hit(2)) else {
        panic!("a refill is asked for when half a part is left");
    };
    assert_eq!((third.counter, refill.weight), (3, 0));
    assert_eq!(
        quotas.count(&hit(3)),
        rate(4, 1_000),
        "one refill at a time"
    );
    // Another gateway took four: one is left, and it is the last.
    quotas.granted("k", &grant(1, 10, true), 4);
    assert_eq!(quotas.count(&hit(5)), rate(9, 1_000));
    assert_eq!(quotas.count(&hit(6)), rate(10, 1_000));
    assert_eq!(quotas.count(&hit(7)), rate(11, 1_000), "refused");
    assert!(
        matches!(quotas.count(&hit(104)), Counted::Ask(_)),
        "asked again after a while"
    );
}

#[test]
fn what_a_lease_does_not_use_is_given_back() {
    let quotas = quotas(Store::Redis, Some(LEASE));
    let hit = |now_ms| Hit {
        reset_at_ms: 1_000,
        ..hit("k", now_ms)
    };
    let unused = |now_ms, all| -> Vec<GiveBack> {
        Quotas::parts()
            .flat_map(|part| quotas.unused(part, now_ms, all))
            .collect()
    };
    let back = |units| {
        vec![GiveBack {
            key: "k".into(),
            units,
            reset_at_ms: 1_000,
        }]
    };
    quotas.count(&hit(0));
    quotas.granted("k", &grant(6, 7, false), 0);
    quotas.count(&hit(1));
    quotas.count(&hit(2));
    assert_eq!(
        unused(3, false),
        back(2),
        "two of four are kept, as two were used"
    );
    assert_eq!(unused(4, false), back(2));
    assert!(unused(5, true).is_empty());
    quotas.granted("k", &grant(3, 6, false), 6);
    assert_eq!(unused(7, true), back(3));
    quotas.granted("k", &grant(3, 6, false), 8);
    assert!(unused(1_000, true).is_empty(), "the window is over");
    assert_eq!(quotas.tracked_keys(), 0);
    assert_eq!(
        quotas.granted("k", &grant(3, 6, false), 8),
        3,
        "nowhere to keep them"
    );
}

#[test]
fn a_smaller_limit_does_not_use_units_that_a_larger_one_was_granted() {
    let quotas = quotas(Store::Redis, Some(LEASE));
    let limited = |limit, now_ms| Hit {
        limit,
        reset_at_ms: 1_000,
        ..hit("k", now_ms)
    };
    quotas.count(&limited(10, 0));
    quotas.granted("k", &grant(5, 8, false), 0);
    // Three are used or held elsewhere.
    assert!(matches!(quotas.count(&limited(3, 1)), Counted::Ask(_)));
    assert!(matches!(
        quotas.count(&limited(10, 1)),
        Counted::Now(Ok(Rate { counter: 4, .. }))
    ));
}

fn take(now_ms: u64) -> TokenHit<'static> {
    TokenHit {
        key: "k",
        capacity: 2,
        refill: 1,
        period_ms: 1_000,
        subscription: "",
        is_async: false,
        now_ms,
    }
}

#[test]
fn a_bucket_starts_full_and_earns_tokens() {
    let quotas = quotas(Store::Local, None);
    for (now_ms, allowed, left) in [
        (0, true, 1),
        (1, true, 0),
        (500, false, 0),
        (999, false, 0),
        (1_600, true, 0),
        // The 600 ms that were over count for the next one.
        (2_000, true, 0),
        (2_001, false, 0),
        (60_000, true, 1),
    ] {
        assert_eq!(
            quotas.take(&take(now_ms)),
            TokensCounted::Now(Ok(Tokens { allowed, left })),
            "{now_ms}"
        );
    }
    assert!(matches!(
        self::quotas(Store::Redis, None).take(&take(0)),
        TokensCounted::Ask(TokenBucketRequest { tokens: 1, .. })
    ));
}

#[test]
fn takes_of_the_asynchronous_mode_are_reconciled() {
    let quotas = quotas(Store::Redis, None);
    let take = |now_ms| TokenHit {
        is_async: true,
        capacity: 10,
        ..take(now_ms)
    };
    let unsent = |now_ms| -> Vec<TokenBucketRequest> {
        Quotas::parts()
            .flat_map(|part| quotas.unsent(part, now_ms).1)
            .collect()
    };
    let left = |now_ms| match quotas.take(&take(now_ms)) {
        TokensCounted::Now(Ok(tokens)) => (tokens.allowed, tokens.left),
        other => panic!("{other:?}"),
    };
    assert_eq!(left(0), (true, 9));
    assert_eq!(left(0), (true, 8));
    let request = unsent(1);
    assert_eq!((request.len(), request[0].tokens), (1, 2));
    assert_eq!(left(2), (true, 7));
    quotas.taken(
        &request[0],
        Ok(Tokens {
            allowed: true,
            left: 4,
        }),
    );
    assert_eq!(
        left(3),
        (true, 2),
        "four at the store, less the one it does not know, less this one"
    );
    let request = unsent(4);
    quotas.taken(&request[0], Err(CountError::NotConnected));
    let request = unsent(5);
    assert_eq!(request[0].tokens, 2, "retried");
    quotas.taken(
        &request[0],
        Ok(Tokens {
            allowed: false,
            left: 0,
        }),
    );
    assert_eq!(left(6), (false, 0), "the store is empty");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Several processes on one store, in any order of hits, grants that arrive late or never, and returns that are lost: never more
        /// than the limit.
        #[test]
        fn leases_never_admit_more_than_the_limit(
            limit in 0_i64..60,
            percent in 1_u64..100,
            steps in proptest::collection::vec((0_usize..3, 0_u8..10), 1..400),
        ) {
            let settings = LeaseSettings { percent, retry_ms: 3 };
            let processes: Vec<Quotas> =
                (0..3).map(|_| quotas(Store::Redis, Some(settings.clone()))).collect();
            let mut store = 0_i64;
            let mut admitted = 0_i64;
            let mut refills: Vec<(usize, Grant)> = Vec::new();
            for (step, (process, kind)) in steps.into_iter().enumerate() {
                let now_ms = step as u64;
                let quotas = &processes[process];
                let hit = Hit { key: "k", limit, reset_at_ms: 10_000, subscription: "", is_async: false, now_ms };
                let ask = |store: &mut i64, want: u64| {
                    let left = u64::try_from((limit - *store).max(0)).unwrap();
                    let units = want.min(left);
                    *store += units as i64;
                    Grant { units, counter: *store, reset_at_ms: 10_000, limit, is_last: units < want || units == left }
                };
                match kind {
                    0 => {
                        // Late answers arrive.
                        for (process, grant) in refills.drain(..) {
                            prop_assert_eq!(processes[process].granted("k", &grant, now_ms), 0);
                        }
                    }
                    1 => for part in Quotas::parts() {
                        for back in quotas.unused(part, now_ms, false) {
                            store -= back.units as i64;
                        }
                    },
                    2 => for part in Quotas::parts() {
                        // Lost on the way.
                        for back in quotas.unused(part, now_ms, true) {
                            quotas.lost(back.units);
                        }
                    },
                    _ => match quotas.count(&hit) {
                        Counted::Now(Ok(rate)) => admitted += i64::from(rate.counter <= limit),
                        Counted::NowAndSend(rate, _) => {
                            admitted += i64::from(rate.counter <= limit);
                            let grant = ask(&mut store, quotas.lease_units("k", limit, 0));
                            refills.push((process, grant));
                        }
                        Counted::Ask(_) => {
                            let mut grant = ask(&mut store, quotas.lease_units("k", limit, 1));
                            if grant.units > 0 {
                                grant.units -= 1;
                                admitted += 1;
                            }
                            quotas.granted("k", &grant, now_ms);
                        }
                        other => prop_assert!(false, "{:?}", other),
                    },
                }
                prop_assert!(admitted <= limit, "{} of {}", admitted, limit);
                prop_assert!(store <= limit);
            }
        }
    }
}
