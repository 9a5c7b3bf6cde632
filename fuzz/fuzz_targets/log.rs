//! A log with bytes changed, cut off or added: an error that names the place, or a prefix of the records it had.
#![no_main]

use aerostore_core::db::{Database, TxnOptions};
use aerostore_core::recovery::scan_log;
use aerostore_core::row::{Column, ColumnType, RowImage, Schema, Value};
use aerostore_core::wal::WalError;
use aerostore_fuzz::MemoryFiles;
use libfuzzer_sys::fuzz_target;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

const DIR: &str = "/log";

struct Log {
    uuid: [u8; 16],
    files: Vec<(PathBuf, Vec<u8>)>,
    records: Vec<(u64, Vec<u8>)>,
}

/// The log of a small database in several segments.
static LOG: LazyLock<Log> = LazyLock::new(|| {
    let place = std::env::temp_dir().join(format!("aerostore-fuzz-log-{}", std::process::id()));
    let shm = place.with_extension("mmap");
    let _ = std::fs::remove_dir_all(&place);
    let schema = Schema::builder("Cell")
        .column(Column::new("name", ColumnType::String(16)))
        .column(Column::new("note", ColumnType::String(4000)).nullable())
        .key("name")
        .build()
        .expect("a sound definition");
    let database = Database::builder(&place)
        .shm_path(&shm)
        .max_bytes(64 << 20)
        .segment_bytes(64 << 10)
        .open()
        .expect("a database");
    let table = database.create_table(&schema).expect("a table");
    let note = "x".repeat(4000);
    for number in 0..40 {
        let mut image = RowImage::new(&schema);
        let name = format!("row{}", number % 7);
        image.set(&schema, 0, Value::Str(&name)).expect("a name");
        image.set(&schema, 1, Value::Str(&note[..number * 100])).expect("a note");
        image.finish(&schema).expect("a row");
        let mut transaction = database.begin(TxnOptions::default()).expect("a transaction");
        transaction.upsert(&table, &image).expect("room");
        transaction.commit().expect("a commit");
    }
    database.close().expect("a clean end");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(place.join("wal")).expect("the directory").flatten() {
        let bytes = std::fs::read(entry.path()).expect("a file");
        // Preallocated zeros add nothing but time.
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        files.push((
            Path::new(DIR).join(entry.file_name()),
            bytes[..used.next_multiple_of(512).min(bytes.len())].to_vec(),
        ));
    }
    files.sort();
    let _ = std::fs::remove_dir_all(&place);
    let _ = std::fs::remove_file(&shm);
    let uuid = files[0].1[16..32].try_into().expect("sixteen bytes");
    let records = scan(uuid, files.clone()).expect("an intact log");
    assert!(records.len() > 40 && files.len() > 1, "{} records, {} files", records.len(), files.len());
    Log { uuid, files, records }
});

fn scan(uuid: [u8; 16], files: Vec<(PathBuf, Vec<u8>)>) -> Result<Vec<(u64, Vec<u8>)>, WalError> {
    let mut records = Vec::new();
    scan_log(&MemoryFiles::new(files), Path::new(DIR), uuid, 0, |c, redo| {
        records.push((c, redo.to_vec()));
        Ok(())
    })?;
    Ok(records)
}

// Edits of six bytes: file, what to do, place (u24), value.
fuzz_target!(|data: &[u8]| {
    let log = &*LOG;
    let mut files = log.files.clone();
    for edit in data.chunks_exact(6).take(8) {
        let count = files.len();
        if count == 0 {
            break;
        }
        let index = usize::from(edit[0]) % count;
        let bytes = &mut files[index].1;
        let place = usize::from(edit[2]) | usize::from(edit[3]) << 8 | usize::from(edit[4]) << 16;
        let place = place % (bytes.len() + 1);
        match edit[1] % 8 {
            // One bit, so that nothing can compose a forged record with its checksum.
            0..=3 => {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1 << (edit[5] % 8);
                }
            }
            4 => bytes.truncate(place),
            5 => bytes.extend(std::iter::repeat_n(edit[5], place)),
            6 => {
                let end = (place + usize::from(edit[5]) * 16).min(bytes.len());
                bytes[place..end].fill(0);
            }
            _ => drop(files.remove(index)),
        }
    }
    if let Ok(records) = scan(log.uuid, files) {
        assert!(
            records.len() <= log.records.len() && records[..] == log.records[..records.len()],
            "not a prefix"
        );
    }
});
