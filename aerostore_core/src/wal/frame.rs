//! The bytes of a segment: its header, the header of a batch, records. Pure functions from and to byte arrays.
//!
//! Layout      All numbers are little-endian. A segment begins with a header of `SEGMENT_HEADER_BYTES`; its first batch
//!             is at `FIRST_BATCH`, a page of its own, so that no later write touches the header's sector. Batches
//!             follow each other without a gap, each a header of `BATCH_HEADER_BYTES` and its payload: records of
//!             { length: u32, checksum: u32, C: u64, redo bytes, zeros up to a multiple of 8 }.
//! Invariants  W1: both checksums of a batch begin with the database's uuid and the segment's number, so bytes left by
//!             another segment or database never validate.
//!             W2: `synced_bytes` was true when the batch was formed: that much of the segment had survived a sync.
//!             W3: a record's checksum is the one its producer computed, so it covers shared memory too.
//! `docs/wal_format.md` has the tables.

#![forbid(unsafe_code)]

/// The version of the segment format.
pub const WAL_VERSION: u32 = 1;

pub(super) const SEGMENT_HEADER_BYTES: usize = 128;
pub(super) const FIRST_BATCH: u64 = 4096;
pub(super) const BATCH_HEADER_BYTES: usize = 64;
pub(super) const RECORD_HEADER_BYTES: usize = 16;

const SEGMENT_MAGIC: [u8; 8] = *b"AEROWAL\n";
pub(super) const BATCH_MAGIC: [u8; 4] = *b"ABAT";

/// What a batch is, in its header's flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchKind {
    /// Committed records.
    Records = 0,
    /// The log was closed here: nothing was lost after it.
    Closed = 1,
    /// The log goes on in the segment whose number is the payload.
    Continued = 2,
}

/// What a segment says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The database's uuid.
    pub uuid: [u8; 16],
    /// The term of the log writer that made the segment.
    pub term: u64,
    /// This segment's number, from 1.
    pub number: u64,
    /// The number of the segment before it in the log; 0 for the first.
    pub previous: u64,
    /// Bytes of the previous segment that belong to the log; whatever follows there is void.
    pub previous_bytes: u64,
    /// Every record before this segment has C <= this, every record in it a greater one.
    pub start_ts: u64,
    /// Length to which the file was allocated before its first batch.
    pub allocated_bytes: u64,
    /// The file had been another segment's: bytes of that may follow the last batch, behind zeros in the place of one more header.
    pub is_reused: bool,
}

/// Why bytes are no segment header of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotASegment {
    /// Magic or checksum is wrong.
    Invalid(&'static str),
    /// An intact header of another version.
    Version(u32),
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

impl SegmentHeader {
    /// The header's bytes.
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[0..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&WAL_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&128_u32.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.uuid);
        let numbers = [
            self.term,
            self.number,
            self.previous,
            self.previous_bytes,
            self.start_ts,
            self.allocated_bytes,
            self.is_reused.into(),
        ];
        for (at, number) in (32..).step_by(8).zip(numbers) {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&bytes[..SEGMENT_HEADER_BYTES - 4]);
        bytes[SEGMENT_HEADER_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header. In every version the length is at 12 and the checksum in the last four bytes of that length, so
    /// that another version can be told from damage.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, NotASegment> {
        if bytes.len() < 16 || bytes[0..8] != SEGMENT_MAGIC {
            return Err(NotASegment::Invalid("not the header of a log segment"));
        }
        let length = u32_at(bytes, 12) as usize;
        if length < 20 || length > bytes.len() {
            return Err(NotASegment::Invalid("the segment header's length is wrong"));
        }
        if crc32c::crc32c(&bytes[..length - 4]) != u32_at(bytes, length - 4) {
            return Err(NotASegment::Invalid("the segment header's checksum is wrong"));
        }
        let version = u32_at(bytes, 8);
        if version != WAL_VERSION {
            return Err(NotASegment::Version(version));
        }
        if length != SEGMENT_HEADER_BYTES {
            return Err(NotASegment::Invalid("the segment header's length is wrong"));
        }
        Ok(Self {
            uuid: field(bytes, 16),
            term: u64_at(bytes, 32),
            number: u64_at(bytes, 40),
            previous: u64_at(bytes, 48),
            previous_bytes: u64_at(bytes, 56),
            start_ts: u64_at(bytes, 64),
            allocated_bytes: u64_at(bytes, 72),
            is_reused: u64_at(bytes, 80) != 0,
        })
    }
}

/// Where the checksums of a segment's batches begin (W1), and those of a checkpoint's chunks.
pub(crate) fn seed(uuid: &[u8; 16], number: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(uuid), &number.to_le_bytes())
}

