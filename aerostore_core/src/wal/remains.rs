//! What can still be read of a damaged log, and cutting the log there. Only for salvage: nobody else passes over damage.
//!
//! Rules       R1: what remains is a prefix in order of commit: from the timestamp asked for up to the first batch that cannot be read,
//!             whatever is intact behind it. R2: nothing is destroyed: of the segment that is cut a copy goes to the attic, segments behind it are
//!             moved there. R3: whoever is killed in between leaves a log that is refused as before, or is cut already: the shorter segment
//!             takes the old one's name in one step, and is shorter than the next one says until that has gone; segments go from high numbers to low.

#![forbid(unsafe_code)]

use super::error::WalError;
use super::frame::{FIRST_BATCH, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::segment::{Link, io_error, segment_number, segment_path};
use super::takeover::Extent;
use super::walk::{Step, Walk};
use crate::sys::{FileSystem, LogFile};
use std::collections::BTreeMap;
use std::path::Path;

/// What remains of a log.
#[derive(Debug)]
pub(crate) struct Remains {
    /// The timestamp up to which it can be read.
    pub(crate) last_ts: u64,
    /// The greatest timestamp that some segment says the log had reached.
    pub(crate) known_ts: u64,
    /// The segment in which it ends, and where; none when not even its beginning can be read.
    pub(crate) end: Option<(u64, u64)>,
    /// Segments behind that.
    pub(crate) behind: Vec<u64>,
    headers: BTreeMap<u64, SegmentHeader>,
}

impl Remains {
    /// Finds out what can be read of the records above `from_ts`.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn find(
        fs: &dyn FileSystem,
        dir: &Path,
        uuid: [u8; 16],
        from_ts: u64,
    ) -> Result<Self, WalError> {
        let names = fs.list(dir).map_err(io_error("list", dir))?;
        let mut behind: Vec<u64> = names.iter().filter_map(|name| segment_number(name.to_str()?)).collect();
        behind.sort_unstable();
        let mut headers = BTreeMap::new();
        for &number in &behind {
            let mut bytes = [0; SEGMENT_HEADER_BYTES];
            let path = segment_path(dir, number);
            let file = fs.open_read(&path).map_err(io_error("open", &path))?;
            let count = file.read_at(0, &mut bytes).map_err(io_error("read", &path))?;
            let header = SegmentHeader::decode(&bytes[..count]).ok();
            if let Some(header) = header.filter(|header| header.uuid == uuid && header.number == number) {
                headers.insert(number, header);
            }
        }
        let known_ts = headers.values().map(|header| header.start_ts).max().unwrap_or(0);
        let mut remains = Self { last_ts: from_ts, known_ts, end: None, behind, headers };
        let chain = remains.longest_chain(from_ts);
        for (index, link) in chain.iter().enumerate() {
            let (extent, is_whole) = read(fs, dir, link)?;
            remains.end = Some((link.header.number, extent.bytes));
            remains.last_ts = extent.ts.max(from_ts);
            if !is_whole || chain.get(index + 1).is_some_and(|next| next.header.start_ts != extent.ts) {
                break;
            }
        }
        let last = remains.end.map_or(0, |end| end.0);
        remains.behind.retain(|number| *number > last);
        remains.known_ts = remains.known_ts.max(remains.last_ts);
        Ok(remains)
    }

    /// The chain that reaches back to `from_ts` from the greatest number that one does.
    fn longest_chain(&self, from_ts: u64) -> Vec<Link> {
        let chains = self.headers.values().rev().filter_map(|head| {
            let mut chain = vec![Link { header: head.clone(), sealed_bytes: None }];
            while let Some(next) = chain.last().map(|link| &link.header)
                && next.start_ts > from_ts
            {
                let previous = self.headers.get(&next.previous).filter(|previous| {
                    previous.number < next.number
                        && previous.start_ts <= next.start_ts
                        && previous.term <= next.term
                })?;
                chain.push(Link { header: previous.clone(), sealed_bytes: Some(next.previous_bytes) });
            }
            chain.reverse();
            Some(chain)
        });
        chains.into_iter().next().unwrap_or_default()
    }

    /// Lets the log end where it can be read, in the form of a log that was not closed (R2, R3). `attic` exists.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn cut(
        &self,
        fs: &dyn FileSystem,
        dir: &Path,
        attic: &Path,
        uuid: [u8; 16],
    ) -> Result<(), WalError> {
        let (number, bytes) = match self.end {
            Some((number, bytes)) => {
                let path = segment_path(dir, number);
                let from = fs.open_read(&path).map_err(io_error("open", &path))?;
                copy(fs, from.as_ref(), &segment_path(attic, number), u64::MAX, 0)?;
                fs.sync_dir(attic).map_err(io_error("sync", attic))?;
                (number, Some((from, bytes)))
            }
            None => (self.behind.last().map_or(1, |last| last + 1), None),
        };
        let path = segment_path(dir, number);
        let new = path.with_extension("wal.new");
        // Of a salvage that was cut off.
        let _ = fs.remove(&new);
        if let Some((from, bytes)) = bytes {
            let allocated = self.headers.get(&number).map_or(0, |header| header.allocated_bytes);
            copy(fs, from.as_ref(), &new, bytes, allocated)?;
        } else {
            let term = self.headers.values().map(|header| header.term).max().unwrap_or(0) + 1;
            let header = SegmentHeader {
                uuid,
                term,
                number,
                previous: 0,
                previous_bytes: 0,
                start_ts: self.last_ts,
                allocated_bytes: FIRST_BATCH,
                is_reused: false,
            };
            let mut file = fs.create_new(&new).map_err(io_error("create", &new))?;
            let written = file.write_at(0, &header.encode()).and_then(|()| file.set_len(FIRST_BATCH));
            written.and_then(|()| file.sync_data()).map_err(io_error("write", &new))?;
        }
        fs.rename(&new, &path).map_err(io_error("rename", &new))?;
        fs.sync_dir(dir).map_err(io_error("sync", dir))?;
        for &number in self.behind.iter().rev() {
            let path = segment_path(dir, number);
            fs.rename(&path, &segment_path(attic, number)).map_err(io_error("rename", &path))?;
            // One by one, so that none goes before those behind it have gone for good.
            fs.sync_dir(attic).map_err(io_error("sync", attic))?;
            fs.sync_dir(dir).map_err(io_error("sync", dir))?;
        }
        Ok(())
    }
}

