//! The files of checkpoints: names, what a directory holds, publishing, and what goes (P4, P5 of the module).

#![forbid(unsafe_code)]

use super::error::CheckpointError;
use super::manifest::{MANIFEST_BYTES_MAX, Manifest};
use crate::sys::{FileSystem, LogFile};
use crate::wal::{WalError, io_error};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const ROWS: &str = ".rows";
const MANIFEST: &str = ".manifest";
/// A manifest that has not got its name yet.
const UNPUBLISHED: &str = ".manifest.new";

/// Where a database's durable files are.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The disk.
    pub files: &'a dyn FileSystem,
    /// The directory of checkpoints; made when it is needed.
    pub checkpoints: &'a Path,
    /// The directory of the log.
    pub log: &'a Path,
    /// The database's uuid.
    pub uuid: [u8; 16],
}

fn path(dir: &Path, number: u64, suffix: &str) -> PathBuf {
    dir.join(format!("{number:016x}{suffix}"))
}

/// The file of rows of checkpoint `number`.
pub fn rows_path(dir: &Path, number: u64) -> PathBuf {
    path(dir, number, ROWS)
}

/// The manifest of checkpoint `number`.
pub fn manifest_path(dir: &Path, number: u64) -> PathBuf {
    path(dir, number, MANIFEST)
}

/// What files of checkpoints a directory holds.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// Number and suffix of each, in no order.
    names: Vec<(u64, &'static str)>,
}

impl Listed {
    /// Lists the directory; one that is not there holds nothing.
    pub(crate) fn read(places: &Places<'_>) -> Result<Self, CheckpointError> {
        let names = match places.files.list(places.checkpoints) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            listed => listed.map_err(io_error("list", places.checkpoints))?,
        };
        Ok(Self { names: names.iter().filter_map(|name| parse(name.to_str()?)).collect() })
    }

    /// The numbers of the manifests, newest first.
    pub(crate) fn manifests(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> =
            self.names.iter().filter(|name| name.1 == MANIFEST).map(|name| name.0).collect();
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        numbers
    }

    /// The greatest number that any file has; 0 without files.
    fn last_number(&self) -> u64 {
        self.names.iter().map(|name| name.0).max().unwrap_or(0)
    }
}

fn parse(name: &str) -> Option<(u64, &'static str)> {
    let (digits, rest) = name.split_at_checked(16)?;
    let suffix = [ROWS, MANIFEST, UNPUBLISHED].into_iter().find(|suffix| *suffix == rest)?;
    let is_number = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let number = u64::from_str_radix(digits, 16).ok()?;
    (is_number && number > 0).then_some((number, suffix))
}

