//! The retry rules on a clock that the tests move.

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::report::batch::OpenBatch;

fn outbox(bytes_max: usize) -> Outbox {
    Outbox::new(OutboxSettings {
        retry_delay_ms: 3_000,
        retry_delay_ms_max: 30_000,
        retries_max: 6,
        bytes_max,
    })
}

fn batch(records: usize) -> Batch {
    Batch {
        id: Uuid::new_v4(),
        records,
        body: Bytes::from_static(&[0; 744]),
    } // 1 000 bytes with the overhead
}

fn failure() -> Delivery {
    Delivery::Retry {
        after_ms: None,
        cause: "connection refused".to_owned(),
    }
}

/// Moves the clock to the next moment at which a batch may be sent.
fn wait(outbox: &mut Outbox, now_ms: &mut u64) -> Attempt {
    for _ in 0..10_000 {
        if let Some(attempt) = outbox.next(*now_ms) {
            return attempt;
        }
        *now_ms += 50;
    }
    panic!("nothing was sent for 500 s");
}

#[test]
fn the_endpoint_is_tried_on_the_schedule_of_the_contract() {
    let mut outbox = outbox(usize::MAX);
    outbox.push(batch(1));
    let mut now_ms = 0;
    let mut delays = Vec::new();
    let mut id = None;
    for _ in 0..9 {
        let before = now_ms;
        let attempt = wait(&mut outbox, &mut now_ms);
        assert_eq!(
            *id.get_or_insert(attempt.batch.id),
            attempt.batch.id,
            "the id never changes"
        );
        delays.push(now_ms - before);
        assert_eq!(outbox.complete(attempt, failure(), now_ms).dropped, []);
    }
    assert_eq!(
        delays,
        [
            0, 3_000, 4_500, 6_750, 10_150, 15_200, 22_800, 30_000, 30_000
        ]
    );
}

#[test]
fn an_endpoint_that_is_down_for_hours_uses_up_nobodys_retries() {
    let mut outbox = outbox(usize::MAX);
    let mut now_ms = 0;
    outbox.push(batch(1));
    let first = wait(&mut outbox, &mut now_ms);
    outbox.complete(first, Delivery::Accepted, now_ms);
    for _ in 0..10 {
        outbox.push(batch(7));
    }
    while now_ms < 7_200_000 {
        let attempt = wait(&mut outbox, &mut now_ms);
        assert_eq!(outbox.complete(attempt, failure(), now_ms).dropped, []);
    }
    let mut accepted = 0;
    while !outbox.is_empty() {
        let attempt = wait(&mut outbox, &mut now_ms);
        accepted += outbox
            .complete(attempt, Delivery::Accepted, now_ms)
            .accepted_records;
    }
    assert_eq!(accepted, 70);
}

#[test]
fn a_batch_that_fails_while_others_are_accepted_is_dropped_after_its_retries() {
    let mut outbox = outbox(usize::MAX);
    outbox.push(batch(5));
    let mut now_ms = 0;
    let bad = wait(&mut outbox, &mut now_ms);
    let bad_id = bad.batch.id;
    outbox.complete(bad, failure(), now_ms);
    let (mut attempts, mut accepted) = (1, 0);
    let dropped = loop {
        outbox.push(batch(1));
        let attempt = wait(&mut outbox, &mut now_ms);
        if attempt.batch.id != bad_id {
            accepted += outbox
                .complete(attempt, Delivery::Accepted, now_ms)
                .accepted_records;
            now_ms += 1_000;
            continue;
        }
        attempts += 1;
        let verdict = outbox.complete(attempt, failure(), now_ms);
        if !verdict.dropped.is_empty() {
            break verdict.dropped;
        }
    };
    assert_eq!(dropped, [(DropReason::RetriesExhausted, 5)]);
    assert!(
        (7..=8).contains(&attempts),
        "the first attempt and six retries, not {attempts}"
    );
    assert!(accepted > 6, "the others went on");
}

#[test]
fn attempts_that_fail_side_by_side_are_one_round() {
    let mut outbox = outbox(usize::MAX);
    for _ in 0..IN_FLIGHT_MAX {
        outbox.push(batch(1));
    }
    let attempts: Vec<_> = std::iter::from_fn(|| outbox.next(0)).collect();
    assert_eq!(attempts.len(), IN_FLIGHT_MAX);
    for attempt in attempts {
        outbox.complete(attempt, failure(), 0);
    }
    assert!(outbox.next(2_999).is_none());
    assert!(
        outbox.next(3_000).is_some(),
        "after the first delay, not the fourth"
    );
    assert!(outbox.next(3_000).is_none(), "one probe at a time");
}

