//! A table's definition: its columns, their layout, its key.
//!
//! A schema is immutable once built and checked completely by [`SchemaBuilder::build`], whether it comes from a caller,
//! from `#[speedtable]` or from stored bytes; what the rest of the engine relies on is established here:
//!
//! S1  1 to 64 columns, names and aliases unique within the table.
//! S2  Exactly one key column, not null; a string key has at most [`MAX_KEY_BYTES`].
//! S3  Every slot lies within the fixed part; the fixed part fits into [`MAX_IMAGE_BYTES`].
//! S4  Defaults are values of their column's type.
//! S5  A time to live counts from a column of times, or of whole seconds. A key that the table numbers is a wide integer.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::catalog;
use super::coerce::{coerce, is_stored_form};
use super::error::RowError;
use super::kind::{ColumnType, IndexKind, Layout, MAX_COLUMNS, MAX_IMAGE_BYTES, NullRule};
use super::mask::{DirtyMask, NullMask};
use super::value::{OwnedValue, Value};
use check::{check_key, check_name, check_numbered, check_ttl, check_width, collect_names};

/// The definition of one column.
///
/// ```
/// use aerostore_core::row::{Column, ColumnType};
///
/// let lat = Column::new("lat", ColumnType::F64).alias("latitude").nullable().ordered();
/// assert!(lat.is_nullable());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    name: Box<str>,
    aliases: Vec<Box<str>>,
    kind: ColumnType,
    nullable: bool,
    index: IndexKind,
    unique: bool,
    default: Option<OwnedValue>,
}

impl Column {
    /// A column that must not be null, has no index and no default.
    pub fn new(name: &str, kind: ColumnType) -> Self {
        Self {
            name: name.into(),
            aliases: Vec::new(),
            kind,
            nullable: false,
            index: IndexKind::None,
            unique: false,
            default: None,
        }
    }

    /// Lets the column be found by another name too.
    #[must_use]
    pub fn alias(mut self, name: &str) -> Self {
        self.aliases.push(name.into());
        self
    }

    /// Allows nulls.
    #[must_use]
    pub fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    /// Wants this index.
    #[must_use]
    pub fn index(mut self, kind: IndexKind) -> Self {
        self.index = kind;
        self
    }

    /// Wants an ordered index.
    #[must_use]
    pub fn ordered(self) -> Self {
        self.index(IndexKind::Ordered)
    }

    /// Refuses a value that another row has; null is none. It takes an index, an ordered one unless another is asked for.
    #[must_use]
    pub fn unique(mut self) -> Self {
        self.unique = true;
        self
    }

    /// The value of rows that are inserted without one.
    #[must_use]
    pub fn default<'v>(mut self, value: impl Into<Value<'v>>) -> Self {
        self.default = Some(value.into().to_owned());
        self
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its other names.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        self.aliases.iter().map(|alias| &**alias)
    }

    /// The type of its values.
    pub fn column_type(&self) -> ColumnType {
        self.kind
    }

    /// Whether it may be null.
    pub fn is_nullable(&self) -> bool {
        self.nullable
    }

    /// Its index; a key column has at least a hash.
    pub fn index_kind(&self) -> IndexKind {
        self.index
    }

    /// Whether no two rows may share a value; always so for the key.
    pub fn is_unique(&self) -> bool {
        self.unique
    }

    /// The value of rows that are inserted without one.
    pub fn default_value(&self) -> Option<Value<'_>> {
        self.default.as_ref().map(OwnedValue::as_value)
    }
}

/// Where a name stands: a column's own, or one of its aliases.
#[derive(Debug, Clone, Copy)]
struct NamePlace {
    column: usize,
    alias: Option<usize>,
}

impl NamePlace {
    fn name_in(self, columns: &[Column]) -> &str {
        let column = &columns[self.column];
        self.alias.map_or(&column.name, |alias| &column.aliases[alias])
    }
}

/// The column with this name or alias.
fn find(columns: &[Column], names: &[NamePlace], name: &str) -> Option<usize> {
    let place = names.binary_search_by(|known| known.name_in(columns).cmp(name)).ok()?;
    Some(names[place].column)
}

/// What reading a value needs, apart from the names: four to a cache line instead of one to several lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) kind: ColumnType,
    pub(crate) offset: u32,
    /// Bytes from the start of an image to the end of the slot.
    pub(crate) end: u32,
}

