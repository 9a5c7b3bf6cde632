//! A process is killed, or stopped, at the n-th point of an operation while two peers go on; then what it left is checked.
//!
//! Shape       the victim is this test binary again, so it dies (SIGKILL) or stands still (SIGSTOP) indeed, at a point before or
//!             after a change of shared memory (see `sync::fault`). The peers are threads of the parent that move money between
//!             accounts, or lock the rows that the victim locks. After each death they pause, and `verify` and the operation's
//!             own promise are checked. While somebody stands still, the peers must make progress and the parent changes the
//!             very rows that the victim is at; then the victim goes on and must come to its end, by success or by an error
//!             that is worth a retry.
//! Length      `AEROSTORE_FAULT_STRIDE`: every how manyth point is tried by a kill, `AEROSTORE_STOP_STRIDE`: by a stop; default:
//!             so many that an operation has some sixty kills and a few stops. 1 is the long form. Which ones are left out
//!             changes with the operation's own length, and for stops with the process.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests")]

mod victim;
mod world;

use crate::db::{Database, Error, Table, Transaction, TxnOptions};
use crate::row::{Column, ColumnType, Schema, Value};
use std::path::Path;
use std::time::Duration;
use world::World;

pub(super) use world::{Watchdog, stands_still};

const ROLE: &str = "AEROSTORE_FAULT_VICTIM";
const ACCOUNTS: u64 = 4;
const BALANCE: i64 = 1000;
/// Victims that one database serves, so that checking it stays quick.
const VICTIMS_PER_WORLD: u32 = 16;
/// Points of an operation that the short form tries by a kill.
const SHORT_KILLS: u64 = 60;
/// And by a stop, which takes as long as the others need to see that somebody stands still.
const SHORT_STOPS: u64 = 6;
/// Rows that fill the first table of a key index up to the last before it grows.
const ROWS_BEFORE_GROWTH: u32 = 716;
/// Rows that are inserted while it grows: enough to move all of it.
const ROWS_AFTER: u32 = 10;
/// Between two transactions of a peer.
const PAUSE: Duration = Duration::from_micros(300);
/// The same while somebody may stand still for seconds.
const LONG_PAUSE: Duration = Duration::from_millis(3);
/// More redo than the small log ring takes.
const BIG_ROWS: u32 = 60;
/// How often a victim takes the lock that its peers want too.
const LOCK_ROUNDS: i64 = 3;
/// What the parent writes to the rows of a victim that stands still.
const OVERWRITTEN: i64 = 1 << 41;

/// The column whose index is made and dropped; everything else changes one that has an index.
const SPARE: usize = 2;
/// The column that is added.
const ADDED: usize = 3;

fn added(name: &str) -> Column {
    Column::new(name, ColumnType::I64).default(0_i64)
}

/// What the victim is doing when it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Insert,
    Update,
    Delete,
    Abort,
    Savepoints,
    Lock,
    Batch,
    Retry,
    CommitWithLog,
    CommitOutOfLine,
    Prune,
    PruneBetween,
    CreateTable,
    AddColumns,
    MakeIndex,
    MakeUnique,
    DropIndex,
    IndexGrowth,
    Attach,
    Reap,
}

impl Operation {
    fn all() -> [Self; 20] {
        use Operation::*;
        [
            Insert,
            Update,
            Delete,
            Abort,
            Savepoints,
            Lock,
            Batch,
            Retry,
            CommitWithLog,
            CommitOutOfLine,
            Prune,
            PruneBetween,
            CreateTable,
            AddColumns,
            MakeIndex,
            MakeUnique,
            DropIndex,
            IndexGrowth,
            Attach,
            Reap,
        ]
    }

    fn named(name: &str) -> Self {
        Self::all().into_iter().find(|operation| format!("{operation:?}") == name).unwrap()
    }
}

fn schema(name: &str) -> Schema {
    Schema::builder(name)
        .column(Column::new("name", ColumnType::String(24)))
        .column(Column::new("value", ColumnType::I64).ordered())
        .column(Column::new("spare", ColumnType::I64).nullable())
        .key("name")
        .build()
        .unwrap()
}

fn open(dir: &Path, shm: &Path) -> Database {
    let db = Database::builder(dir)
        .shm_path(shm)
        .max_bytes(256 << 20)
        .segment_bytes(1 << 20)
        .ring_bytes(4096)
        .open()
        .unwrap();
    db.set_config("synchronous_commit", "off").unwrap();
    // How long it takes to get a lock is not what is tested, and the machine may be busy.
    db.set_config("lock_timeout", "20000").unwrap();
    db
}

fn put(txn: &mut Transaction, table: &Table, name: &str, value: i64) -> Result<(), Error> {
    txn.set(table, Value::Str(name), &[(1, Value::I64(value))]).map(|_| ())
}

fn try_put_all(db: &Database, table: &Table, rows: &[(String, i64)]) -> Result<(), Error> {
    db.transaction(TxnOptions::default(), |txn| {
        rows.iter().try_for_each(|(name, value)| put(txn, table, name, *value))
    })
}

fn put_all(db: &Database, table: &Table, rows: &[(String, i64)]) {
    try_put_all(db, table, rows).unwrap();
}

