//! From a record of the log to what it has done to rows.
//!
//! Rules       F7: a transaction's operations on a row become one change, from the image logged before it (F2 of `txn::watched`) to what the last
//!             operation leaves. A row that is as it was, or was never seen outside the transaction, has not changed. F8: where the image before is
//!             missing of a row that is changed or deleted, nothing of its table is told of that transaction but that this is so: half a transaction is
//!             not delivered, nor one with old values that are not the row's. A damaged record is refused whole.

#![forbid(unsafe_code)]

use super::change::RowImages;
use crate::index::key;
use crate::row::{RowImage, RowView, Schema, delta};
use crate::txn::{RedoOp, RedoReader, TxnError};
use std::collections::HashMap;
use std::sync::Arc;

/// Reads records; its memory serves the next one.
#[derive(Default)]
pub(crate) struct RowChanges {
    rows: Vec<Row>,
    /// Table and key to the place in `rows`.
    places: HashMap<(u32, Vec<u8>), usize, foldhash::fast::RandomState>,
    key: Vec<u8>,
    incomplete: Vec<u32>,
}

struct Row {
    table: u32,
    schema: Arc<Schema>,
    old: Option<Box<[u8]>>,
    new: Option<Box<[u8]>>,
}

impl RowChanges {
    /// The changes that the redo of one transaction makes to rows of tables that `schema_of` knows, with the table of each.
    ///
    /// # Errors
    /// `BadRedo`, `Row`: damage.
    pub(crate) fn read(
        &mut self,
        commit_ts: u64,
        redo: &[u8],
        schema_of: impl Fn(u32) -> Option<Arc<Schema>>,
    ) -> Result<Vec<(u32, Arc<RowImages>)>, TxnError> {
        self.rows.clear();
        self.places.clear();
        self.incomplete.clear();
        let bad = |reason| TxnError::BadRedo { commit_ts, reason };
        let operations = || {
            RedoReader::new(redo).filter_map(|operation| match operation {
                Ok((id, operation)) => schema_of(id).map(|schema| Ok((id, schema, operation))),
                Err(reason) => Some(Err(bad(reason))),
            })
        };
        // The images from before come last.
        for operation in operations() {
            let (table, schema, operation) = operation?;
            if let RedoOp::Before(image) = operation {
                let view = RowView::new(&schema, image)?;
                view.check()?;
                let row = self.row(table, &schema, view.key());
                row.old = Some(image.into());
                row.new = Some(image.into());
            }
        }
        for operation in operations() {
            let (table, schema, operation) = operation?;
            let (RedoOp::Insert(body) | RedoOp::Update(body) | RedoOp::Delete(body)) = operation else {
                continue;
            };
            let key = delta::key(&schema, body)?.ok_or_else(|| bad("a row without its key"))?;
            let row = self.row(table, &schema, key);
            row.new = match (operation, row.new.as_deref()) {
                (RedoOp::Insert(_), _) => Some(decoded(&schema, RowImage::new(&schema), body)?),
                (_, None) => {
                    if !self.incomplete.contains(&table) {
                        self.incomplete.push(table);
                    }
                    continue;
                }
                (RedoOp::Delete(_), Some(_)) => None,
                (_, Some(new)) => {
                    let image = RowImage::from_view(RowView::new(&schema, new)?);
                    Some(decoded(&schema, image, body)?)
                }
            };
        }
        let rows = self.rows.drain(..).filter(|row| !self.incomplete.contains(&row.table));
        rows.filter_map(|row| row.change().transpose()).collect()
    }

    /// The tables of which the last transaction read has changed more than can be told (F8).
    pub(crate) fn incomplete(&self) -> &[u32] {
        &self.incomplete
    }

    fn row(&mut self, table: u32, schema: &Arc<Schema>, key: crate::row::Value<'_>) -> &mut Row {
        self.key.clear();
        key::key_bytes(key, &mut self.key);
        let place = *self.places.entry((table, self.key.clone())).or_insert_with(|| {
            self.rows.push(Row { table, schema: Arc::clone(schema), old: None, new: None });
            self.rows.len() - 1
        });
        &mut self.rows[place]
    }
}

impl Row {
    fn change(self) -> Result<Option<(u32, Arc<RowImages>)>, TxnError> {
        let Self { table, schema, old, new } = self;
        let changed = match (&old, &new) {
            (None, None) => return Ok(None),
            (Some(old), Some(new)) => {
                delta::changed(&schema, RowView::new(&schema, old)?, RowView::new(&schema, new)?)
            }
            _ => delta::all_columns(&schema),
        };
        Ok((!changed.is_empty()).then(|| (table, Arc::new(RowImages { schema, old, new, changed }))))
    }
}

/// The image with the columns of a delta.
fn decoded(schema: &Schema, mut image: RowImage, delta: &[u8]) -> Result<Box<[u8]>, TxnError> {
    delta::decode_into(schema, delta, &mut image)?;
    image.finish(schema)?;
    Ok(image.bytes().into())
}
