use super::*;
use crate::sys::{Call, MemoryFileSystem};
use crate::wal::harness::{DIR, Random, Records, TestDatabase, UUID, scan};
use crate::wal::{LogWriter, SegmentHeader, WalError, remove_superfluous};

const SEGMENT: u64 = 6000;

fn count(fs: &MemoryFileSystem, suffix: &str) -> usize {
    listed(fs, Path::new(DIR), suffix).unwrap().len()
}

fn header(fs: &MemoryFileSystem, number: u64) -> SegmentHeader {
    SegmentHeader::decode(&fs.bytes(&segment_path(Path::new(DIR), number))).unwrap()
}

/// Commits and writes records until the log goes on in segment `number`.
fn write_up_to(writer: &mut LogWriter<'_>, database: &TestDatabase, number: u64, records: &mut Records) {
    while writer.position().segment < number {
        let redo = vec![b'a' + u8::try_from(records.len() % 26).unwrap(); 100 + records.len() % 7 * 40];
        records.push((database.commit(0, &redo).unwrap(), redo));
        writer.drain(database, true).unwrap();
    }
}

/// Makes all that is on the disk superfluous, of which two segments are kept (X2); the timestamp from which on the log is needed.
fn forget(fs: &MemoryFileSystem, records: &Records) -> u64 {
    let ts = records.last().unwrap().0;
    remove_superfluous(fs, Path::new(DIR), UUID, ts).unwrap();
    ts
}

fn above(records: &Records, ts: u64) -> Records {
    records.iter().filter(|record| record.0 > ts).cloned().collect()
}

#[test]
fn a_superfluous_segment_is_used_again_and_its_old_bytes_never_count() {
    let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(1, 8192));
    let (mut writer, mut records) = (database.writer(&fs, SEGMENT), Records::new());
    write_up_to(&mut writer, &database, 3, &mut records);
    let ts = forget(&fs, &records);
    assert_eq!((count(&fs, SPARE), count(&fs, HELD)), (1, 0));
    write_up_to(&mut writer, &database, 4, &mut records);
    assert!(header(&fs, 4).is_reused && !header(&fs, 3).is_reused);
    assert_eq!(count(&fs, SPARE), 0);
    let path = segment_path(Path::new(DIR), 4);
    let tail = usize::try_from(writer.position().offset).unwrap();
    assert!(fs.bytes(&path)[tail + 64..].iter().any(|&byte| byte != 0), "the old bytes are gone");
    // Not closed, and yet nothing is said to be torn.
    let (found, report) = scan(&fs, ts).unwrap();
    assert_eq!((found, report.torn), (above(&records, ts), None));
    writer.close(&database).unwrap();
    assert!(scan(&fs, ts).unwrap().1.closed);
}

#[test]
fn a_batch_torn_or_flipped_over_old_bytes_is_cut_and_reported() {
    let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(1, 8192));
    let (mut writer, mut records) = (database.writer(&fs, SEGMENT), Records::new());
    write_up_to(&mut writer, &database, 3, &mut records);
    let ts = forget(&fs, &records);
    write_up_to(&mut writer, &database, 4, &mut records);
    let (path, start) = (segment_path(Path::new(DIR), 4), writer.position().offset);
    let before = fs.bytes(&path);
    records.push((database.commit(0, &[b'z'; 600]).unwrap(), vec![b'z'; 600]));
    writer.drain(&database, true).unwrap();
    let (after, end) = (fs.bytes(&path), writer.position().offset);
    let (first, last) = (usize::try_from(start).unwrap(), usize::try_from(end).unwrap());
    let all = above(&records, ts);
    // Of its sectors any may be missing.
    let sectors: Vec<usize> = (first / 512..=last / 512).collect();
    for kept in 0..1_u32 << sectors.len() {
        let mut torn = before.clone();
        for (_, sector) in (0..).zip(&sectors).filter(|(index, _)| kept >> index & 1 == 1) {
            let bytes = sector * 512..((sector + 1) * 512).min(torn.len());
            torn[bytes.clone()].copy_from_slice(&after[bytes]);
        }
        let is_whole = torn[first..last] == after[first..last];
        fs.set_bytes(&path, torn);
        let (found, report) = scan(&fs, ts).unwrap();
        assert_eq!(found, all[..all.len() - usize::from(!is_whole)], "{kept:b}");
        // Where nothing of it is there nothing is said of it: nobody was told that it is durable.
        if kept == 0 || kept & 1 == 1 {
            assert_eq!(report.torn.is_some(), kept > 0 && kept + 1 < 1 << sectors.len(), "{kept:b}");
        }
    }
    for place in (first..(last + 64).min(after.len())).chain(0..128) {
        let mut flipped = after.clone();
        flipped[place] ^= 1 << (place % 8);
        fs.set_bytes(&path, flipped);
        match scan(&fs, ts) {
            Ok((found, report)) => {
                assert_eq!(found, all[..all.len() - usize::from(place < last)], "{place}");
                assert!(place >= first && report.torn.is_some_and(|torn| torn.cut_bytes >= 64), "{place}");
            }
            Err(error) => assert!(place < 128 && !matches!(error, WalError::Io { .. }), "{place}: {error}"),
        }
    }
}

