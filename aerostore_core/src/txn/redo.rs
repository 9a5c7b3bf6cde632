//! The redo record of a transaction: what a log record's body holds.
//!
//! Layout      operations one after the other: kind (u8), table number (u32), body length (u32), body; little-endian.
//!             INSERT: every column (`row::delta`). UPDATE: key, then the changed columns. DELETE: key.
//!             CREATE: the schema's bytes. INDEX and NO INDEX: the column of an index (u8) and what is promised of it
//!             (`IndexSpec::word`, u8). DROP: nothing. ALTER: the bytes of a schema with more columns. BEFORE: how many columns the image of a row
//!             had (u8), and the image, as it was before the transaction (F2 of `txn::watched`).
//! Kinds       from 128 on they change nothing: who replays the log passes them over, those it does not know too. 128 was BEFORE without the columns.

#![forbid(unsafe_code)]

use crate::row::{DirtyMask, IndexSpec, MAX_COLUMNS, RowView, Schema, StoredImage, delta};
use crate::txn::TxnError;

const INSERT: u8 = 1;
const UPDATE: u8 = 2;
const DELETE: u8 = 3;
const CREATE: u8 = 4;
const INDEX: u8 = 5;
const NO_INDEX: u8 = 6;
/// The first of the kinds that change nothing.
const NOTES: u8 = 128;
const BEFORE: u8 = 129;
const DROP: u8 = 7;
const ALTER: u8 = 8;

