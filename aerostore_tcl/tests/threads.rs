//! Interpreters in several threads of one process share the one open database.
//!
//! Tcl's scripts cannot make threads without a package of its own, so this loads libtcl itself.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;

const THREADS: usize = 4;
const ROWS: usize = 500;
/// Transactions of each thread on the row that all fight for.
const STEPS: usize = 50;

#[link(name = "dl")]
unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

const RTLD_NOW_GLOBAL: c_int = 0x102;

/// The four functions that running scripts takes.
#[derive(Clone, Copy)]
struct Tcl {
    find_executable: unsafe extern "C" fn(*const c_char),
    create: unsafe extern "C" fn() -> *mut c_void,
    eval: unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int,
    result: unsafe extern "C" fn(*mut c_void) -> *const c_char,
    delete: unsafe extern "C" fn(*mut c_void),
}

impl Tcl {
    fn load() -> Self {
        // SAFETY: C strings; the symbols are checked and have the signatures that tcl.h declares. `transmute` between
        // pointers to data and functions is what dlsym is for.
        unsafe {
            let library = dlopen(c"libtcl8.6.so".as_ptr(), RTLD_NOW_GLOBAL);
            assert!(!library.is_null(), "libtcl8.6.so must be installed to test the Tcl package");
            let symbol = |name: &CStr| {
                let address = dlsym(library, name.as_ptr());
                assert!(!address.is_null(), "libtcl has no {}", name.to_string_lossy());
                address
            };
            Self {
                find_executable: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*const c_char)>(
                    symbol(c"Tcl_FindExecutable"),
                ),
                create: std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> *mut c_void>(symbol(
                    c"Tcl_CreateInterp",
                )),
                eval: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int,
                >(symbol(c"Tcl_Eval")),
                result: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void) -> *const c_char>(
                    symbol(c"Tcl_GetStringResult"),
                ),
                delete: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void)>(symbol(
                    c"Tcl_DeleteInterp",
                )),
            }
        }
    }
}

/// An interpreter with the package, of the thread that makes it.
struct Interp(Tcl, *mut c_void);

impl Interp {
    fn new(tcl: Tcl) -> Self {
        // SAFETY: the library was initialized by `Tcl_FindExecutable`.
        let interp = Self(tcl, unsafe { (tcl.create)() });
        interp.eval(&format!("load {{{}}} Aerostore", library().display()));
        interp
    }

    fn eval(&self, script: &str) -> String {
        let text = CString::new(script).expect("scripts have no NUL");
        // SAFETY: an interpreter of this thread and C strings.
        let (code, result) = unsafe {
            let code = (self.0.eval)(self.1, text.as_ptr());
            (code, CStr::from_ptr((self.0.result)(self.1)).to_string_lossy().into_owned())
        };
        assert_eq!(code, 0, "{script}: {result}");
        result
    }
}

impl Drop for Interp {
    fn drop(&mut self) {
        // SAFETY: made by `new`, in this thread.
        unsafe { (self.0.delete)(self.1) };
    }
}

fn library() -> PathBuf {
    let program = std::env::current_exe().expect("a test program has a path");
    program.with_file_name("libaerostore_tcl.so")
}

