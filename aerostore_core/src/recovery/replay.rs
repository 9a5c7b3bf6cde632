//! Replaying the log: its records are read by one thread and applied by several.
//!
//! Rules       Q1: all that is done to the rows of one key is done by one session, in the order of the log: by the key's hash. So every row
//!             ends as the last record about it says, and no session waits for another. Q2: definitions of tables and indexes
//!             are applied between what comes before them and what follows. Q3: whatever is applied twice has happened once: a
//!             table that is there, or is dropped, or has those columns, an index that is there, or is not any more.

#![forbid(unsafe_code)]

use super::crew::Crew;
use super::load::Tables;
use crate::checkpoint::CheckpointError;
use crate::row::{IndexSpec, RowImage, Schema, delta};
use crate::txn::{Change, RedoOp, RedoReader, Session, TableRef, TxnError, index_definition, key_hash};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes of redo that are handed over at once.
const BATCH_BYTES: usize = 256 << 10;
/// Operations whose rows are fetched together.
const OPERATIONS_AHEAD: usize = 16;
/// Batches that may wait for a session.
const BATCHES_AHEAD: usize = 4;

/// One operation on a row.
struct Operation {
    commit_ts: u64,
    table: u32,
    kind: Kind,
    /// Of its key.
    hash: u64,
    /// Where its body begins in the batch, and its length.
    start: usize,
    length: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Insert,
    Update,
    Delete,
}

/// Operations on their way to a session.
#[derive(Default)]
struct Batch {
    operations: Vec<Operation>,
    bytes: Vec<u8>,
    /// The tables there are, if that has changed.
    tables: Option<Arc<Tables>>,
    /// Who waits until this is done.
    done: Option<SyncSender<()>>,
}

/// A replay that is running.
pub(super) struct Replay<'r> {
    session: &'r mut Session,
    tables: &'r mut Tables,
    lanes: Vec<Lane>,
    key: Vec<u8>,
}

/// What goes to one session.
struct Lane {
    batch: Batch,
    /// `None` once the session has failed.
    sender: Option<SyncSender<Batch>>,
}

impl<'r> Replay<'r> {
    /// On top of those tables; `session` makes tables and indexes.
    pub(super) fn new(session: &'r mut Session, tables: &'r mut Tables) -> Self {
        Self { session, tables, lanes: Vec::new(), key: Vec::new() }
    }

    /// Lets `read` hand records over, and applies them by the sessions of `crew`.
    pub(super) fn run<R>(
        mut self,
        crew: &mut Crew,
        read: impl FnOnce(&mut Self) -> Result<R, CheckpointError>,
    ) -> Result<R, CheckpointError> {
        let known = Arc::new(self.tables.clone());
        // By value: should this panic, the lanes go, and with them what the threads wait for.
        std::thread::scope(move |scope| {
            let mut threads = Vec::new();
            for session in crew.sessions() {
                let (sender, receiver) = sync_channel(BATCHES_AHEAD);
                let batch = Batch { tables: Some(Arc::clone(&known)), ..Batch::default() };
                self.lanes.push(Lane { batch, sender: Some(sender) });
                threads.push(scope.spawn(move || Applier::default().run(session, &receiver)));
            }
            let read = read(&mut self).and_then(|read| self.send_all().map(|()| read));
            self.lanes.clear();
            let mut rows: ByRoot<i64> = ByRoot::default();
            let mut applied = Ok(());
            for thread in threads {
                match thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                    Ok(changes) => changes.iter().for_each(|(root, rows_gained)| {
                        *rows.entry(*root).or_default() += rows_gained;
                    }),
                    Err(error) => applied = applied.and(Err(error)),
                }
            }
            // Whoever could not hand over knows less of why than the one it was for.
            applied?;
            for table in self.tables.values() {
                if let Some(gained) = rows.get(&table.root_offset()) {
                    self.session.add_rows(table, *gained)?;
                }
            }
            read
        })
    }

    /// Takes the record of one transaction.
    pub(super) fn record(&mut self, commit_ts: u64, redo: &[u8]) -> Result<(), CheckpointError> {
        let bad = |reason| TxnError::BadRedo { commit_ts, reason };
        for operation in RedoReader::new(redo) {
            let (id, operation) = operation.map_err(bad)?;
            let kind = match operation {
                RedoOp::Insert(_) => Kind::Insert,
                RedoOp::Update(_) => Kind::Update,
                RedoOp::Delete(_) => Kind::Delete,
                RedoOp::Before(_) => continue,
                RedoOp::Create(_)
                | RedoOp::Alter(_)
                | RedoOp::Index(_)
                | RedoOp::NoIndex(_)
                | RedoOp::Drop(_) => {
                    self.define(commit_ts, id, operation)?;
                    continue;
                }
            };
            let table = self.tables.get(&id).ok_or_else(|| bad(NO_TABLE))?;
            let key = delta::key(table.schema(), operation.body()).map_err(TxnError::from)?;
            let hash = key_hash(key.ok_or_else(|| bad("a row without its key"))?, &mut self.key);
            // Not the bits that the key hash's slots are chosen by: any will do, as long as they are always the same.
            let lane = usize::try_from(hash >> 32).unwrap_or(0) % self.lanes.len();
            let batch = &mut self.lanes[lane].batch;
            let (start, length) = (batch.bytes.len(), operation.body().len());
            batch.bytes.extend_from_slice(operation.body());
            batch.operations.push(Operation { commit_ts, table: id, kind, hash, start, length });
            if batch.bytes.len() >= BATCH_BYTES {
                self.lanes[lane].send()?;
            }
        }
        Ok(())
    }

    /// Q2.
    fn define(&mut self, commit_ts: u64, id: u32, operation: RedoOp<'_>) -> Result<(), CheckpointError> {
        self.settle()?;
        let bad = |reason| TxnError::BadRedo { commit_ts, reason };
        if let RedoOp::Create(bytes) = operation {
            let schema = Schema::from_bytes(bytes)?;
            let table = self.session.load_table(id, &schema)?;
            self.tables.insert(id, table);
            self.tell_tables();
            return Ok(());
        }
        if let RedoOp::Drop(_) = operation {
            // If it is not there, that is said twice (Q3), and perhaps before the checkpoint too.
            if let Some(table) = self.tables.remove(&id) {
                self.session.load_drop(&table, commit_ts)?;
                self.tell_tables();
            }
            return Ok(());
        }
        let table = self.tables.get(&id).ok_or_else(|| bad(NO_TABLE))?;
        if let RedoOp::Alter(bytes) = operation {
            let schema = Schema::from_bytes(bytes)?;
            let table = self.session.load_alteration(table, &schema)?;
            self.tables.insert(id, table);
            self.tell_tables();
            return Ok(());
        }
        let is_there = matches!(operation, RedoOp::Index(_));
        let (column, spec) =
            index_of(table, operation.body()).ok_or_else(|| bad("an index that there cannot be"))?;
        self.session.load_index_definition(table, column, is_there.then_some(spec))?;
        Ok(())
    }

    /// Lets the sessions know what tables there are.
    fn tell_tables(&mut self) {
        let known = Arc::new(self.tables.clone());
        self.lanes.iter_mut().for_each(|lane| lane.batch.tables = Some(Arc::clone(&known)));
    }

    /// Waits until everything handed over is applied.
    fn settle(&mut self) -> Result<(), CheckpointError> {
        let (sender, receiver) = sync_channel(self.lanes.len());
        for lane in &mut self.lanes {
            lane.batch.done = Some(sender.clone());
            lane.send()?;
        }
        drop(sender);
        // One that fails ends without a word; whoever hands over to it next learns that.
        self.lanes.iter().try_for_each(|_| receiver.recv()).map_err(|_| CheckpointError::Cancelled)
    }

    fn send_all(&mut self) -> Result<(), CheckpointError> {
        self.lanes.iter_mut().try_for_each(Lane::send)
    }
}