/// How long rows live, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttl {
    /// The index of the column that says since when: a timestamp, or a wide integer of seconds since 1970.
    pub column: usize,
    /// The seconds.
    pub seconds: u64,
}

/// A table's definition.
///
/// ```
/// use aerostore_core::row::{Column, ColumnType, Schema};
///
/// let schema = Schema::builder("Fix")
///     .column(Column::new("ident", ColumnType::FixedString(8)))
///     .column(Column::new("alt", ColumnType::I32).alias("altitude").nullable().ordered())
///     .key("ident")
///     .build()?;
/// assert_eq!(schema.find("altitude"), Some(1));
/// # Ok::<(), aerostore_core::row::RowError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Schema {
    name: Box<str>,
    columns: Box<[Column]>,
    slots: Box<[Slot]>,
    /// Names and aliases, sorted, with their columns.
    names: Box<[NamePlace]>,
    key: usize,
    rules: Rules,
    fixed_bytes: u32,
    all: NullMask,
    required: NullMask,
    texts: NullMask,
    /// The columns that a delta holds as their slots, and the one behind each too, with no gap between the slots.
    joined: NullMask,
    /// See [`Self::halves`]; twice as large as the fixed part.
    halves: Box<[[NullMask; 2]]>,
    /// See [`Self::whole`].
    whole: NullMask,
    layout_hash: u64,
}

impl Schema {
    /// Starts a definition.
    pub fn builder(name: &str) -> SchemaBuilder {
        SchemaBuilder::new(name)
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The columns, in the order of their indexes.
    #[inline]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Column `index`.
    ///
    /// # Panics
    /// When there is no such column.
    pub fn column(&self, index: usize) -> &Column {
        &self.columns[index]
    }

    /// The index of the key column.
    #[inline]
    pub fn key_index(&self) -> usize {
        self.key
    }

    /// The key column.
    pub fn key_column(&self) -> &Column {
        &self.columns[self.key]
    }

    /// How comparisons treat nulls.
    pub fn null_rule(&self) -> NullRule {
        self.rules.nulls
    }

    /// How long its rows live, if not for ever.
    pub fn ttl(&self) -> Option<Ttl> {
        self.rules.ttl
    }

    /// Whether the key is a number that the table gives a row which is inserted without one.
    pub fn has_numbered_key(&self) -> bool {
        self.rules.numbered_key
    }

    /// The column with this name or alias.
    pub fn find(&self, name: &str) -> Option<usize> {
        find(&self.columns, &self.names, name)
    }

    /// The column with this name or alias.
    ///
    /// # Errors
    /// [`RowError::UnknownColumn`].
    pub fn require(&self, name: &str) -> Result<usize, RowError> {
        self.find(name)
            .ok_or_else(|| RowError::UnknownColumn { name: name.to_owned(), table: self.name().to_owned() })
    }

    /// Bytes of the fixed part of an image: the least that a row has.
    #[inline]
    pub fn fixed_bytes(&self) -> usize {
        self.fixed_bytes as usize
    }

    /// Bytes from the start of an image to column `index`.
    ///
    /// # Panics
    /// When there is no such column.
    #[inline]
    pub fn offset(&self, index: usize) -> usize {
        self.slots[index].offset as usize
    }

    /// A hash of names, types and nullability, in order: equal when images can be exchanged.
    #[inline]
    pub fn layout_hash(&self) -> u64 {
        self.layout_hash
    }

    /// `value` as column `index` stores it: integers and floats widened or narrowed without loss. Keys to look up pass
    /// through here; an empty one is only not found.
    ///
    /// # Errors
    /// What [`RowImage::set`](super::RowImage::set) reports for a value that the column does not take.
    ///
    /// # Panics
    /// When there is no such column.
    #[inline]
    pub fn coerce<'v>(&self, index: usize, value: Value<'v>) -> Result<Value<'v>, RowError> {
        if is_stored_form(self.slot(index).kind, value) {
            return Ok(value);
        }
        coerce(self.column(index), value)
    }

    /// The definition as bytes that [`from_bytes`](Self::from_bytes) reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        catalog::encode(self)
    }

    /// The definition in `bytes`, checked as if it were built anew.
    ///
    /// # Errors
    /// [`RowError::Truncated`] or [`RowError::Corrupt`] for bytes that were damaged or are something else; what
    /// [`SchemaBuilder::build`] reports for a definition that no table can have.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RowError> {
        catalog::decode(bytes)
    }

    /// The table's name in `bytes`, read without the rest and without its checksum.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes).
    pub fn name_in(bytes: &[u8]) -> Result<&str, RowError> {
        catalog::name(bytes)
    }

    /// [`coerce`](Self::coerce) for a value that is to be stored: the key must not be empty either.
    #[inline]
    pub(crate) fn accept<'v>(&self, index: usize, value: Value<'v>) -> Result<Value<'v>, RowError> {
        let value = self.coerce(index, value)?;
        if index == self.key && value.as_str().is_some_and(str::is_empty) {
            return Err(RowError::EmptyKey { column: self.key_column().name().to_owned() });
        }
        Ok(value)
    }

    #[inline]
    pub(crate) fn slot(&self, index: usize) -> Slot {
        self.slots[index]
    }

    /// For each eight bytes of the fixed part, the columns with a slot in the first four of them and in the others.
    #[inline]
    pub(super) fn halves(&self) -> &[[NullMask; 2]] {
        &self.halves
    }

    /// The columns that differ where such a half does, and only there: their slots share none with another column or
    /// with padding, and hold the value.
    #[inline]
    pub(super) fn whole(&self) -> NullMask {
        self.whole
    }

    /// All columns.
    #[inline]
    pub(crate) fn all(&self) -> NullMask {
        self.all
    }

    /// The columns that must not be null.
    #[inline]
    pub(crate) fn required(&self) -> NullMask {
        self.required
    }

    /// The columns whose text lies in the tail.
    #[inline]
    pub(crate) fn texts(&self) -> NullMask {
        self.texts
    }

    /// The last of the columns from `index` on that are all in `wanted` and whose slots, one behind the other, are what a
    /// delta holds of them; `index` itself when there is no second.
    #[inline]
    pub(super) fn end_of_run(&self, index: usize, wanted: DirtyMask) -> usize {
        // Bit 0: is column `index` joined to the next, and that one wanted? The highest bit is zero, so the count is < 64.
        let joined = (self.joined.0 >> index) & (wanted.0 >> index >> 1);
        index + joined.trailing_ones() as usize
    }
}

