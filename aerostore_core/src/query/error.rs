//! What can be wrong with a query.

#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;

use super::operator::Operator;
use crate::row::ColumnType;

/// An error in a query. Each quotes the term that is wrong and says what was expected in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryError {
    /// A compare term without operator and column.
    Incomplete {
        /// The term, as written.
        term: String,
    },
    /// No operator has this name.
    UnknownOperator {
        /// The term, as written.
        term: String,
        /// The name.
        operator: String,
    },
    /// The operator takes another number of operands.
    OperandCount {
        /// The term, as written.
        term: String,
        /// The operator.
        operator: Operator,
        /// How many operands there are.
        found: usize,
    },
    /// A plan was given another number of operands than its query has.
    Operands {
        /// How many it has.
        wanted: usize,
    },
    /// The table has no column of this name.
    UnknownColumn {
        /// The term, as written.
        term: String,
        /// The name.
        column: String,
        /// The table.
        table: String,
        /// The columns that the table has.
        columns: String,
    },
    /// The operator does not go with the column's type.
    OperatorType {
        /// The term, as written.
        term: String,
        /// The operator.
        operator: Operator,
        /// The column.
        column: String,
        /// The column's type.
        column_type: ColumnType,
        /// The types that the operator goes with.
        expected: &'static str,
    },
    /// The operand cannot be read as a value of the column's type.
    Operand {
        /// The term, as written.
        term: String,
        /// The column.
        column: String,
        /// The operand.
        operand: String,
        /// What would do.
        expected: String,
    },
    /// The text of a query has another form.
    Text {
        /// The text.
        text: String,
        /// What was expected, and where.
        expected: String,
    },
    /// The column has no index that could be used.
    NoIndex {
        /// The column.
        column: String,
        /// The table.
        table: String,
        /// The columns that have one.
        indexed: String,
    },
    /// The index of the column finds single values only, and the query asks for others.
    HashIndex {
        /// The column.
        column: String,
        /// The table.
        table: String,
    },
}

impl QueryError {
    /// The term that is wrong, as written.
    pub fn term(&self) -> &str {
        match self {
            Self::Incomplete { term }
            | Self::UnknownOperator { term, .. }
            | Self::OperandCount { term, .. }
            | Self::UnknownColumn { term, .. }
            | Self::OperatorType { term, .. }
            | Self::Operand { term, .. } => term,
            Self::Text { text, .. } => text,
            Self::NoIndex { column, .. } | Self::HashIndex { column, .. } => column,
            Self::Operands { .. } => "",
        }
    }

    /// Whether a value has the wrong type, rather than the query the wrong form.
    pub fn is_type(&self) -> bool {
        matches!(self, Self::OperatorType { .. } | Self::Operand { .. })
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIndex { .. } | Self::HashIndex { .. } | Self::Operands { .. } => {}
            Self::Text { text, .. } => write!(f, "bad query \"{text}\": ")?,
            _ => write!(f, "bad term \"{}\": ", self.term())?,
        }
        match self {
            Self::Text { expected, .. } => write!(f, "expected {expected}"),
            Self::Operands { wanted } => write!(f, "the query has {wanted} operands"),
            Self::NoIndex { column, table, indexed } => {
                write!(f, "no index on column \"{column}\" of table \"{table}\"")?;
                if indexed.is_empty() { Ok(()) } else { write!(f, ": must be {indexed}") }
            }
            Self::HashIndex { column, table } => write!(
                f,
                "the index on column \"{column}\" of table \"{table}\" is a hash: it needs a term with =, == or in"
            ),
            Self::Incomplete { .. } => f.write_str("expected {operator column ?value ...?}"),
            Self::UnknownOperator { operator, .. } => {
                write!(f, "unknown operator \"{operator}\": must be {}", Operator::list())
            }
            Self::OperandCount { operator, found, .. } => {
                let plural = if *found == 1 { "" } else { "s" };
                write!(f, "expected {{{}}} but got {found} value{plural}", operator.usage())
            }
            Self::UnknownColumn { column, table, columns, .. } => {
                write!(f, "no column \"{column}\" in table \"{table}\": must be {columns}")
            }
            Self::OperatorType { operator, column, column_type, expected, .. } => {
                write!(f, "{operator} needs a column of {expected}, but \"{column}\" is {column_type}")
            }
            Self::Operand { column, operand, expected, .. } => {
                write!(f, "expected {expected} for column \"{column}\" but got \"{operand}\"")
            }
        }
    }
}

impl Error for QueryError {}
