//! A checkpoint's manifest: which chunks it is made of, and what tables and indexes there are.
//!
//! Layout      an envelope, little-endian: magic "AEROCKPT", version (u32), length of the body (u32), CRC32C of the body (u32), CRC32C of
//!             these 20 bytes (u32); then the body: a `Manifest` in bincode 1, fixed-size integers.
//! Invariants  N1: every byte of the file is under one of the checksums, and the file ends where the body does. N2: in every version the
//!             envelope is the same, so that another version can be told from damage.

#![forbid(unsafe_code)]

use super::error::CheckpointError;
use crate::row::u32_at;
use bincode::Options;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The version of the format of manifests, and of the chunks that they name.
pub(super) const CHECKPOINT_VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"AEROCKPT";
const ENVELOPE_BYTES: usize = 24;
/// 64 bytes a chunk of a megabyte: a manifest of more is no manifest.
const BODY_BYTES_MAX: u64 = 1 << 30;
/// The longest file that is read as a manifest.
pub(super) const MANIFEST_BYTES_MAX: u64 = BODY_BYTES_MAX + ENVELOPE_BYTES as u64;

/// What a checkpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The database's uuid.
    pub(crate) uuid: [u8; 16],
    /// The checkpoint's number.
    pub(crate) number: u64,
    /// C: it holds the commits up to this timestamp.
    pub(crate) commit_ts: u64,
    /// L: the log held a batch that ended here, or later, when it was published.
    pub(crate) log_ts: u64,
    /// Seconds since 1970 (UTC) when it was begun; for people.
    pub(crate) taken_at: u64,
    /// The length of the file of rows.
    pub(crate) rows_bytes: u64,
    pub(crate) tables: Vec<TableEntry>,
    pub(crate) chunks: Vec<ChunkEntry>,
}

/// A table of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableEntry {
    /// Its number in log records.
    pub(crate) id: u32,
    /// Its definition, as `Schema::to_bytes` has it.
    pub(crate) schema: Vec<u8>,
    /// Its rows.
    pub(crate) rows: u64,
    /// Its indexes: column, and what is promised (`IndexSpec::word`).
    pub(crate) indexes: Vec<(u8, u8)>,
}

/// A chunk of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChunkEntry {
    /// The number of its table.
    pub(crate) table: u32,
    /// Its rows.
    pub(crate) rows: u32,
    /// Where it lies in the file of rows.
    pub(crate) offset: u64,
    /// Its bytes there, header included.
    pub(crate) bytes: u64,
}

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding().with_limit(BODY_BYTES_MAX).reject_trailing_bytes()
}

impl Manifest {
    /// The file's bytes; an error when there is more in it than a manifest can say.
    pub(super) fn encode(&self) -> Result<Vec<u8>, String> {
        let body = options().serialize(self).map_err(|error| error.to_string())?;
        let mut bytes = Vec::with_capacity(ENVELOPE_BYTES + body.len());
        bytes.extend(MAGIC);
        bytes.extend(CHECKPOINT_VERSION.to_le_bytes());
        bytes.extend(u32::try_from(body.len()).map_err(|error| error.to_string())?.to_le_bytes());
        bytes.extend(crc32c::crc32c(&body).to_le_bytes());
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes.extend(body);
        Ok(bytes)
    }

    /// Reads the bytes of the file at `path`, of checkpoint `number` of the database of that uuid.
    pub(super) fn decode(
        bytes: &[u8],
        path: &Path,
        uuid: [u8; 16],
        number: u64,
    ) -> Result<Self, CheckpointError> {
        let corrupt = |offset, reason: &str| CheckpointError::corrupt(path, offset, reason);
        let Some((envelope, body)) = bytes.split_first_chunk::<ENVELOPE_BYTES>() else {
            return Err(corrupt(0, "shorter than any manifest"));
        };
        if envelope[..8] != MAGIC {
            return Err(corrupt(0, "not the manifest of a checkpoint"));
        }
        if u32_at(envelope, 20) != crc32c::crc32c(&envelope[..20]) {
            return Err(corrupt(20, "the envelope's checksum is wrong"));
        }
        let found = u32_at(envelope, 8);
        if found != CHECKPOINT_VERSION {
            let path = path.to_path_buf();
            return Err(CheckpointError::Version { path, expected: CHECKPOINT_VERSION, found });
        }
        if u32_at(envelope, 12) as usize != body.len() {
            return Err(corrupt(12, "longer or shorter than it says"));
        }
        if u32_at(envelope, 16) != crc32c::crc32c(body) {
            return Err(corrupt(16, "the body's checksum is wrong"));
        }
        let manifest: Self =
            options().deserialize(body).map_err(|error| corrupt(24, &format!("not a manifest: {error}")))?;
        if manifest.uuid != uuid {
            return Err(CheckpointError::Foreign { path: path.to_path_buf() });
        }
        manifest.check(number).map_err(|reason| corrupt(24, reason))?;
        Ok(manifest)
    }

