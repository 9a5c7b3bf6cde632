//! Reading from Tcl channels.

use std::ffi::{CStr, c_int};
use std::ptr;

use super::bindings::{TCL_READABLE, Tcl_Channel};
use super::interp::{Interp, Raised};
use super::obj::{Obj, length, ok};
use super::stubs::stub;

/// A channel open for reading. Our reference keeps it when a script closes it meanwhile.
pub(crate) struct Channel {
    raw: Tcl_Channel,
    /// What is read is Tcl's text, through the channel's encoding; otherwise bytes as they are.
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

impl Channel {
    /// The interpreter's open channel of that name; `None` when it is not for reading.
    pub(crate) fn find(interp: &Interp, name: &Obj) -> Result<Option<Self>, Raised> {
        let mut mode: c_int = 0;
        // SAFETY: a live interpreter, a Tcl string, which ends in a zero byte, and a place for the answer.
        let raw = unsafe { stub!(tcl_GetChannel(interp.raw(), name.bytes().as_ptr().cast(), &raw mut mode)) };
        if raw.is_null() {
            return Err(Raised);
        }
        if mode & TCL_READABLE.cast_signed() == 0 {
            return Ok(None);
        }
        Ok(Some(Self::keep(raw, true)))
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
            // SAFETY: reports the error that the read left in errno.
            let reason = unsafe { CStr::from_ptr(stub!(tcl_PosixError(interp.raw()))) }.to_string_lossy();
            interp.set_result(&Obj::string(&format!("error reading: {reason}")));
            return Err(Raised);
        }
        // SAFETY: our channel.
        let at_end = unsafe { stub!(tcl_Eof(self.raw)) } != 0;
        Ok(if at_end { ReadChunk::End } else { ReadChunk::Blocked })
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: undoes `keep`; closes the channel when nobody else has it.
        unsafe { stub!(tcl_UnregisterChannel(ptr::null_mut(), self.raw)) };
    }
}
