use super::LogReport;
use crate::sys::{FileSystem, MemoryFileSystem};
use crate::wal::harness::{DIR, Records, TestDatabase, scan};
use crate::wal::{SegmentHeader, WalError, segment_path};
use std::path::{Path, PathBuf};

/// A log of three segments with several synced batches each, the last one still open or closed.
fn log(closed: bool) -> (MemoryFileSystem, Records) {
    let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(2, 4096));
    let mut records = Vec::new();
    let mut writer = database.writer(&fs, 5200);
    for round in 0..12_u8 {
        for session in 0..2 {
            let redo = vec![b'a' + round; 40 + usize::from(round) * 3];
            records.push((database.commit(session, &redo).unwrap(), redo));
        }
        writer.drain(&database, true).unwrap();
    }
    if closed {
        writer.close(&database).unwrap();
    }
    assert_eq!(fs.paths().len(), 3);
    (fs, records)
}

/// Scans the log with one file replaced.
fn scan_with(fs: &MemoryFileSystem, path: &Path, bytes: Vec<u8>) -> Result<(Records, LogReport), WalError> {
    let before = fs.bytes(path);
    fs.set_bytes(path, bytes);
    let result = scan(fs, 0);
    fs.set_bytes(path, before);
    result
}

fn paths(fs: &MemoryFileSystem) -> (Vec<PathBuf>, PathBuf) {
    let mut paths = fs.paths();
    let last = paths.pop().unwrap();
    (paths, last)
}

#[test]
fn an_empty_directory_is_an_empty_log() {
    let (records, report) = scan(&MemoryFileSystem::default(), 7).unwrap();
    assert!(records.is_empty());
    assert_eq!((report.last_ts, report.segments, report.torn), (7, 0, None));
}

#[test]
fn an_open_log_reads_to_its_end_without_a_torn_tail() {
    let (fs, records) = log(false);
    let (found, report) = scan(&fs, 0).unwrap();
    assert_eq!(found, records);
    assert_eq!((report.last_ts, report.segments, report.closed, report.torn), (24, 3, false, None));
}

#[test]
fn the_last_segment_cut_at_every_byte_gives_a_prefix_and_says_so() {
    let (fs, records) = log(false);
    let (_, last) = paths(&fs);
    let bytes = fs.bytes(&last);
    let end = usize::try_from(scan(&fs, 0).unwrap().1.end.offset).unwrap();
    let mut longest = 0;
    for cut in 0..bytes.len() {
        let result = scan_with(&fs, &last, bytes[..cut].to_vec());
        if cut < 128 {
            assert!(matches!(result, Err(WalError::Missing { .. })), "the one before names it: {result:?}");
            continue;
        }
        let (found, report) = result.unwrap();
        assert!(
            records.starts_with(&found) && found.len() % 2 == 0 && found.len() >= longest,
            "cut at {cut}"
        );
        longest = found.len();
        let torn = report.torn.expect("a short file is reported");
        assert_eq!(torn.at, report.end);
        assert!(cut < end || found == records, "cut at {cut}");
        assert_eq!(torn.cut_bytes == 0, cut as u64 <= torn.at.offset || found == records, "cut at {cut}");
    }
}

#[test]
fn a_batch_torn_at_every_byte_is_cut_and_its_bytes_counted() {
    let (fs, records) = log(false);
    let (_, last) = paths(&fs);
    let bytes = fs.bytes(&last);
    let end = usize::try_from(scan(&fs, 0).unwrap().1.end.offset).unwrap();
    // The last batch has two records of 16 + 73 bytes, padded, behind 64 bytes of header.
    let start = end - 64 - 2 * 96;
    for kept in start..end {
        let mut torn = bytes.clone();
        torn[kept..end].fill(0);
        if torn == bytes {
            continue;
        }
        let (found, report) = scan_with(&fs, &last, torn.clone()).unwrap();
        assert_eq!(found, records[..22], "{kept} bytes kept");
        let used = torn.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        assert_eq!(
            report.torn.map(|torn| torn.cut_bytes).unwrap_or_default(),
            (used.max(start) - start) as u64
        );
        // The same hole in the middle of the log is damage.
        let mut hole = bytes.clone();
        hole[kept - (end - start)..end - (end - start)].fill(0);
        assert!(matches!(scan_with(&fs, &last, hole), Err(WalError::Corrupt { .. })));
    }
}

#[test]
fn an_earlier_segment_cut_at_every_byte_is_damage() {
    let (fs, records) = log(false);
    let (earlier, _) = paths(&fs);
    for path in earlier {
        let bytes = fs.bytes(&path);
        let sealed = bytes.len() - 72;
        for cut in (0..sealed).step_by(5).chain(sealed - 100..bytes.len()) {
            match scan_with(&fs, &path, bytes[..cut].to_vec()) {
                Ok((found, report)) => {
                    assert!(cut >= sealed, "cut at {cut}");
                    assert_eq!((found, report.torn), (records.clone(), None));
                }
                Err(error) => {
                    assert!(cut < sealed && matches!(error, WalError::Corrupt { .. }), "{cut}: {error}");
                }
            }
        }
    }
}

