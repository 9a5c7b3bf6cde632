//! Changed columns of a row as compact bytes: what the log holds.
//!
//! Format      mask of the columns held (variable-length), mask of those that are null (variable-length), then the other
//!             values in column order: numbers little-endian at their width, a string as its length (variable-length) and
//!             bytes, an address as 4 or 6 and its octets.
//! Use         an insert holds all columns, an update the changed ones and the key, a delete the key alone.
//! Hostile     decoding checks everything and sets values through [`RowImage::set`], the same door as any caller's.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bytes::{Reader, array_at, put_varint};
use super::error::RowError;
use super::fixed::valid_bytes;
use super::image::RowImage;
use super::kind::ColumnType;
use super::mask::{DirtyMask, NullMask};
use super::schema::{Schema, Slot};
use super::value::Value;
use super::view::{RowView, inet_bytes};

/// The columns in which `new` differs from `old`, two rows of one schema.
pub fn changed(schema: &Schema, old: RowView<'_>, new: RowView<'_>) -> DirtyMask {
    let fixed = schema.fixed_bytes();
    let (before, _) = old.bytes()[..fixed].as_chunks::<8>();
    let (after, _) = new.bytes()[..fixed].as_chunks::<8>();
    let mut touched = 0;
    for ((before, after), [low, high]) in before.iter().zip(after).zip(schema.halves()) {
        let difference = u64::from_le_bytes(*before) ^ u64::from_le_bytes(*after);
        touched |= if difference << 32 == 0 { 0 } else { low.0 };
        touched |= if difference >> 32 == 0 { 0 } else { high.0 };
    }
    // That four bytes differ says all of a column that has them for itself. Of others it says that they may differ; of a
    // text in the tail it says nothing, since that can move without a change, and change without a move.
    let mut differing = touched & schema.whole().0;
    let unclear = DirtyMask((touched & !schema.whole().0) | schema.texts().0);
    if !unclear.is_empty() {
        differing |= differing_among(unclear, old, new).0;
    }
    let (old, new) = (old.nulls().0, new.nulls().0);
    // What the slot of a null holds does not count.
    DirtyMask((differing & !(old | new)) | ((old ^ new) & schema.all().0))
}

/// Apart, because many tables have no such columns.
#[inline(never)]
fn differing_among(columns: DirtyMask, old: RowView<'_>, new: RowView<'_>) -> DirtyMask {
    let mut differing = DirtyMask::EMPTY;
    for index in columns.columns() {
        differing.set(index, differs(new.schema().slot(index), old, new));
    }
    differing
}

/// Whether the bytes of a column differ, null or not. Equal values have equal bytes, so there is no need to know the type,
/// except where the bytes are elsewhere.
#[inline]
fn differs(slot: Slot, old: RowView<'_>, new: RowView<'_>) -> bool {
    if matches!(slot.kind, ColumnType::String(_)) {
        return old.text_bytes(slot) != new.text_bytes(slot);
    }
    let range = slot.offset as usize..slot.end as usize;
    old.bytes()[range.clone()] != new.bytes()[range]
}

/// Every column of a table: the mask of a whole row.
#[inline]
pub fn all_columns(schema: &Schema) -> DirtyMask {
    DirtyMask(schema.all().0)
}

/// Appends the columns of `row` in `mask` to `out`. Columns that the schema does not have are left out.
pub fn encode(schema: &Schema, row: RowView<'_>, mask: DirtyMask, out: &mut Vec<u8>) {
    let mask = DirtyMask(mask.0 & all_columns(schema).0);
    let nulls = NullMask(row.nulls().0 & mask.0);
    if let Ok(byte @ ..0x80) = u8::try_from(mask.0) {
        // Both at once: the nulls are among the columns.
        out.extend_from_slice(&[byte, nulls.0.to_le_bytes()[0]]);
    } else {
        put_varint(mask.0, out);
        put_varint(nulls.0, out);
    }
    let mut rest = DirtyMask(mask.0 & !nulls.0);
    while !rest.is_empty() {
        let first = rest.0.trailing_zeros() as usize;
        let last = schema.end_of_run(first, rest);
        if first == last {
            put_column(row, first, out);
        } else {
            let range = schema.offset(first)..schema.slot(last).end as usize;
            out.extend_from_slice(&row.bytes()[range]);
        }
        rest = DirtyMask(rest.0 & (u64::MAX << last << 1));
    }
}

