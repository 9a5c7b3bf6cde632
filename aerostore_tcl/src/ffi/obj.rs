//! A counted reference to a Tcl value.

use std::borrow::Cow;
use std::ffi::{c_char, c_int};
use std::fmt;
use std::ptr::{self, NonNull};

use super::bindings::{TCL_OK, Tcl_Interp, Tcl_Obj, Tcl_ObjType};
use super::interp::Interp;
use super::stubs::stub;
use super::text::{self, TextError};

/// One reference to a Tcl value, counted in its `refCount`.
///
/// Invariant: the pointer is a live `Tcl_Obj` of this thread, and one of its references is ours.
#[repr(transparent)]
pub(crate) struct Obj(NonNull<Tcl_Obj>);

/// What a value is as an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Integer {
    /// An integer of 64 bits.
    Wide(i64),
    /// An integer that needs more bits.
    TooBig,
    /// No integer.
    Not,
}

/// Marks values that remember which column their text names; see [`Obj::cached_column`].
static COLUMN_TYPE: ColumnType = ColumnType(Tcl_ObjType {
    name: c"aerostore-column".as_ptr(),
    freeIntRepProc: None,
    dupIntRepProc: None,
    updateStringProc: None,
    setFromAnyProc: None,
});

struct ColumnType(Tcl_ObjType);

// SAFETY: never written; Tcl only reads it.
unsafe impl Sync for ColumnType {}

impl Obj {
    /// Takes a reference of its own to a value that Tcl lends or has just made.
    ///
    /// # Safety
    /// `raw` is null or a live value of this thread.
    #[inline]
    pub(super) unsafe fn from_raw(raw: *mut Tcl_Obj) -> Option<Self> {
        let raw = NonNull::new(raw)?;
        // SAFETY: live by the caller's word; counting is what Tcl_IncrRefCount does.
        unsafe { (*raw.as_ptr()).refCount += 1 };
        Some(Self(raw))
    }

    /// The words of a command.
    ///
    /// # Safety
    /// `words` points to `count` live values of this thread that outlive `'a`.
    pub(super) unsafe fn borrow_slice<'a>(words: *const *mut Tcl_Obj, count: c_int) -> &'a [Self] {
        let count = usize::try_from(count).unwrap_or(0);
        if count == 0 {
            return &[];
        }
        // SAFETY: `Obj` is a transparent wrapper of the pointer; a shared slice never drops its items.
        unsafe { std::slice::from_raw_parts(words.cast(), count) }
    }

    fn own(raw: *mut Tcl_Obj) -> Self {
        // SAFETY: only called with what a Tcl_New...Obj function returned, which is never null.
        match unsafe { Self::from_raw(raw) } {
            Some(obj) => obj,
            None => super::stubs::missing("a new object"),
        }
    }

    #[inline]
    pub(super) fn raw(&self) -> *mut Tcl_Obj {
        self.0.as_ptr()
    }

    /// The empty value.
    pub(crate) fn empty() -> Self {
        // SAFETY: no conditions.
        Self::own(unsafe { stub!(tcl_NewObj()) })
    }

    /// A string.
    pub(crate) fn string(text: &str) -> Self {
        let bytes = text::to_tcl(text);
        // SAFETY: pointer and length describe `bytes`, which Tcl copies.
        Self::own(unsafe { stub!(tcl_NewStringObj(bytes.as_ptr().cast(), length(bytes.len()))) })
    }

    /// A 64-bit integer.
    pub(crate) fn wide(number: i64) -> Self {
        // SAFETY: no conditions.
        Self::own(unsafe { stub!(tcl_NewWideIntObj(number)) })
    }