#[test]
fn a_retry_after_longer_than_the_delay_is_kept_and_an_absurd_one_is_cut() {
    for (after_ms, expected_ms) in [
        (1_000, 3_000),
        (45_000, 45_000),
        (u64::MAX, RETRY_AFTER_MS_MAX),
    ] {
        let mut outbox = outbox(usize::MAX);
        outbox.push(batch(1));
        let attempt = outbox.next(0).expect("a batch");
        outbox.complete(
            attempt,
            Delivery::Retry {
                after_ms: Some(after_ms),
                cause: String::new(),
            },
            0,
        );
        assert!(outbox.next(expected_ms - 1).is_none());
        assert!(outbox.next(expected_ms).is_some());
    }
}

#[test]
fn beyond_the_memory_limit_the_oldest_batch_makes_room_and_is_counted() {
    let mut outbox = outbox(3_500);
    let dropped: Vec<_> = (1..=6).map(|records| outbox.push(batch(records))).collect();
    assert_eq!(dropped, [0, 0, 0, 1, 2, 3]);
    assert_eq!((outbox.records(), outbox.bytes()), (4 + 5 + 6, 3_000));
    assert_eq!(
        outbox.next(0).expect("a batch").batch.records,
        4,
        "the oldest that is left"
    );
}

#[test]
fn refused_credentials_stop_everything_for_a_minute_and_are_told_once() {
    let mut outbox = outbox(usize::MAX);
    outbox.push(batch(1));
    let attempt = outbox.next(0).expect("a batch");
    let verdict = outbox.complete(attempt, Delivery::Unauthorized { status: 401 }, 0);
    assert_eq!(verdict.change, Some(Change::Refused { status: 401 }));
    assert!(outbox.next(59_999).is_none());
    let attempt = outbox.next(60_000).expect("another attempt");
    assert_eq!(
        outbox
            .complete(attempt, Delivery::Unauthorized { status: 401 }, 60_000)
            .change,
        None
    );
    let attempt = outbox.next(120_000).expect("another attempt");
    assert_eq!(
        outbox.complete(attempt, Delivery::Accepted, 120_000).change,
        Some(Change::Recovered)
    );
}

#[test]
fn a_batch_that_is_too_large_is_sent_in_halves_down_to_one_document() {
    let mut open = OpenBatch::new();
    for _ in 0..4 {
        open.push(b"{}\n").expect("memory");
    }
    let mut outbox = outbox(usize::MAX);
    outbox.push(open.finish().expect("memory"));
    let (mut accepted, mut rejected) = (0, 0);
    while let Some(attempt) = outbox.next(0) {
        let delivery = if attempt.batch.records > 2 || accepted > 0 {
            Delivery::TooLarge
        } else {
            Delivery::Accepted
        };
        let verdict = outbox.complete(attempt, delivery, 0);
        accepted += verdict.accepted_records;
        rejected += verdict
            .dropped
            .iter()
            .map(|(_, records)| records)
            .sum::<usize>();
    }
    assert_eq!((accepted, rejected), (2, 2));
    assert_eq!((outbox.records(), outbox.bytes()), (0, 0));
}

proptest::proptest! {
    #[test]
    fn every_record_is_accepted_or_dropped_or_pending_whatever_the_endpoint_answers(
        answers in proptest::collection::vec((0_u8..6, 0_u64..5_000, 1_usize..4), 1..200)
    ) {
        let mut outbox = outbox(8_000);
        let (mut pushed, mut gone, mut now_ms) = (0, 0, 0);
        let mut running = Vec::new();
        for (answer, step_ms, records) in answers {
            now_ms += step_ms;
            let mut open = OpenBatch::new();
            for _ in 0..records {
                open.push(b"{}\n").expect("memory");
            }
            pushed += records;
            gone += outbox.push(open.finish().expect("memory"));
            running.extend(std::iter::from_fn(|| outbox.next(now_ms)));
            if let Some(attempt) = running.pop() {
                let delivery = match answer {
                    0 | 1 => Delivery::Accepted,
                    2 => Delivery::TooLarge,
                    3 => Delivery::Unauthorized { status: 403 },
                    4 => failure(),
                    _ => Delivery::Rejected { status: 400 },
                };
                let verdict = outbox.complete(attempt, delivery, now_ms);
                gone += verdict.accepted_records + verdict.dropped.iter().map(|(_, records)| records).sum::<usize>();
            }
            proptest::prop_assert_eq!(pushed, gone + outbox.records());
            proptest::prop_assert!(running.len() <= IN_FLIGHT_MAX);
        }
    }
}
