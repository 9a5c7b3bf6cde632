//! From a record of the log to what it has done to rows.
//!
//! Rules       F7: a transaction's operations on a row become one change, from the image logged before it (F2 of `txn::watched`) to what the last
//!             operation leaves. A row that is as it was, or was never seen outside the transaction, has not changed. F8: where the image before is
//!             missing of a row that is changed or deleted, nothing of its table is told of that transaction but that this is so: half a transaction is
//!             not delivered, nor one with old values that are not the row's. A damaged record is refused whole.

#![forbid(unsafe_code)]

use super::change::RowImages;
use crate::index::key;
use crate::row::{Copies, RowImage, RowView, Schema, delta};
use crate::txn::{RedoOp, RedoReader, TxnError, image_before};
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
    altered: Vec<(u32, Arc<Schema>)>,
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
        self.altered.clear();
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
            if let RedoOp::Before(body) = operation {
                let image = image_before(body).ok_or_else(|| bad("no image of a row"))?;
                let copies = Copies::default();
                let view = copies.view(&schema, image)?;
                view.check()?;
                let row = self.row(table, &schema, view.key());
                row.old = Some(view.bytes().into());
                row.new = Some(view.bytes().into());
            }
        }
        for operation in operations() {
            let (table, schema, operation) = operation?;
            if let RedoOp::Alter(bytes) = operation {
                // In a transaction of its own (J5 of `txn::alter`): it is for what comes after it.
                self.altered.push((table, Arc::new(Schema::from_bytes(bytes)?)));
            }
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

    /// The tables to which the last transaction read has added columns, of those that are known, and what they are since.
    pub(crate) fn altered(&self) -> &[(u32, Arc<Schema>)] {
        &self.altered
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
    image.lift_limit(); // J10 of `row::stored`
    delta::decode_into(schema, delta, &mut image)?;
    image.finish(schema)?;
    Ok(image.bytes().into())
}
