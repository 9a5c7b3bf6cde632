//! A table in a vector, for this layer's tests.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Outcome, Plan, Predicate, Query, RowSource, compare};
use crate::row::{Column, ColumnType, OwnedValue, RowImage, RowView, Schema, Value};

pub(super) struct Table {
    pub(super) schema: Arc<Schema>,
    pub(super) images: Vec<RowImage>,
    /// Keys that were asked for, one by one.
    pub(super) points: Vec<OwnedValue>,
}

impl Table {
    pub(super) fn new(schema: Schema, rows: &[Vec<OwnedValue>]) -> Self {
        let images = rows.iter().map(|row| crate::row::arbitrary::image(&schema, row)).collect();
        Self { schema: Arc::new(schema), images, points: Vec::new() }
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
        let Ok(outcome) = plan.run(self, visit);
        let Ok(counted) = plan.count(self);
        assert_eq!(counted.rows_returned, outcome.rows_returned, "count of {plan}");
        (keys, outcome)
    }

    /// The keys of the rows for which all terms hold; a term is words separated by spaces.
    pub(super) fn search(&mut self, terms: &[&str]) -> String {
        let terms: Vec<Vec<&str>> = terms.iter().map(|term| term.split(' ').collect()).collect();
        let filter = compare::all(&self.schema, &terms).expect("sound terms");
        self.run(Query::filtered(filter)).0.join(" ")
    }
}

impl RowSource for Table {
    type Error = Infallible;

    fn point(&mut self, key: Value<'_>, visit: &mut dyn FnMut(RowView<'_>)) -> Result<(), Infallible> {
        self.points.push(key.to_owned());
        for image in &self.images {
            let row = image.view(&self.schema).expect("a finished image");
            if row.key() == key {
                visit(row);
                break;
            }
        }
        Ok(())
    }

    fn scan(
        &mut self,
        _filter: Option<&Arc<Predicate>>,
        visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        for image in &self.images {
            if visit(image.view(&self.schema).expect("a finished image")).is_break() {
                break;
            }
        }
        Ok(())
    }
}
