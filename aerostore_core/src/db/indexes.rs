//! Making and dropping indexes.

#![forbid(unsafe_code)]

use crate::db::helpers::processors;
use crate::db::{Database, Error, Table};
use crate::row::IndexSpec;
use crate::sync::{AtomicBool, AtomicU32, Ordering};
use crate::txn::{self, Session, TxnError};
use std::panic::resume_unwind;
use std::thread;

impl Database {
    /// Makes an ordered index on a column, durably. Others may write meanwhile; searches use it as soon as it is complete, unless
    /// they see the database as it was before. While a unique index is being made, a transaction that gives a row a value that
    /// another is known to have fails already.
    ///
    /// # Errors
    /// `Duplicate` when there is one, or when two rows have a value that was to be unique; `Busy` while somebody else makes or drops it; `Space`; `ReadOnly`; `Closed`.
    ///
    /// # Panics
    /// When the table has no such column.
    pub fn create_index(&self, table: &Table, column: usize, spec: IndexSpec) -> Result<(), Error> {
        expect_column(table, column);
        self.change_definition(|session, synchronous| {
            txn::create_index(session, &table.0, column, spec, synchronous)
        })
    }

    /// Makes several indexes, each as [`create_index`](Self::create_index) does, as many at once as there are processors and sessions: by threads that
    /// have ended when this returns, each with tens of MiB of private memory meanwhile.
    ///
    /// # Errors
    /// The first error; then no further one is begun, and those that were made stay. `Duplicate`, and none is made, when a column comes twice.
    ///
    /// # Panics
    /// When the table has no such column; none is made then.
    pub fn create_indexes(&self, table: &Table, indexes: &[(usize, IndexSpec)]) -> Result<(), Error> {
        for (column, _) in indexes {
            expect_column(table, *column);
        }
        self.prepare_change()?;
        refuse_twice(table, indexes)?;
        let (next, stopped) = (AtomicU32::new(0), AtomicBool::new(false));
        let make = |mut session: Box<Session>| {
            // No further one is there, or is to be begun, when one comes to its end, however it does.
            let _stops = Stops(&stopped);
            // Relaxed: what a number leads to reaches others by the end of a thread.
            while !stopped.load(Ordering::Relaxed) {
                let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
                let Some((column, spec)) = indexes.get(at) else { break };
                let (kept, made) = self.change_definition_by(session, |session, synchronous| {
                    txn::create_index(session, &table.0, *column, *spec, synchronous)
                });
                if made.is_err() {
                    if let Some(session) = kept {
                        self.0.pool().put(session);
                    }
                    return made;
                }
                session = kept.map_or_else(|| self.0.session(), Ok)?;
            }
            self.0.pool().put(session);
            Ok(())
        };
        // Before a helper can take the last one.
        let session = self.0.session()?;
        let helpers = u32::try_from(indexes.len()).unwrap_or(u32::MAX).min(processors()).saturating_sub(1);
        thread::scope(|scope| {
            let spawn = |_| {
                let thread = thread::Builder::new().name("aerostore-index".to_owned());
                // Without a session for it the others go on.
                thread.spawn_scoped(scope, || self.0.session().map_or(Ok(()), make)).ok()
            };
            let threads: Vec<_> = (0..helpers).filter_map(spawn).collect();
            let first = make(session);
            threads.into_iter().fold(first, |made, thread| match thread.join() {
                Ok(others) => made.and(others),
                Err(panic) => resume_unwind(panic),
            })
        })
    }

    /// Drops the index on a column, durably. Its memory is given back once nobody can be at it any more.
    ///
    /// # Errors
    /// `NotFound` when there is none; `Busy` while somebody else makes or drops it; `ReadOnly`; `Closed`.
    ///
    /// # Panics
    /// When the table has no such column.
    pub fn drop_index(&self, table: &Table, column: usize) -> Result<(), Error> {
        expect_column(table, column);
        self.change_definition(|session, synchronous| txn::drop_index(session, &table.0, column, synchronous))
    }
}

/// Panics when the table has no such column: before a session is taken, which would be lost.
#[track_caller]
fn expect_column(table: &Table, column: usize) {
    let schema = table.schema();
    assert!(column < schema.columns().len(), "{} has no column {column}", schema.name());
}

/// Refuses a column that comes twice.
fn refuse_twice(table: &Table, indexes: &[(usize, IndexSpec)]) -> Result<(), Error> {
    let schema = table.schema();
    let mut is_named = vec![false; schema.columns().len()];
    match indexes.iter().find(|(column, _)| std::mem::replace(&mut is_named[*column], true)) {
        None => Ok(()),
        Some((column, _)) => Err(Error::Txn(TxnError::IndexTwice {
            table: schema.name().to_owned(),
            column: schema.column(*column).name().to_owned(),
        })),
    }
}

