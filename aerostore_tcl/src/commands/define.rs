//! Tables made from Tcl: `aerostore::define`, `aerostore::alter`, `aerostore::tables`, `aerostore::drop`.
//!
//! What a definition says of one column is judged before anything is made, and an error names the column and its option.
#![forbid(unsafe_code)]

use aerostore_core::query::Glob;
use aerostore_core::row::{
    Column, ColumnType, IndexKind, MAX_IMAGE_BYTES, MAX_KEY_BYTES, NullRule, Schema, SchemaBuilder,
};

use crate::commands::search::flag;
use crate::convert;
use crate::current::Current;
use crate::engine;
use crate::error::{Error, Outcome, reply};
use crate::ffi::{Integer, Interp, Obj};
use crate::package;
use crate::words::word_enum;

/// The key of tables that are defined without one.
const HIDDEN_KEY: &str = "_key";

word_enum! {
    /// The type of a column.
    TypeName, c"type", {
        Bool = c"bool",
        Char = c"char",
        Double = c"double",
        FixedString = c"fixedstring",
        Float = c"float",
        Inet = c"inet",
        Int = c"int",
        Key = c"key",
        Long = c"long",
        Mac = c"mac",
        Short = c"short",
        String = c"string",
        Timestamp = c"timestamp",
        TimestampMicros = c"timestamp_us",
        VarString = c"varstring",
        Wide = c"wide",
    }
}

word_enum! {
    /// An option of a column.
    ColumnOption, c"option", {
        Alias = c"-alias",
        Default = c"-default",
        Index = c"-index",
        Key = c"-key",
        Length = c"-length",
        NotNull = c"-notnull",
        Unique = c"-unique",
    }
}

word_enum! {
    /// The index that a column is to have.
    IndexName, c"-index value", {
        Hash = c"hash",
        None = c"none",
        Ordered = c"ordered",
    }
}

word_enum! {
    /// An option of a table.
    TableOption, c"option", {
        Nulls = c"-nulls",
        Ttl = c"-ttl",
    }
}

word_enum! {
    /// How comparisons treat nulls.
    NullsName, c"-nulls value", {
        High = c"high",
        Unknown = c"unknown",
    }
}

/// `aerostore::define Name { {type column ?-option value ...?} ... } ?-ttl {column seconds}? ?-nulls unknown|high?`
pub(crate) fn define(interp: &Interp, words: &[Obj]) -> Outcome {
    let [_, name, columns, options @ ..] = words else {
        return Err(Error::usage(
            interp,
            words,
            1,
            c"name columns ?-ttl {column seconds}? ?-nulls unknown|high?",
        ));
    };
    let open = engine::database()?;
    Current::of(interp).refuse("define a table")?;
    let name = package::table_name(name)?;
    let schema = read_table(interp, &name, columns, options)?;
    package::check_free(interp, &name)?;
    open.database.create_table(&schema)?;
    package::create_tables(interp, &open)?;
    reply(interp, &Obj::string(&name))
}

word_enum! {
    /// What `aerostore::alter` does.
    AlterAction, c"action", {
        Add = c"add",
    }
}

/// `aerostore::alter Name add {type column ?-option value ...?} ?{...} ...?`
pub(crate) fn alter(interp: &Interp, words: &[Obj]) -> Outcome {
    let [_, name, action, columns @ ..] = words else {
        return Err(Error::usage(interp, words, 1, c"name add column ?column ...?"));
    };
    let AlterAction::Add = AlterAction::find(interp, action)?;
    if columns.is_empty() {
        return Err(Error::usage(interp, words, 1, c"name add column ?column ...?"));
    }
    let open = engine::database()?;
    Current::of(interp).refuse("alter a table")?;
    let name = package::table_name(name)?;
    let table = open.database.table(&name)?;
    let table = table.ok_or_else(|| package::no_table(&name))?;
    let columns: Vec<Column> =
        columns.iter().map(|column| Definition::read(interp, column)?.added()).collect::<Result<_, _>>()?;
    open.database.add_columns(&table, &columns)?;
    package::create_tables(interp, &open)?;
    reply(interp, &Obj::empty())
}

/// `aerostore::tables ?pattern?`
pub(crate) fn tables(interp: &Interp, words: &[Obj]) -> Outcome {
    let pattern = match words {
        [_] => None,
        [_, pattern] => Some(Glob::new(&text_of(pattern)?, false)),
        _ => return Err(Error::usage(interp, words, 1, c"?pattern?")),
    };
    let open = engine::database()?;
    package::create_tables(interp, &open)?;
    let mut names: Vec<String> =
        open.database.tables()?.iter().map(|table| table.name().to_owned()).collect();
    names.sort_unstable();
    names.retain(|name| pattern.as_ref().is_none_or(|pattern| pattern.matches(name)));
    reply(interp, &Obj::list(&names.iter().map(|name| Obj::string(name)).collect::<Vec<_>>()))
}

