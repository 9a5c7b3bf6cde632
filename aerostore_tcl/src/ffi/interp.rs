//! An interpreter, lent to a command for one call.

use std::any::Any;
use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use super::bindings::{
    ClientData, TCL_BREAK, TCL_CONTINUE, TCL_ERROR, TCL_EVAL_GLOBAL, TCL_LEAVE_ERR_MSG, TCL_OK, TCL_RETURN,
    Tcl_Interp,
};
use super::guard::guard;
use super::obj::{Obj, length};
use super::stubs::stub;

/// How a script or command ended. The interpreter's result goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Completion(pub(super) c_int);

impl Completion {
    /// Normally.
    pub(crate) const OK: Self = Self(TCL_OK.cast_signed());
    /// With an error.
    pub(crate) const ERROR: Self = Self(TCL_ERROR.cast_signed());
    /// By `return`.
    pub(crate) const RETURN: Self = Self(TCL_RETURN.cast_signed());
    /// By `break`.
    pub(crate) const BREAK: Self = Self(TCL_BREAK.cast_signed());
    /// By `continue`.
    pub(crate) const CONTINUE: Self = Self(TCL_CONTINUE.cast_signed());
}

/// The interpreter's result holds the message of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Raised;

/// An interpreter of this thread. Tcl keeps it, even when a script deletes it, until the command that runs returns.
pub(crate) struct Interp {
    raw: NonNull<Tcl_Interp>,
    thread: PhantomData<*mut ()>,
}

impl Interp {
    /// # Safety
    /// `raw` is an interpreter of this thread that stays as long as the value returned.
    pub(super) unsafe fn from_raw(raw: *mut Tcl_Interp) -> Option<Self> {
        Some(Self { raw: NonNull::new(raw)?, thread: PhantomData })
    }

    #[inline]
    pub(super) fn raw(&self) -> *mut Tcl_Interp {
        self.raw.as_ptr()
    }

    /// Whether it is a safe interpreter.
    pub(crate) fn is_safe(&self) -> bool {
        // SAFETY: a live interpreter, as all in this file.
        unsafe { stub!(tcl_IsSafe(self.raw())) != 0 }
    }

    /// Whether a script has deleted it: it runs no others then.
    pub(crate) fn is_deleted(&self) -> bool {
        // SAFETY: as above; Tcl keeps a deleted interpreter while a command of it runs.
        unsafe { stub!(tcl_InterpDeleted(self.raw())) != 0 }
    }

    /// The return options of what has just ended so: `-code`, `-errorcode` and others.
    pub(crate) fn return_options(&self, completion: Completion) -> Obj {
        // SAFETY: as above; the dictionary is new.
        unsafe { Obj::from_raw(stub!(tcl_GetReturnOptions(self.raw(), completion.0))) }
            .unwrap_or_else(Obj::empty)
    }

    /// Sets the result.
    #[inline]
    pub(crate) fn set_result(&self, value: &Obj) {
        // SAFETY: both live; the interpreter counts its own reference.
        unsafe { stub!(tcl_SetObjResult(self.raw(), value.raw())) }
    }

    /// The result.
    pub(crate) fn result(&self) -> Obj {
        // SAFETY: never null.
        unsafe { Obj::from_raw(stub!(tcl_GetObjResult(self.raw()))) }.unwrap_or_else(Obj::empty)
    }

    /// Empties the result and forgets an error noted with it.
    pub(crate) fn reset_result(&self) {
        // SAFETY: as above.
        unsafe { stub!(tcl_ResetResult(self.raw())) }
    }

    /// Takes the error message out of the result.
    pub(crate) fn take_message(&self) -> String {
        let message = String::from_utf8_lossy(self.result().bytes()).into_owned();
        self.reset_result();
        message
    }

    /// Sets `errorCode`, a list.
    pub(crate) fn set_error_code(&self, code: &Obj) {
        // SAFETY: both live; the interpreter counts its own reference.
        unsafe { stub!(tcl_SetObjErrorCode(self.raw(), code.raw())) }
    }

