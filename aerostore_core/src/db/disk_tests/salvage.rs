//! Salvage of damaged databases: a prefix is kept, all else stays as it was in the attic, and power may be lost at any step of it.

use super::{History, Place, Random, alter, check_goes_on, commit, recover, schema};
use crate::checkpoint::Places;
use crate::db::{Database, ErrorKind, Salvaged};
use crate::recovery;
use crate::sys::{FileSystem, MemoryFileSystem};
use std::path::{Path, PathBuf};

/// A database of a log of several segments, and perhaps two checkpoints in the middle of it.
struct Damaged {
    place: Place,
    disk: MemoryFileSystem,
    history: History,
    uuid: [u8; 16],
}

impl Damaged {
    fn new(name: &str, has_checkpoints: bool) -> Self {
        let (place, disk, history) = (Place::new(name), MemoryFileSystem::default(), History::default());
        let db = place.open(&disk);
        db.create_table(&schema()).unwrap();
        let mut random = Random(7);
        for number in 0..160 {
            commit(&db, &history, random.changes(), true).unwrap();
            if number == 60 || number == 110 {
                alter(&db).unwrap();
            }
            if has_checkpoints && (number == 80 || number == 120) {
                db.checkpoint().unwrap();
            }
        }
        let uuid = db.0.dir.uuid();
        db.close().unwrap();
        Self { place, disk, history, uuid }
    }

    fn files(&self, suffix: &str) -> Vec<PathBuf> {
        let paths = self.disk.paths().into_iter();
        paths.filter(|path| path.to_string_lossy().ends_with(suffix)).collect()
    }

    fn flip(&self, path: &Path, place: usize) {
        let mut bytes = self.disk.bytes(path);
        bytes[place] ^= 0x40;
        self.disk.set_bytes(path, bytes);
    }

    fn attic(&self) -> PathBuf {
        self.place.dir.join("salvaged-here")
    }

    fn salvage(&self, disk: &MemoryFileSystem) -> Salvaged {
        let salvage = |places: &Places<'_>| recovery::salvage(places, &self.attic());
        self.place.with_places(disk, self.uuid, salvage).unwrap().unwrap()
    }

    /// Refused as it is; salvaged, it has a prefix, and every file as it was; it goes on, and a second salvage finds nothing to do.
    fn check(&self, name: &str) -> Salvaged {
        recover(name, &self.place, self.uuid, &self.disk).unwrap_err();
        let before: Vec<_> =
            self.disk.paths().into_iter().map(|path| (self.disk.bytes(&path), path)).collect();
        let salvaged = self.salvage(&self.disk);
        let (recovered, rows) = recover(name, &self.place, self.uuid, &self.disk).unwrap();
        assert_eq!(recovered.last_ts, salvaged.last_ts);
        assert_eq!(rows, self.history.rows_at(salvaged.last_ts));
        for (bytes, path) in before {
            let aside = self.attic().join(path.file_name().unwrap());
            let is_kept = [path.clone(), aside]
                .iter()
                .any(|path| self.disk.paths().contains(path) && self.disk.bytes(path) == bytes);
            assert!(is_kept, "{} is nowhere as it was", path.display());
        }
        let again = |places: &Places<'_>| recovery::salvage(places, &self.place.dir.join("salvaged-again"));
        assert_eq!(self.place.with_places(&self.disk, self.uuid, again).unwrap(), None);
        check_goes_on(&self.place, &self.disk.power_loss(|| false), &self.history, salvaged.last_ts);
        salvaged
    }
}

#[test]
fn a_log_damaged_in_the_middle_is_kept_up_to_there() {
    let damaged = Damaged::new("salvage-middle", false);
    let segments = damaged.files(".wal");
    assert!(segments.len() > 2, "{segments:?}");
    damaged.flip(&segments[1], 9_000);
    let salvaged = damaged.check("salvage-middle");
    let [first, behind @ ..] = &salvaged.given_up[..] else { panic!("{salvaged:?}") };
    assert_eq!(first.path, segments[1]);
    assert!((4096..=9_000).contains(&first.offset) && first.bytes > 4_000, "{first:?}");
    assert!(first.reason.contains("is damaged at offset"), "{first:?}");
    assert_eq!(behind.len(), segments.len() - 2);
    let newest = *damaged.history.commits().last_key_value().unwrap().0;
    assert!(salvaged.last_ts > 20 && salvaged.last_ts < salvaged.known_ts && salvaged.known_ts <= newest);
}

