//! A database with two peers at work in it, in which victims die or stand still.

use super::victim::{At, victim};
use super::{
    ACCOUNTS, ADDED, BALANCE, BIG_ROWS, LOCK_ROUNDS, OVERWRITTEN, Operation, PAUSE, ROWS_AFTER,
    ROWS_BEFORE_GROWTH, SPARE, added, count_under_lock, give_spare, open, put_all, schema, transfer,
};
use crate::db::{Database, Error, ErrorKind, Table, TxnOptions};
use crate::row::{IndexSpec, Value};
use crate::sync::{AtomicU64, Ordering};
use crate::txn::TxnError;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Output};
use std::sync::{Arc, RwLock, mpsc};
use std::time::Duration;

/// For one victim, with all that is checked after it.
const TIMEOUT: Duration = Duration::from_mins(2);
/// Transactions that each peer must end while a victim stands still, or after it is dead.
const PROGRESS: u64 = 2;

/// What became of a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Killed,
    Survived,
    /// It stood still while the others changed its rows; then it succeeded, or not.
    Stopped {
        ended_well: bool,
    },
}

type Rows = BTreeMap<String, i64>;

fn rows(db: &Database, table: &Table) -> Rows {
    let mut rows = Rows::new();
    let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    txn.scan(table, &mut |row| {
        let Value::Str(name) = row.get(0) else { panic!("{row:?}") };
        assert!(rows.insert(name.to_owned(), row.get(1).as_i64().unwrap()).is_none(), "{name} twice");
        ControlFlow::Continue(())
    })
    .unwrap();
    rows
}

/// Ends the process when a step takes too long: a hang must not look like a slow machine.
pub(in crate::db) struct Watchdog(
    #[expect(dead_code, reason = "its end is what is waited for")] mpsc::Sender<()>,
);

impl Watchdog {
    pub(in crate::db) fn new(what: String) -> Self {
        let (stop, stopped) = mpsc::channel();
        std::thread::spawn(move || {
            if stopped.recv_timeout(TIMEOUT) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{what} has not ended after {TIMEOUT:?}");
                std::process::abort();
            }
        });
        Self(stop)
    }
}

struct Peer {
    stop: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
    done: Arc<AtomicU64>,
}

pub(super) struct World {
    operation: Operation,
    dir: PathBuf,
    shm: PathBuf,
    db: Option<Database>,
    table: Table,
    /// Held for reading during each transaction of a peer, and for writing while all is checked.
    gate: Arc<RwLock<()>>,
    peers: Vec<Peer>,
    /// The victims' count of locks, as of the last check.
    locked: i64,
}

impl World {
    /// A database whose peers pause for so long between two transactions.
    pub(super) fn new(operation: Operation, serial: u32, pause: Duration) -> Self {
        let unique = format!("aerostore-fault-{operation:?}-{}-{serial}", std::process::id());
        let (dir, shm) =
            (std::env::temp_dir().join(&unique), Path::new("/dev/shm").join(format!("{unique}.mmap")));
        let db = open(&dir, &shm);
        let table = db.create_table(&schema("Cell")).unwrap();
        let mut start: Vec<_> = (0..ACCOUNTS).map(|account| (format!("A{account}"), BALANCE)).collect();
        start.extend(["V0", "V1", "L", "C"].map(|name| (name.to_owned(), 0)));
        start.extend((0..BIG_ROWS).map(|row| (format!("B{row}"), 0)));
        put_all(&db, &table, &start);
        let (gate, peers) = (Arc::default(), Vec::new());
        let mut world = Self { operation, dir, shm, db: Some(db), table, gate, peers, locked: 0 };
        // The reaper that is to be killed must not be forestalled.
        if operation != Operation::Reap {
            (0..2).for_each(|seed| world.start_peer(seed, pause));
        }
        world
    }