/// Takes a number, and makes its file of rows (P4).
pub(super) fn begin(places: &Places<'_>) -> Result<(u64, Box<dyn LogFile>), CheckpointError> {
    let Places { files, checkpoints: dir, .. } = *places;
    files.create_dir(dir).map_err(io_error("create", dir))?;
    if let Some(parent) = dir.parent() {
        files.sync_dir(parent).map_err(io_error("sync", parent))?;
    }
    let mut number = Listed::read(places)?.last_number();
    loop {
        number += 1;
        let path = rows_path(dir, number);
        match files.create_new(&path) {
            Ok(file) => return Ok((number, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io_error("create", &path)(error).into()),
        }
    }
}

/// Why a checkpoint could not be published.
pub(super) enum Unpublished {
    /// It is not, and never will be: its files may go.
    Not(CheckpointError),
    /// Its manifest may have its name by now, or after a loss of power: its files stay, and count if they are whole.
    Perhaps(CheckpointError),
}

impl From<WalError> for Unpublished {
    fn from(error: WalError) -> Self {
        Self::Not(error.into())
    }
}

impl From<CheckpointError> for Unpublished {
    fn from(error: CheckpointError) -> Self {
        Self::Not(error)
    }
}

/// Gives a manifest its name, when it and its rows have survived a sync.
pub(super) fn publish(places: &Places<'_>, manifest: &Manifest) -> Result<u64, Unpublished> {
    let Places { files, checkpoints: dir, .. } = *places;
    let (new, path) = (path(dir, manifest.number, UNPUBLISHED), manifest_path(dir, manifest.number));
    let bytes = manifest.encode().map_err(|reason| CheckpointError::corrupt(&path, 0, reason))?;
    write_new(files, &new, &bytes)?;
    // The rows' name as well.
    files.sync_dir(dir).map_err(io_error("sync", dir))?;
    let named = files.rename(&new, &path).map_err(io_error("rename", &new));
    let named = named.and_then(|()| files.sync_dir(dir).map_err(io_error("sync", dir)));
    named.map_err(|error| Unpublished::Perhaps(error.into()))?;
    Ok(bytes.len() as u64)
}

/// Gives a manifest that was changed the name that it has, in one step; what it was goes to `attic`. For salvage.
pub(crate) fn rewrite(places: &Places<'_>, manifest: &Manifest, attic: &Path) -> Result<(), CheckpointError> {
    let Places { files, checkpoints: dir, .. } = *places;
    let (new, path) = (path(dir, manifest.number, UNPUBLISHED), manifest_path(dir, manifest.number));
    write_new(files, &manifest_path(attic, manifest.number), &read_whole(files, &path)?)?;
    files.sync_dir(attic).map_err(io_error("sync", attic))?;
    // Of one that was cut off.
    let _ = files.remove(&new);
    let bytes = manifest.encode().map_err(|reason| CheckpointError::corrupt(&path, 0, reason))?;
    write_new(files, &new, &bytes)?;
    files.rename(&new, &path).map_err(io_error("rename", &new))?;
    Ok(files.sync_dir(dir).map_err(io_error("sync", dir))?)
}

/// Makes a file that is on the disk, but for its name.
fn write_new(files: &dyn FileSystem, path: &Path, bytes: &[u8]) -> Result<(), WalError> {
    let mut file = files.create_new(path).map_err(io_error("create", path))?;
    file.write_at(0, bytes).map_err(io_error("write", path))?;
    file.sync_data().map_err(io_error("sync", path))
}

/// Removes what a checkpoint that failed has made so far.
pub(super) fn give_up(places: &Places<'_>, number: u64) {
    for suffix in [UNPUBLISHED, ROWS] {
        // Not there, or removed later by P5.
        let _ = places.files.remove(&path(places.checkpoints, number, suffix));
    }
}

/// Reads the manifest of checkpoint `number`.
///
/// # Errors
/// `Io`, `Corrupt`, `Version`, `Foreign`.
pub(crate) fn read_manifest(places: &Places<'_>, number: u64) -> Result<Manifest, CheckpointError> {
    let path = manifest_path(places.checkpoints, number);
    Manifest::decode(&read_whole(places.files, &path)?, &path, places.uuid, number)
}

/// The bytes of a manifest's file.
fn read_whole(files: &dyn FileSystem, path: &Path) -> Result<Vec<u8>, CheckpointError> {
    let file = files.open_read(path).map_err(io_error("open", path))?;
    let length = file.len().map_err(io_error("read", path))?;
    if length > MANIFEST_BYTES_MAX {
        return Err(CheckpointError::corrupt(path, MANIFEST_BYTES_MAX, "longer than any manifest"));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let read = file.read_at(0, &mut bytes).map_err(io_error("read", path))?;
    bytes.truncate(read);
    Ok(bytes)
}

/// The file of rows of a checkpoint, which is as long as its manifest says.
///
/// # Errors
/// `Io`, `Corrupt`.
pub(crate) fn rows_of_length(places: &Places<'_>, manifest: &Manifest) -> Result<PathBuf, CheckpointError> {
    let path = rows_path(places.checkpoints, manifest.number);
    let file = places.files.open_read(&path).map_err(io_error("open", &path))?;
    let length = file.len().map_err(io_error("read", &path))?;
    if length != manifest.rows_bytes {
        let reason = format!("it has {length} bytes, not {}", manifest.rows_bytes);
        return Err(CheckpointError::corrupt(&path, length.min(manifest.rows_bytes), reason));
    }
    Ok(path)
}

/// The older of the two newest checkpoints that are as they should be, as far as can be told without reading all of them: nothing while
/// there are fewer (P5). `is_damaged` tells those that are known not to be.
pub(super) fn older_of_two(
    places: &Places<'_>,
    is_damaged: impl Fn(u64) -> bool,
) -> Result<Option<Manifest>, CheckpointError> {
    let numbers = Listed::read(places)?.manifests().into_iter().filter(|number| !is_damaged(*number));
    let intact = numbers.filter_map(|number| {
        let manifest = read_manifest(places, number).ok()?;
        rows_of_length(places, &manifest).ok().map(|_| manifest)
    });
    Ok(intact.into_iter().nth(1))
}

/// Removes the files of numbers below `number`.
pub(super) fn remove_before(places: &Places<'_>, number: u64) -> Result<(), CheckpointError> {
    let Places { files, checkpoints: dir, .. } = *places;
    let mut names = Listed::read(places)?.names;
    // Manifests first: none is left without its rows.
    names.sort_unstable_by_key(|name| name.1 != MANIFEST);
    for (old, suffix) in names.into_iter().filter(|name| name.0 < number) {
        let path = path(dir, old, suffix);
        match files.remove(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(io_error("remove", &path)(error).into());
            }
            _ => {}
        }
    }
    Ok(files.sync_dir(dir).map_err(io_error("sync", dir))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_checkpoints_count() {
        assert_eq!(parse("000000000000001f.rows"), Some((31, ROWS)));
        assert_eq!(parse("000000000000001f.manifest"), Some((31, MANIFEST)));
        assert_eq!(parse("000000000000001f.manifest.new"), Some((31, UNPUBLISHED)));
        for name in ["1f.rows", "000000000000001F.rows", "0000000000000000.rows", "000000000000001f.row", "x"]
        {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
