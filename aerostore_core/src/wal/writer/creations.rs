//! Segments whose creation fails or is cut off leave nothing behind.

use super::*;
use crate::sys::{Call, MemoryFileSystem};
use crate::wal::harness::{DIR, TestDatabase, scan};

#[test]
fn a_disk_that_refuses_segments_is_not_filled_with_them() {
    for call in [Call::Preallocate, Call::Write, Call::Sync, Call::SyncDir] {
        let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(1, 8192));
        let mut writer = database.writer(&fs, 4500);
        database.commit(0, &[b'a'; 300]).unwrap();
        writer.drain(&database, true).unwrap();
        // There is no room for that in the same segment.
        database.commit(0, &[b'b'; 300]).unwrap();
        fs.fail(call, 0, u64::MAX);
        for _ in 0..5 {
            writer.drain(&database, true).unwrap_err();
        }
        drop(writer);
        for _ in 0..5 {
            database.try_writer(&fs, 4500).unwrap_err();
        }
        assert_eq!(fs.paths().len(), 1, "{call:?}");
        assert!(fs.heal());
        database.control.forget_faults();
        database.writer(&fs, 4500).close(&database).unwrap();
        assert_eq!(scan(&fs, 0).unwrap().0.len(), 2, "{call:?}");
    }
}

#[test]
fn what_is_left_of_a_creation_that_was_cut_off_goes_with_the_next_take_over() {
    let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(1, 8192));
    let dir = Path::new(DIR);
    database.commit(0, b"first").unwrap();
    database.writer(&fs, 4500).close(&database).unwrap();
    // Killed before it had written its header, and in the middle of that.
    fs.set_bytes(&segment_path(dir, 2), vec![0; 4500]);
    fs.set_bytes(&segment_path(dir, 3), b"AEROWAL\n\x01\0\0\0".to_vec());
    database.commit(0, b"second").unwrap();
    database.writer(&fs, 4500).close(&database).unwrap();
    assert_eq!(fs.paths(), [segment_path(dir, 1), segment_path(dir, 4)]);
    assert_eq!(scan(&fs, 0).unwrap().0.len(), 2);
}