    fn start_peer(&mut self, seed: u64, pause: Duration) {
        let (stop, stopped) = mpsc::channel();
        let (db, table, gate) = (self.db.clone().unwrap(), self.table.clone(), Arc::clone(&self.gate));
        let (operation, done) = (self.operation, Arc::new(AtomicU64::new(0)));
        let counter = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let mut at = seed;
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let busy = gate.read().unwrap();
                let outcome = if operation == Operation::Lock {
                    // One of the two nearly always has it or wants it, so that the victim has to queue.
                    let held = || std::thread::sleep(Duration::from_micros(200));
                    count_under_lock(&db, &table, &[], held)
                } else {
                    transfer(&db, &table, (at >> 33) % ACCOUNTS, (at >> 40) % ACCOUNTS)
                };
                let outcome = outcome.and_then(|()| {
                    if operation != Operation::MakeUnique {
                        return Ok(());
                    }
                    // Never what another row has or had, so nobody ever refuses it.
                    let spare = 2 * counter.load(Ordering::Relaxed) + seed;
                    give_spare(&db, &table, &format!("A{}", (at >> 50) % ACCOUNTS), spare.cast_signed())
                });
                match outcome {
                    Ok(()) => drop(counter.fetch_add(1, Ordering::Relaxed)),
                    Err(error) => assert!(error.is_retryable(), "{error}"),
                }
                drop(busy);
                // A peer that is back for the lock at once leaves it to nobody when the machine is busy.
                std::thread::sleep(if operation == Operation::Lock { PAUSE } else { pause });
            }
        });
        self.peers.push(Peer { stop, thread, done });
    }

    /// How many points the operation has when nobody dies.
    pub(super) fn points(&mut self) -> u64 {
        let points = self.kill(1 << 40).unwrap();
        assert!(points > 2, "{:?} has no points", self.operation);
        points
    }

    fn at(&self, what: &str, point: u64) -> String {
        format!("{:?} {what} at point {point}", self.operation)
    }

    fn start(&mut self, at: At) -> Child {
        // A reaper has something to do only while nobody else is there.
        if self.operation == Operation::Reap {
            self.db.take().unwrap().close().unwrap();
        }
        victim(self.operation, at, &self.dir, &self.shm).spawn().unwrap()
    }

    fn reopen(&mut self) {
        if self.db.is_none() {
            self.db = Some(open(&self.dir, &self.shm));
            self.table = self.db.as_ref().unwrap().table("Cell").unwrap().unwrap();
        }
    }

    /// Lets a victim die at `point`; the points it has passed, if it did not.
    pub(super) fn kill(&mut self, point: u64) -> Option<u64> {
        let at = self.at("killed", point);
        let _watchdog = Watchdog::new(at.clone());
        let child = self.start(At { signal: libc::SIGKILL, point });
        let output = child.wait_with_output().unwrap();
        self.reopen();
        if output.status.signal() == Some(libc::SIGKILL) {
            self.peers_go_on(&self.done());
            self.check(&at, point, Fate::Killed);
            return None;
        }
        let (passed, _) = ended(&at, &output);
        self.check(&at, point, Fate::Survived);
        Some(passed)
    }

    /// Stops a victim at `point`, changes its rows, and lets it go on. Says whether it succeeded then; `None` when it has fewer
    /// points.
    pub(super) fn stop(&mut self, point: u64) -> Option<bool> {
        let at = self.at("stopped", point);
        let _watchdog = Watchdog::new(at.clone());
        let child = self.start(At { signal: libc::SIGSTOP, point });
        let stopped = stands_still(&child);
        self.reopen();
        if stopped {
            self.others_go_on(point);
            let pid = i32::try_from(child.id()).unwrap();
            // SAFETY: the child was started here and has not been waited for, so the pid is its own.
            assert_eq!(unsafe { libc::kill(pid, libc::SIGCONT) }, 0);
        }
        let (_, ended_well) = ended(&at, &child.wait_with_output().unwrap());
        self.check(&at, point, if stopped { Fate::Stopped { ended_well } } else { Fate::Survived });
        stopped.then_some(ended_well)
    }

    /// What the others do while a victim stands still: the peers' work, and changes of the victim's own rows.
    fn others_go_on(&self, point: u64) {
        let before = self.done();
        let db = self.db.as_ref().unwrap();
        let n = point.cast_signed();
        let named =
            |names: &[String]| -> Vec<_> { names.iter().map(|name| (name.clone(), OVERWRITTEN)).collect() };
        let pair = |name: &str| [format!("{name}{n}a"), format!("{name}{n}b")];
        let both = ["V0", "V1"].map(str::to_owned);
        let overwrite = |table: &Table, rows: &[(String, i64)]| put_all(db, table, rows);
        match self.operation {
            Operation::Insert => overwrite(&self.table, &named(&pair("I"))),
            Operation::Delete => overwrite(&self.table, &named(&pair("D"))),
            Operation::Abort => overwrite(&self.table, &named(&pair("X"))),
            // What the peers count is enough: they want the same lock.
            Operation::Lock => {}
            Operation::Batch => overwrite(&self.table, &named(&[both, pair("D")].concat())),
            Operation::Retry => {
                // Never what it is already: that would be no change, and no conflict.
                let count = ("C".to_owned(), -1000 * n);
                overwrite(&self.table, &[named(&both), vec![count]].concat());
            }
            Operation::CommitOutOfLine => {
                let all: Vec<_> = (0..BIG_ROWS).map(|row| format!("B{row}")).collect();
                overwrite(&self.table, &named(&all));
            }
            Operation::CreateTable => {
                let table = db.create_table(&schema(&format!("T{n}"))).unwrap();
                overwrite(&table, &named(&pair("T")));
            }
            Operation::AddColumns => {
                let table = db.table(&format!("A{n}")).unwrap().unwrap();
                overwrite(&table, &named(&pair("R")));
                db.checkpoint().unwrap();
                if let Err(error) = db.add_columns(&table, &[added("theirs")]) {
                    assert_eq!(error.kind(), ErrorKind::Busy, "{error}"); // the victim is at it
                }
            }
            Operation::IndexGrowth => {
                let table = db.table(&format!("G{n}")).unwrap().unwrap();
                let all = ROWS_BEFORE_GROWTH..ROWS_BEFORE_GROWTH + ROWS_AFTER;
                let all: Vec<_> = all.map(|row| (format!("R{row}"), i64::from(row))).collect();
                overwrite(&table, &all);
            }
            Operation::Savepoints
            | Operation::Update
            | Operation::CommitWithLog
            | Operation::Prune
            | Operation::PruneBetween
            | Operation::MakeIndex
            | Operation::MakeUnique
            | Operation::DropIndex
            | Operation::Attach
            | Operation::Reap => overwrite(&self.table, &named(&both)),
        }
        // The log goes on as well, whoever was its writer.
        db.flush().unwrap();
        self.peers_go_on(&before);
    }

    fn done(&self) -> Vec<u64> {
        self.peers.iter().map(|peer| peer.done.load(Ordering::Relaxed)).collect()
    }

    /// Waits until each peer has done something more than `before`.
    fn peers_go_on(&self, before: &[u64]) {
        for (peer, before) in self.peers.iter().zip(before) {
            while peer.done.load(Ordering::Relaxed) < before + PROGRESS {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }

    #[expect(clippy::too_many_lines, reason = "one case for each operation")]
    fn check(&mut self, at: &str, point: u64, fate: Fate) {
        let still = self.gate.write().unwrap();
        let db = self.db.as_ref().unwrap();
        if self.operation == Operation::MakeUnique {
            self.check_unique(at);
        }
        // A first look, while what the dead one left still lies about.
        let first = rows(db, &self.table);
        db.flush().unwrap();
        let report = db.verify().unwrap();
        assert!(report.is_clean(), "{at}: {report:#?}");
        let rows = rows(db, &self.table);
        assert_eq!(first, rows, "{at}: cleaning up has changed what is seen");
        let balance: i64 = (0..ACCOUNTS).map(|account| rows[&format!("A{account}")]).sum();
        assert_eq!(balance, ACCOUNTS.cast_signed() * BALANCE, "{at}");
        assert_eq!(rows["V0"], rows["V1"], "{at}: half of a transaction");
        let n = point.cast_signed();
        let pair =
            |name: &str| [format!("{name}{n}a"), format!("{name}{n}b")].map(|key| rows.get(&key).copied());
        let survived = fate == Fate::Survived;
        let whole = survived || fate == Fate::Stopped { ended_well: true };
        // Whether `value` is what a victim leaves that wants it to be `own`.
        let fits = |value: Option<i64>, own: Option<i64>, before: Option<i64>| match fate {
            Fate::Killed => value == own || value == before,
            Fate::Survived => value == own,
            Fate::Stopped { ended_well: true } => value == own || value == Some(OVERWRITTEN),
            Fate::Stopped { ended_well: false } => value == Some(OVERWRITTEN),
        };
        match self.operation {
            Operation::Insert => {
                let [a, b] = pair("I");
                assert_eq!(a, b, "{at}: half of a transaction");
                assert!(fits(a, Some(n), None), "{at}: {a:?}");
            }
            Operation::Delete => {
                let [a, b] = pair("D");
                assert_eq!(a, b, "{at}: half of a transaction");
                assert!(fits(a, None, Some(n)), "{at}: {a:?}");
            }
            Operation::Abort => {
                let expected = if matches!(fate, Fate::Stopped { .. }) { OVERWRITTEN } else { n };
                assert_eq!(pair("X"), [Some(expected); 2], "{at}");
                assert_eq!(rows.get(&format!("N{n}")), None, "{at}");
            }
            Operation::Lock => {
                let counted: u64 = self.done().iter().sum();
                assert_eq!(
                    rows["L"] - rows["V0"],
                    counted.cast_signed(),
                    "{at}: an update under a lock was lost"
                );
                let rounds = rows["V0"] - self.locked;
                assert!(
                    rounds == LOCK_ROUNDS || !whole && (0..LOCK_ROUNDS).contains(&rounds),
                    "{at}: {rounds}"
                );
                self.locked = rows["V0"];
            }
            Operation::Batch => {
                let ([put, also_put], [deleted, also_deleted]) = (pair("I"), pair("D"));
                assert_eq!((put, deleted), (also_put, also_deleted), "{at}: half of a batch");
                let applied = put == Some(n);
                assert!(applied || !whole && put.is_none(), "{at}: {put:?}");
                // The last word was the victim's or the others'.
                let last = if fate == Fate::Killed || rows["V0"] == n { Some(n) } else { Some(OVERWRITTEN) };
                let expected = match (applied, last == Some(n)) {
                    (true, true) => (rows["V0"] == n, None),
                    (false, true) => (rows["V0"] != n, Some(n)),
                    (_, false) => (rows["V0"] == OVERWRITTEN && !survived, Some(OVERWRITTEN)),
                };
                assert_eq!((true, deleted), expected, "{at}: half of a batch");
            }
            Operation::CommitOutOfLine => {
                let big: Vec<_> = (0..BIG_ROWS).map(|row| rows[&format!("B{row}")]).collect();
                assert!(big.iter().all(|value| *value == big[0]), "{at}: half of it");
                assert!(fate == Fate::Killed || fits(Some(big[0]), Some(n), None), "{at}: {}", big[0]);
            }
            Operation::CreateTable => {
                let created = db.table(&format!("T{n}")).unwrap();
                let rows = created.map(|table| self::rows(db, &table).into_values().collect::<Vec<_>>());
                let fits = match rows.as_deref() {
                    Some(&[a, b]) => a == b && fits(Some(a), Some(n), None),
                    None | Some([]) => fate == Fate::Killed,
                    _ => false,
                };
                assert!(fits, "{at}: {rows:?}");
                // The name can be used, whatever became of it.
                db.create_table(&schema(&format!("T{n}"))).unwrap();
            }
            Operation::IndexGrowth => {
                let table = db.table(&format!("G{n}")).unwrap().unwrap();
                let rows = self::rows(db, &table);
                let count = u32::try_from(rows.len()).unwrap();
                let all = ROWS_BEFORE_GROWTH + ROWS_AFTER;
                assert!(
                    count == all || fate == Fate::Killed && (ROWS_BEFORE_GROWTH..all).contains(&count),
                    "{at}: {count}"
                );
                assert!((0..count).all(|row| rows[&format!("R{row}")] == i64::from(row)), "{at}");
                // And the growth goes on.
                let more: Vec<_> = (count..count + ROWS_AFTER).map(|row| (format!("R{row}"), 0)).collect();
                put_all(db, &table, &more);
            }
            Operation::Savepoints => {
                assert!(rows["V0"] >= 0 && !rows.contains_key(&format!("N{n}")), "{at}: what was undone");
                assert!(fate == Fate::Killed || fits(Some(rows["V0"]), Some(n), None), "{at}");
            }
            // Before them lies what an earlier victim has left.
            Operation::Update
            | Operation::Retry
            | Operation::CommitWithLog
            | Operation::Prune
            | Operation::PruneBetween
            | Operation::Attach => {
                assert!(
                    fate == Fate::Killed || fits(Some(rows["V0"]), Some(n), None),
                    "{at}: {}",
                    rows["V0"]
                );
            }
            Operation::MakeIndex | Operation::DropIndex => {
                // Whatever has become of it, it can be had, and is complete then.
                while let Err(error) = db.create_index(&self.table, SPARE, IndexSpec::default()) {
                    if error.kind() == ErrorKind::Duplicate {
                        break;
                    }
                    // The vacuum is at it, for the dead one.
                    assert_eq!(error.kind(), ErrorKind::Busy, "{at}: {error}");
                    std::thread::sleep(Duration::from_millis(1));
                }
                let report = db.verify().unwrap();
                assert!(report.is_clean(), "{at}: {report:#?}");
                assert!(report.entries >= 2 * report.rows, "{at}: {report:#?}");
                if self.operation == Operation::MakeIndex {
                    db.drop_index(&self.table, SPARE).unwrap();
                }
            }
            Operation::AddColumns => self.check_added(at, n, whole),
            Operation::MakeUnique | Operation::Reap => {}
        }
        drop(still);
    }
}

impl World {
    /// The victim's column is there, with its values or without, or is not; and others can be added.
    fn check_added(&self, at: &str, n: i64, whole: bool) {
        let db = self.db.as_ref().unwrap();
        let table = db.table(&format!("A{n}")).unwrap().unwrap();
        let own = table.schema().columns().iter().position(|column| column.name() == "more");
        assert!(own.is_some() || !whole, "{at}: it is not there");
        let mut values = Vec::new();
        if let Some(own) = own {
            let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
            txn.scan(&table, &mut |row| {
                values.push(row.get(own).as_i64().unwrap());
                ControlFlow::Continue(())
            })
            .unwrap();
            assert!(values == [n, n] || !whole && values == [0, 0], "{at}: {values:?}");
        }
        let wide = db.add_columns(&table, &[added("after")]).unwrap();
        let names = |table: &Table| -> Vec<_> {
            table.schema().columns().iter().skip(ADDED).map(|column| column.name().to_owned()).collect()
        };
        let mut expected = names(&table);
        // What the dead one had begun is done for it first.
        if own.is_none() && names(&wide).contains(&"more".to_owned()) {
            expected.push("more".to_owned());
        }
        expected.push("after".to_owned());
        assert_eq!(names(&wide), expected, "{at}");
    }

    /// The victim's index is complete, and no two rows get one value; or nobody is refused for its sake. Before anybody has looked after
    /// the dead one.
    fn check_unique(&self, at: &str) {
        let (db, table) = (self.db.as_ref().unwrap(), &self.table);
        give_spare(db, table, "V0", -1).unwrap();
        let second = give_spare(db, table, "V1", -1);
        let is_there = second.is_err();
        if let Err(error) = second {
            assert_eq!(error.kind(), ErrorKind::Duplicate, "{at}: {error}");
        }
        give_spare(db, table, "V1", -2).unwrap();
        match db.create_index(table, SPARE, IndexSpec::UNIQUE) {
            Ok(()) => assert!(!is_there, "{at}: an index that is not there refuses a value"),
            Err(Error::Txn(TxnError::IndexExists { .. })) => {
                assert!(is_there, "{at}: an index refuses nothing");
            }
            Err(error) => panic!("{at}: {error}"),
        }
        give_spare(db, table, "V1", -1).unwrap_err();
        let report = db.verify().unwrap();
        assert!(report.is_clean(), "{at}: {report:#?}");
        assert!(report.entries >= 2 * report.rows, "{at}: {report:#?}");
        db.drop_index(table, SPARE).unwrap();
    }
}

/// Points passed, and whether the operation succeeded.
fn ended(at: &str, output: &Output) -> (u64, bool) {
    let text = String::from_utf8_lossy(&output.stdout);
    let ended = text.split("passed:").nth(1).and_then(|rest| rest.split_once(':'));
    let Some((passed, how)) = ended else {
        panic!("{at}: {:?} {text}\n{}", output.status, String::from_utf8_lossy(&output.stderr))
    };
    (passed.parse().unwrap(), how.starts_with("ended well"))
}

/// Waits until the child has stopped, or is over; true when it has stopped. It can still be waited for as usual.
pub(in crate::db) fn stands_still(child: &Child) -> bool {
    // SAFETY: all-zero is a `siginfo_t`; it is filled in below.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT;
    // SAFETY: the child has not been waited for; `info` is writable for the length of the call.
    let found = unsafe { libc::waitid(libc::P_PID, child.id(), &raw mut info, options) };
    assert_eq!(found, 0);
    info.si_code == libc::CLD_STOPPED
}

impl Drop for World {
    fn drop(&mut self) {
        for Peer { stop, thread, done } in self.peers.drain(..) {
            drop(stop);
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
                assert!(done.load(Ordering::Relaxed) > 0, "a peer came to nothing");
            }
        }
        drop(self.db.take());
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_file(&self.shm);
    }
}
