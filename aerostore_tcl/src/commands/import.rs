//! `import`: the rows of a result set of `tdbc`, or of whatever has its methods `columns` and `nextdict`.
#![forbid(unsafe_code)]

use aerostore_core::row::{OwnedValue, RowError, Value};

use super::ingest::batch_rows;
use super::table::Opened;
use crate::convert;
use crate::error::{Error, Outcome, reply};
use crate::ffi::{Completion, Interp, Obj};
use crate::words::word_enum;

/// Rows that are written at once unless told otherwise.
const BATCH_ROWS: u64 = 1000;
/// The variable that rows come in.
const VARIABLE: &str = "::aerostore::Imported";

word_enum! {
    /// An option of `import`.
    ImportOption, c"option", {
        Columns = c"-columns",
    }
}

/// One row: its key, unless the table is to number it, and the other columns.
type Row = (Option<OwnedValue>, Vec<(usize, OwnedValue)>);

/// `import resultset ?batch_size? ?-columns {column ...}?`: how many rows.
pub(super) fn run(table: &Opened, interp: &Interp, words: &[Obj]) -> Outcome {
    let [_, _, results, rest @ ..] = words else {
        return Err(Error::usage(interp, words, 2, c"resultset ?batch_size? ?-columns columns?"));
    };
    let (batch, options) = match rest {
        [rows, options @ ..] if !rows.bytes().starts_with(b"-") => (batch_rows(rows)?, options),
        options => (BATCH_ROWS, options),
    };
    let mut names = None;
    for pair in options.chunks(2) {
        let ImportOption::Columns = ImportOption::find(interp, &pair[0])?;
        let Some(value) = pair.get(1) else {
            return Err(Error::syntax(format!("value for \"{}\" missing", pair[0].quoted())));
        };
        names = Some(value.items(interp).map_err(Error::syntax)?);
    }
    let fields = Fields::read(table, interp, results, names)?;
    let mut rows: Vec<Row> = Vec::new();
    let mut count = 0;
    loop {
        let row = fields.next(table, interp, results, count + 1)?;
        count += u64::from(row.is_some());
        let ended = row.is_none();
        rows.extend(row);
        if ended || rows.len() as u64 >= batch {
            write(table, &rows)?;
            rows.clear();
        }
        if ended {
            return reply(interp, &Obj::count(count));
        }
    }
}

fn write(table: &Opened, rows: &[Row]) -> Result<(), Error> {
    table.write_all(&mut |txn| {
        for (key, values) in rows {
            let values: Vec<(usize, Value<'_>)> =
                values.iter().map(|(index, value)| (*index, value.as_value())).collect();
            match key {
                Some(key) => drop(txn.set(&table.bound.table, key.as_value(), &values)?),
                None => drop(txn.insert_numbered(&table.bound.table, &values)?),
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// The fields of the result set that are wanted: what they are called there, and their columns.
struct Fields(Vec<(String, usize)>);

impl Fields {
    /// Asks the result set for its fields; `names` are the columns that they go to, `-` for none.
    fn read(table: &Opened, interp: &Interp, results: &Obj, names: Option<Vec<Obj>>) -> Result<Self, Error> {
        ask(interp, &[results.clone(), Obj::from("columns")])?;
        let fields = interp.result().items(interp).map_err(Error::syntax)?;
        let names = names.unwrap_or_else(|| fields.clone());
        if names.len() != fields.len() {
            let message =
                format!("{} columns are named, but the result set has {}", names.len(), fields.len());
            return Err(Error::syntax(message));
        }
        let bound = &*table.bound;
        let mut wanted: Vec<(String, usize)> = Vec::new();
        for (field, name) in fields.iter().zip(&names) {
            if matches!(name.bytes(), b"" | b"-") {
                continue;
            }
            let index = bound.column(name)?;
            if wanted.iter().any(|(_, other)| *other == index) {
                let name = bound.schema.column(index).name();
                return Err(Error::syntax(format!("column \"{name}\" is named twice"))
                    .with("COLUMN")
                    .with(name));
            }
            wanted.push((String::from_utf8_lossy(field.bytes()).into_owned(), index));
        }
        let key = bound.schema.key_index();
        if !bound.schema.has_numbered_key() && wanted.iter().all(|(_, index)| *index != key) {
            let name = bound.schema.key_column().name();
            let message = format!("column \"{name}\" is not named, but every row needs it");
            return Err(Error::syntax(message).with("COLUMN").with(name));
        }
        Ok(Self(wanted))
    }

    /// The next row; what it lacks is null.
    fn next(
        &self,
        table: &Opened,
        interp: &Interp,
        results: &Obj,
        number: u64,
    ) -> Result<Option<Row>, Error> {
        let variable = Obj::from(VARIABLE);
        ask(interp, &[results.clone(), Obj::from("nextdict"), variable.clone()])?;
        if interp.result().as_boolean() != Some(true) {
            interp.reset_result();
            return Ok(None);
        }
        let row = interp.take_variable(&variable)?;
        let mut key = None;
        let mut values = Vec::with_capacity(self.0.len());
        for (field, index) in &self.0 {
            let column = table.bound.schema.column(*index);
            let value = match row.dict_value(field) {
                None => Ok(OwnedValue::Null),
                Some(value) => convert::read(column, &value)
                    .and_then(|input| Ok(table.bound.schema.coerce(*index, input.value())?.to_owned())),
            };
            let value = value.map_err(|error| error.about(&format!("row {number}")))?;
            if *index != table.bound.schema.key_index() {
                values.push((*index, value));
            } else if value.as_value().is_null() {
                let error: Error = RowError::NotNull { column: column.name().to_owned() }.into();
                return Err(error.about(&format!("row {number}")));
            } else {
                key = Some(value);
            }
        }
        Ok(Some((key, values)))
    }
}

/// Calls a method of the result set. One that ends in another way than it should has no error of its own.
fn ask(interp: &Interp, words: &[Obj]) -> Result<(), Error> {
    match interp.call(words) {
        Completion::OK => Ok(()),
        Completion::ERROR => Err(Error::Raised),
        _ => Err(Error::value("the result set's method ended by break, continue, return or another code")),
    }
}