/// The header of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub(super) kind: BatchKind,
    /// Counts the batches of this segment, from 0.
    pub(super) number: u64,
    /// The `end_ts` of the batch before, in whichever segment; the segment's `start_ts` for its first.
    pub(super) previous_ts: u64,
    /// The batch holds every record with `previous_ts` < C <= this.
    pub(super) end_ts: u64,
    /// Length of this segment that was known to survive power loss (W2).
    pub(super) synced_bytes: u64,
    pub(super) payload_bytes: u64,
    pub(super) record_count: u32,
    pub(super) payload_checksum: u32,
}

impl BatchHeader {
    /// The header's bytes; `seed` as [`seed`] gives it.
    pub(super) fn encode(&self, seed: u32) -> [u8; BATCH_HEADER_BYTES] {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&BATCH_MAGIC);
        bytes[4..8].copy_from_slice(&(self.kind as u32).to_le_bytes());
        let numbers = [self.number, self.previous_ts, self.end_ts, self.synced_bytes, self.payload_bytes];
        for (at, number) in (8..).step_by(8).zip(numbers) {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        bytes[48..52].copy_from_slice(&self.record_count.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.payload_checksum.to_le_bytes());
        let checksum = crc32c::crc32c_append(seed, &bytes[..60]);
        bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` when it is not intact.
    pub(super) fn decode(bytes: &[u8], seed: u32) -> Option<Self> {
        if bytes.len() < BATCH_HEADER_BYTES
            || bytes[0..4] != BATCH_MAGIC
            || crc32c::crc32c_append(seed, &bytes[..60]) != u32_at(bytes, 60)
        {
            return None;
        }
        Some(Self {
            kind: match u32_at(bytes, 4) {
                0 => BatchKind::Records,
                1 => BatchKind::Closed,
                2 => BatchKind::Continued,
                _ => return None,
            },
            number: u64_at(bytes, 8),
            previous_ts: u64_at(bytes, 16),
            end_ts: u64_at(bytes, 24),
            synced_bytes: u64_at(bytes, 32),
            payload_bytes: u64_at(bytes, 40),
            record_count: u32_at(bytes, 48),
            payload_checksum: u32_at(bytes, 52),
        })
    }
}

/// Appends a record whose redo bytes `write` appends; false, and nothing appended, when `write` says false.
#[inline]
pub(super) fn put_record(
    into: &mut Vec<u8>,
    c: u64,
    checksum: u32,
    write: impl FnOnce(&mut Vec<u8>) -> bool,
) -> bool {
    let start = into.len();
    let mut header = [0; RECORD_HEADER_BYTES];
    header[4..8].copy_from_slice(&checksum.to_le_bytes());
    header[8..16].copy_from_slice(&c.to_le_bytes());
    into.extend_from_slice(&header);
    let body = start + RECORD_HEADER_BYTES;
    let length = if write(into) { u32::try_from(into.len() - body).ok() } else { None };
    let Some(length) = length else {
        into.truncate(start);
        return false;
    };
    into[start..start + 4].copy_from_slice(&length.to_le_bytes());
    into.resize(into.len().next_multiple_of(8), 0);
    true
}

/// One record of a batch's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) c: u64,
    pub(super) redo: &'a [u8],
}

/// The records of a payload whose checksum was right. A record that is not intact ends it with an error: it was written
/// like that.
pub(super) fn records(mut payload: &[u8]) -> impl Iterator<Item = Result<Record<'_>, &'static str>> {
    std::iter::from_fn(move || {
        if payload.is_empty() {
            return None;
        }
        let taken = take_record(payload);
        payload = taken.map_or(&[], |(_, _, rest)| rest);
        Some(taken.and_then(|(record, checksum, _)| {
            let found = super::ring::record_checksum(record.redo, record.c);
            if found == checksum { Ok(record) } else { Err("a record's checksum is wrong") }
        }))
    })
}

/// The records of a payload that [`records`] found intact.
pub(super) fn checked_records(mut payload: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let (record, _, rest) = take_record(payload).ok()?;
        payload = rest;
        Some(record)
    })
}

/// A record, its checksum, and what follows it.
fn take_record(payload: &[u8]) -> Result<(Record<'_>, u32, &[u8]), &'static str> {
    if payload.len() < RECORD_HEADER_BYTES {
        return Err("a record is cut off");
    }
    let length = u32_at(payload, 0) as usize;
    let end = (RECORD_HEADER_BYTES + length).next_multiple_of(8);
    if end > payload.len() {
        return Err("a record is longer than its batch");
    }
    let redo = &payload[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + length];
    Ok((Record { c: u64_at(payload, 8), redo }, u32_at(payload, 4), &payload[end..]))
}

#[cfg(test)]
mod tests {
    use super::super::ring::record_checksum;
    use super::*;

    fn header() -> SegmentHeader {
        let uuid = *b"0123456789abcdef";
        SegmentHeader {
            uuid,
            term: 7,
            number: 3,
            previous: 2,
            previous_bytes: 9000,
            start_ts: 55,
            allocated_bytes: 8192,
            is_reused: true,
        }
    }

    fn batch() -> BatchHeader {
        BatchHeader {
            kind: BatchKind::Records,
            number: 4,
            previous_ts: 10,
            end_ts: 20,
            synced_bytes: 4096,
            payload_bytes: 24,
            record_count: 1,
            payload_checksum: 77,
        }
    }

    #[test]
    fn segment_header_round_trips_and_every_flip_shows() {
        let bytes = header().encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header()));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(SegmentHeader::decode(&flipped), Err(NotASegment::Invalid(_))), "bit {bit}");
        }
        assert!(SegmentHeader::decode(&bytes[..127]).is_err());
    }

    #[test]
    fn another_version_is_told_from_damage() {
        let mut bytes = [0_u8; 256];
        bytes[..128].copy_from_slice(&header().encode());
        bytes[8..12].copy_from_slice(&9_u32.to_le_bytes());
        bytes[12..16].copy_from_slice(&200_u32.to_le_bytes());
        assert!(matches!(SegmentHeader::decode(&bytes), Err(NotASegment::Invalid(_))));
        let checksum = crc32c::crc32c(&bytes[..196]);
        bytes[196..200].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(NotASegment::Version(9)));
    }

    #[test]
    fn batch_header_round_trips_in_its_segment_only() {
        let uuid = *b"0123456789abcdef";
        let bytes = batch().encode(seed(&uuid, 3));
        assert_eq!(BatchHeader::decode(&bytes, seed(&uuid, 3)), Some(batch()));
        assert_eq!(BatchHeader::decode(&bytes, seed(&uuid, 4)), None);
        assert_eq!(BatchHeader::decode(&bytes, seed(b"another database", 3)), None);
    }

    #[test]
    fn records_round_trip_and_refuse_nonsense() {
        let mut payload = Vec::new();
        for (c, redo) in [(5, &b"abc"[..]), (5, b""), (9, b"12345678")] {
            let checksum = record_checksum(redo, c);
            assert!(put_record(&mut payload, c, checksum, |into| {
                into.extend_from_slice(redo);
                true
            }));
        }
        let length = payload.len();
        assert!(!put_record(&mut payload, 10, 0, |_| false));
        assert_eq!(payload.len(), length);
        let read: Vec<_> = records(&payload).map(|record| record.map(|r| (r.c, r.redo.len()))).collect();
        assert_eq!(read, [Ok((5, 3)), Ok((5, 0)), Ok((9, 8))]);
        for cut in 1..length {
            let _ = records(&payload[..cut]).count();
        }
        payload[17] ^= 1;
        assert!(records(&payload).next().is_some_and(|first| first.is_err()));
        assert!(records(&[0xff; 64]).next().is_some_and(|first| first.is_err()));
    }
}
