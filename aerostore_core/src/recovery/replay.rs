//! Cold start: what the log holds, put into an empty arena.

#![forbid(unsafe_code)]

use crate::row::{IndexSpec, RowError, RowImage, Schema, delta};
use crate::sys::FileSystem;
use crate::txn::{Change, RedoOp, RedoReader, Session, TableRef, TxnError};
use std::collections::HashMap;
use std::path::Path;

/// What replay did.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    /// Transactions read.
    pub transactions: u64,
    /// Newest commit timestamp.
    pub last_ts: u64,
    /// Where the log ended torn, for people to read.
    pub torn: Option<String>,
}

struct Target {
    table: TableRef,
    image: RowImage,
    rows: i64,
}

/// Replays the log in `dir` into the empty arena of `session`, and sets clock and log to go on from there.
///
/// # Errors
/// `Wal` for a damaged log, or one that names what it never defined; `OutOfSpace`.
pub fn replay(
    session: &mut Session,
    files: &dyn FileSystem,
    dir: &Path,
    uuid: [u8; 16],
) -> Result<Replayed, TxnError> {
    let mut targets: HashMap<u32, Target> = HashMap::new();
    let report = super::scan_log(files, dir, uuid, 0, &mut |commit_ts, redo: &[u8]| {
        apply(session, &mut targets, commit_ts, redo)
    })?;
    // Before indexes are filled: what they are looked at for is seen now.
    session.store().clock().restore(report.last_ts);
    for target in targets.values() {
        session.add_rows(&target.table, target.rows)?;
        session.load_indexes(&target.table)?;
    }
    session.store().log().start_at(report.last_ts);
    Ok(Replayed {
        transactions: report.records,
        last_ts: report.last_ts,
        torn: report.torn.map(|torn| format!("{torn:?}")),
    })
}

fn apply(
    session: &mut Session,
    targets: &mut HashMap<u32, Target>,
    commit_ts: u64,
    redo: &[u8],
) -> Result<(), TxnError> {
    for op in RedoReader::new(redo) {
        let (id, op) = op.map_err(|reason| TxnError::BadRedo { commit_ts, reason })?;
        if let RedoOp::Create(bytes) = op {
            define(session, targets, id, bytes)?;
            continue;
        }
        let target = targets
            .get_mut(&id)
            .ok_or(TxnError::BadRedo { commit_ts, reason: "a table that was never defined" })?;
        if let RedoOp::Index(definition) | RedoOp::NoIndex(definition) = op {
            let is_there = matches!(op, RedoOp::Index(_));
            define_index(session, &target.table, definition, is_there).map_err(|error| {
                error.unwrap_or(TxnError::BadRedo { commit_ts, reason: "an index that there cannot be" })
            })?;
            continue;
        }
        target.rows += apply_row(session, target, commit_ts, op)?;
    }
    Ok(())
}

fn define(
    session: &mut Session,
    targets: &mut HashMap<u32, Target>,
    id: u32,
    bytes: &[u8],
) -> Result<(), TxnError> {
    let schema = Schema::from_bytes(bytes)?;
    session.store().catalog().reserve_id(id);
    let table = session.link_table(id, &schema)?;
    let image = RowImage::new(&schema);
    targets.insert(id, Target { table, image, rows: 0 });
    Ok(())
}

fn define_index(
    session: &mut Session,
    table: &TableRef,
    definition: &[u8],
    is_there: bool,
) -> Result<(), Option<TxnError>> {
    let (column, spec) = match *definition {
        // As it was before there were promises.
        [column] => (column, IndexSpec::default()),
        [column, spec] => (column, IndexSpec::from_word(spec).ok_or(None)?),
        _ => return Err(None),
    };
    let column = usize::from(column);
    if column >= table.schema().columns().len() {
        return Err(None);
    }
    Ok(session.load_index_definition(table, column, is_there.then_some(spec))?)
}

fn apply_row(
    session: &mut Session,
    target: &mut Target,
    commit_ts: u64,
    op: RedoOp<'_>,
) -> Result<i64, TxnError> {
    let Target { table, image, .. } = target;
    let schema = std::sync::Arc::clone(table.schema());
    let body = op.body();
    let key =
        delta::key(&schema, body)?.ok_or(TxnError::BadRedo { commit_ts, reason: "a row without its key" })?;
    session.load_row(table, key, commit_ts, image, |current, image| {
        match (op, current) {
            (RedoOp::Delete(_), _) => return Ok(Change::Delete),
            (RedoOp::Update(_), Some(row)) => image.copy_from(row),
            (RedoOp::Update(_), None) => {
                return Err(TxnError::BadRedo {
                    commit_ts,
                    reason: "an update of a row that does not exist",
                });
            }
            _ => image.reset(&schema),
        }
        let taken: Result<usize, RowError> = delta::decode_into(&schema, body, image);
        taken?;
        Ok(Change::Put)
    })
}
