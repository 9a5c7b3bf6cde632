//! A table in a vector with indexes in trees, for this layer's tests.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use super::executor::Sink;
use super::{
    AccessPath, Helper, IndexScan, IndexStatistics, KeyRange, Lead, Outcome, Plan, Predicate, Query,
    QueryError, Route, RowSource, Standing, TableStatistics, compare,
};
use crate::index::key::key_bytes;
use crate::query;
use crate::row::{Column, ColumnType, IndexKind, OwnedValue, RowImage, RowView, Schema, Value, VisitRows};

/// Keys with the places of their rows.
type Entries = BTreeSet<(Vec<u8>, usize)>;

pub(super) struct Table {
    pub(super) schema: Arc<Schema>,
    pub(super) images: Vec<RowImage>,
    /// By column. An entry may be stale: the row it names has another key by now.
    pub(super) indexes: BTreeMap<usize, (IndexKind, Entries)>,
    /// How many times larger than it is the table is said to be, and each index: statistics may be wrong.
    pub(super) exaggeration: (u64, BTreeMap<usize, u64>),
    /// Keys that were asked for, one by one.
    pub(super) points: Vec<OwnedValue>,
}

fn key(value: Value<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    key_bytes(value, &mut bytes);
    bytes
}

impl Table {
    pub(super) fn new(schema: Schema, rows: &[Vec<OwnedValue>]) -> Self {
        let images = rows.iter().map(|row| crate::row::arbitrary::image(&schema, row)).collect();
        Self {
            schema: Arc::new(schema),
            images,
            indexes: BTreeMap::new(),
            exaggeration: (1, BTreeMap::new()),
            points: Vec::new(),
        }
    }

    /// Indexes `column`, with `stale` entries besides those of the rows.
    pub(super) fn index(&mut self, column: usize, kind: IndexKind, stale: &[(OwnedValue, usize)]) {
        let current = (0..self.images.len()).map(|place| (key(self.row(place).get(column)), place));
        let stale = stale.iter().map(|(value, place)| (key(value.as_value()), *place));
        let entries = current.chain(stale).collect();
        self.indexes.insert(column, (kind, entries));
    }

    /// A few, and of a large table more than the executor takes at a time.
    fn rows_at_a_time(&self) -> usize {
        if self.images.len() > 64 { 100 } else { 3 }
    }