    /// A count; beyond what Tcl's wide integers hold it stays at their maximum.
    pub(crate) fn count(number: u64) -> Self {
        Self::wide(i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// A double.
    pub(crate) fn double(number: f64) -> Self {
        // SAFETY: no conditions.
        Self::own(unsafe { stub!(tcl_NewDoubleObj(number)) })
    }

    /// `1` or `0`.
    pub(crate) fn boolean(flag: bool) -> Self {
        // SAFETY: no conditions.
        Self::own(unsafe { stub!(tcl_NewBooleanObj(c_int::from(flag))) })
    }

    /// A list.
    pub(crate) fn list(items: &[Self]) -> Self {
        // SAFETY: a slice of `Obj` is an array of live object pointers; the list counts its own references.
        Self::own(unsafe { stub!(tcl_NewListObj(length(items.len()), items.as_ptr().cast())) })
    }

    /// A dictionary of the pairs, in order.
    pub(crate) fn dict(pairs: impl IntoIterator<Item = (Self, Self)>) -> Self {
        // SAFETY: no conditions.
        let dict = Self::own(unsafe { stub!(tcl_NewDictObj()) });
        for (key, value) in pairs {
            // SAFETY: `dict` is a dictionary that only we hold, so the call cannot fail; it counts its references.
            unsafe { stub!(tcl_DictObjPut(ptr::null_mut(), dict.raw(), key.raw(), value.raw())) };
        }
        dict
    }

    /// The items of the list; or what Tcl has against reading the value as one.
    pub(crate) fn items(&self, interp: &Interp) -> Result<Vec<Self>, String> {
        self.read_items(interp.raw()).ok_or_else(|| interp.take_message())
    }

    /// The items, if the value is a list.
    pub(crate) fn items_if_list(&self) -> Option<Vec<Self>> {
        self.read_items(ptr::null_mut())
    }

    fn read_items(&self, interp: *mut Tcl_Interp) -> Option<Vec<Self>> {
        let mut count: c_int = 0;
        let mut items: *mut *mut Tcl_Obj = ptr::null_mut();
        // SAFETY: a live value, a live interpreter or none to leave a message in, and two places for the answer.
        let code =
            unsafe { stub!(tcl_ListObjGetElements(interp, self.raw(), &raw mut count, &raw mut items)) };
        // Counted copies: the array itself may go as soon as anything else looks at the value.
        // SAFETY: Tcl just said so; nothing ran in between.
        (code == ok()).then(|| unsafe { Self::borrow_slice(items, count) }.to_vec())
    }

    /// The value under `key`, if this is a dictionary that has it.
    pub(crate) fn dict_value(&self, key: &str) -> Option<Self> {
        let key = Self::string(key);
        let mut value: *mut Tcl_Obj = ptr::null_mut();
        // SAFETY: live values, no interpreter for a message, and a place for the answer, which stays null without one.
        unsafe {
            stub!(tcl_DictObjGet(ptr::null_mut(), self.raw(), key.raw(), &raw mut value));
            Self::from_raw(value)
        }
    }

    /// Tcl's text of the value, in its modified UTF-8.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        let mut count: c_int = 0;
        // SAFETY: a live value and a place for the length.
        let bytes = unsafe { stub!(tcl_GetStringFromObj(self.raw(), &raw mut count)) };
        // SAFETY: Tcl keeps the text until the value is changed; C code changes only values that it alone holds, and the
        // reference here is one more.
        unsafe { std::slice::from_raw_parts(bytes.cast(), usize::try_from(count).unwrap_or(0)) }
    }

    /// Whether it has the same text as `other`.
    #[inline]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        ptr::eq(self.raw(), other.raw()) || self.bytes() == other.bytes()
    }

