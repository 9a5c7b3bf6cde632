//! The process that is killed or stopped, and what it does.

use super::{
    BIG_ROWS, LOCK_ROUNDS, Operation, ROLE, ROWS_AFTER, ROWS_BEFORE_GROWTH, SPARE, added, count_under_lock,
    open, put, put_all, schema, transfer, try_put_all, value,
};
use crate::db::{self, Database, Error, ErrorKind, Table, TxnOptions};
use crate::row::{IndexSpec, RowImage, Value};
use crate::sync::signalled_at;
use crate::txn::reap_dead_processes;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How often a victim comes back for a lock at once: enough to have a turn.
const LOCK_RETURNS: u32 = 8;
/// A little more than a turn.
const LOCK_TURN: Duration = Duration::from_micros(1100);

/// Where a victim gets which signal.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) signal: i32,
    pub(super) point: u64,
}

/// A command that runs a victim.
pub(super) fn victim(operation: Operation, at: At, dir: &Path, shm: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "db::fault_tests::victim::victim_process", "--nocapture", "--test-threads=1"])
        .env(ROLE, format!("{operation:?}|{}|{}|{}|{}", at.signal, at.point, dir.display(), shm.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Not a test of its own: what the victims run.
#[test]
fn victim_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let parts: Vec<&str> = role.split('|').collect();
    let at = At { signal: parts[1].parse().unwrap(), point: parts[2].parse().unwrap() };
    let (dir, shm) = (PathBuf::from(parts[3]), PathBuf::from(parts[4]));
    let (passed, ended) = act(Operation::named(parts[0]), at, &dir, &shm);
    match ended {
        Ok(()) => println!("passed:{passed}:ended well"),
        Err(error) if error.is_retryable() => println!("passed:{passed}:to be retried: {error}"),
        Err(error) => panic!("{error}"),
    }
}

/// The operation. Returns the points it has passed, if it lives, and how it ended.
fn act(operation: Operation, at: At, dir: &Path, shm: &Path) -> (u64, Result<(), Error>) {
    if operation == Operation::Attach {
        return signalled_at(at.signal, at.point, || {
            let db = open(dir, shm);
            let table = db.table("Cell").unwrap().unwrap();
            let n = at.point.cast_signed();
            try_put_all(&db, &table, &[("V0".to_owned(), n), ("V1".to_owned(), n)])?;
            db.close()
        });
    }
    let db = open(dir, shm);
    let table = db.table("Cell").unwrap().unwrap();
    let victim = Victim { db, table, at };
    match operation {
        Operation::Insert => victim.run(|| try_put_all(&victim.db, &victim.table, &victim.pair("I"))),
        Operation::Update => victim.update(),
        Operation::Delete => victim.delete(),
        Operation::Abort => victim.abort(),
        Operation::Savepoints => victim.savepoints(),
        Operation::Lock => victim.lock(),
        Operation::Batch => victim.batch(),
        Operation::Retry => victim.retry(),
        Operation::CommitWithLog => {
            victim.db.set_config("synchronous_commit", "on").unwrap();
            victim.run(|| try_put_all(&victim.db, &victim.table, &both(victim.n())))
        }
        Operation::CommitOutOfLine => {
            victim.db.set_config("synchronous_commit", "on").unwrap();
            let big: Vec<_> = (0..BIG_ROWS).map(|row| (format!("B{row}"), victim.n())).collect();
            victim.run(|| try_put_all(&victim.db, &victim.table, &big))
        }
        Operation::Prune => {
            for step in 0..31 {
                put_all(&victim.db, &victim.table, &both(-step));
            }
            victim.run(|| {
                try_put_all(&victim.db, &victim.table, &both(-31))?;
                try_put_all(&victim.db, &victim.table, &both(victim.n()))
            })
        }
        Operation::PruneBetween => {
            let read = TxnOptions { read_only: true, ..TxnOptions::default() };
            let mut reader = victim.db.begin(read).unwrap();
            let mut see = || reader.get(&victim.table, Value::Str("V0"), |row| row.get(1).as_i64()).unwrap();
            let seen = see();
            // So many that it looks between the snapshots.
            for step in 0..79 {
                put_all(&victim.db, &victim.table, &both(-step));
            }
            let passed = victim.run(|| {
                try_put_all(&victim.db, &victim.table, &both(-79))?;
                try_put_all(&victim.db, &victim.table, &both(victim.n()))
            });
            assert_eq!(see(), seen, "what a snapshot sees");
            passed
        }
        Operation::CreateTable => victim.run(|| {
            let table = victim.db.create_table(&schema(&format!("T{}", victim.n())))?;
            try_put_all(&victim.db, &table, &victim.pair("T"))
        }),
        Operation::MakeIndex => {
            victim.run(|| ended(victim.db.create_index(&victim.table, SPARE, victim.spec())))
        }
        Operation::AddColumns => victim.add_columns(),
        Operation::MakeUnique => {
            victim.run(|| ended(victim.db.create_index(&victim.table, SPARE, IndexSpec::UNIQUE)))
        }
        Operation::DropIndex => {
            // An earlier one may have come as far as that, and more.
            ended(victim.db.create_index(&victim.table, SPARE, victim.spec())).unwrap();
            victim.run(|| {
                ended(victim.db.drop_index(&victim.table, SPARE))?;
                let mut session = victim.db.0.session()?;
                while session.mend_indexes()? {
                    // Somebody is at an operation that began before.
                    std::thread::sleep(Duration::from_millis(2));
                }
                victim.db.0.pool().put(session);
                Ok(())
            })
        }
        Operation::IndexGrowth => victim.index_growth(),
        Operation::Reap => victim.reap(dir, shm),
        Operation::Attach => unreachable!("see above"),
    }
}

/// That the index is there, or gone, or being made or dropped by others, is no failure.
fn ended(changed: Result<(), Error>) -> Result<(), Error> {
    match changed {
        Err(error)
            if matches!(error.kind(), ErrorKind::Duplicate | ErrorKind::NotFound | ErrorKind::Busy) =>
        {
            Ok(())
        }
        changed => changed,
    }
}

fn both(value: i64) -> [(String, i64); 2] {
    [("V0".to_owned(), value), ("V1".to_owned(), value)]
}

struct Victim {
    db: Database,
    table: Table,
    at: At,
}

impl Victim {
    /// The number that makes its rows its own.
    /// Of one kind and the other by turns.
    fn spec(&self) -> IndexSpec {
        IndexSpec { is_unique: false, is_hash: self.n() / 2 % 2 == 1 }
    }

    fn n(&self) -> i64 {
        self.at.point.cast_signed()
    }

    fn pair(&self, name: &str) -> [(String, i64); 2] {
        let n = self.n();
        [(format!("{name}{n}a"), n), (format!("{name}{n}b"), n)]
    }

    fn run(&self, operation: impl FnOnce() -> Result<(), Error>) -> (u64, Result<(), Error>) {
        signalled_at(self.at.signal, self.at.point, operation)
    }

    fn update(&self) -> (u64, Result<(), Error>) {
        self.run(|| {
            self.db.transaction(TxnOptions::default(), |txn| {
                for (name, value) in both(self.n()) {
                    put(txn, &self.table, &name, value)?;
                    put(txn, &self.table, &name, value + 1)?;
                    put(txn, &self.table, &name, value)?;
                }
                Ok(())
            })?;
            transfer(&self.db, &self.table, 0, 1)
        })
    }

    fn delete(&self) -> (u64, Result<(), Error>) {
        put_all(&self.db, &self.table, &self.pair("D"));
        self.run(|| {
            self.db.transaction(TxnOptions::default(), |txn| {
                self.pair("D")
                    .iter()
                    .try_for_each(|(name, _)| txn.delete(&self.table, Value::Str(name)).map(|_| ()))
            })
        })
    }

    fn abort(&self) -> (u64, Result<(), Error>) {
        put_all(&self.db, &self.table, &self.pair("X"));
        self.run(|| {
            let [(first, _), (second, _)] = self.pair("X");
            let mut txn = self.db.begin(TxnOptions::default())?;
            put(&mut txn, &self.table, &format!("N{}", self.n()), self.n())?;
            put(&mut txn, &self.table, &first, -1)?;
            put(&mut txn, &self.table, &first, -2)?;
            txn.delete(&self.table, Value::Str(&second))?;
            txn.rollback();
            Ok(())
        })
    }

    fn savepoints(&self) -> (u64, Result<(), Error>) {
        let (table, n) = (&self.table, self.n());
        self.run(|| {
            self.db.transaction(TxnOptions::default(), |txn| {
                put(txn, table, "V0", -1)?;
                put(txn, table, "V1", -1)?;
                let outer = txn.savepoint()?;
                put(txn, table, "V0", -2)?;
                put(txn, table, &format!("N{n}"), n)?;
                let inner = txn.savepoint()?;
                put(txn, table, "V0", -3)?;
                txn.delete(table, Value::Str("V1"))?;
                txn.rollback_to(&inner)?;
                put(txn, table, "V1", -4)?;
                txn.rollback_to(&outer)?;
                let last = txn.savepoint()?;
                put(txn, table, "V0", n)?;
                txn.release(last)?;
                put(txn, table, "V1", n)
            })
        })
    }

    /// Comes back at once for a row that the peers want too, so that it has a turn, which soon is over. Then, with a point
    /// everywhere, it takes the row once more and hands it on by a grant; waits for it, and hands it on by a wake; and lets go of
    /// it in the middle of a transaction.
    fn lock(&self) -> (u64, Result<(), Error>) {
        let (db, table) = (&self.db, &self.table);
        for _ in 0..LOCK_RETURNS {
            db.transaction(TxnOptions::default(), |txn| {
                txn.lock_for_update(table, Value::Str("L")).map(|_| ())
            })
            .unwrap();
        }
        std::thread::sleep(LOCK_TURN);
        self.run(|| {
            for _ in 0..LOCK_ROUNDS {
                count_under_lock(db, table, &["V0", "V1"], || ())?;
            }
            db.transaction(TxnOptions::default(), |txn| {
                let mark = txn.savepoint()?;
                let _ = txn.lock_for_update(table, Value::Str("L"))?;
                txn.rollback_to(&mark)
            })
        })
    }

    fn batch(&self) -> (u64, Result<(), Error>) {
        let (table, n) = (&self.table, self.n());
        put_all(&self.db, table, &self.pair("D"));
        let ([(first, _), (second, _)], [(gone, _), (also_gone, _)]) = (self.pair("I"), self.pair("D"));
        let image = |name: &str| {
            let mut image = RowImage::new(table.schema());
            image.set(table.schema(), 0, Value::Str(name)).unwrap();
            image.set(table.schema(), 1, Value::I64(n)).unwrap();
            image.finish(table.schema()).unwrap();
            image
        };
        let (first, second) = (image(&first), image(&second));
        let values = [(1, Value::I64(n))];
        let operations = [
            db::Operation::Insert { table, image: &first },
            db::Operation::Set { table, key: Value::Str("V0"), values: &values },
            db::Operation::Delete { table, key: Value::Str(&gone) },
            db::Operation::Upsert { table, image: &second },
            db::Operation::Set { table, key: Value::Str("V1"), values: &values },
            db::Operation::Delete { table, key: Value::Str(&also_gone) },
        ];
        self.run(|| self.db.batch(&operations).map(|_| ()))
    }

    /// Each of its first runs meets a conflict, until it locks what it reads.
    fn retry(&self) -> (u64, Result<(), Error>) {
        let (table, n) = (&self.table, self.n());
        self.run(|| {
            let mut runs = 0;
            self.db.transaction(TxnOptions::default(), |txn| {
                runs += 1;
                let now = value(txn, table, "C")?;
                if runs <= 4 {
                    // In the way of itself: what it has read changes before it commits. The other one does not wait long for
                    // what this one has locked.
                    let _ = self.db.transaction_with(
                        db::RetryPolicy { tries: 0, ..db::RetryPolicy::optimistic() },
                        TxnOptions::default(),
                        |other| put(other, table, "C", now + 1),
                    );
                }
                put(txn, table, "V0", n)?;
                put(txn, table, "V1", n)
            })?;
            assert!(runs > 1, "no conflict");
            Ok(())
        })
    }

    fn add_columns(&self) -> (u64, Result<(), Error>) {
        let table = self.db.create_table(&schema(&format!("A{}", self.n()))).unwrap();
        put_all(&self.db, &table, &self.pair("R"));
        self.run(|| {
            let wide = self.db.add_columns(&table, &[added("more")])?;
            // Others may have added one of theirs before.
            let more = wide.schema().find("more").unwrap();
            self.db.transaction(TxnOptions::default(), |txn| {
                let mut set = |name: &str| txn.set(&wide, Value::Str(name), &[(more, Value::I64(self.n()))]);
                self.pair("R").iter().try_for_each(|(name, _)| set(name).map(drop))
            })
        })
    }

    fn index_growth(&self) -> (u64, Result<(), Error>) {
        let table = self.db.create_table(&schema(&format!("G{}", self.n()))).unwrap();
        for first in (0..ROWS_BEFORE_GROWTH).step_by(100) {
            let last = (first + 100).min(ROWS_BEFORE_GROWTH);
            let batch: Vec<_> = (first..last).map(|row| (format!("R{row}"), i64::from(row))).collect();
            put_all(&self.db, &table, &batch);
        }
        self.run(|| {
            (ROWS_BEFORE_GROWTH..ROWS_BEFORE_GROWTH + ROWS_AFTER)
                .try_for_each(|row| try_put_all(&self.db, &table, &[(format!("R{row}"), i64::from(row))]))
        })
    }

    /// Somebody dies in the middle of an update, each time at another point; this one looks after what is left.
    fn reap(&self, dir: &Path, shm: &Path) -> (u64, Result<(), Error>) {
        let at = At { signal: libc::SIGKILL, point: 1 + self.at.point * 7 % 150 };
        let dead = victim(Operation::Update, at, dir, shm).output().unwrap();
        assert!(dead.status.code().is_none_or(|code| code == 0), "{dead:?}");
        let mut session = self.db.0.session().unwrap();
        let ended = self.run(|| {
            reap_dead_processes(&mut session)?;
            Ok(())
        });
        self.db.0.pool().put(session);
        ended
    }
}