const NO_TABLE: &str = "a table that was never defined";

/// The column of an index that a record defines, and what is promised of it.
fn index_of(table: &TableRef, definition: &[u8]) -> Option<(usize, IndexSpec)> {
    let (column, spec) = index_definition(definition)?;
    let column = usize::from(column);
    (column < table.schema().columns().len()).then_some((column, spec))
}

impl Lane {
    /// Hands the batch over. `Cancelled` when its session has failed: that one's error is the one to be told.
    fn send(&mut self) -> Result<(), CheckpointError> {
        let batch = std::mem::take(&mut self.batch);
        match &self.sender {
            Some(sender) => sender.send(batch).map_err(|_| CheckpointError::Cancelled),
            None => Err(CheckpointError::Cancelled),
        }
    }
}

/// By the roots of tables: of those that are dropped another may have the number.
type ByRoot<T> = HashMap<u64, T, foldhash::fast::FixedState>;

/// A session that applies what is handed to it.
#[derive(Default)]
struct Applier {
    tables: Arc<Tables>,
    images: ByRoot<RowImage>,
    rows: ByRoot<i64>,
}

impl Applier {
    /// Applies batches until there are no more; rows gained, by table.
    fn run(
        mut self,
        session: &mut Session,
        batches: &Receiver<Batch>,
    ) -> Result<ByRoot<i64>, CheckpointError> {
        for batch in batches {
            if let Some(tables) = batch.tables {
                self.tables = tables;
            }
            for group in batch.operations.chunks(OPERATIONS_AHEAD) {
                let tables = &self.tables;
                let keys = group.iter().filter_map(|ahead| Some((tables.get(&ahead.table)?, ahead.hash)));
                session.look_ahead(keys)?;
                for operation in group {
                    let body = &batch.bytes[operation.start..operation.start + operation.length];
                    self.apply(session, operation, body)?;
                }
            }
            if let Some(done) = batch.done {
                // Nobody is left to be told when the replay has failed elsewhere.
                let _ = done.send(());
            }
        }
        Ok(self.rows)
    }

    fn apply(
        &mut self,
        session: &mut Session,
        operation: &Operation,
        body: &[u8],
    ) -> Result<(), CheckpointError> {
        let Self { tables, images, rows } = self;
        let Operation { commit_ts, kind, .. } = *operation;
        let bad = |reason| TxnError::BadRedo { commit_ts, reason };
        let table = tables.get(&operation.table).ok_or_else(|| bad(NO_TABLE))?;
        let schema = table.schema();
        let image = images.entry(table.root_offset()).or_insert_with(|| RowImage::new(schema));
        let key = delta::key(schema, body).map_err(TxnError::from)?;
        let key = key.ok_or_else(|| bad("a row without its key"))?;
        let gained = session.load_row(table, key, commit_ts, image, |current, image| {
            match (kind, current) {
                (Kind::Delete, _) => return Ok(Change::Delete),
                (Kind::Update, Some(row)) => image.copy_from(row),
                (Kind::Update, None) => return Err(bad("an update of a row that does not exist")),
                (Kind::Insert, _) => image.reset(schema),
            }
            image.lift_limit(); // J10 of `row::stored`
            delta::decode_into(schema, body, image)?;
            Ok(Change::Put)
        })?;
        if gained != 0 {
            *rows.entry(table.root_offset()).or_default() += gained;
        }
        Ok(())
    }
}