/// Says that it has gone.
struct Stops<'s>(&'s AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::db::{ErrorKind, TxnOptions};
    use crate::row::{Column, ColumnType, Schema, Value};
    use std::path::PathBuf;

    const ROWS: i64 = 3000;
    const COLUMNS: usize = 6;

    /// A database with a table of numbers; its files go with it.
    struct Scene {
        db: Option<Database>,
        dir: PathBuf,
        shm: PathBuf,
    }

    impl Scene {
        fn new(name: &str) -> (Self, Table) {
            let unique = format!("/dev/shm/aerostore-test-indexes-{name}-{}", std::process::id());
            let (dir, shm) = (PathBuf::from(&unique), PathBuf::from(format!("{unique}.mmap")));
            let db = Database::builder(&dir).shm_path(&shm).max_bytes(64 << 20).open().unwrap();
            let column = |at| Column::new(&format!("column_{at}"), ColumnType::I64);
            let schema = Schema::builder("Number").columns((0..COLUMNS).map(column)).key("column_0");
            let table = db.create_table(&schema.build().unwrap()).unwrap();
            let scene = Self { db: Some(db), dir, shm };
            (0..ROWS).for_each(|row| scene.set(&table, row, row));
            (scene, table)
        }

        fn db(&self) -> &Database {
            self.db.as_ref().unwrap()
        }

        fn set(&self, table: &Table, row: i64, value: i64) {
            let values: Vec<_> =
                (1..COLUMNS).map(|column| (column, Value::I64(value % (1 << column)))).collect();
            self.db()
                .transaction(TxnOptions::default(), |txn| txn.set(table, Value::I64(row), &values))
                .unwrap();
        }

        /// How many different values the index on each column has; none where there is no index.
        fn counted(&self, table: &Table) -> Vec<Option<u64>> {
            let mut txn = self.db().begin(TxnOptions::default()).unwrap();
            (1..COLUMNS).map(|column| txn.count_index_keys(table, column).unwrap()).collect()
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = self.db.take().unwrap().close();
            let _ = std::fs::remove_dir_all(&self.dir);
            let _ = std::fs::remove_file(&self.shm);
        }
    }

    #[test]
    fn several_indexes_are_made_while_others_write() {
        let (scene, table) = Scene::new("several");
        let wanted: Vec<_> = (1..COLUMNS).map(|column| (column, IndexSpec::default())).collect();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut row = 0;
                while !done.load(Ordering::Acquire) {
                    scene.set(&table, row % ROWS, row / 3);
                    row += 7;
                }
            });
            let made = scene.db().create_indexes(&table, &wanted);
            done.store(true, Ordering::Release);
            made.unwrap();
        });
        let all = (1..COLUMNS).map(|column| Some(1 << column)).collect::<Vec<_>>();
        assert_eq!(scene.counted(&table), all);
        let report = scene.db().verify().unwrap();
        assert!(report.is_clean(), "{report:?}");
    }

    #[test]
    fn the_first_of_several_that_cannot_be_made_is_told() {
        let (scene, table) = Scene::new("first");
        scene.db().create_index(&table, 2, IndexSpec::default()).unwrap();
        let wanted = [2, 1, 3].map(|column| (column, IndexSpec::default()));
        let refused = scene.db().create_indexes(&table, &wanted).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Duplicate);
        assert!(scene.counted(&table)[1].is_some());
        let unique = [(4, IndexSpec::UNIQUE)];
        assert_eq!(scene.db().create_indexes(&table, &unique).unwrap_err().kind(), ErrorKind::Duplicate);
        assert_eq!(scene.counted(&table)[3], None);
        scene.db().create_indexes(&table, &[]).unwrap();
    }

    #[test]
    fn a_column_that_comes_twice_is_refused_before_an_index_is_made() {
        let (scene, table) = Scene::new("twice");
        let wanted = [2, 1, 3, 1].map(|column| (column, IndexSpec::default()));
        let refused = scene.db().create_indexes(&table, &wanted).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Duplicate);
        assert!(refused.to_string().contains("column_1"), "{refused}");
        assert_eq!(scene.counted(&table), [None; COLUMNS - 1]);
    }

    #[test]
    fn a_column_that_is_not_there_panics_before_anything_is_begun() {
        let (scene, table) = Scene::new("missing");
        let slots = scene.db().status().unwrap().slots.len();
        let wanted = [99, 1, 2, 3].map(|column| (column, IndexSpec::default()));
        let panics = |change: &dyn Fn() -> Result<(), Error>| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(change)).is_err()
        };
        for _ in 0..8 {
            assert!(panics(&|| scene.db().create_indexes(&table, &wanted)));
            assert!(panics(&|| scene.db().create_index(&table, 99, IndexSpec::default())));
            assert!(panics(&|| scene.db().drop_index(&table, 99)));
        }
        assert_eq!(scene.counted(&table), [None; COLUMNS - 1]);
        let now = scene.db().status().unwrap().slots.len();
        // Background work may have come to its own.
        assert!(now < slots + 8, "sessions are lost: {now} slots, {slots} before");
    }
}