fn value(txn: &mut Transaction, table: &Table, name: &str) -> Result<i64, Error> {
    // A conflict here, too, is for the retry: the row may have to be locked before it is read.
    Ok(txn.get(table, Value::Str(name), |row| row.get(1).as_i64().unwrap())?.unwrap())
}

fn transfer(db: &Database, table: &Table, from: u64, to: u64) -> Result<(), Error> {
    db.transaction(TxnOptions::default(), |txn| {
        let (from, to) = (format!("A{from}"), format!("A{to}"));
        let (left, right) = (value(txn, table, &from)?, value(txn, table, &to)?);
        if from == to {
            return Ok(());
        }
        put(txn, table, &from, left - 1)?;
        put(txn, table, &to, right + 1)
    })
}

/// Gives one row a value in the column whose index is made and dropped.
fn give_spare(db: &Database, table: &Table, name: &str, spare: i64) -> Result<(), Error> {
    db.transaction(TxnOptions::default(), |txn| {
        txn.set(table, Value::Str(name), &[(SPARE, Value::I64(spare))]).map(drop)
    })
}

/// Adds one to the row that everybody locks, and to `more` besides; all of it under the lock.
fn count_under_lock(db: &Database, table: &Table, more: &[&str], held: impl Fn()) -> Result<(), Error> {
    db.transaction(TxnOptions::default(), |txn| {
        let mut lock = txn.lock_for_update(table, Value::Str("L"))?.unwrap();
        let now = lock.read(|row| row.get(1).as_i64().unwrap())?.unwrap();
        held();
        lock.set(&[(1, Value::I64(now + 1))])?;
        for name in more {
            let now = value(txn, table, name)?;
            put(txn, table, name, now + 1)?;
        }
        Ok(())
    })
}

fn stride(variable: &str, points: u64, short: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(points.div_ceil(short))
}

fn killed_at_every_point(operation: Operation) {
    if std::env::var(ROLE).is_ok() {
        return;
    }
    let mut serial = 0;
    let mut world = World::new(operation, serial, PAUSE);
    let points = world.points();
    let stride = stride("AEROSTORE_FAULT_STRIDE", points, SHORT_KILLS);
    let (mut point, mut kills, mut survivals) = (1, 0, 0);
    // Peers make it longer or shorter by some points from time to time.
    while survivals < 2 {
        serial += 1;
        if serial % VICTIMS_PER_WORLD == 0 {
            drop(world);
            world = World::new(operation, serial, PAUSE);
        }
        match world.kill(point) {
            None => (kills, survivals) = (kills + 1, 0),
            Some(_) => survivals += 1,
        }
        point += stride;
    }
    println!("fault points: {operation:?}: {points} points, {kills} kills at every {stride}. of them");
}

fn stopped_at_every_point(operation: Operation) {
    let mut serial = 1000;
    let mut world = World::new(operation, serial, LONG_PAUSE);
    let points = world.points();
    let stride = stride("AEROSTORE_STOP_STRIDE", points, SHORT_STOPS);
    let (mut point, mut stops, mut retryable) = (1 + u64::from(std::process::id()) % stride, 0, 0);
    loop {
        serial += 1;
        if serial % VICTIMS_PER_WORLD == 0 {
            drop(world);
            world = World::new(operation, serial, LONG_PAUSE);
        }
        let Some(ended_well) = world.stop(point) else {
            if stops > 0 || point == 1 {
                break;
            }
            point = 1; // peers have done much of it this time
            continue;
        };
        stops += 1;
        retryable += u32::from(!ended_well);
        point += stride;
    }
    assert!(stops > 0, "{operation:?} was never stopped");
    println!(
        "fault points: {operation:?}: {points} points, {stops} stops at every {stride}. of them, {retryable} of them to be retried"
    );
}

/// All operations at once: most of the time they wait for somebody who stands still.
#[test]
fn stopped_at_points_of_every_operation() {
    if std::env::var(ROLE).is_ok() {
        return;
    }
    std::thread::scope(|scope| {
        for operation in Operation::all() {
            scope.spawn(move || stopped_at_every_point(operation));
        }
    });
}

macro_rules! killed_at_every_point {
    ($($name:ident: $operation:ident,)*) => {
        $(
            #[test]
            fn $name() {
                killed_at_every_point(Operation::$operation);
            }
        )*
    };
}

killed_at_every_point! {
    killed_while_inserting: Insert,
    killed_while_updating: Update,
    killed_while_deleting: Delete,
    killed_while_aborting: Abort,
    killed_with_savepoints: Savepoints,
    killed_while_locking_and_handing_over: Lock,
    killed_in_a_batch: Batch,
    killed_while_retrying: Retry,
    killed_while_committing_with_the_log: CommitWithLog,
    killed_while_committing_more_than_the_ring_takes: CommitOutOfLine,
    killed_while_pruning: Prune,
    killed_while_pruning_between_snapshots: PruneBetween,
    killed_while_making_a_table: CreateTable,
    killed_while_adding_columns: AddColumns,
    killed_while_making_an_index: MakeIndex,
    killed_while_making_a_unique_index: MakeUnique,
    killed_while_dropping_an_index: DropIndex,
    killed_while_the_index_grows: IndexGrowth,
    killed_while_attaching_and_closing: Attach,
    killed_while_reaping: Reap,
}