    /// Adds a line to the stack trace of the error in the result.
    pub(crate) fn add_error_info(&self, text: &str) {
        let text = Obj::string(text);
        // SAFETY: both live; the function copies the text.
        unsafe { stub!(tcl_AppendObjToErrorInfo(self.raw(), text.raw())) }
    }

    /// The line of the script at which its error happened.
    pub(crate) fn error_line(&self) -> i32 {
        // SAFETY: as above.
        unsafe { stub!(tcl_GetErrorLine(self.raw())) }
    }

    /// Runs a script in the caller's frame.
    pub(crate) fn eval(&self, script: &Obj) -> Completion {
        // SAFETY: both live; our reference keeps the script while it runs.
        Completion(unsafe { stub!(tcl_EvalObjEx(self.raw(), script.raw(), 0)) })
    }

    /// Runs a script with words appended, as an event does: in the global frame, its failure being the background error handler's.
    pub(crate) fn run_callback(&self, script: &Obj, words: &[Obj]) {
        let words = Obj::list(words);
        let parts = [script.raw(), words.raw()];
        // SAFETY: live values; the new value is ours, and our reference keeps it while it runs.
        let Some(script) = (unsafe { Obj::from_raw(stub!(tcl_ConcatObj(2, parts.as_ptr()))) }) else {
            return;
        };
        // SAFETY: both live.
        let code = unsafe { stub!(tcl_EvalObjEx(self.raw(), script.raw(), TCL_EVAL_GLOBAL.cast_signed())) };
        if code != TCL_OK.cast_signed() && !self.is_deleted() {
            self.add_error_info("\n    (aerostore watch script)");
            // SAFETY: a live interpreter, of which the code is.
            unsafe { stub!(tcl_BackgroundException(self.raw(), code)) };
        }
    }

    /// Runs a command of ready words in the caller's frame.
    pub(crate) fn call(&self, words: &[Obj]) -> Completion {
        // SAFETY: a slice of `Obj` is an array of live object pointers; the slice keeps them while the command runs.
        Completion(unsafe { stub!(tcl_EvalObjv(self.raw(), length(words.len()), words.as_ptr().cast(), 0)) })
    }

    /// Sets a variable, or an element of an array, in the caller's frame.
    #[inline]
    pub(crate) fn set_variable(&self, name: &Obj, element: Option<&Obj>, value: &Obj) -> Result<(), Raised> {
        let element = element.map_or(ptr::null_mut(), Obj::raw);
        // SAFETY: all live or null where null means "no element"; the variable counts its own reference.
        let set = unsafe {
            stub!(tcl_ObjSetVar2(
                self.raw(),
                name.raw(),
                element,
                value.raw(),
                TCL_LEAVE_ERR_MSG.cast_signed()
            ))
        };
        if set.is_null() { Err(Raised) } else { Ok(()) }
    }

    /// The value of a variable, which is unset.
    pub(crate) fn take_variable(&self, name: &Obj) -> Result<Obj, Raised> {
        let flags = TCL_LEAVE_ERR_MSG.cast_signed();
        // SAFETY: all live; a value that was found is counted before anything else happens to it.
        let value =
            unsafe { Obj::from_raw(stub!(tcl_ObjGetVar2(self.raw(), name.raw(), ptr::null_mut(), flags))) };
        // SAFETY: the text is zero-terminated, as Tcl's strings are.
        unsafe { stub!(tcl_UnsetVar2(self.raw(), name.bytes().as_ptr().cast(), ptr::null(), 0)) };
        value.ok_or(Raised)
    }

    /// Removes an element of an array in the caller's frame, if it is there.
    pub(crate) fn unset_element(&self, name: &Obj, element: &Obj) {
        // The text is zero-terminated, and names with a NUL in them cannot be column names.
        let (name, element) = (name.bytes().as_ptr().cast(), element.bytes().as_ptr().cast());
        // SAFETY: both are Tcl strings, which end in a zero byte.
        unsafe { stub!(tcl_UnsetVar2(self.raw(), name, element, 0)) };
    }