    /// What an intact manifest of another checkpoint, or of nonsense, is refused for.
    fn check(&self, number: u64) -> Result<(), &'static str> {
        if self.number != number {
            return Err("the file has another checkpoint's name");
        }
        let is_twice = |at: usize| self.tables[..at].iter().any(|table| table.id == self.tables[at].id);
        if (0..self.tables.len()).any(is_twice) {
            return Err("two tables of one number");
        }
        let mut end = 0;
        for chunk in &self.chunks {
            // One behind the other, so that every byte is under a checksum.
            if chunk.offset != end || !self.tables.iter().any(|table| table.id == chunk.table) {
                return Err("a chunk that cannot be");
            }
            end = chunk.offset.saturating_add(chunk.bytes);
        }
        for table in &self.tables {
            let chunks = self.chunks.iter().filter(|chunk| chunk.table == table.id);
            if chunks.map(|chunk| u64::from(chunk.rows)).sum::<u64>() != table.rows {
                return Err("a table whose chunks have more or less rows than it has");
            }
        }
        if end == self.rows_bytes { Ok(()) } else { Err("chunks beyond the end of the rows") }
    }

    /// The same with another L.
    pub(crate) fn with_log_ts(mut self, log_ts: u64) -> Self {
        self.log_ts = log_ts;
        self
    }

    /// Rows in all tables.
    pub(crate) fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: [u8; 16] = *b"a test database!";

    fn manifest() -> Manifest {
        let table = TableEntry { id: 3, schema: vec![1, 2, 3], rows: 8, indexes: vec![(1, 0), (4, 2)] };
        let chunks =
            [(0, 100), (100, 50)].map(|(offset, bytes)| ChunkEntry { table: 3, rows: 4, offset, bytes });
        Manifest {
            uuid: UUID,
            number: 9,
            commit_ts: 40,
            log_ts: 41,
            taken_at: 1_700_000_000,
            rows_bytes: 150,
            tables: vec![table],
            chunks: chunks.to_vec(),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Manifest, CheckpointError> {
        Manifest::decode(bytes, Path::new("m"), UUID, 9)
    }

    #[test]
    fn a_manifest_is_read_back_as_written() {
        let bytes = manifest().encode().unwrap();
        assert_eq!(decode(&bytes).unwrap(), manifest());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let bytes = manifest().encode().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            decode(&flipped).unwrap_err();
        }
        for length in 0..bytes.len() {
            decode(&bytes[..length]).unwrap_err();
        }
        decode(&[&bytes[..], &[0]].concat()).unwrap_err();
    }

    #[test]
    fn another_version_is_told_from_damage() {
        let mut bytes = manifest().encode().unwrap();
        bytes[8] = 2;
        assert!(matches!(decode(&bytes), Err(CheckpointError::Corrupt { offset: 20, .. })));
        let checksum = crc32c::crc32c(&bytes[..20]);
        bytes[20..24].copy_from_slice(&checksum.to_le_bytes());
        assert!(matches!(decode(&bytes), Err(CheckpointError::Version { found: 2, .. })));
    }

    #[test]
    fn one_that_contradicts_itself_is_refused() {
        let mut fewer = manifest();
        fewer.tables[0].rows = 7;
        decode(&fewer.encode().unwrap()).unwrap_err();
        let mut twice = manifest();
        twice.tables.push(TableEntry { rows: 0, ..manifest().tables[0].clone() });
        decode(&twice.encode().unwrap()).unwrap_err();
        let mut gap = manifest();
        gap.chunks[1].offset += 1;
        gap.chunks[1].bytes -= 1;
        decode(&gap.encode().unwrap()).unwrap_err();
    }

    #[test]
    fn one_that_is_not_what_its_name_says_is_refused() {
        let bytes = manifest().encode().unwrap();
        let foreign = Manifest::decode(&bytes, Path::new("m"), [7; 16], 9);
        assert!(matches!(foreign, Err(CheckpointError::Foreign { .. })));
        let renamed = Manifest::decode(&bytes, Path::new("m"), UUID, 8);
        assert!(matches!(renamed, Err(CheckpointError::Corrupt { .. })));
        let mut beyond = manifest();
        beyond.chunks[1].bytes += 1;
        decode(&beyond.encode().unwrap()).unwrap_err();
    }
}
