//! Rows as lines on a channel.
#![forbid(unsafe_code)]

use aerostore_core::row::{FieldFormat, RowView, text};

use super::options::SheetOptions;
use crate::commands::table::Bound;
use crate::error::Error;
use crate::ffi::{Channel, Interp, Obj};

/// Bytes of lines after which they are written.
const CHUNK: usize = 256 << 10;

/// A channel that rows are written to, and the lines that are not written yet.
pub(in crate::commands) struct Sheet {
    channel: Channel,
    format: FieldFormat,
    columns: Vec<usize>,
    lines: Vec<u8>,
}

impl Sheet {
    /// Rows as lines on the channel of that name, the header first, if there is to be one.
    pub(in crate::commands) fn open(
        interp: &Interp,
        bound: &Bound,
        channel: &Obj,
        options: &SheetOptions,
    ) -> Result<Self, Error> {
        let format = options.format()?;
        let columns = options.columns(bound)?;
        let found = Channel::find_writable(interp, channel).map_err(|_| Error::Tcl("NOT_FOUND"))?;
        let unwritable = || format!("channel \"{}\" wasn't opened for writing", channel.quoted());
        let channel = found.ok_or_else(|| Error::new("IO", unwritable()))?;
        let mut sheet = Self { channel, format, columns, lines: Vec::new() };
        if options.header {
            let names: Vec<_> =
                sheet.columns.iter().map(|index| bound.schema.column(*index).name()).collect();
            let separator = char::from(sheet.format.separator());
            if names.iter().any(|name| name.contains([separator, '\n', '\r'])) {
                return Err(Error::value("the name of a column has the separator or a line end in it"));
            }
            sheet.lines = (names.join(&separator.to_string()) + "\n").into_bytes();
        }
        Ok(sheet)
    }

    /// Adds a row.
    pub(in crate::commands) fn put(&mut self, bound: &Bound, row: RowView<'_>) -> Result<(), Error> {
        let start = self.lines.len();
        for (place, &index) in self.columns.iter().enumerate() {
            if place > 0 {
                self.lines.push(self.format.separator());
            }
            if !self.format.put(bound.schema.column(index), row.get(index), &mut self.lines) {
                self.lines.truncate(start);
                return Err(unwritable(bound, index, row));
            }
        }
        if self.lines.len() == start {
            // A reader passes over empty lines.
            return Err(unwritable(bound, self.columns.first().copied().unwrap_or(0), row));
        }
        self.lines.push(b'\n');
        Ok(())
    }

    /// Whether there is enough to be worth writing.
    pub(in crate::commands) fn is_full(&self) -> bool {
        self.lines.len() >= CHUNK
    }

    /// Writes what was added. Scripts may run: a channel can be made of them.
    pub(in crate::commands) fn flush(&mut self, interp: &Interp) -> Result<(), Error> {
        let lines = std::mem::take(&mut self.lines);
        // Values are text, and what is quoted in them is ASCII.
        let lines = String::from_utf8(lines).map_err(|error| Error::new("INTERNAL", error.to_string()))?;
        self.channel.write(interp, &lines).map_err(|_| Error::Tcl("IO"))
    }
}

#[cold]
fn unwritable(bound: &Bound, index: usize, row: RowView<'_>) -> Error {
    let mut key = Vec::new();
    text::format(row.key(), &mut key);
    let (column, key) = (bound.schema.column(index).name(), String::from_utf8_lossy(&key));
    let message = format!(
        "column \"{column}\" of row \"{key}\" cannot be written so that it reads back the same: -quote escape, or another -null, may help"
    );
    Error::value(message).with(column)
}