/// One operation of a redo record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedoOp<'a> {
    /// A row appears; the delta holds every column.
    Insert(&'a [u8]),
    /// Columns of a row change; the delta holds the key and those columns.
    Update(&'a [u8]),
    /// A row goes; the delta holds its key.
    Delete(&'a [u8]),
    /// A table appears; its schema's bytes.
    Create(&'a [u8]),
    /// A table gets an index: its column, and what is promised of it.
    Index(&'a [u8]),
    /// It has that one no more.
    NoIndex(&'a [u8]),
    /// What a row that the transaction changes or deletes was before it; see [`image_before`]. Changes nothing.
    Before(&'a [u8]),
    /// The table goes, with all its rows and indexes; nothing is said of it after that.
    Drop(&'a [u8]),
    /// The table has more columns; its schema's bytes.
    Alter(&'a [u8]),
}

impl<'a> RedoOp<'a> {
    /// What it carries.
    pub fn body(self) -> &'a [u8] {
        let (Self::Insert(body)
        | Self::Update(body)
        | Self::Delete(body)
        | Self::Create(body)
        | Self::Index(body)
        | Self::NoIndex(body)
        | Self::Drop(body)
        | Self::Alter(body)
        | Self::Before(body)) = self;
        body
    }
}

fn append(redo: &mut Vec<u8>, kind: u8, table: u32, body: impl FnOnce(&mut Vec<u8>)) -> Result<(), TxnError> {
    let start = redo.len();
    let [t0, t1, t2, t3] = table.to_le_bytes();
    redo.extend_from_slice(&[kind, t0, t1, t2, t3, 0, 0, 0, 0]);
    let body_start = redo.len();
    body(redo);
    let bytes = (redo.len() - body_start) as u64;
    let Ok(length) = u32::try_from(bytes) else {
        redo.truncate(start);
        return Err(TxnError::TooLarge { bytes, limit: u64::from(u32::MAX) });
    };
    redo[body_start - 4..body_start].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// A row appears.
pub(super) fn insert(
    redo: &mut Vec<u8>,
    table: u32,
    schema: &Schema,
    row: RowView<'_>,
) -> Result<(), TxnError> {
    append(redo, INSERT, table, |out| {
        delta::encode(schema, row, delta::all_columns(schema), out);
    })
}

/// Columns of a row change.
pub(super) fn update(
    redo: &mut Vec<u8>,
    table: u32,
    schema: &Schema,
    row: RowView<'_>,
    changed: DirtyMask,
) -> Result<(), TxnError> {
    append(redo, UPDATE, table, |out| delta::encode(schema, row, changed.with(schema.key_index()), out))
}

/// A row goes.
pub(super) fn delete(
    redo: &mut Vec<u8>,
    table: u32,
    schema: &Schema,
    row: RowView<'_>,
) -> Result<(), TxnError> {
    append(redo, DELETE, table, |out| {
        delta::encode(schema, row, DirtyMask::default().with(schema.key_index()), out);
    })
}

/// A table appears.
pub(super) fn create(redo: &mut Vec<u8>, table: u32, schema: &[u8]) -> Result<(), TxnError> {
    append(redo, CREATE, table, |out| out.extend_from_slice(schema))
}

/// A table gets columns; `schema` has those that it had, and them.
pub(super) fn alter(redo: &mut Vec<u8>, table: u32, schema: &[u8]) -> Result<(), TxnError> {
    append(redo, ALTER, table, |out| out.extend_from_slice(schema))
}

/// A table goes.
pub(super) fn drop_table(redo: &mut Vec<u8>, table: u32) -> Result<(), TxnError> {
    append(redo, DROP, table, |_| ())
}

/// A table gets an index on a column, or loses it.
pub(super) fn index(
    redo: &mut Vec<u8>,
    table: u32,
    column: u8,
    spec: IndexSpec,
    is_there: bool,
) -> Result<(), TxnError> {
    append(redo, if is_there { INDEX } else { NO_INDEX }, table, |out| out.extend([column, spec.word()]))
}

/// The column of an index that a record defines, or says is gone, and what is promised of it.
pub fn index_definition(body: &[u8]) -> Option<(u8, IndexSpec)> {
    match *body {
        // As it was before there were promises.
        [column] => Some((column, IndexSpec::default())),
        [column, spec] => Some((column, IndexSpec::from_word(spec)?)),
        _ => None,
    }
}

/// What a row was before the transaction.
pub(super) fn before(redo: &mut Vec<u8>, table: u32, image: StoredImage<'_>) -> Result<(), TxnError> {
    append(redo, BEFORE, table, |out| {
        out.push(u8::try_from(image.columns()).unwrap_or(0)); // at most 64
        out.extend_from_slice(image.bytes());
    })
}

/// The image in what a record says of a row as it was.
pub fn image_before(body: &[u8]) -> Option<StoredImage<'_>> {
    let (columns, bytes) = body.split_first()?;
    (1..=MAX_COLUMNS).contains(&usize::from(*columns)).then(|| StoredImage::new(bytes, (*columns).into()))
}

/// An operation's kind, table and body.
type RawOperation<'a> = (u8, u32, &'a [u8]);

/// Reads the operations of a redo record.
pub struct RedoReader<'a> {
    rest: &'a [u8],
}

impl<'a> RedoReader<'a> {
    /// Reads `redo` from its beginning.
    pub fn new(redo: &'a [u8]) -> Self {
        Self { rest: redo }
    }

    /// The next operation, of whatever kind.
    fn split(&mut self) -> Option<Result<RawOperation<'a>, &'static str>> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        let Some((head, rest)) = rest.split_first_chunk::<9>() else {
            return Some(Err("an operation's header is cut off"));
        };
        let table = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
        let length = u32::from_le_bytes([head[5], head[6], head[7], head[8]]);
        let Some((body, rest)) =
            usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length))
        else {
            return Some(Err("an operation's body is cut off"));
        };
        self.rest = rest;
        Some(Ok((head[0], table, body)))
    }
}

impl<'a> Iterator for RedoReader<'a> {
    /// Table number and operation, or what is wrong.
    type Item = Result<(u32, RedoOp<'a>), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, table, body) = loop {
            match self.split()? {
                Ok((kind, ..)) if kind >= NOTES && kind != BEFORE => {}
                Ok(operation) => break operation,
                Err(reason) => return Some(Err(reason)),
            }
        };
        Some(match kind {
            INSERT => Ok((table, RedoOp::Insert(body))),
            UPDATE => Ok((table, RedoOp::Update(body))),
            DELETE => Ok((table, RedoOp::Delete(body))),
            CREATE => Ok((table, RedoOp::Create(body))),
            INDEX => Ok((table, RedoOp::Index(body))),
            NO_INDEX => Ok((table, RedoOp::NoIndex(body))),
            BEFORE => Ok((table, RedoOp::Before(body))),
            DROP => Ok((table, RedoOp::Drop(body))),
            ALTER => Ok((table, RedoOp::Alter(body))),
            _ => Err("an operation of an unknown kind"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_changes_nothing_is_passed_over_and_another_is_refused() {
        let mut redo = Vec::new();
        append(&mut redo, 200, 7, |out| out.extend_from_slice(b"of a later version")).unwrap();
        before(&mut redo, 7, StoredImage::new(b"old", 2)).unwrap();
        let read: Vec<_> = RedoReader::new(&redo).collect();
        assert_eq!(read, [Ok((7, RedoOp::Before(b"\x02old")))]);
        append(&mut redo, 100, 7, |_| ()).unwrap();
        assert_eq!(RedoReader::new(&redo).last(), Some(Err("an operation of an unknown kind")));
    }
}