/// A process has one database: these tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn interpreters_of_all_threads_share_the_open_database() {
    let _turn = turn();
    let tcl = Tcl::load();
    // SAFETY: null asks for no path to be remembered.
    unsafe { (tcl.find_executable)(std::ptr::null()) };
    let folder = std::env::temp_dir().join(format!("aerostore-threads-{}", std::process::id()));
    let shm = format!("/dev/shm/aerostore-threads-{}.mmap", std::process::id());
    let first = Interp::new(tcl);
    first.eval(&format!(
        "aerostore::init {{{}}} -shm {shm} -size 268435456 -config {{aerostore.synchronous_commit off}}",
        folder.display()
    ));
    first.eval("FlightState set HOT altitude 0");
    let start = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let start = Arc::clone(&start);
            thread::spawn(move || {
                let interp = Interp::new(tcl);
                start.wait();
                // Rows of its own, and one that all fight for.
                interp.eval(&format!(
                    "for {{set i 0}} {{$i < {ROWS}}} {{incr i}} {{
                        FlightState set T{number}-$i altitude $i
                        FlightState set HOT gs $i
                    }}"
                ));
                interp.eval(&format!(
                    "for {{set i 0}} {{$i < {STEPS}}} {{incr i}} {{
                        aerostore::transaction {{
                            FlightState set HOT altitude [expr {{[FlightState get HOT altitude] + 1}}]
                        }}
                    }}"
                ));
                let seen = interp.eval("FlightState search -compare {{prefix flight_id T}} -countOnly 1");
                // What is open when the interpreter goes is undone.
                interp.eval("aerostore::begin; catch {FlightState set HOT altitude -1}");
                seen
            })
        })
        .collect();
    for thread in threads {
        let seen: usize = thread.join().expect("no thread fails").parse().expect("a count");
        assert!(seen >= ROWS, "{seen}");
    }
    assert_eq!(first.eval("FlightState get HOT altitude"), (THREADS * STEPS).to_string());
    assert_eq!(first.eval("FlightState count"), (THREADS * ROWS + 1).to_string());
    // Closing ends it for every thread.
    let late = thread::spawn(move || {
        let interp = Interp::new(tcl);
        interp.eval("aerostore::close");
        interp.eval("catch {FlightState count}")
    });
    assert_eq!(late.join().expect("the thread does not fail"), "1");
    assert_eq!(first.eval("catch {FlightState count} m o; dict get $o -errorcode"), "AEROSTORE CLOSED");
    drop(first);
    std::fs::remove_file(&shm).expect("the mapping is there");
    std::fs::remove_dir_all(&folder).expect("the data directory is there");
}

#[test]
fn interpreters_of_two_threads_watch_and_one_goes_while_changes_wait() {
    const CHANGES: usize = 200;
    let _turn = turn();
    let tcl = Tcl::load();
    // SAFETY: null asks for no path to be remembered.
    unsafe { (tcl.find_executable)(std::ptr::null()) };
    let folder = std::env::temp_dir().join(format!("aerostore-watching-{}", std::process::id()));
    let shm = format!("/dev/shm/aerostore-watching-{}.mmap", std::process::id());
    let open = format!(
        "aerostore::init {{{}}} -shm {shm} -size 268435456 -config {{aerostore.synchronous_commit off}}
        aerostore::define Watched {{{{key k}} {{int n}}}}",
        folder.display()
    );
    let watch = "set seen 0; set ended 0; after 60000 {set seen late; set ended late}
        Watched watch {apply {{op key old new ts} {
            if {$op eq {end}} {set ::ended 1} elseif {[dict get $new n] != $::seen} {set ::seen wrong} else {incr ::seen}
        }}}";
    let first = Interp::new(tcl);
    first.eval(&open);
    let watching = Arc::new(Barrier::new(3));
    let threads: Vec<_> = [CHANGES, CHANGES / 4]
        .into_iter()
        .map(|enough| {
            let watching = Arc::clone(&watching);
            thread::spawn(move || {
                let interp = Interp::new(tcl);
                interp.eval(watch);
                watching.wait();
                interp
                    .eval(&format!("while {{[string is integer $seen] && $seen < {enough}}} {{vwait seen}}"));
                // One of them goes now, while more is told to its thread; the other waits for the end.
                if enough < CHANGES {
                    return interp.eval("set seen");
                }
                interp.eval("while {!$ended} {vwait ended}; list $seen $ended")
            })
        })
        .collect();
    watching.wait();
    first.eval(&format!("for {{set i 0}} {{$i < {CHANGES}}} {{incr i}} {{Watched set A n $i}}"));
    let mut seen = threads.into_iter();
    let mut next = || seen.next().map(thread::JoinHandle::join);
    // All of it is told before the end is.
    first.eval("aerostore::drop Watched");
    assert_eq!(next().expect("two threads").expect("no thread fails"), format!("{CHANGES} 1"));
    let early: usize = next().expect("two threads").expect("no thread fails").parse().expect("a count");
    assert!(early >= CHANGES / 4);
    first.eval("aerostore::close");
    drop(first);
    std::fs::remove_file(&shm).expect("the mapping is there");
    std::fs::remove_dir_all(&folder).expect("the data directory is there");
}
