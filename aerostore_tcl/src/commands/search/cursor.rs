//! `cursor`: a command that goes through the rows of a search at its caller's pace.
//!
//! The rows are copied when the cursor is made: it sees one moment however long it lives, holds nothing back in the database, and
//! outlives the table and the database's being closed.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::ffi::CString;
use std::rc::Rc;

use aerostore_core::row::RowView;

use super::run::Rows;
use crate::commands::table::{Bound, Opened};
use crate::error::{Error, Outcome, finish, reply};
use crate::ffi::{Command, Interp, Obj};
use crate::words::word_enum;

word_enum! {
    /// What a cursor can do.
    CursorMethod, c"method", {
        Close = c"close",
        Get = c"get",
        Next = c"next",
        Row = c"row",
    }
}

/// The rows of a cursor and where it stands.
struct Cursor {
    bound: Rc<Bound>,
    columns: Rc<[usize]>,
    rows: Rows,
    /// How many rows it has been moved over, the current one included.
    passed: Cell<usize>,
}

/// `cursor ?-option value ...?`
pub(in crate::commands) fn cursor(table: &Opened, interp: &Interp, words: &[Obj]) -> Outcome {
    let search = table.bound.searches.find(table, interp, words)?;
    if !search.only_selects() {
        return Err(Error::syntax(
            "a cursor takes the options that say which rows, in which order and with which columns",
        ));
    }
    let name = free_name(interp);
    let shown = Obj::string(&name.to_string_lossy());
    let cursor = Cursor {
        bound: Rc::clone(&table.bound),
        columns: search.columns,
        rows: Rows::of(table, search.asked)?,
        passed: Cell::new(0),
    };
    Command::new(move |interp, words| finish(interp, cursor.run(interp, words))).create(interp, &name);
    reply(interp, &shown)
}

/// A name that no command has, outside of what the ensemble lists.
fn free_name(interp: &Interp) -> CString {
    thread_local!(static NEXT: Cell<u64> = const { Cell::new(0) });
    loop {
        let number = NEXT.get() + 1;
        NEXT.set(number);
        let name = CString::new(format!("::aerostore::Cursor{number}")).unwrap_or_default();
        if !interp.has_command(&name) {
            return name;
        }
    }
}

impl Cursor {
    fn run(&self, interp: &Interp, words: &[Obj]) -> Outcome {
        let [_, method, columns @ ..] = words else {
            return Err(Error::usage(interp, words, 1, c"method ?arg ...?"));
        };
        match CursorMethod::find(interp, method)? {
            CursorMethod::Get => {
                let columns = self.columns(columns)?;
                reply(interp, &Bound::list(self.row()?, &columns))
            }
            CursorMethod::Row => {
                let columns = self.columns(columns)?;
                reply(interp, &self.bound.pairs(self.row()?, &columns, false))
            }
            _ if !columns.is_empty() => Err(Error::usage(interp, words, 2, c"")),
            CursorMethod::Next => {
                let passed = self.passed.get();
                let more = passed < self.rows.count();
                // Behind the last row it stays.
                self.passed.set((passed + 1).min(self.rows.count() + 1));
                reply(interp, &Obj::boolean(more))
            }
            CursorMethod::Close => {
                // By the name that it goes by now.
                interp.delete_command_called(&words[0]);
                reply(interp, &Obj::empty())
            }
        }
    }

    fn row(&self) -> Result<RowView<'_>, Error> {
        let place = self.passed.get().checked_sub(1).filter(|place| *place < self.rows.count());
        let place = place.ok_or_else(|| {
            Error::new("NOT_FOUND", "the cursor is on no row: its method \"next\" says when there is one")
        })?;
        Ok(RowView::new(&self.bound.schema, self.rows.image(place))?)
    }

    /// The columns that the words name, or else those of the search.
    fn columns(&self, names: &[Obj]) -> Result<Rc<[usize]>, Error> {
        if names.is_empty() { Ok(Rc::clone(&self.columns)) } else { Ok(self.bound.columns(names)?.into()) }
    }
}
