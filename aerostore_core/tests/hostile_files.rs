//! Files that are not what they should be. A mapping that is of no use to anybody is set aside, and the database made anew from its files; all else is
//! refused with an error that says what and where, and nothing is changed.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use aerostore_core::db::{Database, Error, ErrorKind, OpenMode, TxnOptions};
use aerostore_core::row::Value;
use common::{Place, flight, flight_schema};
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, symlink};

fn filled(name: &str) -> Place {
    let place = Place::new(name);
    let db = place.open();
    let table = db.create_table(&flight_schema()).unwrap();
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    txn.upsert(&table, &flight(&table, "A", 1)).unwrap();
    txn.commit().unwrap();
    db.close().unwrap();
    place
}

fn refused(place: &Place, words: &[&str]) -> Error {
    let error = Database::builder(&place.dir).shm_path(&place.shm).open().map(|_| ()).unwrap_err();
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "\"{text}\" does not say \"{word}\"");
    }
    error
}

fn overwrite(place: &Place, offset: u64, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().write(true).open(&place.shm).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(bytes).unwrap();
}

/// Opens the database: its mapping is set aside as it was, for a reason that has these words, and its rows are there all the same.
fn set_aside(place: &Place, words: &[&str], rows: u64) {
    let before = fs::read(&place.shm).unwrap();
    let db = place.open();
    let boot = db.boot().clone();
    assert_eq!(boot.mode, if rows == 0 { OpenMode::New } else { OpenMode::Cold });
    assert_eq!(boot.rows, rows);
    let aside = boot.set_aside.unwrap();
    for word in words {
        assert!(aside.reason.contains(word), "\"{}\" does not say \"{word}\"", aside.reason);
    }
    assert!(fs::read(&aside.path).unwrap() == before, "{} was changed", aside.path.display());
    fs::remove_file(&aside.path).unwrap();
    let table = db.create_table(&flight_schema()).unwrap();
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    txn.upsert(&table, &flight(&table, "NEW", 1)).unwrap();
    txn.commit().unwrap();
    db.close().unwrap();
    let db = place.open();
    assert_eq!((db.boot().mode, db.boot().rows, &db.boot().set_aside), (OpenMode::Warm, rows + 1, &None));
}

#[test]
fn a_truncated_mapping_is_set_aside() {
    for bytes in [100_000, 5000, 100, 39, 3] {
        let place = filled("truncated");
        let file = fs::OpenOptions::new().write(true).open(&place.shm).unwrap();
        file.set_len(bytes).unwrap();
        set_aside(&place, &[if bytes == 3 { "no Aerostore mapping" } else { "truncated" }], 1);
    }
}

#[test]
fn a_foreign_file_is_set_aside() {
    let place = filled("foreign");
    overwrite(&place, 0, b"GIF89a");
    set_aside(&place, &[&place.shm.display().to_string(), "no Aerostore mapping"], 1);
}

#[test]
fn a_text_file_is_set_aside() {
    let place = Place::new("text");
    fs::write(&place.shm, "not a database\n").unwrap();
    set_aside(&place, &[], 0);
}

#[test]
fn a_mapping_of_another_version_or_layout_or_boot_is_set_aside() {
    let place = filled("version");
    overwrite(&place, 4, &77_u32.to_ne_bytes());
    set_aside(&place, &["77", "version"], 1);
    for (offset, words) in [(16, "layout"), (40, "before the machine last started")] {
        let place = filled("layout");
        overwrite(&place, offset, &[9; 8]);
        overwrite_checksum(&place);
        set_aside(&place, &[words], 1);
    }
}

#[test]
fn a_mapping_with_a_damaged_header_is_set_aside() {
    // The layout, the boot, the sizes, the checksum, the number of extents.
    for offset in [17, 41, 57, 65, 73, 81, 97, 105, 133] {
        let place = filled("damaged");
        overwrite(&place, offset, &[0xA5; 2]);
        set_aside(&place, &[if offset == 133 { "extents" } else { "checksum" }], 1);
    }
}