    fn row(&self, place: usize) -> RowView<'_> {
        self.images[place].view(&self.schema).expect("a finished image")
    }

    fn entries(&self, column: usize, range: &KeyRange) -> Result<Vec<(&[u8], usize)>, QueryError> {
        let (kind, entries) = self.indexes.get(&column).ok_or_else(|| self.no_index(column))?;
        assert!(*kind == IndexKind::Ordered || range.single().is_some(), "a range of a hash");
        let entries = entries.iter().map(|(key, place)| (&key[..], *place));
        Ok(entries.filter(|(key, _)| range.contains(key)).collect())
    }

    fn no_index(&self, column: usize) -> QueryError {
        QueryError::NoIndex {
            column: self.schema.column(column).name().to_owned(),
            table: self.schema.name().to_owned(),
            indexed: String::new(),
        }
    }

    /// Six flights, one of them with all but the key null.
    pub(super) fn flights() -> Self {
        let schema = Schema::builder("Flight")
            .column(Column::new("flight_id", ColumnType::FixedString(8)).alias("ident"))
            .column(Column::new("altitude", ColumnType::I32).alias("alt").nullable())
            .column(Column::new("lat", ColumnType::F64).nullable())
            .column(Column::new("origin", ColumnType::String(40)).nullable())
            .column(Column::new("grounded", ColumnType::Bool).nullable())
            .column(Column::new("class", ColumnType::Char).nullable())
            .column(Column::new("seen", ColumnType::Timestamp).nullable())
            .key("flight_id")
            .build()
            .expect("a sound definition");
        let row =
            |ident: &str, altitude: i32, lat: f64, origin: &str, grounded: bool, class: char, seen: i64| {
                vec![
                    OwnedValue::Str(ident.into()),
                    OwnedValue::I32(altitude),
                    OwnedValue::F64(lat),
                    OwnedValue::Str(origin.into()),
                    OwnedValue::Bool(grounded),
                    OwnedValue::Char(class),
                    OwnedValue::Timestamp(seen),
                ]
            };
        let mut ghost = vec![OwnedValue::Null; 7];
        ghost[0] = OwnedValue::Str("GHOST".into());
        let rows = [
            row("UAL1", 35_000, 40.5, "San Francisco", false, 'J', 100),
            row("UAL2", 0, 37.6, "San Francisco", true, 'Y', 200),
            row("DLH3", 35_000, 50.0, "Zürich", false, 'J', 300),
            ghost,
            row("BAW4", 12_000, 51.5, "London", false, 'F', 400),
            row("SWR5", -50, -0.0, "Zürich", true, 'Y', 500),
        ];
        Self::new(schema, &rows)
    }

    pub(super) fn plan(&self, query: Query) -> Plan {
        Plan::new(&self.schema, query).expect("a sound query")
    }

    /// The keys of the rows that `query` yields, and what the run did.
    pub(super) fn run(&mut self, query: Query) -> (Vec<String>, Outcome) {
        let plan = self.plan(query);
        let mut keys = Vec::new();
        let visit = &mut |row: RowView<'_>| {
            keys.push(row.key().to_string());
            ControlFlow::Continue(())
        };
        let outcome = plan.run(self, visit).expect("a sound plan");
        let counted = plan.count(self).expect("a sound plan");
        assert_eq!(counted.rows_returned, outcome.rows_returned, "count of {plan:?}");
        assert_eq!(self.run_by_threads(&plan), keys, "by several threads: {plan:?}");
        (keys, outcome)
    }

    /// The keys of the rows that `plan` yields.
    pub(super) fn keys(&mut self, plan: &Plan) -> Vec<String> {
        let mut keys = Vec::new();
        let visit = &mut |row: RowView<'_>| {
            keys.push(row.key().to_string());
            ControlFlow::Continue(())
        };
        plan.run(self, visit).expect("a sound plan");
        keys
    }

    /// The keys that a scan by three threads yields, for a count as well, where `plan` takes one at all.
    fn run_by_threads(&mut self, plan: &Plan) -> Vec<String> {
        let statistics = self.statistics(&plan.form.route_columns).expect("statistics");
        let [mut route, mut counting] =
            [plan.route(&statistics), plan.route_to_count(&statistics)].map(|route| route.expect("a route"));
        let is_scan = |route: &Route| matches!(route.path, AccessPath::Scan);
        if is_scan(&route) {
            route.threads = 3;
        }
        if is_scan(&counting) {
            counting.threads = 3;
        }
        let mut keys = Vec::new();
        let visit = &mut |row: RowView<'_>| {
            keys.push(row.key().to_string());
            ControlFlow::Continue(())
        };
        plan.run_by(&route, self, Sink::Visit(visit)).expect("a sound route");
        let counted = plan.run_by(&counting, self, Sink::Count).expect("a sound route");
        assert_eq!(counted.outcome.rows_returned, keys.len() as u64, "count by several threads: {plan:?}");
        keys
    }

    /// The route that `query` takes.
    pub(super) fn route(&mut self, query: Query) -> Route {
        let plan = self.plan(query);
        let statistics = self.statistics(&plan.form.route_columns).expect("statistics");
        plan.route(&statistics).expect("a route")
    }

    /// The keys of the rows for which all terms hold; a term is words separated by spaces.
    pub(super) fn search(&mut self, terms: &[&str]) -> String {
        let terms: Vec<Vec<&str>> = terms.iter().map(|term| term.split(' ').collect()).collect();
        let filter = compare::all(&self.schema, &terms).expect("sound terms");
        self.run(Query::filtered(filter)).0.join(" ")
    }
}

/// Rows of a part of a shared scan.
const PART_ROWS: usize = 7;

/// One thread's place in a shared scan.
struct Share<'t> {
    table: &'t Table,
    /// Who has claimed each.
    parts: &'t [(&'t [RowImage], Mutex<Option<usize>>)],
    who: usize,
}

impl query::Share for Share<'_> {
    type Error = QueryError;

    fn parts(&self) -> usize {
        self.parts.len()
    }

    fn claim(&self, part: usize) -> Option<usize> {
        Some(*self.parts[part].1.lock().expect("nobody panics").get_or_insert(self.who))
    }

    fn show(&self, part: usize, visit: &mut VisitRows<'_>) -> Result<ControlFlow<()>, QueryError> {
        assert_eq!(self.claim(part), Some(self.who), "somebody else's part");
        let images = self.parts[part].0.iter();
        let rows: Vec<RowView<'_>> =
            images.map(|image| image.view(&self.table.schema).expect("a finished image")).collect();
        Ok(match rows.chunks(3).try_for_each(visit) {
            ControlFlow::Break(_) => ControlFlow::Break(()),
            ControlFlow::Continue(()) => ControlFlow::Continue(()),
        })
    }
}

impl RowSource for Table {
    type Error = QueryError;

    fn statistics(&mut self, columns: &[usize]) -> Result<TableStatistics, QueryError> {
        let null = key(Value::Null);
        let statistics = |(&column, (kind, entries)): (&usize, &(IndexKind, Entries))| {
            let values = entries.iter().map(|(key, _)| &key[..]).filter(|key| **key != null);
            let distinct: BTreeSet<&[u8]> = values.clone().collect();
            let times = self.exaggeration.1.get(&column).copied().unwrap_or(1);
            IndexStatistics {
                column,
                kind: *kind,
                rows: entries.len() as u64 * times,
                nulls: (entries.len() - values.count()) as u64 * times,
                distinct: distinct.len() as u64,
                min: distinct.first().filter(|_| columns.contains(&column)).map(|&key| key.into()),
                max: distinct.last().filter(|_| columns.contains(&column)).map(|&key| key.into()),
            }
        };
        let indexes = self.indexes.iter().map(statistics).collect();
        Ok(TableStatistics { rows: self.images.len() as u64 * self.exaggeration.0, indexes, threads: 1 })
    }