#[test]
fn a_segment_that_a_deposed_writer_still_has_is_not_used_again() {
    let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(1, 8192));
    let (mut old, mut records) = (database.writer(&fs, SEGMENT), Records::new());
    records.push((database.commit(0, b"one").unwrap(), b"one".to_vec()));
    old.drain(&database, true).unwrap();
    let mut writer = database.writer(&fs, SEGMENT);
    write_up_to(&mut writer, &database, 5, &mut records);
    // The one that might become a spare is still in the hands of the old one.
    let ts = forget(&fs, &records);
    assert_eq!((count(&fs, SPARE), count(&fs, HELD), count(&fs, "wal")), (0, 0, 2));
    write_up_to(&mut writer, &database, 7, &mut records);
    // It goes on where it was stopped, between its look at the term and its write,.
    old.write_late(&[0xee; 700]);
    assert_eq!(scan(&fs, ts).unwrap().0, above(&records, ts));
    drop(old);
    let ts = forget(&fs, &records);
    assert_eq!(count(&fs, SPARE), 1, "nobody has it any more");
    write_up_to(&mut writer, &database, 8, &mut records);
    assert!(header(&fs, 8).is_reused);
    assert_eq!(scan(&fs, ts).unwrap().0, above(&records, ts));
}

#[test]
fn there_are_no_more_spares_than_are_needed_and_what_the_dead_held_goes() {
    let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(1, 8192));
    let (mut writer, mut records) = (database.writer(&fs, SEGMENT), Records::new());
    write_up_to(&mut writer, &database, 10, &mut records);
    // Kept are eight of ten: half of that may be spare, and two are superfluous.
    let third = header(&fs, 3).start_ts;
    fs.set_bytes(&fresh_path(Path::new(DIR), HELD).unwrap(), vec![1; 100]);
    assert_eq!(remove_superfluous(&fs, Path::new(DIR), UUID, third).unwrap(), 2);
    assert_eq!((count(&fs, SPARE), count(&fs, HELD)), (2, 0));
    // Two are kept.
    let ts = forget(&fs, &records);
    assert_eq!((count(&fs, SPARE), count(&fs, "wal")), (1, 2));
    // One that cannot be used is replaced by a new file.
    fs.fail(Call::Rename, 1, 1);
    write_up_to(&mut writer, &database, 11, &mut records);
    assert!(fs.heal());
    assert!(!header(&fs, 11).is_reused);
    assert_eq!((count(&fs, SPARE), count(&fs, HELD)), (0, 0));
    assert_eq!(scan(&fs, ts).unwrap().0, above(&records, ts));
}

/// Power is lost at every step while segments become spares and spares segments.
#[test]
fn power_lost_at_any_step_of_a_reuse_costs_nothing_that_was_durable() {
    let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(1, 8192));
    let database: &'static TestDatabase = Box::leak(Box::new(database));
    let (mut writer, mut records) = (database.writer(&fs, SEGMENT), Records::new());
    write_up_to(&mut writer, database, 3, &mut records);
    fs.record(|| database.control.durable_ts());
    let mut ts = 0;
    for number in 4..7 {
        ts = forget(&fs, &records);
        write_up_to(&mut writer, database, number, &mut records);
        assert!(header(&fs, number).is_reused);
    }
    // From the last timestamp on every log must be whole.
    let (mut random, mut logs) = (Random(5), 0);
    for moment in fs.recorded() {
        for round in 0..8 {
            let after = moment.power_loss(|| round == 1 || round > 1 && random.below(2) == 0);
            let from = ts.min(moment.mark);
            let (found, _) = scan(&after, from).unwrap();
            assert!(above(&records, from).starts_with(&found));
            let durable = records.iter().filter(|record| record.0 > from && record.0 <= moment.mark).count();
            assert!(found.len() >= durable, "{} found, {durable} were durable", found.len());
            logs += 1;
        }
    }
    assert!(logs > 200, "{logs}");
}
