//! Finds Tcl, declares its C interface and links its stub library.
//!
//! The extension calls Tcl through the table of functions that the interpreter hands over at load time (`TclStubs`),
//! so it links no libtcl: one build serves every tclsh 8.6. Only `Tcl_InitStubs`, which fetches that table, comes
//! from a static library, `libtclstub8.6.a`.
//!
//! The declarations come from `tcl.h` through `bindgen`, or, with the feature `clib`, through the crate of that name,
//! which is told here that this crate wants it (it collects such messages from the build folder).

use std::env;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=pkgIndex.tcl");
    println!("cargo:rerun-if-env-changed=TCL_CONFIG");
    let tcl = match Tcl::find() {
        Ok(tcl) => tcl,
        Err(reason) => fail(&reason),
    };
    println!("cargo:rustc-link-search=native={}", tcl.stub_folder.display());
    println!("cargo:rustc-link-lib=static={}", tcl.stub_library);
    // Objects of the interpreter keep pointers to our types and word tables after `unload`.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    declare(&tcl);
}

/// Where this machine keeps Tcl's header and stub library.
struct Tcl {
    include: PathBuf,
    stub_folder: PathBuf,
    stub_library: String,
}

impl Tcl {
    /// The file named by `TCL_CONFIG`, else the first `tclConfig.sh` in the usual folders, else the bare header.
    fn find() -> Result<Self, String> {
        let named = env::var_os("TCL_CONFIG").map(PathBuf::from);
        let candidates = match &named {
            Some(path) => vec![path.clone()],
            None => usual_folders().into_iter().map(|folder| folder.join("tclConfig.sh")).collect(),
        };
        for path in &candidates {
            let Ok(text) = std::fs::read_to_string(path) else { continue };
            if let Some(tcl) = Self::from_config(&text) {
                println!("cargo:rerun-if-changed={}", path.display());
                return tcl.check();
            }
        }
        if let Some(path) = named {
            return Err(format!("TCL_CONFIG is {}, which is no usable tclConfig.sh", path.display()));
        }
        let include = ["/usr/include/tcl8.6", "/usr/local/include", "/usr/include"]
            .map(PathBuf::from)
            .into_iter()
            .find(|folder| folder.join("tcl.h").is_file())
            .ok_or("neither tclConfig.sh nor tcl.h found")?;
        let stub_library = "tclstub8.6".to_owned();
        let stub_folder = usual_folders()
            .into_iter()
            .find(|folder| folder.join("libtclstub8.6.a").is_file())
            .ok_or("tcl.h found, but no libtclstub8.6.a")?;
        Self { include, stub_folder, stub_library }.check()
    }

    /// Reads the shell assignments of a `tclConfig.sh`; `None` when it only refers to another file, as Debian's does.
    fn from_config(text: &str) -> Option<Self> {
        let value = |name: &str| {
            text.lines()
                .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='))
                .map(|value| value.trim_matches(|c| c == '\'' || c == '"').to_owned())
                .next_back()
        };
        let include = value("TCL_INCLUDE_SPEC")?.strip_prefix("-I")?.into();
        let stub_path = PathBuf::from(value("TCL_STUB_LIB_PATH")?);
        let stub_library = stub_path.file_stem()?.to_str()?.strip_prefix("lib")?.to_owned();
        Some(Self { include, stub_folder: stub_path.parent()?.into(), stub_library })
    }

    fn check(self) -> Result<Self, String> {
        let header = self.include.join("tcl.h");
        let library = self.stub_folder.join(format!("lib{}.a", self.stub_library));
        for path in [header, library] {
            if !path.is_file() {
                return Err(format!("tclConfig.sh names {}, which does not exist", path.display()));
            }
        }
        Ok(self)
    }
}

/// Folders that may hold `tclConfig.sh` and the stub library, the distribution's multiarch folders first.
fn usual_folders() -> Vec<PathBuf> {
    let machine = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let multiarch = format!("/usr/lib/{machine}-linux-gnu");
    [
        format!("{multiarch}/tcl8.6"),
        multiarch,
        "/usr/lib64".into(),
        "/usr/lib/tcl8.6".into(),
        "/usr/lib".into(),
        "/usr/local/lib".into(),
    ]
    .map(PathBuf::from)
    .into_iter()
    .filter(|folder| Path::new(folder).is_dir())
    .collect()
}

#[cfg(feature = "clib")]
fn declare(_: &Tcl) {
    inwelling::to("clib");
}

#[cfg(all(feature = "bindgen", not(feature = "clib")))]
fn declare(tcl: &Tcl) {
    let header = tcl.include.join("tcl.h");
    println!("cargo:rerun-if-changed={}", header.display());
    let Some(out) = env::var_os("OUT_DIR") else { fail("cargo did not set OUT_DIR") };
    let bindings = bindgen::Builder::default()
        .header(header.to_string_lossy())
        .clang_arg(format!("-I{}", tcl.include.display()))
        .clang_arg("-DUSE_TCL_STUBS")
        .allowlist_type("TclStubs|Tcl_(Interp|Obj|ObjType|Command|Channel|DString|Var)")
        .allowlist_function("Tcl_InitStubs")
        .allowlist_var(
            "tclStubsPtr|TCL_(OK|ERROR|RETURN|BREAK|CONTINUE|STUB_MAGIC|LEAVE_ERR_MSG|EVAL_DIRECT|READABLE|WRITABLE)",
        )
        .allowlist_var(
            "TCL_(EVAL_GLOBAL|GLOBAL_ONLY|UNLOAD_DETACH_FROM_PROCESS|UNLOAD_DETACH_FROM_INTERPRETER)",
        )
        .generate_comments(false)
        .layout_tests(false)
        .generate();
    let written = match bindings {
        Ok(bindings) => {
            bindings.write_to_file(PathBuf::from(out).join("bindings.rs")).map_err(|e| e.to_string())
        }
        Err(reason) => Err(reason.to_string()),
    };
    if let Err(reason) = written {
        fail(&format!("bindgen on {}: {reason}", header.display()));
    }
}

#[cfg(not(any(feature = "bindgen", feature = "clib")))]
fn declare(_: &Tcl) {
    fail("one of the features `bindgen` (default) and `clib` must be on");
}

/// Ends the build with a message that says what to do.
fn fail(reason: &str) -> ! {
    println!("cargo:warning=aerostore_tcl: {reason}");
    eprintln!(
        "aerostore_tcl: {reason}\n\
         It needs Tcl 8.6's header and stub library and libclang: on Debian, apt-get install tcl-dev clang libclang-dev.\n\
         For a Tcl elsewhere set TCL_CONFIG to the path of its tclConfig.sh."
    );
    std::process::exit(1);
}