/// Whether the definitions are the same; layout follows from them.
impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.columns == other.columns
            && self.key == other.key
            && self.rules == other.rules
    }
}

impl Eq for Schema {}

/// What a definition says of the table as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Rules {
    nulls: NullRule,
    ttl: Option<Ttl>,
    numbered_key: bool,
}

/// Collects a definition for [`build`](Self::build) to check.
#[derive(Debug, Clone)]
pub struct SchemaBuilder {
    name: String,
    columns: Vec<Column>,
    key: Option<String>,
    nulls: NullRule,
    ttl: Option<(String, u64)>,
    numbered_key: bool,
}

impl SchemaBuilder {
    /// A table of this name without columns.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            columns: Vec::new(),
            key: None,
            nulls: NullRule::default(),
            ttl: None,
            numbered_key: false,
        }
    }

    /// Appends a column.
    #[must_use]
    pub fn column(mut self, column: Column) -> Self {
        self.columns.push(column);
        self
    }

    /// Appends columns.
    #[must_use]
    pub fn columns(mut self, columns: impl IntoIterator<Item = Column>) -> Self {
        self.columns.extend(columns);
        self
    }

    /// Makes the column of this name the key.
    #[must_use]
    pub fn key(mut self, name: &str) -> Self {
        self.key = Some(name.to_owned());
        self
    }

    /// Sets how comparisons treat nulls.
    #[must_use]
    pub fn nulls(mut self, rule: NullRule) -> Self {
        self.nulls = rule;
        self
    }

    /// Lets rows live for so many seconds from what the column of this name or alias says; one that is null there lives for ever.
    #[must_use]
    pub fn ttl(mut self, column: &str, seconds: u64) -> Self {
        self.ttl = Some((column.to_owned(), seconds));
        self
    }

    /// Makes the key, a wide integer, a number that the table gives a row which is inserted without one, from 0 up.
    #[must_use]
    pub fn numbered_key(mut self) -> Self {
        self.numbered_key = true;
        self
    }

    /// Checks the definition and lays out the row.
    ///
    /// # Errors
    /// [`RowError::Name`], [`RowError::DuplicateName`], [`RowError::UnknownColumn`] for the key and
    /// for what the time to live counts from, [`RowError::Definition`], and for defaults what [`RowImage::set`](super::RowImage::set) reports.
    pub fn build(self) -> Result<Schema, RowError> {
        check_name(&self.name, |byte| matches!(byte, b':' | b'.' | b'-'))?;
        let bad = |reason: String| RowError::Definition { table: self.name.clone(), reason };
        if self.columns.is_empty() {
            return Err(bad("no columns".into()));
        }
        if self.columns.len() > MAX_COLUMNS {
            return Err(bad(format!("{} columns exceed the limit of {MAX_COLUMNS}", self.columns.len())));
        }
        let names = collect_names(&self.columns)?;
        let mut columns = self.columns;
        let key_name = self.key.ok_or_else(|| bad("no key column".into()))?;
        let key = columns
            .iter()
            .position(|column| *column.name == *key_name)
            .ok_or_else(|| RowError::UnknownColumn { name: key_name, table: self.name.clone() })?;
        for column in &mut columns {
            check_width(&self.name, column)?;
            if let Some(value) = column.default.take() {
                column.default = Some(coerce(column, value.as_value())?.to_owned());
            }
        }
        let column = &mut columns[key];
        check_key(&self.name, column)?;
        check_numbered(&self.name, column, self.numbered_key)?;
        column.unique = true;
        for (index, column) in columns.iter_mut().enumerate() {
            if column.unique && column.index == IndexKind::None {
                column.index = if index == key { IndexKind::Hash } else { IndexKind::Ordered };
            }
        }
        let ttl = match self.ttl {
            Some((column, seconds)) => Some(check_ttl(&self.name, &columns, &names, &column, seconds)?),
            None => None,
        };
        let rules = Rules { nulls: self.nulls, ttl, numbered_key: self.numbered_key };
        lay_out(self.name, columns, names, key, rules)
    }
}

