//! The bytes of a chunk: rows of one table, with a checksum. Pure functions from and to byte arrays.
//!
//! Layout      a header of `HEADER_BYTES`, little-endian: magic "ACHK", compression (u8), three zeros, table number (u32), rows (u32),
//!             bytes of the rows (u64), bytes of them as stored (u64), CRC32C of header and stored bytes (u32). Then the rows as stored: each its
//!             length (variable-length, as in `row::delta`) and its image, as `row::image` lays it out.
//! Invariants  K1: the checksum begins with the database's uuid and the checkpoint's number, as that of a segment of the log does (W1 of
//!             `wal::frame`), so bytes left by another never validate.

#![forbid(unsafe_code)]

use crate::row::{Reader, RowError, RowView, Schema, put_varint, u32_at, u64_at};
use crate::wal::seed;

const MAGIC: [u8; 4] = *b"ACHK";
const HEADER_BYTES: usize = 36;
const CHECKSUM_AT: usize = 32;
/// The rows of a chunk in memory: nobody writes more into one, whatever it claims.
const RAW_BYTES_MAX: u64 = 64 << 20;
/// zstd's level: its default trade of time for room.
const ZSTD_LEVEL: i32 = 3;

/// How the rows of a chunk are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// As a frame of Zstandard (RFC 8878).
    Zstd,
}

fn checksum(seed: u32, chunk: &[u8]) -> u32 {
    let header = crc32c::crc32c_append(seed, &chunk[..CHECKSUM_AT]);
    crc32c::crc32c_append(header, &chunk[HEADER_BYTES..])
}

/// Rows of one table on their way into a file.
#[derive(Debug)]
pub(super) struct ChunkBuilder {
    seed: u32,
    compression: Compression,
    table: u32,
    rows: u32,
    /// Room for the header, and the rows.
    bytes: Vec<u8>,
    stored: Vec<u8>,
}

impl ChunkBuilder {
    pub(super) fn new(uuid: &[u8; 16], number: u64, compression: Compression) -> Self {
        let bytes = vec![0; HEADER_BYTES];
        Self { seed: seed(uuid, number), compression, table: 0, rows: 0, bytes, stored: Vec::new() }
    }

    /// Begins a chunk of that table.
    pub(super) fn begin(&mut self, table: u32) {
        self.table = table;
        self.rows = 0;
        self.bytes.truncate(HEADER_BYTES);
    }

    #[inline]
    pub(super) fn push(&mut self, row: RowView<'_>) {
        put_varint(row.bytes().len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(row.bytes());
        self.rows += 1;
    }

    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    /// Bytes of the rows.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - HEADER_BYTES
    }

    /// The chunk's bytes.
    ///
    /// # Errors
    /// What the compression says.
    pub(super) fn finish(&mut self) -> std::io::Result<&[u8]> {
        let raw = self.len() as u64;
        let chunk = match self.compression {
            Compression::None => &mut self.bytes,
            Compression::Zstd => {
                self.stored.clear();
                self.stored.resize(HEADER_BYTES, 0);
                compress(&self.bytes[HEADER_BYTES..], &mut self.stored)?;
                &mut self.stored
            }
        };
        let stored = (chunk.len() - HEADER_BYTES) as u64;
        chunk[0..4].copy_from_slice(&MAGIC);
        chunk[4..8].copy_from_slice(&[self.compression as u8, 0, 0, 0]);
        chunk[8..12].copy_from_slice(&self.table.to_le_bytes());
        chunk[12..16].copy_from_slice(&self.rows.to_le_bytes());
        chunk[16..24].copy_from_slice(&raw.to_le_bytes());
        chunk[24..32].copy_from_slice(&stored.to_le_bytes());
        let checksum = checksum(self.seed, chunk);
        chunk[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
        Ok(chunk)
    }
}

/// A chunk that was read, and is as it was written.
#[derive(Debug)]
pub(crate) struct Chunk<'a> {
    /// The number of its table.
    pub(crate) table: u32,
    /// Rows in it.
    pub(crate) rows: u32,
    compression: Compression,
    raw_bytes: u64,
    stored: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// The chunk that `bytes` are, of checkpoint `number`; or what is wrong with it.
    pub(crate) fn decode(bytes: &'a [u8], uuid: &[u8; 16], number: u64) -> Result<Self, &'static str> {
        let Some((header, stored)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err("a chunk that is cut off");
        };
        let (fields, sum) = header.split_at(CHECKSUM_AT);
        if sum != checksum(seed(uuid, number), bytes).to_le_bytes() {
            return Err("a chunk's checksum is wrong");
        }
        // What follows was written like that.
        let compression = match fields[4..8] {
            [0, 0, 0, 0] => Compression::None,
            [1, 0, 0, 0] => Compression::Zstd,
            _ => return Err("a chunk of an unknown kind"),
        };
        let raw_bytes = u64_at(fields, 16);
        let is_whole = u64_at(fields, 24) == stored.len() as u64 && raw_bytes <= RAW_BYTES_MAX;
        if fields[..4] != MAGIC || !is_whole {
            return Err("a chunk header that contradicts itself");
        }
        let (table, rows) = (u32_at(fields, 8), u32_at(fields, 12));
        Ok(Self { table, rows, compression, raw_bytes, stored })
    }

    /// The rows' bytes; `buffer` holds them if they were compressed.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn raw<'b>(&self, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], String>
    where
        'a: 'b,
    {
        let raw = match self.compression {
            Compression::None => self.stored,
            Compression::Zstd => {
                buffer.clear();
                decompress(self.stored, self.raw_bytes, buffer).map_err(|error| error.to_string())?;
                buffer
            }
        };
        if raw.len() as u64 == self.raw_bytes {
            Ok(raw)
        } else {
            Err("a chunk holds more or less than it says".to_owned())
        }
    }
}

/// The next row, which is as its definition wants it.
///
/// # Errors
/// `Truncated`, `Corrupt`.
pub(crate) fn take_row<'a>(schema: &'a Schema, rows: &mut Reader<'a>) -> Result<RowView<'a>, RowError> {
    let length = usize::try_from(rows.varint()?).unwrap_or(usize::MAX);
    let row = RowView::new(schema, rows.take(length)?)?;
    row.check()?;
    Ok(row)
}

fn compress(raw: &[u8], into: &mut Vec<u8>) -> std::io::Result<()> {
    zstd::stream::copy_encode(raw, into, ZSTD_LEVEL)
}

fn decompress(stored: &[u8], raw_bytes: u64, into: &mut Vec<u8>) -> std::io::Result<()> {
    use std::io::Read;
    // One byte more than there should be is enough to know, whatever the frame claims.
    zstd::stream::read::Decoder::new(stored)?.take(raw_bytes + 1).read_to_end(into).map(drop)
}