#[test]
fn whatever_is_damaged_or_missing_a_prefix_is_kept() {
    type Damage = fn(&Damaged, &[PathBuf]);
    let cases: [(&str, bool, Damage); 7] = [
        ("header", false, |damaged, segments| damaged.flip(&segments[1], 50)),
        ("missing", false, |damaged, segments| damaged.disk.remove(&segments[1]).unwrap()),
        ("short", false, |damaged, segments| {
            let bytes = damaged.disk.bytes(&segments[1]);
            damaged.disk.set_bytes(&segments[1], bytes[..10_000].to_vec());
        }),
        ("first", false, |damaged, segments| damaged.flip(&segments[0], 20)),
        ("behind-checkpoint", true, |damaged, segments| damaged.flip(segments.last().unwrap(), 5_000)),
        ("gone", true, |damaged, segments| {
            for path in segments {
                damaged.disk.remove(path).unwrap();
            }
        }),
        ("checkpoint-and-log", true, |damaged, segments| {
            damaged.flip(&damaged.files(".rows")[1], 100);
            damaged.flip(segments.last().unwrap(), 5_000);
        }),
    ];
    for (name, has_checkpoints, damage) in cases {
        let name = format!("salvage-{name}");
        let damaged = Damaged::new(&name, has_checkpoints);
        damage(&damaged, &damaged.files(".wal"));
        let salvaged = damaged.check(&name);
        assert_eq!(salvaged.last_ts > 0, !name.ends_with("first"), "{salvaged:?}");
    }
}

#[test]
fn power_lost_in_a_salvage_leaves_a_database_that_is_refused_or_salvaged() {
    let damaged = Damaged::new("salvage-power", true);
    damaged.flip(&damaged.files(".rows")[1], 100);
    damaged.flip(&damaged.files(".wal")[1], 9_000);
    let original = damaged.disk.bytes(&damaged.files(".wal")[1]);
    let disk = damaged.disk.power_loss(|| false);
    disk.record(|| 0);
    let wanted = damaged.salvage(&disk);
    let (mut random, mut refused, mut salvaged) = (Random(1), 0, 0);
    for moment in disk.recorded() {
        for variant in 0..3 {
            let after = moment.power_loss(|| variant == 1 || (variant == 2 && random.below(2) == 0));
            let found = recover("salvage-power", &damaged.place, damaged.uuid, &after);
            let (recovered, rows) = if let Ok(found) = found {
                salvaged += 1;
                found
            } else {
                refused += 1;
                let attic = damaged.place.dir.join("salvaged-again");
                let again = |places: &Places<'_>| recovery::salvage(places, &attic);
                damaged.place.with_places(&after, damaged.uuid, again).unwrap().unwrap();
                recover("salvage-power", &damaged.place, damaged.uuid, &after).unwrap()
            };
            let is_kept = after.paths().iter().any(|path| after.bytes(path) == original);
            assert!(is_kept, "the damaged segment is nowhere as it was");
            assert_eq!(recovered.last_ts, wanted.last_ts);
            assert_eq!(rows, damaged.history.rows_at(wanted.last_ts));
        }
    }
    assert!(refused > 10 && salvaged > 0, "{refused} refused, {salvaged} salvaged");
}

#[test]
fn a_damaged_database_is_opened_only_by_who_asks_for_salvage() {
    let damaged = Damaged::new("salvage-open", false);
    damaged.flip(&damaged.files(".wal")[1], 9_000);
    std::fs::remove_file(&damaged.place.shm).unwrap();
    let open =
        |salvage| -> Result<Database, _> { damaged.place.builder(&damaged.disk).salvage(salvage).open() };
    let read_only = damaged.place.builder(&damaged.disk).salvage(true).read_only(true);
    let files = damaged.disk.paths();
    for refused in [open(false), read_only.open()] {
        assert_eq!(refused.map(drop).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(damaged.disk.paths(), files, "nothing was moved");
    }
    let db = open(true).unwrap();
    let salvaged = db.boot().salvaged.clone().unwrap();
    assert_eq!(super::rows_of(db.0.session().unwrap()).0, damaged.history.rows_at(salvaged.last_ts));
    db.checkpoint().unwrap();
    db.close().unwrap();
    assert!(damaged.disk.paths().iter().any(|path| path.starts_with(&salvaged.attic)), "{salvaged:?}");
    let db = open(true).unwrap();
    assert_eq!(db.boot().salvaged, None);
    db.close().unwrap();
}
