//! A schema as bytes, for the catalog in the arena and on disk.
//!
//! Format      magic "AESC", version u16, zero u16, length u32, CRC32C u32 of the body; then the body: the definition
//!             in bincode, fixed-size integers. Offsets are not stored: they follow from the types.
//! Versions    1 ends with the rule for nulls; 2 adds the time to live (column, seconds) and whether the key is numbered, and is
//!             written for definitions that have either, so that all others stay what earlier versions read.
//! Hostile     a body that passes its checksum is still only a proposal: it goes through the builder like any other.
#![forbid(unsafe_code)]

use bincode::Options;
use serde::{Deserialize, Serialize};

use super::bytes::Reader;
use super::error::RowError;
use super::kind::{ColumnType, NullRule};
use super::schema::{Column, Schema, SchemaBuilder, Ttl};

const MAGIC: [u8; 4] = *b"AESC";
const VERSIONS: std::ops::RangeInclusive<u16> = 1..=2;
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

/// What version 2 has behind that.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct Additions {
    ttl: Option<(u16, u64)>,
    numbered_key: bool,
}

impl Additions {
    fn of(schema: &Schema) -> Self {
        let ttl = schema.ttl().map(|Ttl { column, seconds }| (column_number(column), seconds));
        Self { ttl, numbered_key: schema.has_numbered_key() }
    }
}

/// A column's index, which is below 64.
fn column_number(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
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
    let key = column_number(schema.key_index());
    let (name, columns, nulls) = (schema.name(), schema.columns(), schema.null_rule());
    let mut body = Vec::new();
    write_body(&mut body, &Definition { name, columns, key, nulls });
    let additions = Additions::of(schema);
    let version = if additions == Additions::default() { 1_u16 } else { 2 };
    if version > 1 {
        write_body(&mut body, &additions);
    }
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len());
    bytes.extend(MAGIC);
    bytes.extend(version.to_le_bytes());
    bytes.extend([0; 2]);
    bytes.extend(length.to_le_bytes());
    bytes.extend(crc32c::crc32c(&body).to_le_bytes());
    bytes.extend(body);
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<Schema, RowError> {
    let Opened { version, body, crc } = open(bytes)?;
    if crc32c::crc32c(body) != crc {
        return Err(RowError::Corrupt { what: "schema", offset: 12, reason: "checksum mismatch" });
    }
    let (stored, additions) = match version {
        1 => options().deserialize(body).map(|stored| (stored, Additions::default())),
        _ => options().deserialize::<(StoredDefinition, Additions)>(body),
    }
    .map_err(|_| not_a_definition())?;
    let name_of = |index: u16| stored.columns.get(usize::from(index)).map(|column| column.name().to_owned());
    let (key, ttl) = (name_of(stored.key), additions.ttl);
    let ttl = match ttl {
        Some((column, seconds)) => Some((name_of(column).ok_or_else(not_a_definition)?, seconds)),
        None => None,
    };
    let mut builder = SchemaBuilder::new(&stored.name).nulls(stored.nulls).columns(stored.columns);
    if let Some((column, seconds)) = ttl {
        builder = builder.ttl(&column, seconds);
    }
    if additions.numbered_key {
        builder = builder.numbered_key();
    }
    match key {
        Some(name) => builder.key(&name).build(),
        None => builder.build(),
    }
}

/// See [`Schema::name_in`].
pub(super) fn name(bytes: &[u8]) -> Result<&str, RowError> {
    options().allow_trailing_bytes().deserialize(open(bytes)?.body).map_err(|_| not_a_definition())
}

fn not_a_definition() -> RowError {
    RowError::Corrupt { what: "schema", offset: HEAD_BYTES as u64, reason: "not a definition" }
}

struct Opened<'a> {
    version: u16,
    body: &'a [u8],
    /// What the body's checksum should be.
    crc: u32,
}

/// What an envelope says and holds.
fn open(bytes: &[u8]) -> Result<Opened<'_>, RowError> {
    let mut reader = Reader::new("schema", bytes);
    if reader.array()? != MAGIC {
        return Err(RowError::Corrupt { what: "schema", offset: 0, reason: "not a schema" });
    }
    let version = u16::from_le_bytes(reader.array()?);
    if !VERSIONS.contains(&version) || reader.array()? != [0; 2] {
        return Err(RowError::Corrupt { what: "schema", offset: 4, reason: "unknown version" });
    }
    let length = u32::from_le_bytes(reader.array()?);
    let crc = u32::from_le_bytes(reader.array()?);
    let body = reader.take(length as usize)?;
    if reader.at() != bytes.len() {
        return Err(reader.corrupt("bytes behind the definition"));
    }
    Ok(Opened { version, body, crc })
}

/// See [`Schema::layout_hash`].
pub(super) fn layout_hash(columns: &[Column]) -> u64 {
    let parts = columns.iter().map(|column| (column.name(), column.column_type(), column.is_nullable()));
    let mut bytes = Vec::with_capacity(32 * columns.len());
    parts.for_each(|part: (&str, ColumnType, bool)| write_body(&mut bytes, &part));
    xxhash_rust::xxh3::xxh3_64(&bytes)
}