/// `aerostore::drop Name`
pub(crate) fn drop(interp: &Interp, words: &[Obj]) -> Outcome {
    let [_, name] = words else { return Err(Error::usage(interp, words, 1, c"name")) };
    let open = engine::database()?;
    Current::of(interp).refuse("drop a table")?;
    let name = package::table_name(name)?;
    let table = open.database.table(&name)?;
    let table = table.ok_or_else(|| package::no_table(&name))?;
    open.database.drop_table(&table)?;
    package::create_tables(interp, &open)?;
    reply(interp, &Obj::empty())
}

fn read_table(interp: &Interp, name: &str, columns: &Obj, options: &[Obj]) -> Result<Schema, Error> {
    let mut columns = columns
        .items(interp)
        .map_err(Error::syntax)?
        .iter()
        .map(|column| Definition::read(interp, column))
        .collect::<Result<Vec<_>, _>>()?;
    let mut keys = columns.iter().filter(|column| column.is_key);
    let key = keys.next().map(|column| column.name.clone());
    if let (Some(first), Some(second)) = (&key, keys.next()) {
        let error = Error::syntax(format!("\"{first}\" is the key already"));
        return Err(of_column(&second.name, Some("-key"), error));
    }
    let mut builder = Schema::builder(name);
    builder = match &key {
        Some(key) => builder.key(key),
        None => builder.column(Column::new(HIDDEN_KEY, ColumnType::I64)).key(HIDDEN_KEY).numbered_key(),
    };
    builder = builder.columns(columns.drain(..).map(|column| column.column));
    let mut rest = options;
    while let [option, after @ ..] = rest {
        let kind = TableOption::find(interp, option)?;
        let [value, after @ ..] = after else { return Err(missing_value(option)) };
        rest = after;
        builder = match kind {
            TableOption::Nulls => builder.nulls(match NullsName::find(interp, value)? {
                NullsName::High => NullRule::High,
                NullsName::Unknown => NullRule::Unknown,
            }),
            TableOption::Ttl => ttl(interp, builder, value)?,
        };
    }
    Ok(builder.build()?)
}

fn missing_value(option: &Obj) -> Error {
    Error::syntax(format!("value for \"{}\" missing", option.quoted()))
}

fn ttl(interp: &Interp, builder: SchemaBuilder, value: &Obj) -> Result<SchemaBuilder, Error> {
    let bad = || {
        let message =
            format!("bad -ttl \"{}\": must be a column and a positive number of seconds", value.quoted());
        Error::value(message)
    };
    let words = value.items(interp).map_err(Error::syntax)?;
    let [column, seconds] = &words[..] else { return Err(bad()) };
    match seconds.integer() {
        Integer::Wide(seconds) if seconds > 0 => Ok(builder.ttl(&text_of(column)?, seconds.unsigned_abs())),
        _ => Err(bad()),
    }
}

fn text_of(value: &Obj) -> Result<String, Error> {
    match value.text() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Error::value(format!("bad name \"{}\"", value.quoted()))),
    }
}

/// A column, and what its table is to know of it.
pub(super) struct Definition {
    name: String,
    pub(super) column: Column,
    pub(super) is_key: bool,
}

/// What the options of a column say.
#[derive(Default)]
struct Options<'w> {
    aliases: Vec<String>,
    default: Option<&'w Obj>,
    index: IndexKind,
    is_key: bool,
    length: Option<u32>,
    is_required: bool,
    is_unique: bool,
}

impl Definition {
    /// Reads `{type column ?-option value ...?}`.
    pub(super) fn read(interp: &Interp, definition: &Obj) -> Result<Self, Error> {
        let words = definition.items(interp).map_err(Error::syntax)?;
        let [kind, name, rest @ ..] = &words[..] else {
            let message = format!("bad column \"{}\": must be type, name and options", definition.quoted());
            return Err(Error::syntax(message));
        };
        let name = text_of(name)?;
        let kind = TypeName::find(interp, kind).map_err(|error| of_column(&name, None, error))?;
        let mut options = Options { is_key: kind == TypeName::Key, ..Options::default() };
        let mut rest = rest;
        while let [word, after @ ..] = rest {
            let option = ColumnOption::find(interp, word).map_err(|error| of_column(&name, None, error))?;
            let read = options.read(interp, option, word, after);
            rest = read.map_err(|error| of_column(&name, Some(option.name()), error))?;
        }
        let is_key = options.is_key;
        let column = options.column(&name, kind)?;
        Ok(Self { name, column, is_key })
    }

    /// The column as one that a table gets which has rows.
    fn added(self) -> Result<Column, Error> {
        let refuse = |option, message: String| Err(of_column(&self.name, option, Error::syntax(message)));
        if self.is_key {
            return refuse(Some("-key"), "a table keeps its key".to_owned());
        }
        if self.column.is_unique() || self.column.index_kind() != IndexKind::None {
            let option = if self.column.is_unique() { "-unique" } else { "-index" };
            let message = "an added column gets its index by \"index create\" of the table's command";
            return refuse(Some(option), message.to_owned());
        }
        if !self.column.is_nullable() && self.column.default_value().is_none() {
            return refuse(Some("-notnull"), "needs a -default, for the rows there are".to_owned());
        }
        Ok(self.column)
    }
}

