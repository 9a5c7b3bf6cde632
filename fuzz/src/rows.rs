//! Five rows with an index on every column, and a check that a query finds of them what it should.

use crate::WIDE;
use aerostore_core::index::key::{NULL, key_bytes};
use aerostore_core::query::{
    Helper, IndexScan, IndexStatistics, KeyRange, Lead, Plan, Predicate, Query, QueryError, RowSource, Share,
    Standing, TableStatistics,
};
use aerostore_core::row::{IndexKind, RowImage, RowView, Value, VisitRows, text};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
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

fn view(place: usize) -> RowView<'static> {
    IMAGES[place].view(&WIDE).expect("a finished image")
}

/// The rows of which `matches` is true.
pub fn matching(matches: impl Fn(RowView<'_>) -> bool) -> u64 {
    (0..ROWS.len()).filter(|place| matches(view(*place))).count() as u64
}

fn key(place: usize, column: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    key_bytes(view(place).get(column), &mut bytes);
    bytes
}

/// The rows, with indexes whose statistics depend on a number.
struct Rows {
    seed: u64,
}

impl Rows {
    fn times(&self, column: u64) -> u64 {
        let mixed = self.seed.wrapping_add(column).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        [1, 1000, 1_000_000, 1_000_000_000][(mixed >> 62) as usize]
    }

    /// Three in four columns have an index, one in four of those a hash.
    fn kind(&self, column: usize) -> Option<IndexKind> {
        match self.seed.rotate_right(column as u32 * 4) & 0xf {
            0..=3 => None,
            4..=6 => Some(IndexKind::Hash),
            _ => Some(IndexKind::Ordered),
        }
    }

    fn entries(&self, column: usize, range: &KeyRange) -> Vec<(Vec<u8>, usize)> {
        let kind = self.kind(column).expect("an index that was told of");
        assert!(kind == IndexKind::Ordered || range.single().is_some(), "a range of a hash");
        let mut entries: Vec<_> = (0..ROWS.len())
            .map(|place| (key(place, column), place))
            .filter(|(key, _)| range.contains(key))
            .collect();
        entries.sort();
        entries
    }
}

/// One thread's place in a scan whose parts are single rows.
struct Place<'s> {
    owners: &'s [AtomicUsize; ROWS.len()],
    who: usize,
}