/// A3: it may be another database's, whatever else is wrong with it.
#[test]
fn a_useless_mapping_that_names_another_database_is_left_alone() {
    let place = filled("other-database");
    for offset in [4, 16, 60] {
        overwrite(&place, 24, &[7; 16]);
        overwrite(&place, offset, &[9; 4]);
        let before = fs::read(&place.shm).unwrap();
        refused(&place, &[]);
        assert!(fs::read(&place.shm).unwrap() == before);
        assert_eq!(stale_files(&place), 0);
        fs::remove_file(&place.shm).unwrap();
        place.open().close().unwrap();
    }
}

/// A2
#[test]
fn a_useless_mapping_that_a_process_has_open_is_left_alone() {
    let place = filled("in-use");
    let db = place.open();
    overwrite(&place, 4, &77_u32.to_ne_bytes());
    let error = refused(&place, &["version", "has it open"]);
    assert_eq!(error.kind(), ErrorKind::Busy);
    // Nor does a data directory of its own help.
    let other = Place::new("in-use-other");
    let error = Database::builder(&other.dir).shm_path(&place.shm).open().map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert_eq!(stale_files(&place), 0);
    assert_eq!(db.boot().rows, 1);
    drop(db);
    set_aside(&place, &["version"], 1);
}

/// Mappings that were set aside here.
fn stale_files(place: &Place) -> usize {
    let stem = format!("{}.stale-", place.shm.file_stem().unwrap().display());
    let entries = fs::read_dir("/dev/shm").unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(&stem)).count()
}

/// Lets the checksum of a mapping's identity fit.
fn overwrite_checksum(place: &Place) {
    let page = fs::read(&place.shm).unwrap();
    overwrite(place, 104, &u64::from(crc32c::crc32c(&page[16..104])).to_ne_bytes());
}

#[test]
fn a_symbolic_link() {
    let place = filled("symlink");
    let target = place.shm.with_extension("target");
    fs::rename(&place.shm, &target).unwrap();
    symlink(&target, &place.shm).unwrap();
    refused(&place, &["link"]);
    fs::remove_file(&place.shm).unwrap();
    fs::remove_file(&target).unwrap();
}

#[test]
fn a_directory_instead_of_a_mapping() {
    let place = Place::new("directory");
    fs::create_dir(&place.shm).unwrap();
    refused(&place, &[&place.shm.display().to_string()]);
    fs::remove_dir(&place.shm).unwrap();
}

#[test]
fn a_mapping_of_another_user() {
    let place = filled("user");
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("only root can give a file away");
        return;
    }
    std::os::unix::fs::chown(&place.shm, Some(12345), None).unwrap();
    refused(&place, &["12345"]);
}

#[test]
fn a_mapping_and_a_directory_of_different_databases() {
    let first = filled("pair-a");
    let second = filled("pair-b");
    let error = Database::builder(&second.dir).shm_path(&first.shm).open().map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    let text = error.to_string();
    assert!(
        text.contains(&first.shm.display().to_string()) && text.contains(&second.dir.display().to_string())
    );
    for place in [&first, &second] {
        let db = place.open();
        assert_eq!(db.boot().mode, OpenMode::Warm);
        assert_eq!(db.boot().rows, 1);
    }
}

#[test]
fn a_directory_in_use_with_another_mapping() {
    let place = filled("two-mappings");
    let db = place.open();
    let other = place.shm.with_extension("other");
    let error = Database::builder(&place.dir).shm_path(&other).open().map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(!other.exists() || fs::metadata(&other).unwrap().len() == 0);
    let _ = fs::remove_file(&other);
    let table = db.table("Flight").unwrap().unwrap();
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    assert!(txn.exists(&table, Value::Str("A")).unwrap());
}

#[test]
fn a_mapping_left_behind_is_not_taken_for_the_current_one() {
    let place = filled("left-behind");
    let aside = place.shm.with_extension("aside");
    fs::rename(&place.shm, &aside).unwrap();
    {
        let db = place.open();
        assert_eq!(db.boot().mode, OpenMode::Cold);
        let table = db.table("Flight").unwrap().unwrap();
        let mut txn = db.begin(TxnOptions::default()).unwrap();
        txn.upsert(&table, &flight(&table, "B", 2)).unwrap();
        txn.commit().unwrap();
    }
    fs::rename(&aside, &place.shm).unwrap();
    set_aside(&place, &["left behind"], 2);
}

