//! A Tcl channel as a stream of bytes, and what gzip or zstd has compressed.
#![forbid(unsafe_code)]

use std::io::{self, BufReader, ErrorKind, Read};

use flate2::read::MultiGzDecoder;
use zstd::stream::read::Decoder;

use crate::ffi::{Channel, Interp, Obj, ReadChunk};

/// Characters or bytes asked of the channel at a time.
const CHUNK: usize = 256 << 10;

/// Reads a channel; what goes wrong in it is an `io::Error` with Tcl's message.
pub(super) struct ChannelReader<'i> {
    interp: &'i Interp,
    channel: Channel,
    /// Read, but not yet turned into UTF-8: the start of a line.
    raw: Vec<u8>,
    /// To be given out, from `at` on.
    ready: Vec<u8>,
    at: usize,
}

impl<'i> ChannelReader<'i> {
    pub(super) fn new(interp: &'i Interp, channel: Channel) -> Self {
        Self { interp, channel, raw: Vec::new(), ready: Vec::new(), at: 0 }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.at = 0;
        while self.ready.is_empty() {
            let chunk = self.channel.read(self.interp, CHUNK, &mut self.raw);
            match chunk.map_err(|_| io::Error::other(self.interp.take_message()))? {
                ReadChunk::Data => {
                    let whole =
                        if self.channel.is_text() { whole_characters(&self.raw) } else { self.raw.len() };
                    self.release(whole);
                }
                ReadChunk::End => {
                    let rest = self.raw.len();
                    self.release(rest);
                    break;
                }
                ReadChunk::Blocked => {
                    return Err(io::Error::new(
                        io::ErrorKind::WouldBlock,
                        "the channel is in non-blocking mode and has no data now",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Makes the first bytes of `raw` ready.
    fn release(&mut self, count: usize) {
        if self.channel.is_text() {
            self.ready.extend_from_slice(&Obj::data_of(&self.raw[..count]));
            self.raw.drain(..count);
        } else {
            // Nothing is held back from bytes.
            std::mem::swap(&mut self.raw, &mut self.ready);
            self.raw.clear();
        }
    }
}

/// How many bytes of Tcl's text certainly end between characters. Tcl may give the halves of a surrogate pair in two
/// pieces; only a byte below 128 tells that no pair is open.
fn whole_characters(raw: &[u8]) -> usize {
    raw.iter().rposition(u8::is_ascii).map_or(0, |last| last + 1)
}

impl Read for ChannelReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ready.len() {
            self.fill()?;
        }
        let count = buffer.len().min(self.ready.len() - self.at);
        buffer[..count].copy_from_slice(&self.ready[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// What gzip has compressed, all members of it, one after the other.
pub(super) struct GzipReader<R>(MultiGzDecoder<R>);

impl<R: Read> GzipReader<R> {
    pub(super) fn new(compressed: R) -> Self {
        Self(MultiGzDecoder::new(compressed))
    }
}

impl<R: Read> Read for GzipReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "gzip data ends early"),
            ErrorKind::InvalidInput | ErrorKind::InvalidData => {
                io::Error::new(error.kind(), format!("damaged gzip data: {error}"))
            }
            _ => error,
        })
    }
}

/// What zstd has compressed, all frames of it, one after the other.
pub(super) struct ZstdReader<'d, R: Read>(Decoder<'d, BufReader<R>>);

impl<R: Read> ZstdReader<'_, R> {
    pub(super) fn new(compressed: R) -> io::Result<Self> {
        Ok(Self(Decoder::new(compressed)?))
    }
}

impl<R: Read> Read for ZstdReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "zstd data ends early"),
            // The channel's own errors say what they are about.
            _ if error.to_string().starts_with("error reading") => error,
            _ => io::Error::new(error.kind(), format!("damaged zstd data: {error}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_after_the_last_byte_that_stands_alone() {
        assert_eq!(whole_characters(b"ab\n"), 3);
        assert_eq!(whole_characters("ab\u{e9}".as_bytes()), 2);
        assert_eq!(whole_characters(&[b'a', 0xED, 0xA0, 0xBD]), 1);
        assert_eq!(whole_characters(&[0xED, 0xA0, 0xBD]), 0);
    }
}
