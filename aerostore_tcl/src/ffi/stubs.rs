//! Calls through Tcl's table of functions.
//!
//! `Tcl_InitStubs`, linked statically, fills `tclStubsPtr` when the package is loaded; every later load into another
//! interpreter of the process stores the same address again.

/// Calls one entry of the table: `stub!(tcl_NewObj())`. The caller answers for the C function's own conditions.
macro_rules! stub {
    ($name:ident ( $($argument:expr),* $(,)? )) => {{
        let table = $crate::ffi::bindings::tclStubsPtr;
        match (*table).$name {
            Some(function) => function($($argument),*),
            None => $crate::ffi::stubs::missing(stringify!($name)),
        }
    }};
}

pub(super) use stub;

/// Tcl leaves an entry empty only where the platform has no such function; none of those is called here.
#[cold]
pub(super) fn missing(name: &str) -> ! {
    panic!("Tcl's function table has no {name}")
}