fn lay_out(
    name: String,
    columns: Vec<Column>,
    names: Vec<NamePlace>,
    key: usize,
    rules: Rules,
) -> Result<Schema, RowError> {
    let kinds: Vec<ColumnType> = columns.iter().map(|column| column.kind).collect();
    let layout = Layout::of(&kinds);
    if layout.fixed_bytes() > MAX_IMAGE_BYTES {
        let reason =
            format!("a row of {} bytes exceeds the limit of {MAX_IMAGE_BYTES}", layout.fixed_bytes());
        return Err(RowError::Definition { table: name, reason });
    }
    let slot = |(index, &kind): (usize, &ColumnType)| {
        let offset = layout.offset(index);
        Slot { kind, offset, end: offset + kind.fixed_bytes() }
    };
    let slots: Box<[Slot]> = kinds.iter().enumerate().map(slot).collect();
    let joined = joined(&slots);
    let mut halves = vec![[NullMask::EMPTY; 2]; layout.fixed_bytes() as usize / 8];
    let mut whole = NullMask::EMPTY;
    for (index, slot) in slots.iter().enumerate() {
        let Slot { kind, offset, end } = *slot;
        for half in &mut halves.as_flattened_mut()[offset as usize / 4..end.div_ceil(4) as usize] {
            half.set(index, true);
        }
        let in_tail = matches!(kind, ColumnType::String(_));
        whole.set(index, offset % 4 == 0 && end % 4 == 0 && !in_tail);
    }
    let mut required = NullMask::EMPTY;
    let mut texts = NullMask::EMPTY;
    for (index, column) in columns.iter().enumerate() {
        required.set(index, !column.nullable);
        texts.set(index, matches!(column.kind, ColumnType::String(_)));
    }
    Ok(Schema {
        layout_hash: catalog::layout_hash(&columns),
        all: NullMask::first(columns.len()),
        name: name.into(),
        columns: columns.into(),
        slots,
        names: names.into(),
        key,
        rules,
        fixed_bytes: layout.fixed_bytes(),
        required,
        texts,
        joined,
        halves: halves.into(),
        whole,
    })
}

fn joined(slots: &[Slot]) -> NullMask {
    let mut joined = NullMask::EMPTY;
    for (index, pair) in slots.windows(2).enumerate() {
        let adjacent = pair[0].end == pair[1].offset;
        joined.set(index, adjacent && pair[0].kind.is_plain() && pair[1].kind.is_plain());
    }
    joined
}

mod append;
mod check;
mod difference;
mod indexes;
#[cfg(test)]
mod tests;
