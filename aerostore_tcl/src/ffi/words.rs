//! Tables of fixed words (methods, options), looked up as Tcl looks up its own: unique abbreviations are accepted, a
//! miss gives Tcl's message with all choices, and the word's value remembers its index.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use super::bindings::TCL_OK;
use super::interp::Interp;
use super::obj::Obj;
use super::stubs::stub;

/// One entry of a table.
#[repr(transparent)]
pub(crate) struct Word(*const c_char);

// SAFETY: points to a constant.
unsafe impl Sync for Word {}

impl Word {
    /// Ends every table.
    pub(crate) const END: Self = Self(ptr::null());

    /// A word of a table.
    pub(crate) const fn new(word: &'static CStr) -> Self {
        Self(word.as_ptr())
    }
}

/// A table and what its words are called in messages.
pub(crate) struct Words {
    words: &'static [Word],
    what: &'static CStr,
}

impl Words {
    /// A table; `words` must end in [`Word::END`].
    ///
    /// # Panics
    /// When it does not: at compile time, since tables are statics.
    pub(crate) const fn new(what: &'static CStr, words: &'static [Word]) -> Self {
        assert!(!words.is_empty() && words[words.len() - 1].0.is_null());
        Self { words, what }
    }

    /// The index of `word`, or Tcl's message `bad WHAT "x": must be ...`.
    #[inline]
    pub(crate) fn find(&'static self, interp: &Interp, word: &Obj) -> Result<usize, String> {
        let mut index: c_int = 0;
        // SAFETY: a live value; a table that ends in null and lives for ever, as the cached form demands (the library
        // is linked so that it is never unmapped).
        let code = unsafe {
            stub!(tcl_GetIndexFromObjStruct(
                interp.raw(),
                word.raw(),
                self.words.as_ptr().cast::<c_void>(),
                ENTRY_BYTES,
                self.what.as_ptr(),
                0,
                &raw mut index,
            ))
        };
        if code == TCL_OK.cast_signed() {
            Ok(usize::try_from(index).unwrap_or(0))
        } else {
            Err(interp.take_message())
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "8")]
const ENTRY_BYTES: c_int = size_of::<Word>() as c_int;
