use crate::sys::MemoryFileSystem;
use crate::wal::harness::scan;

#[test]
fn an_empty_directory_is_an_empty_log() {
    let (records, report) = scan(&MemoryFileSystem::default(), 7).unwrap();
    assert!(records.is_empty());
    assert_eq!((report.last_ts, report.segments, report.torn), (7, 0, None));
}