    /// The message `wrong # args: should be "..."`: the first `keep` words of the command, then `usage`.
    pub(crate) fn wrong_arguments(&self, words: &[Obj], keep: usize, usage: &CStr) -> String {
        let keep = &words[..keep.min(words.len())];
        let usage = if usage.is_empty() { ptr::null() } else { usage.as_ptr() };
        // SAFETY: live values, and a C string or null.
        unsafe { stub!(tcl_WrongNumArgs(self.raw(), length(keep.len()), keep.as_ptr().cast(), usage)) };
        self.take_message()
    }

    /// Says that this interpreter now has the package.
    pub(crate) fn provide(&self, package: &CStr, version: &CStr) -> Completion {
        // SAFETY: C strings; no client data.
        Completion(unsafe {
            stub!(tcl_PkgProvideEx(self.raw(), package.as_ptr(), version.as_ptr(), ptr::null::<c_void>()))
        })
    }

    /// Deletes a command, if it is there.
    pub(crate) fn delete_command(&self, name: &CStr) {
        // SAFETY: a C string.
        unsafe { stub!(tcl_DeleteCommand(self.raw(), name.as_ptr())) };
    }

    /// Deletes the command that runs, by the word that called it.
    pub(crate) fn delete_command_called(&self, word: &Obj) {
        // SAFETY: both live; a command that was found lives until it is deleted, which is what is done with it.
        unsafe {
            let command = stub!(tcl_GetCommandFromObj(self.raw(), word.raw()));
            if !command.is_null() {
                stub!(tcl_DeleteCommandFromToken(self.raw(), command));
            }
        }
    }

    /// Whether there is a command of that name.
    pub(crate) fn has_command(&self, name: &CStr) -> bool {
        // SAFETY: a C string; a null namespace is the current one.
        unsafe { !stub!(tcl_FindCommand(self.raw(), name.as_ptr(), ptr::null_mut(), 0)).is_null() }
    }

    /// Keeps `value` with the interpreter until that is deleted, in place of what had the same key.
    pub(crate) fn attach(&self, key: &CStr, value: Rc<dyn Any>) {
        let data: ClientData = Box::into_raw(Box::new(value)).cast();
        // SAFETY: a C string; `forget_attached` takes back just what is given here.
        unsafe {
            stub!(tcl_DeleteAssocData(self.raw(), key.as_ptr()));
            stub!(tcl_SetAssocData(self.raw(), key.as_ptr(), Some(forget_attached), data));
        }
    }

    /// What is kept under `key`. Keys are this crate's own, so all data is ours.
    pub(crate) fn attached<T: 'static>(&self, key: &CStr) -> Option<Rc<T>> {
        // SAFETY: a C string; data under our keys is a boxed `Rc<dyn Any>` that lives until it is detached.
        let value: Rc<dyn Any> = unsafe {
            let data = stub!(tcl_GetAssocData(self.raw(), key.as_ptr(), ptr::null_mut()));
            data.cast::<Rc<dyn Any>>().as_ref()?.clone()
        };
        value.downcast().ok()
    }

    /// Drops what is kept under `key`.
    pub(crate) fn detach(&self, key: &CStr) {
        // SAFETY: a C string.
        unsafe { stub!(tcl_DeleteAssocData(self.raw(), key.as_ptr())) };
    }
}

/// Drops what [`Interp::attach`] was given, when the interpreter goes.
unsafe extern "C" fn forget_attached(data: ClientData, _: *mut Tcl_Interp) {
    // SAFETY: made by `attach`, and Tcl calls this once. A panic while dropping has nobody left to be told.
    let _ = guard(|| unsafe { drop(Box::from_raw(data.cast::<Rc<dyn Any>>())) });
}
