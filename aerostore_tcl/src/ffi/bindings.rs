//! The C declarations, as `build.rs` had them generated from `tcl.h`.
//!
//! With the feature `clib` they come from that crate. When the names below are "not found in `clib`", its build
//! script ran before ours could tell it what to declare (it waits for the build folder to be quiet for five seconds,
//! which a loaded machine or one build job never grants): `cargo clean -p clib`, then build again.
#![allow(
    clippy::all,
    clippy::pedantic,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unused,
    reason = "generated code"
)]

#[cfg(not(feature = "clib"))]
include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

#[cfg(feature = "clib")]
pub use clib::{
    ClientData, TCL_BREAK, TCL_CONTINUE, TCL_ERROR, TCL_EVAL_GLOBAL, TCL_LEAVE_ERR_MSG, TCL_OK, TCL_READABLE,
    TCL_RETURN, TCL_UNLOAD_DETACH_FROM_PROCESS, TCL_WRITABLE, Tcl_Channel, Tcl_DString, Tcl_InitStubs,
    Tcl_Interp, Tcl_Obj, Tcl_ObjType, TclStubs, tclStubsPtr,
};