/// Appends column `index` of `row`, which is not null, as [`put_value`] appends what the view gives out for it, but
/// without making a value of the bytes where they are what is wanted.
#[inline]
fn put_column(row: RowView<'_>, index: usize, out: &mut Vec<u8>) {
    let slot = row.schema().slot(index);
    let at = slot.offset as usize;
    match slot.kind {
        ColumnType::I16 => out.extend_from_slice(&array_at::<2>(row.bytes(), at)),
        ColumnType::I32 | ColumnType::F32 => out.extend_from_slice(&array_at::<4>(row.bytes(), at)),
        ColumnType::I64 | ColumnType::F64 | ColumnType::Timestamp | ColumnType::TimestampMicros => {
            out.extend_from_slice(&array_at::<8>(row.bytes(), at));
        }
        ColumnType::Mac => out.extend_from_slice(&array_at::<6>(row.bytes(), at)),
        ColumnType::FixedString(_) | ColumnType::String(_) => {
            put_text(valid_bytes(row.text_bytes(slot)), out);
        }
        // Not every byte or number in their slots can be such a value, and what cannot must not get into the log.
        ColumnType::Bool | ColumnType::Char | ColumnType::Inet => put_value(row.get(index), out),
    }
}

#[inline]
fn put_text(text: &[u8], out: &mut Vec<u8>) {
    put_varint(text.len() as u64, out);
    out.extend_from_slice(text);
}

/// Appends the columns in `mask` with the values that `value_of` gives, each checked as the door of an image would.
pub(super) fn encode_values<'v>(
    schema: &Schema,
    mask: DirtyMask,
    value_of: impl Fn(usize) -> Value<'v>,
    out: &mut Vec<u8>,
) -> Result<(), RowError> {
    let mut nulls = NullMask::EMPTY;
    for index in mask.columns() {
        nulls.set(index, value_of(index).is_null());
    }
    put_varint(mask.0, out);
    put_varint(nulls.0, out);
    for index in mask.columns() {
        put_value(schema.accept(index, value_of(index))?, out);
    }
    Ok(())
}

