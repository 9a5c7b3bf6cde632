//! The Tcl package.
