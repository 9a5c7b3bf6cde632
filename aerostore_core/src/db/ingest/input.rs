//! Where the text comes from: memory, or a stream of which a window is kept.
//!
//! Invariants  N1: the window starts where the current batch does, so a batch can be read again. N2: the window grows by one
//!             chunk at a time and only while a line's end is not in it, so it is bounded by the sizes of batch and line.

#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, ErrorKind, Read};

use crate::row::tsv;

/// Bytes asked of a stream at a time.
const CHUNK_BYTES: usize = 256 << 10;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Text to ingest.
pub struct Input<'a>(Source<'a>);

enum Source<'a> {
    Memory(&'a [u8]),
    Stream(Stream<'a>),
}

struct Stream<'a> {
    reader: Box<dyn Read + 'a>,
    buffer: Vec<u8>,
    /// The window lies at `start..end` of the buffer.
    start: usize,
    end: usize,
    ended: bool,
}

impl<'a> Input<'a> {
    /// Text in memory.
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        Self(Source::Memory(bytes))
    }

    /// Text from a stream, which needs no buffer of its own.
    pub fn from_reader(reader: impl Read + 'a) -> Self {
        let reader = Box::new(reader);
        Self(Source::Stream(Stream { reader, buffer: Vec::new(), start: 0, end: 0, ended: false }))
    }

    /// The bytes that are there and not consumed, and whether no others will follow.
    #[inline]
    pub(super) fn window(&self) -> (&[u8], bool) {
        match &self.0 {
            Source::Memory(bytes) => (bytes, true),
            Source::Stream(stream) => (&stream.buffer[stream.start..stream.end], stream.ended),
        }
    }

    /// Drops bytes from the start of the window.
    pub(super) fn consume(&mut self, bytes: usize) {
        match &mut self.0 {
            Source::Memory(rest) => *rest = &rest[bytes..],
            Source::Stream(stream) => stream.start += bytes,
        }
    }

    /// The line that starts `start` bytes into the window, which grows as needed. `None` at the end of the input, or, with
    /// bytes left after `start`, for a line of more than `bytes_max` bytes.
    #[inline]
    pub(super) fn line(&mut self, start: usize, bytes_max: usize) -> io::Result<Option<tsv::Line>> {
        loop {
            let (window, last) = self.window();
            match tsv::line_at(window, start, last) {
                Some(line) if line.end - line.start <= bytes_max => return Ok(Some(line)),
                Some(_) => return Ok(None),
                // Two bytes more than the line may have: they can be its end.
                None if last || window.len() - start > bytes_max.saturating_add(2) => return Ok(None),
                None => self.fill()?,
            }
        }
    }

    /// Drops the line at the start of the window, however long it is.
    pub(super) fn discard_line(&mut self) -> io::Result<()> {
        loop {
            let (window, last) = self.window();
            let length = window.len();
            if let Some(line) = tsv::line_at(window, 0, last) {
                self.consume(line.next);
                return Ok(());
            }
            self.consume(length);
            if last {
                return Ok(());
            }
            self.fill()?;
        }
    }

    /// Drops a byte order mark at the start of the window.
    pub(super) fn skip_byte_order_mark(&mut self) -> io::Result<()> {
        while !self.window().1 && self.window().0.len() < BYTE_ORDER_MARK.len() {
            self.fill()?;
        }
        if self.window().0.starts_with(BYTE_ORDER_MARK) {
            self.consume(BYTE_ORDER_MARK.len());
        }
        Ok(())
    }

    /// Lets the window grow by what the stream gives next.
    #[cold]
    fn fill(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Source::Memory(_) => Ok(()),
            Source::Stream(stream) => stream.fill(),
        }
    }
}

impl Stream<'_> {
    fn fill(&mut self) -> io::Result<()> {
        if self.buffer.len() - self.end < CHUNK_BYTES {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            // Doubling, so that a long line is not copied once per chunk.
            let wanted = (self.end + CHUNK_BYTES).max(self.buffer.len());
            if wanted > self.buffer.len() {
                self.buffer.resize(wanted.next_power_of_two(), 0);
            }
        }
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(bytes) => self.end += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            return Ok(());
        }
    }
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (window, last) = self.window();
        f.debug_struct("Input").field("bytes", &window.len()).field("last", &last).finish_non_exhaustive()
    }
}
