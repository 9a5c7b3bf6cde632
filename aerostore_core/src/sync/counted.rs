//! Std's atomics with a fault point before and after each change and a schedule point before each access, so that none can be
//! forgotten.
#![expect(clippy::disallowed_types, reason = "part of the module where std's atomics enter the crate")]
#![allow(
    unreachable_pub,
    dead_code,
    reason = "as visible as std's, and not every word is changed in every way"
)]

use super::fault::fault_point;
use super::schedule::schedule_point;
use std::sync::atomic::{self, Ordering};

macro_rules! counted {
    ($name:ident, $word:ty) => {
        #[derive(Debug, Default)]
        #[repr(transparent)]
        pub struct $name(atomic::$name);

        impl $name {
            pub const fn new(value: $word) -> Self {
                Self(atomic::$name::new(value))
            }

            #[inline]
            pub fn load(&self, order: Ordering) -> $word {
                schedule_point();
                self.0.load(order)
            }

            #[inline]
            pub fn store(&self, value: $word, order: Ordering) {
                let relaxed = order == Ordering::Relaxed;
                schedule_point();
                fault_point(relaxed);
                self.0.store(value, order);
                fault_point(relaxed);
            }

            #[inline]
            pub fn compare_exchange(
                &self,
                current: $word,
                new: $word,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$word, $word> {
                schedule_point();
                fault_point(false);
                let outcome = self.0.compare_exchange(current, new, success, failure);
                fault_point(false);
                outcome
            }

            counted!(@rmw $name, $word, swap fetch_add fetch_or fetch_and fetch_max fetch_min);
        }
    };
    (@rmw $name:ident, $word:ty, $($method:ident)*) => {
        $(
            #[inline]
            pub fn $method(&self, value: $word, order: Ordering) -> $word {
                schedule_point();
                fault_point(false);
                let before = self.0.$method(value, order);
                fault_point(false);
                before
            }
        )*
    };
}

counted!(AtomicU32, u32);
counted!(AtomicU64, u64);
