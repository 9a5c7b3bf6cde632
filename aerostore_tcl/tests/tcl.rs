//! Runs the Tcl test files, in a real tclsh, against the library that cargo has just built.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// After this the suite counts as stuck.
const PATIENCE: Duration = Duration::from_mins(10);

/// The library, which cargo builds beside the test programs.
fn library() -> PathBuf {
    let program = std::env::current_exe().expect("a test program has a path");
    let path = program.with_file_name("libaerostore_tcl.so");
    assert!(path.is_file(), "{} is missing", path.display());
    path
}

#[test]
fn the_tcl_test_files_pass() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all.tcl");
    let mut suite = Command::new("tclsh")
        .arg(script)
        .env("AEROSTORE_TCL_LIBRARY", library())
        .stdin(Stdio::null())
        .spawn()
        .expect("tclsh must be installed to test the Tcl package");
    let started = Instant::now();
    let status = loop {
        if let Some(status) = suite.try_wait().expect("a child can be waited for") {
            break status;
        }
        if started.elapsed() > PATIENCE {
            suite.kill().expect("a child can be killed");
            panic!("the Tcl tests did not end");
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(status.success(), "the Tcl tests failed: {status}");
}

#[test]
fn the_library_links_no_libtcl() {
    let output =
        Command::new("readelf").arg("-d").arg(library()).output().expect("readelf comes with the linker");
    let text = String::from_utf8_lossy(&output.stdout);
    let needed: Vec<_> = text.lines().filter(|line| line.contains("(NEEDED)")).collect();
    assert!(!needed.is_empty(), "no dynamic section: {text}");
    assert!(needed.iter().all(|line| !line.contains("libtcl")), "{needed:#?}");
}

#[test]
fn the_package_index_has_the_crate_version() {
    let index = include_str!("../pkgIndex.tcl");
    let wanted = concat!("package ifneeded aerostore ", env!("CARGO_PKG_VERSION"), " ");
    assert!(index.contains(wanted), "pkgIndex.tcl must say: {wanted}");
}
