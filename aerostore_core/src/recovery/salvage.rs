//! Salvage: a damaged database is made one that can be opened, by giving up what cannot be read; only when somebody asks for it.
//!
//! Rules       V1: what is kept is a prefix in order of commit, as in every recovery: the newest checkpoint that is intact, and the log behind
//!             it up to its first damage. V2: nothing is destroyed: every file that is changed or not needed any more goes as it was to a
//!             directory of its own, the *attic*. V3: whoever is killed here leaves a database that is refused as before, or that is
//!             salvaged; the next salvage begins anew. Checkpoints go first, then the log is cut (R3 of `wal::remains`).

#![forbid(unsafe_code)]

use super::load::is_intact;
use super::scan::scan_log;
use crate::checkpoint::{CheckpointError, Listed, Places, manifest_path, read_manifest, rewrite, rows_path};
use crate::wal::{Remains, WalError, io_error, segment_path};
use std::path::{Path, PathBuf};

/// What a salvage has given up, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// The directory with every file as it was.
    pub attic: PathBuf,
    /// Every commit up to this timestamp was kept, and none above it.
    pub last_ts: u64,
    /// The greatest timestamp that there is a trace of: what lies in between is lost, and perhaps more behind it.
    pub known_ts: u64,
    /// Which bytes.
    pub given_up: Vec<GivenUp>,
}

/// A part of a file that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// The file, by the name that it had.
    pub path: PathBuf,
    /// From here on.
    pub offset: u64,
    /// So many bytes.
    pub bytes: u64,
    /// Why.
    pub reason: String,
}

/// Makes a database that cannot be recovered one that can; none when it can be as it is. `attic` is the name for a new directory.
///
/// # Errors
/// `Io`; `Version` and `Foreign` for files that are not damaged, but not this database's, or not this library's to read.
pub fn salvage(places: &Places<'_>, attic: &Path) -> Result<Option<Salvaged>, CheckpointError> {
    let (from_ts, damaged) = newest_intact(places)?;
    let refused =
        match scan_log(places.files, places.log, places.uuid, from_ts, |_, _| Ok::<(), WalError>(())) {
            Ok(report) if report.segments > 0 || from_ts == 0 => return Ok(None),
            Ok(_) => "there is a checkpoint, and no log behind it".to_owned(),
            Err(error @ (WalError::Corrupt { .. } | WalError::Missing { .. })) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
    let remains = Remains::find(places.files, places.log, places.uuid, from_ts)?;
    let mut salvaged = Salvaged {
        attic: attic.to_path_buf(),
        last_ts: remains.last_ts,
        known_ts: remains.known_ts,
        given_up: Vec::new(),
    };
    places.files.create_dir(attic).map_err(io_error("create", attic))?;
    if let Some(parent) = attic.parent() {
        places.files.sync_dir(parent).map_err(io_error("sync", parent))?;
    }
    for (number, reason) in damaged {
        salvaged.move_checkpoint(places, number, &reason)?;
    }
    for number in Listed::read(places)?.manifests() {
        let manifest = read_manifest(places, number)?;
        salvaged.known_ts = salvaged.known_ts.max(manifest.log_ts);
        if manifest.log_ts > remains.last_ts {
            rewrite(places, &manifest.with_log_ts(remains.last_ts), attic)?;
        }
    }
    if let Some((number, offset)) = remains.end {
        salvaged.give_up(places, &segment_path(places.log, number), offset, &refused)?;
    }
    for &number in &remains.behind {
        let reason = if remains.end.is_none() { &refused } else { "it continues what cannot be read" };
        salvaged.give_up(places, &segment_path(places.log, number), 0, reason)?;
    }
    remains.cut(places.files, places.log, attic, places.uuid)?;
    Ok(Some(salvaged))
}

/// The timestamp of the newest checkpoint that is intact, or 0; and the numbers of those that are not, with what is wrong.
fn newest_intact(places: &Places<'_>) -> Result<(u64, Vec<(u64, String)>), CheckpointError> {
    let (mut from_ts, mut damaged) = (0, Vec::new());
    for number in Listed::read(places)?.manifests() {
        let checked = read_manifest(places, number).and_then(|manifest| {
            is_intact(places, &manifest)?;
            Ok(manifest)
        });
        match checked {
            Ok(manifest) => from_ts = from_ts.max(manifest.commit_ts),
            Err(error) if error.is_damage() => damaged.push((number, error.to_string())),
            // What is of another version or database, or cannot be read now, is not damaged.
            Err(error) => return Err(error),
        }
    }
    Ok((from_ts, damaged))
}

impl Salvaged {
    /// Notes that a file is given up from `offset` on.
    fn give_up(
        &mut self,
        places: &Places<'_>,
        path: &Path,
        offset: u64,
        reason: &str,
    ) -> Result<(), CheckpointError> {
        let file = places.files.open_read(path).map_err(io_error("open", path))?;
        let data = file.data_ranges(offset).map_err(io_error("read", path))?;
        let end =
            data.last().map_or(offset, |range| range.end).min(file.len().map_err(io_error("read", path))?);
        let bytes = end.saturating_sub(offset);
        self.given_up.push(GivenUp { path: path.to_path_buf(), offset, bytes, reason: reason.to_owned() });
        Ok(())
    }

    /// Moves the files of a checkpoint to the attic; the manifest first, as its rows are no checkpoint without it.
    fn move_checkpoint(
        &mut self,
        places: &Places<'_>,
        number: u64,
        reason: &str,
    ) -> Result<(), CheckpointError> {
        let dir = places.checkpoints;
        for path in [manifest_path(dir, number), rows_path(dir, number)] {
            match self.give_up(places, &path, 0, reason) {
                Err(error) if error.is_not_found() => continue,
                given_up => given_up?,
            }
            let name = path.file_name().unwrap_or_default();
            places.files.rename(&path, &self.attic.join(name)).map_err(io_error("rename", &path))?;
        }
        places.files.sync_dir(&self.attic).map_err(io_error("sync", &self.attic))?;
        Ok(places.files.sync_dir(dir).map_err(io_error("sync", dir))?)
    }
}
