//! A bounded single-producer single-consumer ring of encoded records: a worker pushes, the control thread drains.
//! Bounded in bytes; what does not fit is dropped and counted by the caller. Neither side ever waits or signals.

use rtrb::{Consumer, Producer, RingBuffer};

use super::Record;

const LENGTH_BYTES: usize = 4;

/// A ring of `bytes_max` bytes.
pub fn ring(bytes_max: usize) -> (ReportSender, ReportReceiver) {
    let (producer, consumer) = RingBuffer::new(bytes_max.max(1_024));
    (
        ReportSender {
            producer,
            scratch: Vec::with_capacity(1_024),
        },
        ReportReceiver {
            consumer,
            scratch: Vec::with_capacity(1_024),
        },
    )
}

/// What became of a pushed record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushOutcome {
    /// It is in the ring.
    Pushed,
    /// The ring had no room: the record is lost and must be counted.
    Dropped,
}

/// The worker's end.
#[derive(Debug)]
pub struct ReportSender {
    producer: Producer<u8>,
    scratch: Vec<u8>,
}

impl ReportSender {
    /// Encodes and pushes one record, whole or not at all.
    pub fn push(&mut self, record: &Record<'_>) -> PushOutcome {
        self.scratch.clear();
        self.scratch.extend_from_slice(&[0; LENGTH_BYTES]);
        record.encode(&mut self.scratch);
        let length = (self.scratch.len() - LENGTH_BYTES) as u32;
        self.scratch[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        let Ok(mut chunk) = self.producer.write_chunk(self.scratch.len()) else {
            return PushOutcome::Dropped;
        };
        let (first, second) = chunk.as_mut_slices();
        let (head, tail) = self.scratch.split_at(first.len());
        first.copy_from_slice(head);
        second.copy_from_slice(tail);
        chunk.commit_all();
        PushOutcome::Pushed
    }
}

/// The control thread's end.
#[derive(Debug)]
pub struct ReportReceiver {
    consumer: Consumer<u8>,
    scratch: Vec<u8>,
}

impl ReportReceiver {
    /// Hands at most `records_max` records to `take`, oldest first, and returns how many there were.
    pub fn drain(&mut self, records_max: usize, mut take: impl FnMut(Record<'_>)) -> usize {
        let mut taken = 0;
        while taken < records_max && self.read_one() {
            // The sender writes whole records only, so a record that does not decode cannot occur; it is skipped, not trusted.
            if let Some(record) = Record::decode(&self.scratch) {
                take(record);
            }
            taken += 1;
        }
        taken
    }

    /// Bytes that wait in the ring.
    pub fn pending_bytes(&self) -> usize {
        self.consumer.slots()
    }

    /// Size of the ring, bytes.
    pub fn bytes_max(&self) -> usize {
        self.consumer.buffer().capacity()
    }

    /// True once the worker's end is gone: what is still pending is all there will be.
    pub fn is_abandoned(&self) -> bool {
        self.consumer.is_abandoned()
    }

    fn read_one(&mut self) -> bool {
        let mut length = [0; LENGTH_BYTES];
        let Ok(chunk) = self.consumer.read_chunk(LENGTH_BYTES) else {
            return false;
        };
        copy_out(chunk.as_slices(), &mut length);
        chunk.commit_all();
        let length = u32::from_le_bytes(length) as usize;
        let Ok(chunk) = self.consumer.read_chunk(length) else {
            return false;
        };
        self.scratch.resize(length, 0);
        copy_out(chunk.as_slices(), &mut self.scratch);
        chunk.commit_all();
        true
    }
}

fn copy_out((first, second): (&[u8], &[u8]), out: &mut [u8]) {
    let (head, tail) = out.split_at_mut(first.len());
    head.copy_from_slice(first);
    tail.copy_from_slice(second);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(status: u16) -> Record<'static> {
        Record {
            status,
            uri: "/some/path",
            ..Record::empty()
        }
    }

    #[test]
    fn records_come_out_in_order_and_whole_across_the_seam_of_the_ring() {
        let (mut sender, mut receiver) = ring(1_024);
        let mut expected = 0;
        for round in 0..200_u16 {
            assert_eq!(sender.push(&record(round * 2)), PushOutcome::Pushed);
            assert_eq!(sender.push(&record(round * 2 + 1)), PushOutcome::Pushed);
            let taken = receiver.drain(10, |record| {
                assert_eq!((record.status, record.uri), (expected, "/some/path"));
                expected += 1;
            });
            assert_eq!(taken, 2);
        }
    }

    #[test]
    fn a_full_ring_drops_the_new_record_and_keeps_the_old_ones() {
        let (mut sender, mut receiver) = ring(1_024);
        let pushed = (0..100)
            .filter(|status| sender.push(&record(*status)) == PushOutcome::Pushed)
            .count();
        assert!((1..100).contains(&pushed));
        let mut seen = Vec::new();
        receiver.drain(usize::MAX, |record| seen.push(record.status));
        assert_eq!(seen, (0..pushed as u16).collect::<Vec<_>>());
        assert_eq!(
            sender.push(&record(7)),
            PushOutcome::Pushed,
            "there is room again"
        );
    }

    #[test]
    fn the_receiver_sees_that_the_worker_is_gone() {
        let (sender, receiver) = ring(1_024);
        assert!(!receiver.is_abandoned());
        drop(sender);
        assert!(receiver.is_abandoned());
    }
}
