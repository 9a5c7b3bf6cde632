//! How rows are laid out as lines: the options that writing, reading and searches share.
#![forbid(unsafe_code)]

use aerostore_core::row::{FieldFormat, Quoting, text};

use crate::commands::search::flag;
use crate::commands::table::{Bound, Opened};
use crate::error::Error;
use crate::ffi::{Interp, Obj};
use crate::words::word_enum;

word_enum! {
    /// An option of `write_tabsep` and `read_tabsep`.
    SheetOption, c"option", {
        Columns = c"-columns",
        Glob = c"-glob",
        Header = c"-header",
        NoKeys = c"-nokeys",
        Null = c"-null",
        Quote = c"-quote",
        Tab = c"-tab",
    }
}

word_enum! {
    /// How characters that would end a field are written.
    Quote, c"-quote value", {
        Escape = c"escape",
        None = c"none",
        Uri = c"uri",
    }
}

/// Reads the value of `-quote`.
pub(in crate::commands) fn quoting(interp: &Interp, value: &Obj) -> Result<Quoting, Error> {
    Ok(match Quote::find(interp, value)? {
        Quote::Escape => Quoting::Escape,
        Quote::None => Quoting::None,
        Quote::Uri => Quoting::Uri,
    })
}

/// Reads the value of `-tab`.
pub(in crate::commands) fn separator(value: &Obj) -> Result<u8, Error> {
    match value.bytes() {
        [separator @ 1..=127] => Ok(*separator),
        _ => Err(Error::value(format!("bad -tab \"{}\": must be one ASCII character", value.quoted()))),
    }
}

/// How rows are laid out.
#[derive(Default)]
pub(in crate::commands) struct SheetOptions {
    columns: Option<Vec<Obj>>,
    pub(super) glob: Option<Obj>,
    pub(super) header: bool,
    no_keys: bool,
    null: Option<Vec<u8>>,
    quoting: Quoting,
    separator: Option<u8>,
}

impl SheetOptions {
    /// Reads the words after the channel.
    pub(super) fn read(interp: &Interp, words: &[Obj]) -> Result<Self, Error> {
        let mut options = Self::default();
        for pair in words.chunks(2) {
            let option = SheetOption::find(interp, &pair[0])?;
            let Some(value) = pair.get(1) else {
                return Err(Error::syntax(format!("value for \"{}\" missing", pair[0].quoted())));
            };
            options.set(interp, option, value)?;
        }
        Ok(options)
    }

    /// Takes one option.
    pub(in crate::commands) fn set(
        &mut self,
        interp: &Interp,
        option: SheetOption,
        value: &Obj,
    ) -> Result<(), Error> {
        match option {
            SheetOption::Columns => self.columns = Some(value.items(interp).map_err(Error::syntax)?),
            SheetOption::Glob => self.glob = Some(value.clone()),
            SheetOption::Header => self.header = flag("-header", value)?,
            SheetOption::NoKeys => self.no_keys = flag("-nokeys", value)?,
            SheetOption::Null => {
                let mark = value.data();
                if std::str::from_utf8(&mark).is_err() {
                    return Err(Error::value(format!("bad -null \"{}\": must be text", value.quoted())));
                }
                self.null = Some(mark.into_owned());
            }
            SheetOption::Quote => self.quoting = quoting(interp, value)?,
            SheetOption::Tab => self.separator = Some(separator(value)?),
        }
        Ok(())
    }

    /// The columns of a line: those asked for, with the key before them if it is not among them, or else all; without the key, if that
    /// is not wanted and not asked for.
    pub(super) fn columns(&self, bound: &Bound) -> Result<Vec<usize>, Error> {
        let key = bound.schema.key_index();
        let mut columns = match &self.columns {
            Some(names) => bound.columns(names)?,
            None => {
                bound.all_columns().iter().copied().filter(|index| !self.no_keys || *index != key).collect()
            }
        };
        if !self.no_keys && !columns.contains(&key) {
            columns.insert(0, key);
        }
        Ok(columns)
    }

    /// Whether the columns are named.
    pub(super) fn names_columns(&self) -> bool {
        self.columns.is_some()
    }

    /// The names of the columns of a line.
    pub(super) fn names(&self, table: &Opened) -> Result<Vec<String>, Error> {
        let columns = self.columns(&table.bound)?;
        Ok(columns.into_iter().map(|index| table.bound.schema.column(index).name().to_owned()).collect())
    }

    /// What ends a field.
    pub(super) fn separator(&self) -> u8 {
        self.separator.unwrap_or(b'\t')
    }

    /// How nulls and characters that would end a field are written.
    pub(super) fn quoting(&self) -> (Quoting, Option<&[u8]>) {
        (self.quoting, self.null.as_deref())
    }

    /// The form of a field.
    ///
    /// # Errors
    /// When lines of this form could not be read back.
    pub(super) fn format(&self) -> Result<FieldFormat, Error> {
        let separator = self.separator();
        let means_something =
            separator.is_ascii_alphanumeric() || matches!(separator, b'\\' | b'%' | b'\n' | b'\r');
        if means_something {
            let shown = separator.escape_ascii();
            return Err(Error::value(format!(
                "bad -tab \"{shown}\": must be neither letter nor digit, \"\\\", \"%\" or a line end"
            )));
        }
        let is_bad = |byte: &u8| match *byte {
            b'\n' | b'\r' => true,
            b'\\' => self.quoting == Quoting::Escape,
            b'%' => self.quoting == Quoting::Uri,
            byte => byte == separator,
        };
        let bad = self.null.as_ref().filter(|mark| *mark != text::NULL && mark.iter().any(is_bad));
        if let Some(mark) = bad {
            let mark = String::from_utf8_lossy(mark);
            return Err(Error::value(format!(
                "bad -null \"{mark}\": must have neither the separator nor a line end in it, nor the sign of the quoting"
            )));
        }
        Ok(FieldFormat::new(self.quoting, separator, self.null.clone()))
    }
}