    fn standing(&mut self) -> Result<Standing, QueryError> {
        let indexes =
            self.indexes.iter().map(|(column, (kind, _))| (*column as u64 + 1) << (8 * *kind as u64));
        Ok(Standing {
            rows: self.images.len() as u64 * self.exaggeration.0,
            indexes: indexes.fold(0, |sum, index| sum * 31 + index),
        })
    }

    fn point(&mut self, key: Value<'_>, visit: &mut dyn FnMut(RowView<'_>)) -> Result<(), QueryError> {
        self.points.push(key.to_owned());
        if let Some(row) = (0..self.images.len()).map(|place| self.row(place)).find(|row| row.key() == key) {
            visit(row);
        }
        Ok(())
    }

    fn scan(
        &mut self,
        _filter: Option<&Arc<Predicate>>,
        visit: &mut VisitRows<'_>,
    ) -> Result<(), QueryError> {
        let rows: Vec<RowView<'_>> = (0..self.images.len()).map(|place| self.row(place)).collect();
        let _ = rows.chunks(self.rows_at_a_time()).try_for_each(visit);
        Ok(())
    }

    fn scan_shared(
        &mut self,
        _filter: Option<&Arc<Predicate>>,
        helpers: Vec<Helper<'_, QueryError>>,
        lead: &mut Lead<'_, QueryError>,
    ) -> Result<(), QueryError> {
        let table: &Self = self;
        let parts: Vec<_> = table.images.chunks(PART_ROWS).map(|images| (images, Mutex::new(None))).collect();
        let share = |who| Share { table, parts: &parts, who };
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (at, helper) in helpers.into_iter().enumerate() {
                let share = share(at + 1);
                threads.push(scope.spawn(move || helper(&share).map(drop)));
            }
            let first = lead(&share(0)).map(drop);
            let joined = threads.into_iter().map(|thread| thread.join().expect("a helper panicked"));
            joined.fold(first, Result::and)
        })
    }

    fn index_scan(&mut self, scan: &IndexScan<'_>, visit: &mut VisitRows<'_>) -> Result<(), QueryError> {
        let mut entries = self.entries(scan.column, scan.range)?;
        if scan.descending {
            entries.reverse();
        }
        let rows: Vec<RowView<'_>> = entries
            .into_iter()
            .filter(|(_, place)| scan.among.is_none_or(|rows| rows.contains(*place as u64)))
            .map(|(entered, place)| (entered, self.row(place)))
            .filter(|(entered, row)| *entered == key(row.get(scan.column)))
            .map(|(_, row)| row)
            .collect();
        let _ = rows.chunks(self.rows_at_a_time()).try_for_each(visit);
        Ok(())
    }

    fn index_rows(
        &mut self,
        column: usize,
        range: &KeyRange,
        visit: &mut dyn FnMut(u64),
    ) -> Result<(), QueryError> {
        self.entries(column, range)?.into_iter().for_each(|(_, place)| visit(place as u64));
        Ok(())
    }
}

mod tests {
    use super::*;
    use crate::row::each_row;

    fn scanned(table: &mut Table, range: &KeyRange, descending: bool) -> String {
        let mut seen = Vec::new();
        let scan = IndexScan { column: 1, range, descending, filter: None, among: None, expected: None };
        let visit = |row: RowView<'_>| {
            seen.push(row.key().to_string());
            ControlFlow::Continue(())
        };
        table.index_scan(&scan, &mut each_row(visit)).expect("an index");
        seen.join(" ")
    }

    #[test]
    fn an_index_gives_each_row_once_at_its_visible_key() {
        let mut table = Table::flights();
        table.index(1, IndexKind::Ordered, &[(OwnedValue::I32(100), 0), (OwnedValue::Null, 4)]);
        let all = KeyRange::new(b"", &[0xff; 10]);
        assert_eq!(scanned(&mut table, &all, false), "SWR5 UAL2 BAW4 UAL1 DLH3 GHOST");
        assert_eq!(scanned(&mut table, &all, true), "GHOST DLH3 UAL1 BAW4 UAL2 SWR5");
        let [zero, high] = [0, 35_000].map(|number| key(Value::I32(number)));
        assert_eq!(scanned(&mut table, &KeyRange::new(&zero, &high), false), "UAL2 BAW4");
        let statistics = table.statistics(&[1]).expect("statistics");
        let [index] = &statistics.indexes[..] else { panic!("one index") };
        assert_eq!((statistics.rows, index.rows, index.nulls, index.distinct), (6, 8, 2, 5));
        assert_eq!(index.max.as_deref(), Some(&high[..]));
        let mut rows = Vec::new();
        table.index_rows(1, &KeyRange::new(&zero, &high), &mut |row| rows.push(row)).expect("an index");
        assert_eq!(rows, [1, 0, 4]);
    }
}
