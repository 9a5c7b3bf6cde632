//! The functions that Tcl's `load` and `unload` look for in the library.

#![expect(unreachable_pub, reason = "Tcl finds these functions by name, in the library's symbols")]

use std::ffi::c_int;
use std::ptr;
use std::sync::Once;

use super::bindings::{ClientData, TCL_UNLOAD_DETACH_FROM_PROCESS, Tcl_InitStubs, Tcl_Interp};
use super::command::report;
use super::guard::guard;
use super::interp::{Completion, Interp};
use super::stubs::stub;

/// Loads the package into an interpreter.
///
/// # Safety
/// For Tcl's `load` only: `interp` is a live interpreter of this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Aerostore_Init(interp: *mut Tcl_Interp) -> c_int {
    // SAFETY: passed on.
    unsafe { load(interp) }
}

/// Loads the package into a safe interpreter, which gets the commands for data only.
///
/// # Safety
/// As [`Aerostore_Init`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Aerostore_SafeInit(interp: *mut Tcl_Interp) -> c_int {
    // SAFETY: passed on. Which commands there are follows from the interpreter itself.
    unsafe { load(interp) }
}

/// Takes the package out of an interpreter; the last one closes the database.
///
/// # Safety
/// For Tcl's `unload` only: `interp` is a live interpreter that has the package.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Aerostore_Unload(interp: *mut Tcl_Interp, flags: c_int) -> c_int {
    // SAFETY: passed on.
    unsafe { unload(interp, flags) }
}

/// Takes the package out of a safe interpreter.
///
/// # Safety
/// As [`Aerostore_Unload`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Aerostore_SafeUnload(interp: *mut Tcl_Interp, flags: c_int) -> c_int {
    // SAFETY: passed on.
    unsafe { unload(interp, flags) }
}

/// Whether the exit handler is there.
static EXIT: Once = Once::new();

unsafe fn load(interp: *mut Tcl_Interp) -> c_int {
    // SAFETY: a live interpreter and a C string. Leaves a message when this Tcl is too old or of another ABI.
    if unsafe { Tcl_InitStubs(interp, c"8.6".as_ptr(), 0) }.is_null() {
        return Completion::ERROR.0;
    }
    // SAFETY: the table is there; the handler needs no data.
    EXIT.call_once(|| unsafe { stub!(tcl_CreateExitHandler(Some(leave), ptr::null_mut())) });
    // SAFETY: live by the caller's word.
    let Some(interp) = (unsafe { Interp::from_raw(interp) }) else { return Completion::ERROR.0 };
    report(&interp, guard(|| crate::package::install(&interp))).0
}

unsafe fn unload(interp: *mut Tcl_Interp, flags: c_int) -> c_int {
    // SAFETY: live by the caller's word.
    let Some(interp) = (unsafe { Interp::from_raw(interp) }) else { return Completion::ERROR.0 };
    let last = flags == TCL_UNLOAD_DETACH_FROM_PROCESS.cast_signed();
    report(&interp, guard(|| crate::package::remove(&interp, last))).0
}

/// Detaches cleanly when the process exits through Tcl.
unsafe extern "C" fn leave(_: ClientData) {
    // Nobody is left to be told of an error; the next process to open the database repairs what remains.
    let _ = guard(|| drop(crate::engine::close()));
}