impl Share for Place<'_> {
    type Error = QueryError;

    fn parts(&self) -> usize {
        ROWS.len()
    }

    fn claim(&self, part: usize) -> Option<usize> {
        let claimed =
            self.owners[part].compare_exchange(usize::MAX, self.who, Ordering::AcqRel, Ordering::Acquire);
        Some(claimed.map_or_else(|owner| owner, |_| self.who))
    }

    fn show(&self, part: usize, visit: &mut VisitRows<'_>) -> Result<ControlFlow<()>, QueryError> {
        Ok(if visit(&[view(part)]).is_break() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

impl RowSource for Rows {
    type Error = QueryError;

    fn statistics(&mut self, columns: &[usize]) -> Result<TableStatistics, QueryError> {
        let index = |column: usize| {
            let times = self.times(column as u64);
            let mut keys: Vec<_> = (0..ROWS.len()).map(|place| key(place, column)).collect();
            keys.sort();
            let nulls = keys.iter().filter(|key| **key == NULL).count();
            keys.truncate(keys.len() - nulls);
            Some(IndexStatistics {
                column,
                kind: self.kind(column)?,
                rows: ROWS.len() as u64 * times,
                nulls: nulls as u64 * times,
                distinct: keys.len() as u64,
                min: keys.first().filter(|_| columns.contains(&column)).map(|key| key[..].into()),
                max: keys.last().filter(|_| columns.contains(&column)).map(|key| key[..].into()),
            })
        };
        let indexes = (0..WIDE.columns().len()).filter_map(index).collect();
        Ok(TableStatistics { rows: ROWS.len() as u64 * self.times(99), indexes, threads: 2 })
    }

    fn standing(&mut self) -> Result<Standing, QueryError> {
        let kinds =
            (0..WIDE.columns().len()).map(|column| self.kind(column).map_or(0, |kind| kind as u64 + 1));
        let indexes = kinds.fold(0_u64, |sum, kind| sum.wrapping_mul(3).wrapping_add(kind));
        Ok(Standing { rows: ROWS.len() as u64 * self.times(99), indexes })
    }

    fn point(&mut self, key: Value<'_>, visit: &mut dyn FnMut(RowView<'_>)) -> Result<(), QueryError> {
        (0..ROWS.len()).map(view).filter(|row| row.key() == key).for_each(visit);
        Ok(())
    }

    fn scan(&mut self, _: Option<&Arc<Predicate>>, visit: &mut VisitRows<'_>) -> Result<(), QueryError> {
        let rows: Vec<_> = (0..ROWS.len()).map(view).collect();
        let _ = rows.chunks(2).try_for_each(visit);
        Ok(())
    }

    fn scan_shared(
        &mut self,
        _: Option<&Arc<Predicate>>,
        helpers: Vec<Helper<'_, QueryError>>,
        lead: &mut Lead<'_, QueryError>,
    ) -> Result<(), QueryError> {
        let owners = [const { AtomicUsize::new(usize::MAX) }; ROWS.len()];
        let place = |who| Place { owners: &owners, who };
        // A query may ask for thousands; one is enough to see that nothing is lost or twice.
        let helper = helpers.into_iter().next();
        std::thread::scope(|scope| {
            let helped = helper.map(|helper| scope.spawn(move || helper(&place(1))));
            let first = lead(&place(0));
            helped
                .map_or(Ok(()), |thread| thread.join().expect("a helper panicked").map(drop))
                .and(first.map(drop))
        })
    }

    fn index_scan(&mut self, scan: &IndexScan<'_>, visit: &mut VisitRows<'_>) -> Result<(), QueryError> {
        let mut entries = self.entries(scan.column, scan.range);
        if scan.descending {
            entries.reverse();
        }
        entries.retain(|(_, place)| scan.among.is_none_or(|rows| rows.contains(*place as u64)));
        let rows: Vec<_> = entries.into_iter().map(|(_, place)| view(place)).collect();
        let _ = rows.chunks(2).try_for_each(visit);
        Ok(())
    }

    fn index_rows(
        &mut self,
        column: usize,
        range: &KeyRange,
        visit: &mut dyn FnMut(u64),
    ) -> Result<(), QueryError> {
        self.entries(column, range).into_iter().for_each(|(_, place)| visit(place as u64));
        Ok(())
    }
}

/// Runs a query over the rows, with indexes and statistics by `seed`. It must give `wanted` rows, each once, and count as many; or
/// refuse for the sake of an index.
pub fn check(query: Query, seed: u64, wanted: impl FnOnce(&Plan) -> u64) {
    let plan = match Plan::new(&WIDE, query) {
        Ok(plan) => plan,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let wanted = wanted(&plan);
    let mut keys = Vec::new();
    let visit = &mut |row: RowView<'_>| {
        keys.push(row.key().to_string());
        ControlFlow::Continue(())
    };
    let outcome = match plan.run(&mut Rows { seed }, visit) {
        Ok(outcome) => outcome,
        Err(QueryError::NoIndex { .. } | QueryError::HashIndex { .. }) => return,
        Err(error) => panic!("{error}: {plan:?}"),
    };
    assert_eq!((keys.len() as u64, outcome.rows_returned), (wanted, wanted), "{plan:?}");
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len() as u64, wanted, "a row twice: {plan:?}");
    let counted = plan.count(&mut Rows { seed }).expect("a sound plan");
    assert_eq!(counted.rows_returned, wanted, "{plan:?}");
    let explained = plan.explain_run(&mut Rows { seed }, false).expect("a sound plan");
    // Of how many rows several threads look at, only what comes out is certain.
    assert_eq!(explained.outcome.map(|outcome| outcome.rows_returned), Some(outcome.rows_returned));
    assert!(!explained.to_string().is_empty());
    // A way is kept by now; then the indexes are others, and then these again.
    for seed in [seed, seed, !seed, seed] {
        match plan.count(&mut Rows { seed }) {
            Ok(counted) => assert_eq!(counted.rows_returned, wanted, "{plan:?}"),
            Err(QueryError::NoIndex { .. } | QueryError::HashIndex { .. }) => {}
            Err(error) => panic!("{error}: {plan:?}"),
        }
    }
}
