//! Terms and sort keys from any text: an error, or a plan that finds exactly the rows a look at every row finds.
#![no_main]

use aerostore_core::query::{
    Expr, IndexScan, KeyRange, Plan, Predicate, Query, QueryError, RowSource, SortKey, TableStatistics,
    compare,
};
use aerostore_core::row::{NullRule, RowImage, RowView, Value, text};
use aerostore_fuzz::WIDE;
use libfuzzer_sys::fuzz_target;
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

const ROWS: [&str; 5] = [
    "A\t1\t-5\t0\t9000000000\t1.5\t-0.0\tx\tabc\tZürich\t100\t100000000\t10.0.0.1\t00:11:22:33:44:55",
    "B\t0\t7\t35000\t-1\t-2.25\t1e300\té\t\t*\\[a-z]?\t-1\t5\t::1\tff:ff:ff:ff:ff:ff",
    "C\t\\N\t\\N\t-1\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N",
    "SWR8K\t1\t32767\t2147483647\t9223372036854775807\t0\t0.0\tA\tswr8k\tSWR8K\t0\t0\t255.255.255.255\t00:00:00:00:00:00",
    "a\t0\t-32768\t-2147483648\t-9223372036854775808\t3.4e38\t-1e-300\ta\tABC\tzürich\t9\t9\tfe80::1\t01:02:03:04:05:06",
];

static IMAGES: LazyLock<Vec<RowImage>> = LazyLock::new(|| {
    let image = |line: &&str| {
        let mut image = RowImage::new(&WIDE);
        for (index, field) in line.split('\t').enumerate() {
            text::parse_into(&WIDE, index, field.as_bytes(), &mut image).expect("a sound value");
        }
        image.finish(&WIDE).expect("a sound row");
        image
    };
    ROWS.iter().map(image).collect()
});

struct Rows;

impl RowSource for Rows {
    type Error = QueryError;

    fn statistics(&mut self) -> Result<TableStatistics, QueryError> {
        Ok(TableStatistics { rows: ROWS.len() as u64, indexes: Vec::new() })
    }

    fn point(&mut self, key: Value<'_>, visit: &mut dyn FnMut(RowView<'_>)) -> Result<(), QueryError> {
        views().filter(|view| view.key() == key).for_each(visit);
        Ok(())
    }

    fn scan(
        &mut self,
        _: Option<&Arc<Predicate>>,
        visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        for view in views() {
            if visit(view).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn index_scan(
        &mut self,
        _: &IndexScan<'_>,
        _: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        unreachable!("there are no indexes")
    }

    fn index_rows(&mut self, _: usize, _: &KeyRange, _: &mut dyn FnMut(u64)) -> Result<(), QueryError> {
        unreachable!("there are no indexes")
    }
}

fn views() -> impl Iterator<Item = RowView<'static>> {
    IMAGES.iter().map(|image| image.view(&WIDE).expect("a finished image"))
}

// The first byte chooses; then lines: terms of tab-separated words, an empty line, sort keys.
fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
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
    let mut query = Query::filtered(filter.clone()).nulls(nulls);
    for line in lines {
        query = query.sort_by(SortKey::parse(line));
    }
    let (limit, offset) = (u64::from(choice >> 2) % 8, u64::from(choice >> 5));
    let query = query.limit(limit).offset(offset);
    let plan = Plan::new(&WIDE, query);
    let predicate = Predicate::new(&WIDE, filter, nulls);
    let (Ok(plan), Ok(predicate)) = (plan, predicate) else { return };
    let matching = views().filter(|view| predicate.matches(*view)).count() as u64;
    let wanted = matching.saturating_sub(offset).min(limit);
    let mut keys = Vec::new();
    let visit = &mut |row: RowView<'_>| {
        keys.push(row.key().to_string());
        ControlFlow::Continue(())
    };
    let outcome = plan.run(&mut Rows, visit).expect("a sound plan");
    assert_eq!((keys.len() as u64, outcome.rows_returned), (wanted, wanted), "{plan:?}");
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len() as u64, wanted, "a row twice: {plan:?}");
    let counted = plan.count(&mut Rows).expect("a sound plan");
    assert_eq!(counted.rows_returned, wanted, "{plan:?}");
});