/// Where a segment can be read to, and whether that is all of it.
fn read(fs: &dyn FileSystem, dir: &Path, link: &Link) -> Result<(Extent, bool), WalError> {
    let mut is_whole = link.sealed_bytes.is_some();
    let mut walk = match Walk::open(fs, dir, link) {
        Err(WalError::Corrupt { .. }) => {
            is_whole = false;
            Walk::open(fs, dir, &Link { header: link.header.clone(), sealed_bytes: None })?
        }
        opened => opened?,
    };
    loop {
        let extent = walk.extent();
        match walk.step(u64::MAX) {
            Ok(Step::Batch) => {}
            Ok(Step::End(_)) => return Ok((extent, is_whole)),
            Err(WalError::Corrupt { .. }) => return Ok((extent, false)),
            Err(error) => return Err(error),
        }
    }
}

/// Copies the first `bytes` of a file to a new one that is `length` long at least, and on the disk.
fn copy(
    fs: &dyn FileSystem,
    from: &dyn LogFile,
    path: &Path,
    bytes: u64,
    length: u64,
) -> Result<(), WalError> {
    let mut file = fs.create_new(path).map_err(io_error("create", path))?;
    let copied = (|| {
        let end = from.len()?.min(bytes);
        let mut block = vec![0; 1 << 20];
        for range in from.data_ranges(0)? {
            let mut at = range.start;
            while at < range.end.min(end) {
                let wanted = usize::try_from(range.end.min(end) - at).unwrap_or(usize::MAX).min(block.len());
                let count = from.read_at(at, &mut block[..wanted])?;
                if count == 0 {
                    break;
                }
                file.write_at(at, &block[..count])?;
                at += count as u64;
            }
        }
        file.set_len(end.max(length))?;
        file.sync_data()
    })();
    copied.map_err(io_error("write", path))
}