fn put_value(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Bool(flag) => out.push(u8::from(flag)),
        Value::I16(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::I32(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::I64(number) | Value::Timestamp(number) | Value::TimestampMicros(number) => {
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::F32(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::F64(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::Char(letter) => out.extend_from_slice(&u32::from(letter).to_le_bytes()),
        Value::Mac(octets) => out.extend_from_slice(&octets),
        Value::Inet(address) => {
            let stored = inet_bytes(address);
            out.extend_from_slice(if address.is_ipv4() { &stored[..5] } else { &stored });
        }
        Value::Str(text) => put_text(text.as_bytes(), out),
    }
}

/// Appends the key of `row` alone to `out`: a delete.
pub fn encode_key(schema: &Schema, row: RowView<'_>, out: &mut Vec<u8>) {
    encode(schema, row, DirtyMask::of(schema.key_index()), out);
}

/// The columns that the delta at the start of `bytes` holds.
///
/// # Errors
/// [`RowError::Truncated`] or [`RowError::Corrupt`].
pub fn mask(bytes: &[u8]) -> Result<DirtyMask, RowError> {
    Reader::new("delta", bytes).varint().map(DirtyMask)
}

/// The key in the delta at the start of `bytes`; `None` when it holds none.
///
/// # Errors
/// [`RowError::Truncated`] or [`RowError::Corrupt`].
pub fn key<'a>(schema: &Schema, bytes: &'a [u8]) -> Result<Option<Value<'a>>, RowError> {
    let mut values = Values::new(schema, bytes)?;
    while let Some((index, value)) = values.next()? {
        if index == schema.key_index() {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Puts the columns of the delta at the start of `bytes` into `image`, and returns how many bytes it took.
///
/// # Errors
/// [`RowError::Truncated`] or [`RowError::Corrupt`] for bytes that are no delta, and what [`RowImage::set`] reports for
/// values that the columns do not take. Columns before the bad one are set then.
pub fn decode_into(schema: &Schema, bytes: &[u8], image: &mut RowImage) -> Result<usize, RowError> {
    for_each(schema, bytes, |index, value| image.set(schema, index, value))
}

/// Hands each column of the delta at the start of `bytes` to `accept`, and returns how many bytes it took.
pub(super) fn for_each(
    schema: &Schema,
    bytes: &[u8],
    mut accept: impl FnMut(usize, Value<'_>) -> Result<(), RowError>,
) -> Result<usize, RowError> {
    let mut values = Values::new(schema, bytes)?;
    while let Some((index, value)) = values.next()? {
        accept(index, value)?;
    }
    Ok(values.reader.at())
}

/// The columns and values of a delta.
struct Values<'s, 'a> {
    schema: &'s Schema,
    reader: Reader<'a>,
    rest: DirtyMask,
    nulls: NullMask,
}

impl<'s, 'a> Values<'s, 'a> {
    fn new(schema: &'s Schema, bytes: &'a [u8]) -> Result<Self, RowError> {
        let mut reader = Reader::new("delta", bytes);
        let rest = DirtyMask(reader.varint()?);
        if rest.0 & !schema.all().0 != 0 {
            return Err(reader.corrupt("a column that the table does not have"));
        }
        let nulls = NullMask(reader.varint()?);
        if nulls.0 & !rest.0 != 0 {
            return Err(reader.corrupt("null in a column that is not there"));
        }
        Ok(Self { schema, reader, rest, nulls })
    }

    fn next(&mut self) -> Result<Option<(usize, Value<'a>)>, RowError> {
        let Some(index) = self.rest.columns().next() else { return Ok(None) };
        self.rest = self.rest.without(index);
        if self.nulls.contains(index) {
            return Ok(Some((index, Value::Null)));
        }
        let value = take_value(&mut self.reader, self.schema.slot(index).kind)?;
        Ok(Some((index, value)))
    }
}

fn take_value<'a>(reader: &mut Reader<'a>, kind: ColumnType) -> Result<Value<'a>, RowError> {
    Ok(match kind {
        ColumnType::Bool => match reader.array()? {
            [byte @ (0 | 1)] => Value::Bool(byte == 1),
            _ => return Err(reader.corrupt("neither true nor false")),
        },
        ColumnType::I16 => Value::I16(i16::from_le_bytes(reader.array()?)),
        ColumnType::I32 => Value::I32(i32::from_le_bytes(reader.array()?)),
        ColumnType::I64 => Value::I64(i64::from_le_bytes(reader.array()?)),
        ColumnType::F32 => Value::F32(f32::from_le_bytes(reader.array()?)),
        ColumnType::F64 => Value::F64(f64::from_le_bytes(reader.array()?)),
        ColumnType::Timestamp => Value::Timestamp(i64::from_le_bytes(reader.array()?)),
        ColumnType::TimestampMicros => Value::TimestampMicros(i64::from_le_bytes(reader.array()?)),
        ColumnType::Mac => Value::Mac(reader.array()?),
        ColumnType::Char => match char::from_u32(u32::from_le_bytes(reader.array()?)) {
            Some(letter) => Value::Char(letter),
            None => return Err(reader.corrupt("not a character")),
        },
        ColumnType::Inet => Value::Inet(take_inet(reader)?),
        ColumnType::FixedString(_) | ColumnType::String(_) => {
            let length = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
            let text = reader.take(length)?;
            Value::Str(std::str::from_utf8(text).map_err(|_| reader.corrupt("text that is no UTF-8"))?)
        }
    })
}

fn take_inet(reader: &mut Reader<'_>) -> Result<IpAddr, RowError> {
    match reader.array()? {
        [4] => Ok(IpAddr::V4(Ipv4Addr::from(reader.array::<4>()?))),
        [6] => Ok(IpAddr::V6(Ipv6Addr::from(array_at::<16>(reader.take(16)?, 0)))),
        _ => Err(reader.corrupt("not an address")),
    }
}

#[cfg(test)]
mod tests;
