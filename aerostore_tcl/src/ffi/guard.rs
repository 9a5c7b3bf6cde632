//! Keeps panics on this side of the boundary.
//!
//! A panic below [`guard`] becomes an error value that names the place. The panic hook notes the place and stays
//! silent for guarded panics; all others go to the hook that was there before.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `body`; a panic in it comes back as `Err("panic at FILE:LINE:COLUMN: MESSAGE")`.
pub(super) fn guard<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(install_hook);
    DEPTH.set(DEPTH.get() + 1);
    // State behind the body is either per call or guarded by locks that report poisoning.
    let outcome = panic::catch_unwind(AssertUnwindSafe(body));
    DEPTH.set(DEPTH.get() - 1);
    outcome.map_err(|payload| {
        let place = PLACE.take().unwrap_or_else(|| "an unknown place".to_owned());
        format!("panic at {place}: {}", message(payload.as_ref()))
    })
}

fn install_hook() {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if DEPTH.get() == 0 {
            previous(info);
        } else {
            PLACE.set(info.location().map(ToString::to_string));
        }
    }));
}

fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_that_names_the_place() {
        let outcome: Result<(), String> = guard(|| panic!("broken {}", 7));
        let text = outcome.unwrap_err();
        assert!(text.starts_with("panic at ") && text.contains("guard.rs:"), "{text}");
        assert!(text.ends_with("broken 7"), "{text}");
    }

    #[test]
    fn a_value_passes_through() {
        assert_eq!(guard(|| 5), Ok(5));
    }

    #[test]
    fn guards_nest() {
        let outer = guard(|| guard(|| panic!("inner")).map_err(|text| text.contains("inner")));
        assert_eq!(outer, Ok(Err::<(), bool>(true)));
    }
}
