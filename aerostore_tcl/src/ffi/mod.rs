//! Tcl's C interface and all of this crate's unsafe code, behind safe handles.
//!
//! Ownership   an [`Obj`] holds one reference to a Tcl value; an [`Interp`] is lent to a command for one call.
//! Threads     Tcl values and interpreters belong to the thread that made them: neither type is `Send` or `Sync`.
//! Panics      every function that C calls runs its body under [`guard`](guard::guard), so that no unwind crosses into C.
//! Calls       go through the table of functions that the interpreter handed over at load time (see `stubs`).

mod bindings;
mod channel;
mod command;
mod entry;
mod event;
mod guard;
mod interp;
mod obj;
mod stubs;
mod text;
mod words;

pub(crate) use channel::{Channel, ReadChunk};
pub(crate) use command::Command;
pub(crate) use event::Handler;
pub(crate) use interp::{Completion, Interp, Raised};
pub(crate) use obj::{Integer, Obj};
pub(crate) use text::TextError;
pub(crate) use words::{Word, Words};
