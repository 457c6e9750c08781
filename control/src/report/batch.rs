//! Batches of documents: compressed while they are collected, so that a waiting batch costs what it will cost on the wire.

use std::io::{self, Read as _, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use uuid::Uuid;

/// Limit of a compressed body (contract reporting 7).
pub(crate) const COMPRESSED_BYTES_MAX: usize = 5 << 20;
/// Limit of a body before compression. The largest document is about 180 KiB (21 texts of 8 KiB), so a batch is closed before
/// one more could pass it.
const RAW_BYTES_MAX: usize = 32 << 20;
/// The compressor holds back up to one block; a batch is closed this far before the limit.
const COMPRESSED_MARGIN_BYTES: usize = 256 << 10;
/// Documents are handed to the compressor this many bytes at a time: each hand-over costs it a pass over its whole output buffer.
const PENDING_BYTES: usize = 32 << 10;
/// Memory of a batch beside its body: its place in a queue, its id, the allocation's slack.
const OVERHEAD_BYTES: usize = 256;

/// Documents that are sent together. The id stays the same for every attempt, so that a receiver can tell a repetition (the
/// answer to an earlier attempt was lost) from a new batch.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Identity of the batch, `X-Gravitee-Batch-Id`.
    pub id: Uuid,
    /// How many documents there are.
    pub records: usize,
    /// The documents, one a line, gzip.
    pub body: Bytes,
}

impl Batch {
    /// Memory that the batch holds while it waits.
    pub(crate) fn bytes(&self) -> usize {
        self.body.len() + OVERHEAD_BYTES
    }

    /// Two halves with ids of their own, for an endpoint that found the batch too large; `None` when there is but one document.
    pub(crate) fn split(&self) -> io::Result<Option<(Self, Self)>> {
        if self.records < 2 {
            return Ok(None);
        }
        let mut raw = Vec::new();
        GzDecoder::new(&self.body[..])
            .take(2 * RAW_BYTES_MAX as u64)
            .read_to_end(&mut raw)?;
        let first_records = self.records / 2;
        let at = raw
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .nth(first_records - 1)
            .map_or(raw.len(), |(at, _)| at + 1);
        let (first, second) = raw.split_at(at);
        let make = |documents: &[u8], records| {
            let mut open = OpenBatch::new();
            open.pending.extend_from_slice(documents);
            open.records = records;
            open.finish()
        };
        Ok(Some((
            make(first, first_records)?,
            make(second, self.records - first_records)?,
        )))
    }
}

/// A batch that still takes documents.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    encoder: GzEncoder<Vec<u8>>,
    /// Documents that the compressor has not seen yet.
    pending: Vec<u8>,
    records: usize,
    raw_bytes: usize,
}

impl OpenBatch {
    pub(crate) fn new() -> Self {
        // Level 1: access records repeat so much that higher levels gain little and cost several times the CPU.
        Self {
            encoder: GzEncoder::new(Vec::new(), Compression::fast()),
            pending: Vec::new(),
            records: 0,
            raw_bytes: 0,
        }
    }

    /// Adds one document, a whole line.
    pub(crate) fn push(&mut self, document: &[u8]) -> io::Result<()> {
        if self.pending.len() + document.len() > PENDING_BYTES {
            self.encoder.write_all(&self.pending)?;
            self.pending.clear();
        }
        self.pending.extend_from_slice(document);
        self.records += 1;
        self.raw_bytes += document.len();
        Ok(())
    }

    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// Bytes that came out of the compressor so far, and what has not gone in.
    pub(crate) fn bytes(&self) -> usize {
        self.encoder.get_ref().len() + self.pending.len()
    }

    /// True when the batch must be closed whatever `bulk.items` says.
    pub(crate) fn is_large(&self) -> bool {
        self.raw_bytes >= RAW_BYTES_MAX - (1 << 20)
            || self.bytes() >= COMPRESSED_BYTES_MAX - COMPRESSED_MARGIN_BYTES
    }

    /// Ends the compression.
    pub(crate) fn finish(mut self) -> io::Result<Batch> {
        self.encoder.write_all(&self.pending)?;
        let mut body = self.encoder.finish()?;
        body.shrink_to_fit();
        Ok(Batch {
            id: Uuid::new_v4(),
            records: self.records,
            body: Bytes::from(body),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(batch: &Batch) -> Vec<String> {
        let mut text = String::new();
        GzDecoder::new(&batch.body[..])
            .read_to_string(&mut text)
            .expect("gzip");
        text.lines().map(str::to_owned).collect()
    }

    fn batch(records: usize) -> Batch {
        let mut open = OpenBatch::new();
        for number in 0..records {
            open.push(format!("{{\"n\":{number}}}\n").as_bytes())
                .expect("memory");
        }
        open.finish().expect("memory")
    }

    #[test]
    fn the_body_is_the_documents_one_a_line() {
        let batch = batch(3);
        assert_eq!(batch.records, 3);
        assert_eq!(lines(&batch), ["{\"n\":0}", "{\"n\":1}", "{\"n\":2}"]);
    }

    #[test]
    fn a_split_keeps_every_document_once_and_in_order_under_new_ids() {
        for records in 2..9 {
            let whole = batch(records);
            let (first, second) = whole.split().expect("gzip").expect("two halves");
            assert_eq!([lines(&first), lines(&second)].concat(), lines(&whole));
            assert_eq!(
                (first.records, second.records),
                (lines(&first).len(), lines(&second).len())
            );
            assert!(first.records >= 1 && second.records >= 1);
            assert!(first.id != whole.id && second.id != whole.id && first.id != second.id);
        }
    }

    #[test]
    fn a_single_document_cannot_be_split() {
        assert!(batch(1).split().expect("gzip").is_none());
    }

    #[test]
    fn a_batch_of_incompressible_documents_is_closed_below_the_limit_of_the_wire() {
        let mut state = 1_u64;
        let mut noise = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        };
        let mut open = OpenBatch::new();
        while !open.is_large() {
            let document: Vec<u8> = (0..180_000).map(|_| noise()).collect();
            open.push(&document).expect("memory");
        }
        assert!(open.finish().expect("memory").body.len() <= COMPRESSED_BYTES_MAX);
    }
}