impl ColumnOption {
    fn name(self) -> &'static str {
        match self {
            Self::Alias => "-alias",
            Self::Default => "-default",
            Self::Index => "-index",
            Self::Key => "-key",
            Self::Length => "-length",
            Self::NotNull => "-notnull",
            Self::Unique => "-unique",
        }
    }
}

impl<'w> Options<'w> {
    /// Takes an option and its value, from `after` on, and returns the words behind. Those that are true or false may go without a value.
    fn read(
        &mut self,
        interp: &Interp,
        option: ColumnOption,
        word: &Obj,
        after: &'w [Obj],
    ) -> Result<&'w [Obj], Error> {
        let switch = match option {
            ColumnOption::Key => Some(&mut self.is_key),
            ColumnOption::NotNull => Some(&mut self.is_required),
            ColumnOption::Unique => Some(&mut self.is_unique),
            _ => None,
        };
        if let Some(switch) = switch {
            let [value, behind @ ..] = after else {
                *switch = true;
                return Ok(after);
            };
            if value.bytes().starts_with(b"-") {
                *switch = true;
                return Ok(after);
            }
            *switch = flag(option.name(), value)?;
            return Ok(behind);
        }
        let [value, behind @ ..] = after else { return Err(missing_value(word)) };
        match option {
            ColumnOption::Alias => {
                let names = value.items(interp).map_err(Error::syntax)?;
                self.aliases = names.iter().map(text_of).collect::<Result<_, _>>()?;
            }
            ColumnOption::Default => self.default = Some(value),
            ColumnOption::Index => {
                self.index = match IndexName::find(interp, value)? {
                    IndexName::Hash => IndexKind::Hash,
                    IndexName::None => IndexKind::None,
                    IndexName::Ordered => IndexKind::Ordered,
                };
            }
            ColumnOption::Length => {
                let length = match value.integer() {
                    Integer::Wide(length) => u32::try_from(length).ok().filter(|length| *length > 0),
                    _ => None,
                };
                let message =
                    || format!("bad -length \"{}\": must be a positive number of bytes", value.quoted());
                self.length = Some(length.ok_or_else(|| Error::value(message()))?);
            }
            ColumnOption::Key | ColumnOption::NotNull | ColumnOption::Unique => {}
        }
        Ok(behind)
    }

    fn column(&self, name: &str, kind: TypeName) -> Result<Column, Error> {
        let kind = self.column_type(kind).map_err(|error| of_column(name, Some("-length"), error))?;
        let mut column = Column::new(name, kind).index(self.index);
        for alias in &self.aliases {
            column = column.alias(alias);
        }
        if self.is_unique {
            column = column.unique();
        }
        if !self.is_required && !self.is_key {
            column = column.nullable();
        }
        if let Some(value) = self.default {
            let of_default = |error| of_column(name, Some("-default"), error);
            if self.is_key {
                return Err(of_default(Error::syntax("the key cannot have a default")));
            }
            let input = convert::read(&column, value).map_err(of_default)?;
            column = column.default(input.value());
        }
        Ok(column)
    }

    fn column_type(&self, kind: TypeName) -> Result<ColumnType, Error> {
        let most = if self.is_key { MAX_KEY_BYTES } else { MAX_IMAGE_BYTES };
        let kind = match kind {
            TypeName::Bool => ColumnType::Bool,
            TypeName::Char => ColumnType::Char,
            TypeName::Double => ColumnType::F64,
            TypeName::Float => ColumnType::F32,
            TypeName::Inet => ColumnType::Inet,
            TypeName::Int => ColumnType::I32,
            TypeName::Long | TypeName::Wide => ColumnType::I64,
            TypeName::Mac => ColumnType::Mac,
            TypeName::Short => ColumnType::I16,
            TypeName::Timestamp => ColumnType::Timestamp,
            TypeName::TimestampMicros => ColumnType::TimestampMicros,
            TypeName::Key | TypeName::String | TypeName::VarString => {
                return Ok(ColumnType::String(self.length.unwrap_or(most)));
            }
            TypeName::FixedString => {
                let length = self.length.ok_or_else(|| Error::syntax("a fixedstring needs a -length"))?;
                let length = u16::try_from(length);
                return Ok(ColumnType::FixedString(
                    length
                        .map_err(|_| Error::value(format!("a fixedstring has at most {} bytes", u16::MAX)))?,
                ));
            }
        };
        match self.length {
            None => Ok(kind),
            Some(_) => Err(Error::syntax(format!("a {} has no length", kind.name()))),
        }
    }
}

/// The error as one of a column's definition, and of one option of it.
fn of_column(column: &str, option: Option<&str>, error: Error) -> Error {
    let Error::Failed { kind, message, .. } = error else { return error };
    let place = option.map_or_else(String::new, |option| format!(", option {option}"));
    let error =
        Error::new(kind, format!("bad column \"{column}\"{place}: {message}")).with("COLUMN").with(column);
    option.into_iter().fold(error, Error::with)
}
