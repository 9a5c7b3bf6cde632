//! A schema as bytes, for the catalog in the arena and on disk.
//!
//! Format      magic "AESC", version u16, zero u16, length u32, CRC32C u32 of the body; then the body: the definition
//!             in bincode, fixed-size integers. Offsets are not stored: they follow from the types.
//! Hostile     a body that passes its checksum is still only a proposal: it goes through the builder like any other.
#![forbid(unsafe_code)]

use bincode::Options;
use serde::{Deserialize, Serialize};

use super::bytes::Reader;
use super::error::RowError;
use super::kind::{ColumnType, NullRule};
use super::schema::{Column, Schema, SchemaBuilder};

const MAGIC: [u8; 4] = *b"AESC";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 16;
/// 64 columns with a few aliases and defaults of any length: far above any real definition.
const MAX_BODY_BYTES: u64 = 4 << 20;

#[derive(Serialize)]
struct Definition<'a> {
    name: &'a str,
    columns: &'a [Column],
    key: u16,
    nulls: NullRule,
}

#[derive(Deserialize)]
struct StoredDefinition {
    name: String,
    columns: Vec<Column>,
    key: u16,
    nulls: NullRule,
}

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding().with_limit(MAX_BODY_BYTES).reject_trailing_bytes()
}

/// Serializing into memory fails only above the size limit, which a checked definition cannot reach.
#[expect(clippy::expect_used, reason = "see above")]
fn write_body(to: &mut Vec<u8>, value: &impl Serialize) {
    options().serialize_into(to, value).expect("a definition is small");
}

pub(super) fn encode(schema: &Schema) -> Vec<u8> {
    let key = u16::try_from(schema.key_index()).unwrap_or(u16::MAX);
    let (name, columns, nulls) = (schema.name(), schema.columns(), schema.null_rule());
    let mut body = Vec::new();
    write_body(&mut body, &Definition { name, columns, key, nulls });
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len());
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([0; 2]);
    bytes.extend(length.to_le_bytes());
    bytes.extend(crc32c::crc32c(&body).to_le_bytes());
    bytes.extend(body);
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<Schema, RowError> {
    let (body, crc) = open(bytes)?;
    if crc32c::crc32c(body) != crc {
        return Err(RowError::Corrupt { what: "schema", offset: 12, reason: "checksum mismatch" });
    }
    let stored: StoredDefinition = options().deserialize(body).map_err(|_| not_a_definition())?;
    let key = stored.columns.get(usize::from(stored.key)).map(|column| column.name().to_owned());
    let builder = SchemaBuilder::new(&stored.name).nulls(stored.nulls).columns(stored.columns);
    match key {
        Some(name) => builder.key(&name).build(),
        None => builder.build(),
    }
}

/// See [`Schema::name_in`].
pub(super) fn name(bytes: &[u8]) -> Result<&str, RowError> {
    options().allow_trailing_bytes().deserialize(open(bytes)?.0).map_err(|_| not_a_definition())
}

fn not_a_definition() -> RowError {
    RowError::Corrupt { what: "schema", offset: HEAD_BYTES as u64, reason: "not a definition" }
}

/// The body and its checksum.
fn open(bytes: &[u8]) -> Result<(&[u8], u32), RowError> {
    let mut reader = Reader::new("schema", bytes);
    if reader.array()? != MAGIC {
        return Err(RowError::Corrupt { what: "schema", offset: 0, reason: "not a schema" });
    }
    if u16::from_le_bytes(reader.array()?) != VERSION || reader.array()? != [0; 2] {
        return Err(RowError::Corrupt { what: "schema", offset: 4, reason: "unknown version" });
    }
    let length = u32::from_le_bytes(reader.array()?);
    let crc = u32::from_le_bytes(reader.array()?);
    let body = reader.take(length as usize)?;
    if reader.at() != bytes.len() {
        return Err(reader.corrupt("bytes behind the definition"));
    }
    Ok((body, crc))
}

/// See [`Schema::layout_hash`].
pub(super) fn layout_hash(columns: &[Column]) -> u64 {
    let parts = columns.iter().map(|column| (column.name(), column.column_type(), column.is_nullable()));
    let mut bytes = Vec::with_capacity(32 * columns.len());
    parts.for_each(|part: (&str, ColumnType, bool)| write_body(&mut bytes, &part));
    xxhash_rust::xxh3::xxh3_64(&bytes)
}
