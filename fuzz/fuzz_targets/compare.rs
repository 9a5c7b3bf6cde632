//! Terms and sort keys from any text: an error, or a plan that finds exactly the rows a look at every row finds, by whatever indexes.
#![no_main]

use aerostore_core::query::{Expr, Predicate, Query, SortKey, compare};
use aerostore_core::row::NullRule;
use aerostore_fuzz::{WIDE, rows};
use libfuzzer_sys::fuzz_target;

// Nine bytes choose; then lines: terms of tab-separated words, an empty line, sort keys.
fuzz_target!(|data: &[u8]| {
    let Some((&[choice, ref seed @ ..], data)) = data.split_first_chunk::<9>() else { return };
    let seed = seed.iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let terms: Vec<Vec<&str>> =
        lines.by_ref().take_while(|line| !line.is_empty()).map(|line| line.split('\t').collect()).collect();
    let filter: Result<Expr, _> =
        if choice & 1 == 0 { compare::all(&WIDE, &terms) } else { compare::any(&WIDE, &terms) };
    let filter = match filter {
        Ok(filter) => filter,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let nulls = if choice & 2 == 0 { NullRule::Unknown } else { NullRule::High };
    let Ok(predicate) = Predicate::new(&WIDE, filter.clone(), nulls) else { return };
    let mut query = Query::filtered(filter).nulls(nulls);
    for line in lines {
        query = query.sort_by(SortKey::parse(line));
    }
    let (limit, offset) = (u64::from(choice >> 2) % 8, u64::from(choice >> 5));
    let matching = rows::matching(|row| predicate.matches(row));
    rows::check(query.limit(limit).offset(offset), seed, |_| matching.saturating_sub(offset).min(limit));
});
