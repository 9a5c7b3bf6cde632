use super::*;
use crate::sys::MemoryFileSystem;
use crate::wal::harness::{DIR, Records, TestDatabase, UUID, scan};

const SEGMENT: u64 = 16 << 10;

impl LogWriter<'_> {
    /// What one that was stopped between its look at the term and its write does when it goes on.
    pub(crate) fn write_late(&mut self, bytes: &[u8]) {
        self.current.file.write_at(self.current.end.bytes, bytes).unwrap();
    }
}

fn redo(c: u64) -> Vec<u8> {
    format!("redo number {c}").into_bytes()
}

/// Commits one record; the expected record of the log.
fn commit(database: &TestDatabase, session: usize, text: &str) -> (u64, Vec<u8>) {
    (database.commit(session, text.as_bytes()).unwrap(), text.as_bytes().to_vec())
}

fn records(fs: &MemoryFileSystem) -> Records {
    scan(fs, 0).unwrap().0
}

#[test]
fn committed_records_reach_the_log_in_order_of_commit() {
    let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(3, 4096));
    let mut writer = database.writer(&fs, SEGMENT);
    let first = commit(&database, 2, "first");
    let aborted = database.prepare(0, b"aborted").unwrap();
    let second = commit(&database, 1, "second");
    let undecided = database.prepare(0, b"undecided").unwrap();
    let third = commit(&database, 2, "third");
    assert_eq!(writer.drain(&database, true).unwrap().records, 1, "what follows an undecided one waits");
    assert_eq!(database.control.durable_ts(), aborted - 1);
    database.decide(aborted, false);
    assert_eq!(writer.drain(&database, true).unwrap().records, 1);
    assert_eq!(database.control.durable_ts(), undecided - 1);
    database.decide(undecided, true);
    assert_eq!(writer.drain(&database, true).unwrap().durable_ts, third.0);
    assert_eq!(records(&fs), [first, second, (undecided, b"undecided".to_vec()), third]);
    assert!((0..3).all(|session| database.ring(session).is_drained(undecided + 1).unwrap()));
}

#[test]
fn batches_roll_over_segments_and_come_back() {
    let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(2, 8192));
    let mut writer = database.writer(&fs, SEGMENT);
    let mut expected = Vec::new();
    for round in 0..300_u64 {
        for session in 0..2 {
            expected.push((database.commit(session, &redo(round)).unwrap(), redo(round)));
        }
        if round % 3 == 0 {
            writer.drain(&database, round % 9 == 0).unwrap();
        }
    }
    let large = vec![7; 40_000];
    expected.push((database.commit_out_of_line(1, &large), large));
    expected.push(commit(&database, 0, "after the large one"));
    writer.close(&database).unwrap();
    let (found, report) = scan(&fs, 0).unwrap();
    assert_eq!(found, expected);
    assert!(report.segments > 3 && report.closed && report.torn.is_none(), "{report:?}");
    // Only what is above the timestamp, and without the segments below it.
    let (above, report) = scan(&fs, 550).unwrap();
    assert_eq!(above, expected[550..]);
    fs.remove(&segment_path(Path::new(DIR), 1)).unwrap();
    assert_eq!(scan(&fs, 550).unwrap(), (above, report));
    assert!(matches!(scan(&fs, 0), Err(WalError::Missing { .. })));
}

#[test]
fn a_clean_restart_goes_on_behind_the_closed_log() {
    let fs = MemoryFileSystem::default();
    let mut expected = Vec::new();
    let mut last_ts = 0;
    for round in 0..5 {
        let database = TestDatabase::restarted(1, 1024, last_ts);
        let writer = database.writer(&fs, SEGMENT);
        if round != 2 {
            expected.push(commit(&database, 0, "a record"));
        }
        writer.close(&database).unwrap();
        let (found, report) = scan(&fs, 0).unwrap();
        assert_eq!(found, expected);
        assert!(report.closed);
        last_ts = report.last_ts;
    }
    assert_eq!(fs.paths().len(), 4, "the segment of the idle round is gone");
}

#[test]
fn a_deposed_writer_can_do_no_harm() {
    let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(2, 4096));
    let mut old = database.writer(&fs, SEGMENT);
    let mut expected = vec![commit(&database, 0, "durable before")];
    old.drain(&database, true).unwrap();
    expected.push(commit(&database, 1, "written, not synced, by the old one"));
    old.drain(&database, false).unwrap();
    let mut new = database.writer(&fs, SEGMENT);
    assert!(matches!(old.drain(&database, true), Err(WalError::Deposed { term: 1 })));
    expected.push(commit(&database, 0, "after"));
    new.drain(&database, true).unwrap();
    // The old one was stopped between its check and its write: its bytes fall beyond what the new one named.
    old.write_late(&[0xee; 300]);
    assert!(matches!(old.publish(99), Err(WalError::Deposed { .. })));
    assert!(matches!(old.roll(), Err(Trouble::Other(WalError::Deposed { .. }) | Trouble::Sync(_))));
    assert_eq!(records(&fs), expected);
    assert_eq!(database.control.durable_ts(), 3);
}