    /// The text in standard UTF-8, without NUL.
    #[inline]
    pub(crate) fn text(&self) -> Result<Cow<'_, str>, TextError> {
        text::from_tcl(self.bytes())
    }

    /// As [`text`](Self::text), of what [`bytes`](Self::bytes) has given.
    #[inline]
    pub(crate) fn text_of(bytes: &[u8]) -> Result<Cow<'_, str>, TextError> {
        text::from_tcl(bytes)
    }

    /// The text as data: standard UTF-8, but NULs and malformed bytes stay for its reader to report.
    pub(crate) fn data(&self) -> Cow<'_, [u8]> {
        text::data_from_tcl(self.bytes())
    }

    /// As [`data`](Self::data), for text of a value that is already gone.
    pub(crate) fn data_of(text: &[u8]) -> Cow<'_, [u8]> {
        text::data_from_tcl(text)
    }

    /// Appends the text in Tcl's form, or, for a value made of bytes, those.
    pub(super) fn append_to(&self, as_text: bool, buffer: &mut Vec<u8>) {
        if as_text {
            buffer.extend_from_slice(self.bytes());
            return;
        }
        let mut count: c_int = 0;
        // SAFETY: a live value and a place for the length; Tcl keeps the bytes until the value changes.
        let bytes = unsafe {
            let bytes = stub!(tcl_GetByteArrayFromObj(self.raw(), &raw mut count));
            std::slice::from_raw_parts(bytes, usize::try_from(count).unwrap_or(0))
        };
        buffer.extend_from_slice(bytes);
    }

    /// The text for a message: bad characters are replaced, and what is over 60 characters is cut.
    pub(crate) fn quoted(&self) -> String {
        let text = String::from_utf8_lossy(self.bytes()).into_owned();
        match text.char_indices().nth(60) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        }
    }

    /// The value as an integer.
    #[inline]
    pub(crate) fn integer(&self) -> Integer {
        let mut number: i64 = 0;
        // SAFETY: a live value and a place for the answer.
        let code = unsafe { stub!(tcl_GetWideIntFromObj(ptr::null_mut(), self.raw(), &raw mut number)) };
        // Tcl 8.6 takes integers of up to 64 bits without a sign here and wraps them; it leaves those as "bignum".
        match (code == ok(), self.is_bignum()) {
            (true, false) => Integer::Wide(number),
            (_, true) => Integer::TooBig,
            (false, false) => Integer::Not,
        }
    }

    /// Whether Tcl holds the value as an integer of more than 64 bits.
    fn is_bignum(&self) -> bool {
        // SAFETY: live by the invariant; a type's name is a C string that lasts as long as the type.
        unsafe {
            let kind = (*self.raw()).typePtr;
            !kind.is_null() && std::ffi::CStr::from_ptr((*kind).name) == c"bignum"
        }
    }

    /// The value as a double.
    #[inline]
    pub(crate) fn as_double(&self) -> Option<f64> {
        let mut number: f64 = 0.0;
        // SAFETY: a live value and a place for the answer.
        let code = unsafe { stub!(tcl_GetDoubleFromObj(ptr::null_mut(), self.raw(), &raw mut number)) };
        (code == ok()).then_some(number)
    }

    /// The value as a truth value.
    pub(crate) fn as_boolean(&self) -> Option<bool> {
        let mut flag: c_int = 0;
        // SAFETY: a live value and a place for the answer.
        let code = unsafe { stub!(tcl_GetBooleanFromObj(ptr::null_mut(), self.raw(), &raw mut flag)) };
        (code == ok()).then_some(flag != 0)
    }

    /// The column that [`cache_column`](Self::cache_column) noted for the same `owner`.
    #[inline]
    pub(crate) fn cached_column(&self, owner: usize) -> Option<usize> {
        // SAFETY: live by the invariant; values of our type carry the two words that `cache_column` stored.
        unsafe {
            let raw = self.raw();
            if !ptr::eq((*raw).typePtr, &raw const COLUMN_TYPE.0) {
                return None;
            }
            let words = (*raw).internalRep.twoPtrValue;
            (words.ptr1.addr() == owner).then(|| words.ptr2.addr())
        }
    }

    /// Notes in the value's internal form that its text names the column `index` of `owner`, a number that is never
    /// given to another table of this process.
    pub(crate) fn cache_column(&self, owner: usize, index: usize) {
        // The text must exist before the form it could be made from goes.
        self.bytes();
        // SAFETY: live by the invariant; this is how Tcl itself replaces an internal form. Ours holds no resources,
        // so that it needs no functions to free or copy it.
        unsafe {
            let raw = self.raw();
            let old = (*raw).typePtr;
            if !old.is_null()
                && let Some(free) = (*old).freeIntRepProc
            {
                free(raw);
            }
            (*raw).internalRep.twoPtrValue.ptr1 = ptr::without_provenance_mut(owner);
            (*raw).internalRep.twoPtrValue.ptr2 = ptr::without_provenance_mut(index);
            (*raw).typePtr = &raw const COLUMN_TYPE.0;
        }
    }
}

impl Clone for Obj {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: live by the invariant; counting is what Tcl_IncrRefCount does.
        unsafe { (*self.raw()).refCount += 1 };
        Self(self.0)
    }
}

impl Drop for Obj {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the reference is ours; this is what Tcl_DecrRefCount does.
        unsafe {
            let raw = self.raw();
            if (*raw).refCount > 1 {
                (*raw).refCount -= 1;
            } else {
                stub!(tclFreeObj(raw));
            }
        }
    }
}

impl fmt::Debug for Obj {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Obj({:?})", self.quoted())
    }
}

impl From<&str> for Obj {
    fn from(text: &str) -> Self {
        Self::string(text)
    }
}

/// A length as Tcl takes it. Tcl 8.6 itself cannot hold more than 2 GiB in a value.
pub(super) fn length(length: usize) -> c_int {
    c_int::try_from(length)
        .unwrap_or_else(|_| panic!("a value of {length} bytes or items exceeds Tcl's limit of 2147483647"))
}

/// `TCL_OK` in the type that C functions return.
#[inline]
pub(super) const fn ok() -> c_int {
    TCL_OK.cast_signed()
}

const _: () = assert!(size_of::<Obj>() == size_of::<*mut Tcl_Obj>() && size_of::<c_char>() == 1);
