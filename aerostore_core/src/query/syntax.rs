//! The syntax tree that every front end builds: which rows, in which order, how many, with which columns.
//!
//! Shape       columns are names and operands are literals, neither checked: that is [`Plan::new`](super::Plan::new)'s
//!             work, which knows the schema. So one set of checks serves typed builder, compare lists and text.
//! Later       conditions on two columns at once (a circle, a box) become variants of [`Expr`] beside `Compare`.

#![forbid(unsafe_code)]

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::operator::Operator;
use crate::row::{ColumnType, Schema, Value};

/// What to look for.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub(super) filter: Expr,
    pub(super) sort: Vec<SortKey>,
    pub(super) limit: Option<u64>,
    pub(super) offset: u64,
    pub(super) columns: Option<Vec<String>>,
    pub(super) null_rule: Option<crate::row::NullRule>,
    pub(super) index: Option<String>,
    pub(super) threads: Option<u32>,
}

/// A condition on one row.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Expr {
    /// Every one of these holds; so an empty list always does.
    All(Vec<Expr>),
    /// At least one of these holds; so an empty list never does.
    Any(Vec<Expr>),
    /// This does not hold. Under [`NullRule::Unknown`](crate::row::NullRule::Unknown) a comparison with a null is
    /// neither true nor false, and so neither it nor its negation holds.
    Not(Box<Expr>),
    /// One column against operands.
    Compare(Compare),
}

/// One column, an operator, and as many operands as the operator takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Compare {
    pub(super) column: Arc<str>,
    pub(super) operator: Operator,
    pub(super) operands: Vec<Literal>,
}

/// An operand as it was written; the column that it is compared with decides what it means.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Literal {
    /// The null.
    Null,
    /// True or false.
    Bool(bool),
    /// A number without fraction.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text, which is read as the column's type demands.
    Text(String),
    /// An internet address.
    Inet(IpAddr),
    /// An Ethernet address.
    Mac([u8; 6]),
}

/// A column to sort by, and the direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortKey {
    pub(super) column: String,
    pub(super) descending: bool,
}

impl Query {
    /// All rows, in no particular order, with all columns.
    pub fn all() -> Self {
        Self::filtered(Expr::All(Vec::new()))
    }

    /// The rows for which `filter` holds.
    pub fn filtered(filter: Expr) -> Self {
        Self {
            filter,
            sort: Vec::new(),
            limit: None,
            offset: 0,
            columns: None,
            null_rule: None,
            index: None,
            threads: None,
        }
    }

    /// Adds a condition that must hold too.
    #[must_use]
    pub fn and(mut self, filter: Expr) -> Self {
        self.filter = self.filter.and(filter);
        self
    }

    /// Adds a column to sort by, less important than those before it.
    #[must_use]
    pub fn sort_by(mut self, key: SortKey) -> Self {
        self.sort.push(key);
        self
    }

    /// Takes at most `rows` rows, counted after sorting and after the offset.
    #[must_use]
    pub fn limit(mut self, rows: u64) -> Self {
        self.limit = Some(rows);
        self
    }

    /// Leaves out the first `rows` rows, counted after sorting.
    #[must_use]
    pub fn offset(mut self, rows: u64) -> Self {
        self.offset = rows;
        self
    }

