//! What the fuzz targets share: a table with a column of every type, and files in memory.

pub mod rows;

use aerostore_core::row::{Column, ColumnType, Schema, Value};
use aerostore_core::sys::{FileSystem, LogFile};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

/// A table with a column of every type.
pub static WIDE: LazyLock<Arc<Schema>> = LazyLock::new(|| {
    let nullable = |name, kind| Column::new(name, kind).nullable();
    let schema = Schema::builder("Wide")
        .column(Column::new("id", ColumnType::String(24)).alias("ident"))
        .column(nullable("flag", ColumnType::Bool))
        .column(nullable("short", ColumnType::I16))
        .column(Column::new("int", ColumnType::I32).default(Value::I32(-1)))
        .column(nullable("wide", ColumnType::I64))
        .column(nullable("float", ColumnType::F32))
        .column(nullable("double", ColumnType::F64))
        .column(nullable("letter", ColumnType::Char))
        .column(nullable("fixed", ColumnType::FixedString(6)))
        .column(nullable("text", ColumnType::String(40)))
        .column(nullable("seen", ColumnType::Timestamp))
        .column(nullable("seen_us", ColumnType::TimestampMicros))
        .column(nullable("address", ColumnType::Inet))
        .column(nullable("mac", ColumnType::Mac))
        .key("id")
        .build();
    Arc::new(schema.expect("a sound definition"))
});

/// Files in memory, without names for directories.
#[derive(Debug, Default)]
pub struct MemoryFiles(Mutex<BTreeMap<PathBuf, Arc<Mutex<Vec<u8>>>>>);

impl MemoryFiles {
    /// Files with these contents.
    pub fn new(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) -> Self {
        Self(Mutex::new(files.into_iter().map(|(path, bytes)| (path, Arc::new(Mutex::new(bytes)))).collect()))
    }
}

#[derive(Debug)]
struct MemoryFile(Arc<Mutex<Vec<u8>>>);

impl LogFile for MemoryFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut contents = self.0.lock().unwrap();
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if contents.len() < end {
            contents.resize(end, 0);
        }
        contents[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        let contents = self.0.lock().unwrap();
        let rest = usize::try_from(offset).ok().and_then(|start| contents.get(start..)).unwrap_or(&[]);
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn sync_data(&mut self) -> Result<()> {
        Ok(())
    }

    fn preallocate(&mut self, length: u64) -> Result<bool> {
        self.set_len(self.len()?.max(length))?;
        Ok(true)
    }

    fn set_len(&mut self, length: u64) -> Result<()> {
        self.0.lock().unwrap().resize(length as usize, 0);
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
}

impl FileSystem for MemoryFiles {
    fn create_new(&self, path: &Path) -> Result<Box<dyn LogFile>> {
        let file = Arc::new(Mutex::new(Vec::new()));
        match self.0.lock().unwrap().insert(path.to_path_buf(), Arc::clone(&file)) {
            None => Ok(Box::new(MemoryFile(file))),
            Some(_) => Err(ErrorKind::AlreadyExists.into()),
        }
    }

    fn open(&self, path: &Path) -> Result<Box<dyn LogFile>> {
        let files = self.0.lock().unwrap();
        let file = files.get(path).ok_or_else(|| Error::from(ErrorKind::NotFound))?;
        Ok(Box::new(MemoryFile(Arc::clone(file))))
    }

    fn open_read(&self, path: &Path) -> Result<Box<dyn LogFile>> {
        self.open(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<OsString>> {
        let files = self.0.lock().unwrap();
        let here = files.keys().filter(|path| path.parent() == Some(dir));
        Ok(here.filter_map(|path| path.file_name().map(OsString::from)).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut files = self.0.lock().unwrap();
        let file = files.remove(from).ok_or_else(|| Error::from(ErrorKind::NotFound))?;
        files.insert(to.to_path_buf(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.0.lock().unwrap().remove(path).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn create_dir(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> Result<()> {
        Ok(())
    }
}
