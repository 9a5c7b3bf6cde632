//! Handlers in the event loop of a thread that has interpreters, which other threads wake.
//!
//! Rules       E1: an [`Alert`] may be sent from any thread: it queues an event at its handler's thread and wakes its event loop. E2: the event
//!             names the handler by a number that is never used again; one that is gone by then, or is of another thread that has the
//!             same identity now, is not found, and nothing happens. E3: after Tcl has been told to go (`exit`), nobody calls it
//!             from other threads any more. E4: a handler is dropped before its interpreter goes, by whoever has it. E5: one event at most of a
//!             handler waits in its thread's queue: an alert while one does is that one, and the handler is called after it.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ffi::c_int;
use std::mem::size_of;
use std::ptr;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use super::bindings::{ClientData, Tcl_Interp};
use super::guard::guard;
use super::interp::Interp;
use super::stubs::stub;

/// At the end of the queue, as Tcl numbers it.
const QUEUE_TAIL: u32 = 0;

/// Tcl's event, with the number of the handler that it is for.
#[repr(C)]
struct Event {
    run: Option<unsafe extern "C" fn(*mut Event, c_int) -> c_int>,
    next: *mut Event,
    number: u64,
}

/// The body of a handler; true when it wants to be called once more, after what else waits in the event loop.
type Body = dyn Fn(&Interp) -> bool;

struct Entry {
    interp: *mut Tcl_Interp,
    alert: Alert,
    body: Rc<Body>,
}

thread_local! {
    static HANDLERS: RefCell<HashMap<u64, Entry>> = RefCell::default();
}

static STATE: Mutex<State> = Mutex::new(State { last: 0, alerted: BTreeSet::new(), is_over: false });

/// What all threads know of handlers.
struct State {
    /// The last number given to one.
    last: u64,
    /// Those of which an event waits (E5).
    alerted: BTreeSet<u64>,
    /// Whether Tcl may not be called any more.
    is_over: bool,
}

fn state() -> MutexGuard<'static, State> {
    // A panic in between leaves a state that is whole.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A handler of this thread's event loop; gone when it is dropped.
pub(crate) struct Handler {
    alert: Alert,
}

/// Wakes a handler, from whatever thread.
#[derive(Clone, Copy)]
pub(crate) struct Alert {
    number: u64,
    /// Its thread, as Tcl knows it.
    thread: usize,
}

impl Handler {
    /// Calls `body` in the event loop after each alert.
    pub(crate) fn new(interp: &Interp, body: impl Fn(&Interp) -> bool + 'static) -> Self {
        static END: Once = Once::new();
        // SAFETY: the procedure takes no data, and the library is never unmapped.
        END.call_once(|| unsafe { stub!(tcl_CreateExitHandler(Some(end), ptr::null_mut())) });
        // SAFETY: no conditions.
        let thread = unsafe { stub!(tcl_GetCurrentThread()) };
        let mut state = state();
        state.last += 1;
        let number = state.last;
        drop(state);
        let alert = Alert { number, thread: thread.addr() };
        let entry = Entry { interp: interp.raw(), alert, body: Rc::new(body) };
        HANDLERS.with_borrow_mut(|handlers| handlers.insert(number, entry));
        Self { alert }
    }

    /// What wakes it.
    pub(crate) fn alert(&self) -> Alert {
        self.alert
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // At a thread's end the table may be gone already.
        let entry = HANDLERS.try_with(|handlers| handlers.borrow_mut().remove(&self.alert.number));
        drop(entry);
        state().alerted.remove(&self.alert.number);
    }
}

impl Alert {
    /// Has the handler called by its thread's event loop.
    pub(crate) fn send(self) {
        let mut state = state();
        if state.is_over || !state.alerted.insert(self.number) {
            return; // E3, E5
        }
        let thread = ptr::without_provenance_mut::<()>(self.thread).cast();
        // SAFETY: Tcl's functions for events may be called from any thread, with a thread that is gone too: it takes the event
        // back then. It was allocated as Tcl demands, and begins with the two fields that Tcl knows.
        unsafe {
            let event: *mut Event = stub!(tcl_Alloc(u32::try_from(size_of::<Event>()).unwrap_or(0))).cast();
            event.write(Event { run: Some(deliver), next: ptr::null_mut(), number: self.number });
            stub!(tcl_ThreadQueueEvent(thread, event.cast(), QUEUE_TAIL));
            stub!(tcl_ThreadAlert(thread));
        }
        drop(state);
    }
}

/// What Tcl calls for an event; it frees it afterwards.
unsafe extern "C" fn deliver(event: *mut Event, _flags: c_int) -> c_int {
    // A panic while a script's callback is made ready has nobody left to be told but the next event.
    let _ = guard(|| {
        // SAFETY: made by `Alert::send`, and Tcl keeps it until this returns.
        let number = unsafe { (*event).number };
        // E5: before the handler looks what there is.
        state().alerted.remove(&number);
        let found = HANDLERS.with_borrow(|handlers| {
            handlers.get(&number).map(|entry| (entry.interp, entry.alert, Rc::clone(&entry.body)))
        });
        let Some((interp, alert, body)) = found else { return }; // E2
        // SAFETY: E4: the interpreter is there, and of this thread; preserved, it stays while scripts of it run.
        let again = unsafe {
            stub!(tcl_Preserve(interp.cast()));
            let again = Interp::from_raw(interp).is_some_and(|interp| body(&interp));
            stub!(tcl_Release(interp.cast()));
            again
        };
        if again {
            alert.send();
        }
    });
    1
}

/// E3.
unsafe extern "C" fn end(_: ClientData) {
    state().is_over = true;
}