#[test]
fn a_writer_killed_before_its_segment_leaves_no_gap() {
    let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(1, 4096));
    let mut first = database.writer(&fs, SEGMENT);
    let mut expected = vec![commit(&database, 0, "one")];
    first.drain(&database, true).unwrap();
    expected.push(commit(&database, 0, "two"));
    // Killed right after the CAS of the term; then one killed after creating a file without a header.
    database.control.depose(0).unwrap();
    database.control.depose(0).unwrap();
    fs.create_new(&segment_path(Path::new(DIR), 2)).unwrap().preallocate(8192).unwrap();
    let mut writer = database.writer(&fs, SEGMENT);
    assert_eq!((writer.term(), writer.position().segment), (4, 3));
    writer.drain(&database, true).unwrap();
    assert_eq!(records(&fs), expected);
}

#[test]
fn each_writer_has_figures_of_its_own_and_all_have_them_together() {
    let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(1, 4096));
    let mut first = database.writer(&fs, SEGMENT);
    for text in ["one", "two"] {
        commit(&database, 0, text);
        first.drain(&database, true).unwrap();
    }
    commit(&database, 0, "three");
    first.drain(&database, false).unwrap();
    let mut second = database.writer(&fs, SEGMENT);
    second.drain(&database, true).unwrap();
    second.drain(&database, true).unwrap();
    let stats = database.control.stats();
    let figures =
        |office: &OfficeStats| (office.term, office.batch_count, office.record_count, office.sync_count);
    assert_eq!(stats.offices.iter().map(figures).collect::<Vec<_>>(), [(2, 1, 1, 1), (1, 3, 3, 2)]);
    assert_eq!((stats.batch_count, stats.record_count, stats.sync_count), (4, 4, 3));
    assert_eq!(stats.offices.iter().map(|office| office.written_bytes).sum::<u64>(), stats.written_bytes);
    assert_eq!(stats.sync_times.classes().map(|class| class.1).sum::<u64>(), stats.sync_count);
    assert!(stats.offices.iter().all(|office| office.sync_ns > 0 && office.pid == std::process::id()));
}

#[test]
fn take_overs_without_records_do_not_pile_up_segments() {
    let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(1, 4096));
    let mut writer = database.writer(&fs, SEGMENT);
    let expected = commit(&database, 0, "one");
    writer.drain(&database, true).unwrap();
    for _ in 0..10 {
        writer = database.writer(&fs, SEGMENT);
        let aborted = database.prepare(0, b"x").unwrap();
        database.decide(aborted, false);
        writer.drain(&database, true).unwrap();
        assert_eq!(database.control.durable_ts(), aborted);
    }
    assert_eq!(fs.paths().len(), 2);
    assert_eq!(records(&fs), [expected]);
    assert_eq!(writer.position().segment, 11);
}

#[test]
fn a_term_in_the_files_is_never_used_again() {
    let fs = MemoryFileSystem::default();
    let database = TestDatabase::new(1, 1024);
    for term in 1..=3 {
        assert_eq!(database.writer(&fs, SEGMENT).term(), term);
    }
    // A new arena for the same log.
    assert_eq!(TestDatabase::new(1, 1024).writer(&fs, SEGMENT).term(), 4);
}

#[test]
fn damage_in_a_ring_stops_the_log_with_its_place() {
    let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(1, 1024));
    let mut writer = database.writer(&fs, SEGMENT);
    let ring = database.ring(0);
    let staged = ring.stage(super::super::EntryBody::OutOfLine { pieces: &[(1 << 40, 5)] }, 0).unwrap();
    ring.publish(staged, 1001, 1, 0);
    database.decide(1, true);
    let _ = database.commit(0, b"x");
    assert!(matches!(
        writer.drain(&database, true),
        Err(WalError::Ring(RingDamage { ring: 1, position: 0, .. }))
    ));
    assert_ne!(database.control.fault(), 0);
}

#[test]
fn works_on_the_operating_systems_files() {
    let dir = std::env::temp_dir().join(format!("aerostore-wal-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let fs = sys::OsFileSystem;
    fs.create_dir(&dir).unwrap();
    let database = TestDatabase::new(1, 4096);
    let options = LogOptions { segment_bytes: 8192, batch_bytes_max: 1024 };
    let mut writer = LogWriter::take_over(&database.control, Arc::new(fs), &dir, UUID, 1, options).unwrap();
    let mut write_up_to = |number| {
        while writer.position().segment < number {
            database.commit(0, &[b'k'; 900]).unwrap();
            writer.drain(&database, true).unwrap();
        }
        database.control.durable_ts()
    };
    let superfluous_ts = write_up_to(3);
    assert_eq!(super::super::remove_superfluous(&fs, &dir, UUID, superfluous_ts).unwrap(), 1);
    let last_ts = write_up_to(4);
    let mut seen = 0;
    let report =
        crate::recovery::scan_log(&fs, &dir, UUID, superfluous_ts, |_, redo| -> Result<(), WalError> {
            seen += redo.len();
            Ok(())
        })
        .unwrap();
    assert_eq!(seen as u64, (last_ts - superfluous_ts) * 900);
    assert_eq!((report.last_ts, report.torn), (last_ts, None));
    // Used again where the file system can tell who has a file open: none is left over, in either case.
    assert_eq!(fs.list(&dir).unwrap().len(), 3);
    std::fs::remove_dir_all(dir).unwrap();
}
