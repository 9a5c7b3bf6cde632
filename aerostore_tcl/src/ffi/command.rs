//! Commands whose bodies are Rust closures.

use std::ffi::{CStr, c_int};
use std::rc::Rc;

use super::bindings::{ClientData, Tcl_Interp, Tcl_Obj};
use super::guard::guard;
use super::interp::{Completion, Interp};
use super::obj::Obj;
use super::stubs::stub;

/// The body of a command: it gets all words, the command's own name first, and leaves its result in the interpreter.
pub(crate) type Body = dyn Fn(&Interp, &[Obj]) -> Completion;

/// A command to be.
pub(crate) struct Command(Rc<Body>);

impl Command {
    /// A command that runs `body`.
    pub(crate) fn new(body: impl Fn(&Interp, &[Obj]) -> Completion + 'static) -> Self {
        Self(Rc::new(body))
    }

    /// Creates the command under a full name, with the namespaces in it, in place of one that has that name.
    pub(crate) fn create(self, interp: &Interp, name: &CStr) {
        let data: ClientData = Box::into_raw(Box::new(self)).cast();
        // SAFETY: a live interpreter and a C string; `forget` takes back just what is given here.
        unsafe {
            stub!(tcl_CreateObjCommand(interp.raw(), name.as_ptr(), Some(dispatch), data, Some(forget)))
        };
    }
}

/// What Tcl calls for every command.
unsafe extern "C" fn dispatch(
    data: ClientData,
    interp: *mut Tcl_Interp,
    count: c_int,
    words: *const *mut Tcl_Obj,
) -> c_int {
    let outcome = guard(|| {
        // SAFETY: made by `create`, and freed only by `forget`. The clone keeps the body when a script deletes the
        // command while it runs.
        let body = unsafe { Rc::clone(&(*data.cast::<Command>()).0) };
        // SAFETY: Tcl lends a live interpreter and the words for this call.
        let (interp, words) = unsafe { (Interp::from_raw(interp), Obj::borrow_slice(words, count)) };
        interp.map_or(Completion::ERROR, |interp| body(&interp, words))
    });
    // SAFETY: as above.
    let Some(interp) = (unsafe { Interp::from_raw(interp) }) else { return Completion::ERROR.0 };
    report(&interp, outcome).0
}

/// Turns a panic into an error of the interpreter.
pub(super) fn report(interp: &Interp, outcome: Result<Completion, String>) -> Completion {
    outcome.unwrap_or_else(|panic| {
        interp.set_result(&Obj::string(&format!("internal error, please report it: {panic}")));
        interp.set_error_code(&Obj::list(&["AEROSTORE", "INTERNAL", &panic].map(Obj::from)));
        Completion::ERROR
    })
}

/// Drops a body when its command goes.
unsafe extern "C" fn forget(data: ClientData) {
    // SAFETY: made by `create`, and Tcl calls this once. A panic while dropping has nobody left to be told.
    let _ = guard(|| unsafe { drop(Box::from_raw(data.cast::<Command>())) });
}