/// Flips bits one by one; `lost_max` records may be missing from the end, where a torn tail is reported.
fn flip_bits(fs: &MemoryFileSystem, records: &Records, lost_max: usize) {
    let (mut refused, mut harmless, mut torn) = (0, 0, 0);
    for path in fs.paths() {
        let bytes = fs.bytes(&path);
        let places = (0..160).chain(4090..bytes.len());
        // All of them in the long form.
        let bits = if std::env::var_os("AEROSTORE_CRASH_POINTS").is_some() { 8 } else { 2 };
        for (place, bit) in places.flat_map(|place| (0..bits).map(move |bit| (place, (place + bit * 3) % 8)))
        {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << bit;
            match scan_with(fs, &path, flipped) {
                Err(_) => refused += 1,
                Ok((found, _)) if &found == records => harmless += 1,
                Ok((found, report)) => {
                    torn += 1;
                    assert!(records.starts_with(&found) && records.len() - found.len() <= lost_max);
                    let at = report.torn.expect("what is cut is reported").at.offset;
                    assert!(place as u64 >= at, "{} flipped at {place}, cut at {at}", path.display());
                }
            }
        }
    }
    assert!(refused > 2000 && harmless > 100, "{refused} refused, {harmless} harmless, {torn} torn");
    assert_eq!(torn == 0, lost_max == 0);
}

#[test]
fn a_flipped_bit_in_a_closed_log_is_refused_or_harmless() {
    let (fs, records) = log(true);
    assert!(scan(&fs, 0).unwrap().1.closed);
    flip_bits(&fs, &records, 0);
}

#[test]
fn a_flipped_bit_in_an_open_log_costs_at_most_the_last_batch_and_is_reported() {
    let (fs, records) = log(false);
    flip_bits(&fs, &records, 2);
}

#[test]
fn a_missing_segment_is_named() {
    let (fs, _) = log(false);
    for path in fs.paths() {
        let bytes = fs.bytes(&path);
        fs.remove(&path).unwrap();
        match scan(&fs, 0) {
            Err(WalError::Missing { path: missing, .. }) => assert_eq!(missing, path),
            other => panic!("{other:?}"),
        }
        fs.set_bytes(&path, bytes);
    }
    scan(&fs, 0).unwrap();
}

fn rewrite_header(fs: &MemoryFileSystem, path: &Path, change: impl FnOnce(&mut SegmentHeader)) -> Vec<u8> {
    let mut bytes = fs.bytes(path);
    let mut header = SegmentHeader::decode(&bytes).unwrap();
    change(&mut header);
    bytes[..128].copy_from_slice(&header.encode());
    bytes
}

#[test]
fn foreign_renamed_and_contradicting_segments_are_refused() {
    let (fs, _) = log(false);
    let path = segment_path(Path::new(DIR), 2);
    let foreign = rewrite_header(&fs, &path, |header| header.uuid[3] ^= 1);
    assert!(matches!(scan_with(&fs, &path, foreign), Err(WalError::Foreign { .. })));
    let renamed = fs.bytes(&segment_path(Path::new(DIR), 1));
    assert!(matches!(scan_with(&fs, &path, renamed), Err(WalError::Corrupt { offset: 40, .. })));
    let changes: [fn(&mut SegmentHeader); 5] = [
        |header| header.previous = 2,
        |header| header.previous = 7,
        |header| header.term = 9,
        |header| header.start_ts += 1,
        |header| header.previous_bytes -= 8,
    ];
    for change in changes {
        let bytes = rewrite_header(&fs, &path, change);
        assert!(matches!(scan_with(&fs, &path, bytes), Err(WalError::Corrupt { .. })));
    }
}

#[test]
fn another_version_is_refused_by_its_number() {
    let (fs, _) = log(false);
    let path = segment_path(Path::new(DIR), 2);
    let mut bytes = fs.bytes(&path);
    bytes[8..12].copy_from_slice(&0_u32.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..124]);
    bytes[124..128].copy_from_slice(&checksum.to_le_bytes());
    assert!(matches!(scan_with(&fs, &path, bytes), Err(WalError::Version { found: 0, .. })));
}

#[test]
fn what_the_caller_returns_ends_the_scan() {
    let (fs, _) = log(false);
    let result = super::scan_log(&fs, Path::new(DIR), crate::wal::harness::UUID, 0, |c, _| {
        if c == 3 { Err(WalError::ReadOnly) } else { Ok(()) }
    });
    assert!(matches!(result, Err(WalError::ReadOnly)));
}