#[test]
fn a_data_directory_that_cannot_be_written() {
    let place = Place::new("read-only-dir");
    fs::write(&place.dir, "a file, where the directory should be").unwrap();
    let error = refused(&place, &[&place.dir.display().to_string()]);
    assert_eq!(error.kind(), ErrorKind::Io);
    fs::remove_file(&place.dir).unwrap();
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        fs::create_dir(&place.dir).unwrap();
        fs::set_permissions(&place.dir, fs::Permissions::from_mode(0o500)).unwrap();
        refused(&place, &["ermission denied"]);
    }
}

#[test]
fn an_identity_that_is_garbage() {
    let place = filled("identity");
    fs::write(place.dir.join("identity"), "hello\n").unwrap();
    let error = refused(&place, &["identity"]);
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn an_identity_that_is_a_link() {
    let place = filled("identity-link");
    let moved = place.dir.join("moved");
    fs::rename(place.dir.join("identity"), &moved).unwrap();
    std::os::unix::fs::symlink(&moved, place.dir.join("identity")).unwrap();
    refused(&place, &["identity", "symbolic link"]);
}

#[test]
fn a_log_damaged_in_the_middle_is_refused_and_a_torn_end_is_cut() {
    let place = filled("log");
    {
        let db = place.open();
        let table = db.table("Flight").unwrap().unwrap();
        for number in 0..50 {
            let mut txn = db.begin(TxnOptions::default()).unwrap();
            txn.upsert(&table, &flight(&table, &format!("F{number}"), number)).unwrap();
            txn.commit().unwrap();
        }
    }
    fs::remove_file(&place.shm).unwrap();
    let mut segments: Vec<_> =
        fs::read_dir(place.dir.join("wal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let last = segments.last().unwrap().clone();
    let whole = fs::read(&last).unwrap();
    let middle = whole.iter().rposition(|byte| *byte != 0).unwrap() / 2;
    let mut bytes = whole.clone();
    bytes[middle] ^= 0x10;
    fs::write(&last, &bytes).unwrap();
    let error = refused(&place, &[&last.display().to_string()]);
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let _ = fs::remove_file(&place.shm);
    fs::write(&last, &whole).unwrap();
    let db = place.open();
    assert_eq!(db.boot().rows, 51);
}

#[test]
fn a_database_too_small_for_its_rows_says_so_and_goes_on() {
    let place = Place::new("small");
    let db = place.builder().max_bytes(16 << 20).open().unwrap();
    db.set_config("synchronous_commit", "off").unwrap();
    let table = db.create_table(&flight_schema()).unwrap();
    let mut written = 0;
    let error = loop {
        let mut txn = db.begin(TxnOptions::default()).unwrap();
        match txn
            .upsert(&table, &flight(&table, &format!("F{written}"), written))
            .map(|_| ())
            .and_then(|()| txn.commit().map(|_| ()))
        {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1_000_000, "16 MiB cannot hold that many rows");
    };
    assert_eq!(error.kind(), ErrorKind::Space, "{error}");
    let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    assert_eq!(txn.count(&table).unwrap(), u64::try_from(written).unwrap());
    drop(txn);
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{report:?}");
    drop(db);
    let db = place.open();
    assert_eq!(db.boot().rows, u64::try_from(written).unwrap());
}

#[test]
fn a_size_that_cannot_be_leaves_nothing_behind() {
    let place = Place::new("size");
    for bytes in [0, 10, 8_000_000, 1 << 60] {
        let error = place.builder().max_bytes(bytes).open().map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = error.to_string();
        assert!(text.contains(&bytes.to_string()) && text.contains("16777216"), "{text}");
        assert!(!place.dir.exists() && !place.shm.exists());
    }
    let db = place.builder().max_bytes(16 << 20).open().unwrap();
    db.create_table(&flight_schema()).unwrap();
}

#[test]
fn a_read_only_handle_makes_no_database() {
    let place = Place::new("nothing");
    let error = place.builder().read_only(true).open().map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(!place.dir.exists() && !place.shm.exists());
}
