//! Any text as a query: an error that says what was expected, or a plan that finds exactly the rows a look at every row finds.
#![no_main]

use aerostore_core::query::text;
use aerostore_fuzz::{WIDE, rows};
use libfuzzer_sys::fuzz_target;

// Eight bytes choose the indexes; the rest is the query.
fuzz_target!(|data: &[u8]| {
    let Some((seed, data)) = data.split_first_chunk::<8>() else { return };
    let Ok(text) = std::str::from_utf8(data) else { return };
    let query = match text::parse(&WIDE, text) {
        Ok(query) => query,
        Err(error) => {
            let error = error.to_string();
            assert!(error.contains("expected") || error.contains("must be"), "{error}");
            return;
        }
    };
    rows::check(query, u64::from_le_bytes(*seed), |plan| {
        let matching = rows::matching(|row| plan.filter().is_none_or(|filter| filter.matches(row)));
        matching.saturating_sub(plan.offset()).min(plan.limit().unwrap_or(u64::MAX))
    });
});
