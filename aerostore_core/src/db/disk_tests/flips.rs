//! Every bit of a small database's files is flipped: that is refused, or does no harm, or is passed over and said so.

use super::{History, Place, Random, alter, commit, recover, schema};
use crate::checkpoint::{CheckpointError, Places, manifest_path, read_manifest, rows_path};
use crate::recovery::is_intact;
use crate::sys::MemoryFileSystem;
use std::path::Path;

/// Of the bits of all files, every so many are flipped before a whole cold start; `AEROSTORE_FLIP_STRIDE` instead.
const STRIDE: usize = 331;

/// A log of two segments and a checkpoint between them, of a database that was closed. A column was added before the checkpoint, and one behind it.
fn small(place: &Place) -> (MemoryFileSystem, History, [u8; 16]) {
    let (disk, history) = (MemoryFileSystem::default(), History::default());
    let db = place.open(&disk);
    db.create_table(&schema()).unwrap();
    let mut random = Random(3);
    for number in 0..8 {
        commit(&db, &history, random.changes(), true).unwrap();
        if number == 3 {
            alter(&db).unwrap();
        }
    }
    db.checkpoint().unwrap();
    let uuid = db.0.dir.uuid();
    db.close().unwrap();
    let db = place.open(&disk);
    for number in 0..4 {
        commit(&db, &history, random.changes(), true).unwrap();
        if number == 1 {
            alter(&db).unwrap();
        }
    }
    db.close().unwrap();
    (disk, history, uuid)
}

/// The bits that may be anything but zero: those from the first byte to the last that is not.
fn bits(disk: &MemoryFileSystem, path: &Path) -> std::ops::Range<usize> {
    0..disk.bytes(path).iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1) * 8
}

#[test]
fn every_flipped_bit_of_a_checkpoint_is_noticed_and_its_file_named() {
    let place = Place::new("flips-checkpoint");
    let (disk, _, uuid) = small(&place);
    let checkpoints = place.dir.join("checkpoints");
    let (manifest, rows) = (manifest_path(&checkpoints, 1), rows_path(&checkpoints, 1));
    let read = |places: &Places<'_>| -> Result<(), CheckpointError> {
        is_intact(places, &read_manifest(places, 1)?)
    };
    place.with_places(&disk, uuid, read).unwrap();
    for path in [manifest, rows] {
        let whole = disk.bytes(&path);
        assert!(whole.len() > 200);
        let mut bytes = whole.clone();
        for bit in 0..whole.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            disk.set_bytes(&path, bytes.clone());
            bytes[bit / 8] = whole[bit / 8];
            let error = place.with_places(&disk, uuid, read).unwrap_err().to_string();
            assert!(error.contains(&path.display().to_string()), "bit {bit}: {error}");
        }
        disk.set_bytes(&path, whole);
    }
}

#[test]
fn a_flipped_bit_of_any_file_is_refused_or_does_no_harm() {
    let place = Place::new("flips");
    let (disk, history, uuid) = small(&place);
    let last_ts = *history.commits().last_key_value().unwrap().0;
    let stride = std::env::var("AEROSTORE_FLIP_STRIDE").map_or(STRIDE, |stride| stride.parse().unwrap());
    let (mut refused, mut passed_over, mut harmless) = (0, 0, 0);
    for path in disk.paths() {
        let whole = disk.bytes(&path);
        for bit in bits(&disk, &path).step_by(stride) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            disk.set_bytes(&path, bytes);
            match recover("flips", &place, uuid, &disk) {
                Ok((recovered, rows)) => {
                    // The mark of the end may be taken for a write that was cut off: no record is.
                    assert!(recovered.last_ts >= last_ts, "{} bit {bit}", path.display());
                    assert_eq!(rows, history.rows_at(last_ts), "{} bit {bit}", path.display());
                    if recovered.passed_over.is_empty() { harmless += 1 } else { passed_over += 1 }
                }
                Err(error) => {
                    assert!(error.to_string().contains(&place.dir.display().to_string()), "{error}");
                    refused += 1;
                }
            }
            disk.set_bytes(&path, whole.clone());
        }
    }
    println!("flipped bits: {refused} refused, {passed_over} checkpoints passed over, {harmless} harmless");
    assert!(refused > 5 && passed_over > 5 && harmless > 5);
}
