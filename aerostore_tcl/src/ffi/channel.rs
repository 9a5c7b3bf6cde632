//! Reading from Tcl channels, and writing to them.

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::ptr;

use super::bindings::{TCL_READABLE, TCL_WRITABLE, Tcl_Channel, Tcl_DString};
use super::interp::{Interp, Raised};
use super::obj::{Obj, length, ok};
use super::stubs::stub;

/// An open channel. Our reference keeps it when a script closes it meanwhile.
pub(crate) struct Channel {
    raw: Tcl_Channel,
    /// What passes is Tcl's text, through the channel's encoding; otherwise bytes as they are, which is UTF-8.
    is_text: bool,
}

/// How a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadChunk {
    /// Something was read.
    Data,
    /// Nothing is left.
    End,
    /// A channel in non-blocking mode has nothing now.
    Blocked,
}

/// Bytes written at a time.
const PIECE: usize = 1 << 20;

impl Channel {
    /// The interpreter's open channel of that name; `None` when it is not for reading.
    pub(crate) fn find(interp: &Interp, name: &Obj) -> Result<Option<Self>, Raised> {
        Self::find_for(interp, name, TCL_READABLE.cast_signed())
    }

    /// The interpreter's open channel of that name; `None` when it is not for writing.
    pub(crate) fn find_writable(interp: &Interp, name: &Obj) -> Result<Option<Self>, Raised> {
        Self::find_for(interp, name, TCL_WRITABLE.cast_signed())
    }

    fn find_for(interp: &Interp, name: &Obj, wanted: c_int) -> Result<Option<Self>, Raised> {
        let mut mode: c_int = 0;
        // SAFETY: a live interpreter, a Tcl string, which ends in a zero byte, and a place for the answer.
        let raw = unsafe { stub!(tcl_GetChannel(interp.raw(), name.bytes().as_ptr().cast(), &raw mut mode)) };
        if raw.is_null() {
            return Err(Raised);
        }
        if mode & wanted == 0 {
            return Ok(None);
        }
        let mut channel = Self::keep(raw, true);
        channel.is_text = !channel.is_binary(interp);
        Ok(Some(channel))
    }

    /// Whether it has no encoding.
    fn is_binary(&self, interp: &Interp) -> bool {
        let mut value = MaybeUninit::<Tcl_DString>::uninit();
        // SAFETY: the string is initialized before it is used, and freed; our channel and a live interpreter.
        unsafe {
            stub!(tcl_DStringInit(value.as_mut_ptr()));
            let code = stub!(tcl_GetChannelOption(
                interp.raw(),
                self.raw,
                c"-encoding".as_ptr(),
                value.as_mut_ptr()
            ));
            let is_binary = code == ok() && CStr::from_ptr((*value.as_ptr()).string) == c"binary";
            stub!(tcl_DStringFree(value.as_mut_ptr()));
            is_binary
        }
    }

    /// Writes the text, in the channel's encoding, or as UTF-8 if it has none.
    pub(crate) fn write(&mut self, interp: &Interp, text: &str) -> Result<(), Raised> {
        // Pieces, so that each is far from the longest that Tcl takes.
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE));
            rest = after;
            let written = if self.is_text {
                let piece = super::text::to_tcl(piece);
                // SAFETY: our channel; pointer and length describe `piece`.
                unsafe { stub!(tcl_WriteChars(self.raw, piece.as_ptr().cast(), length(piece.len()))) }
            } else {
                // SAFETY: as above.
                unsafe { stub!(tcl_Write(self.raw, piece.as_ptr().cast(), length(piece.len()))) }
            };
            if written < 0 {
                return Err(failed(interp, "writing"));
            }
        }
        Ok(())
    }

    /// Opens a file for reading bytes.
    pub(crate) fn open(interp: &Interp, path: &Obj) -> Result<Self, Raised> {
        // SAFETY: live values and a C string.
        let raw = unsafe { stub!(tcl_FSOpenFileChannel(interp.raw(), path.raw(), c"r".as_ptr(), 0)) };
        if raw.is_null() {
            return Err(Raised);
        }
        let channel = Self::keep(raw, false);
        channel.set_option(interp, c"-translation", c"binary")?;
        channel.set_option(interp, c"-buffersize", c"262144")?;
        Ok(channel)
    }

    fn keep(raw: Tcl_Channel, is_text: bool) -> Self {
        // SAFETY: a live channel; without an interpreter this only counts a reference.
        unsafe { stub!(tcl_RegisterChannel(ptr::null_mut(), raw)) };
        Self { raw, is_text }
    }

    fn set_option(&self, interp: &Interp, option: &CStr, value: &CStr) -> Result<(), Raised> {
        // SAFETY: our channel, a live interpreter and C strings.
        let code =
            unsafe { stub!(tcl_SetChannelOption(interp.raw(), self.raw, option.as_ptr(), value.as_ptr())) };
        if code == ok() { Ok(()) } else { Err(Raised) }
    }

    /// Whether what is read is Tcl's text.
    pub(crate) fn is_text(&self) -> bool {
        self.is_text
    }

    /// Appends up to about `count` characters or bytes to `buffer`.
    pub(crate) fn read(
        &mut self,
        interp: &Interp,
        count: usize,
        buffer: &mut Vec<u8>,
    ) -> Result<ReadChunk, Raised> {
        let chunk = Obj::empty();
        // SAFETY: our channel; a value that only we hold, as the function demands.
        let read = unsafe { stub!(tcl_ReadChars(self.raw, chunk.raw(), length(count), 0)) };
        if read > 0 {
            chunk.append_to(self.is_text, buffer);
            return Ok(ReadChunk::Data);
        }
        if read < 0 {
            return Err(failed(interp, "reading"));
        }
        // SAFETY: our channel.
        let at_end = unsafe { stub!(tcl_Eof(self.raw)) } != 0;
        Ok(if at_end { ReadChunk::End } else { ReadChunk::Blocked })
    }
}

/// Leaves the error that the last use of a channel has left in errno.
fn failed(interp: &Interp, doing: &str) -> Raised {
    // SAFETY: a live interpreter; the message is a C string.
    let reason = unsafe { CStr::from_ptr(stub!(tcl_PosixError(interp.raw()))) }.to_string_lossy();
    interp.set_result(&Obj::string(&format!("error {doing}: {reason}")));
    Raised
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: undoes `keep`; closes the channel when nobody else has it.
        unsafe { stub!(tcl_UnregisterChannel(ptr::null_mut(), self.raw)) };
    }
}