    /// Names the columns that are wanted, in their order; without this, all in the schema's order.
    #[must_use]
    pub fn columns<I: IntoIterator<Item: Into<String>>>(mut self, names: I) -> Self {
        self.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Compares nulls by `rule` instead of the table's own.
    #[must_use]
    pub fn nulls(mut self, rule: crate::row::NullRule) -> Self {
        self.null_rule = Some(rule);
        self
    }

    /// Reaches rows by the index of this column, whatever else seems cheaper.
    #[must_use]
    pub fn by_index(mut self, column: impl Into<String>) -> Self {
        self.index = Some(column.into());
        self
    }

    /// Lets at most so many threads go through a table together where all of it has to be read: as many of them as pay, the caller's
    /// among them. The result is the same. Without this it is as the row source says; 0 is as good as 1.
    #[must_use]
    pub fn threads(mut self, most: u32) -> Self {
        self.threads = Some(most);
        self
    }
}

impl Query {
    /// The key of a query for one key and nothing else, of rows of `schema`, where its order and way are no matter. It finds the row of that
    /// key, or none, with no plan made. Other queries for a key have plans.
    pub(crate) fn single_key<'q>(&'q self, schema: &Schema) -> Option<Value<'q>> {
        match (self.only_term(), self.is_for_key(schema)) {
            (Some(Compare { operands, .. }), true) => operands.first().and_then(|key| key.as_key(schema)),
            _ => None,
        }
    }

    /// Whether it is for one key and nothing else, if its operand is one.
    pub(super) fn is_for_key(&self, schema: &Schema) -> bool {
        let is_plain = self.sort.is_empty()
            && self.columns.is_none()
            && self.limit != Some(0)
            && self.index.is_none()
            && self.offset == 0;
        is_plain
            && self.only_term().is_some_and(|compare| {
                compare.operator == Operator::Equal
                    && compare.operands.len() == 1
                    && schema.find(&compare.column) == Some(schema.key_index())
            })
    }

    fn only_term(&self) -> Option<&Compare> {
        match &self.filter {
            Expr::All(terms) => match &terms[..] {
                [Expr::Compare(compare)] => Some(compare),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Literal {
    /// The key that it is in a table of this schema, if nothing has to be done with it.
    pub(super) fn as_key(&self, schema: &Schema) -> Option<Value<'_>> {
        match (self, schema.key_column().column_type()) {
            // What means null, or is no key.
            (Self::Text(text), _) if text.is_empty() || text == "\\N" => None,
            (Self::Text(text), kind) if kind.is_string() => Some(Value::Str(text)),
            (Self::Int(number), ColumnType::I64) => Some(Value::I64(*number)),
            _ => None,
        }
    }
}

impl Default for Query {
    fn default() -> Self {
        Self::all()
    }
}

impl Expr {
    /// Both hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All(mut terms), Self::All(others)) => {
                terms.extend(others);
                Self::All(terms)
            }
            (Self::All(mut terms), other) => {
                terms.push(other);
                Self::All(terms)
            }
            (term, Self::All(mut others)) => {
                others.insert(0, term);
                Self::All(others)
            }
            (term, other) => Self::All(vec![term, other]),
        }
    }

    /// At least one holds.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Any(mut terms), Self::Any(others)) => {
                terms.extend(others);
                Self::Any(terms)
            }
            (Self::Any(mut terms), other) => {
                terms.push(other);
                Self::Any(terms)
            }
            (term, other) => Self::Any(vec![term, other]),
        }
    }

    /// The same with other operands, term by term; `None` when they run out.
    pub(super) fn with_operands(&self, operands: &mut impl Iterator<Item = Literal>) -> Option<Self> {
        let mut each = |terms: &[Self]| {
            terms.iter().map(|term| term.with_operands(operands)).collect::<Option<Vec<_>>>()
        };
        Some(match self {
            Self::All(terms) => Self::All(each(terms)?),
            Self::Any(terms) => Self::Any(each(terms)?),
            Self::Not(term) => Self::Not(Box::new(term.with_operands(operands)?)),
            Self::Compare(compare) => {
                let count = compare.operands.len();
                let operands: Vec<Literal> = operands.by_ref().take(count).collect();
                let is_full = operands.len() == count;
                let Compare { column, operator, .. } = compare;
                Self::Compare(is_full.then(|| Compare::new(Arc::clone(column), *operator, operands))?)
            }
        })
    }

    /// The operands of its terms, in their order.
    pub(super) fn operands(&self) -> Vec<Literal> {
        match self {
            Self::All(terms) | Self::Any(terms) => terms.iter().flat_map(Self::operands).collect(),
            Self::Not(term) => term.operands(),
            Self::Compare(compare) => compare.operands.clone(),
        }
    }

    /// Whether the two differ in operands only; `other` names columns of `schema`.
    pub(super) fn has_form_of(&self, other: &Self, schema: &Schema) -> bool {
        match (self, other) {
            (Self::All(terms), Self::All(others)) | (Self::Any(terms), Self::Any(others)) => {
                terms.len() == others.len()
                    && terms.iter().zip(others).all(|(term, other)| term.has_form_of(other, schema))
            }
            (Self::Not(term), Self::Not(other)) => term.has_form_of(other, schema),
            (Self::Compare(compare), Self::Compare(other)) => {
                compare.operator == other.operator
                    && compare.operands.len() == other.operands.len()
                    && schema.find(&compare.column) == schema.find(&other.column)
            }
            _ => false,
        }
    }

    /// How many operands its terms have.
    pub(super) fn operand_count(&self) -> usize {
        match self {
            Self::All(terms) | Self::Any(terms) => terms.iter().map(Self::operand_count).sum(),
            Self::Not(term) => term.operand_count(),
            Self::Compare(compare) => compare.operands.len(),
        }
    }

    /// It does not hold.
    #[must_use]
    pub fn negate(self) -> Self {
        Self::Not(Box::new(self))
    }
}

impl Compare {
    /// A comparison of `column`; the number of operands is checked when the query is planned.
    pub fn new(column: impl Into<Arc<str>>, operator: Operator, operands: Vec<Literal>) -> Self {
        Self { column: column.into(), operator, operands }
    }

    /// The column's name, as written.
    pub fn column(&self) -> &str {
        &self.column
    }

    /// The operator.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// The operands; those of `in` and `notin` are the members of the list.
    pub fn operands(&self) -> &[Literal] {
        &self.operands
    }
}

impl SortKey {
    /// Smallest value first, nulls last.
    pub fn ascending(column: impl Into<String>) -> Self {
        Self { column: column.into(), descending: false }
    }

    /// The exact reverse of ascending, so nulls first; rows that tie keep their order either way.
    pub fn descending(column: impl Into<String>) -> Self {
        Self { column: column.into(), descending: true }
    }

    /// Reads `column`, or `-column` for descending.
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix('-') {
            Some(column) => Self::descending(column),
            None => Self::ascending(text),
        }
    }
}

macro_rules! literal_from {
    ($($from:ty => $make:expr),* $(,)?) => {
        $(impl From<$from> for Literal {
            fn from(value: $from) -> Self {
                $make(value)
            }
        })*
    };
}

literal_from! {
    bool => Self::Bool, i64 => Self::Int, f64 => Self::Float, String => Self::Text, IpAddr => Self::Inet,
    [u8; 6] => Self::Mac, i16 => |value| Self::Int(i64::from(value)), i32 => |value| Self::Int(i64::from(value)),
    f32 => |value| Self::Float(f64::from(value)), &str => |value: &str| Self::Text(value.to_owned()),
    char => |value: char| Self::Text(value.to_string()),
}

impl<T: Into<Literal>> From<Option<T>> for Literal {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// As an element of a list: braced when it is empty or has spaces in it.
impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("\\N"),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(&word(text)),
            Self::Inet(address) => write!(f, "{address}"),
            Self::Mac(octets) => {
                for (index, octet) in octets.iter().enumerate() {
                    write!(f, "{}{octet:02x}", if index == 0 { "" } else { ":" })?;
                }
                Ok(())
            }
        }
    }
}

/// As it is written in a compare list, without the braces around it.
impl fmt::Display for Compare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operator, word(&self.column))?;
        let list = matches!(self.operator, Operator::In | Operator::NotIn);
        f.write_str(if list { " {" } else { "" })?;
        for (index, operand) in self.operands.iter().enumerate() {
            let space = if list && index == 0 { "" } else { " " };
            write!(f, "{space}{operand}")?;
        }
        f.write_str(if list { "}" } else { "" })
    }
}

/// Text as one word of a list, for people to read.
pub(super) fn word(text: &str) -> std::borrow::Cow<'_, str> {
    if text.is_empty() || text.contains([' ', '\t', '\n', '{', '}', '"', ';']) {
        format!("{{{text}}}").into()
    } else {
        text.into()
    }
}
