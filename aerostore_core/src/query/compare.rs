//! Compare lists: terms such as `{> altitude 10000}`, already split into words by the front end.

#![forbid(unsafe_code)]

use super::bind::find_column;
use super::error::QueryError;
use super::operator::Operator;
use super::syntax::{Compare, Expr, Literal, word};
use crate::row::Schema;

/// Reads one term: the words are operator, column and operands. The list of `in` and `notin` is to be split too, its
/// members standing as words of their own; [`Operator::takes_list`] tells for which operators that is so.
///
/// As in data, `\N` is the null, and so is an empty word where the column is nullable; patterns and prefixes are text
/// whatever they are. Operands are checked against the column's type when the query is planned.
///
/// # Errors
///
/// [`QueryError::Incomplete`], [`QueryError::UnknownOperator`], [`QueryError::UnknownColumn`] and
/// [`QueryError::OperandCount`].
///
/// # Examples
///
/// ```
/// use aerostore_core::query::compare;
/// use aerostore_core::row::{Column, ColumnType, Schema};
///
/// let schema = Schema::builder("Fix").column(Column::new("alt", ColumnType::I32)).key("alt").build()?;
/// assert!(compare::term(&schema, &["between", "alt", "100", "200"]).is_ok());
/// let error = compare::term(&schema, &[">", "alt"]).unwrap_err();
/// assert_eq!(error.to_string(), "bad term \"{> alt}\": expected {> column value} but got 0 values");
/// # Ok::<(), aerostore_core::row::RowError>(())
/// ```
pub fn term<W: AsRef<str>>(schema: &Schema, words: &[W]) -> Result<Expr, QueryError> {
    let quoted = || quote(words);
    let operator_name = words.first().ok_or_else(|| QueryError::Incomplete { term: quoted() })?.as_ref();
    let operator = Operator::from_name(operator_name)
        .ok_or_else(|| QueryError::UnknownOperator { term: quoted(), operator: operator_name.to_owned() })?;
    let Some((column, operands)) = words[1..].split_first() else {
        return Err(QueryError::Incomplete { term: quoted() });
    };
    let index = find_column(schema, column.as_ref(), quoted)?;
    if operator.operand_count().is_some_and(|count| count != operands.len()) {
        return Err(QueryError::OperandCount { term: quoted(), operator, found: operands.len() });
    }
    let nullable = schema.column(index).is_nullable();
    let literal = |operand: &W| match operand.as_ref() {
        text if operator.takes_text() => Literal::from(text),
        "\\N" => Literal::Null,
        "" if nullable => Literal::Null,
        text => Literal::from(text),
    };
    let operands = operands.iter().map(literal).collect();
    Ok(Expr::Compare(Compare::new(column.as_ref(), operator, operands)))
}

/// Reads terms that must all hold.
///
/// # Errors
///
/// As for [`term`].
pub fn all<W: AsRef<str>>(schema: &Schema, terms: &[Vec<W>]) -> Result<Expr, QueryError> {
    terms.iter().map(|words| term(schema, words)).collect::<Result<_, _>>().map(Expr::All)
}

/// Reads terms of which at least one must hold.
///
/// # Errors
///
/// As for [`term`].
pub fn any<W: AsRef<str>>(schema: &Schema, terms: &[Vec<W>]) -> Result<Expr, QueryError> {
    terms.iter().map(|words| term(schema, words)).collect::<Result<_, _>>().map(Expr::Any)
}

/// The words as a list in braces.
fn quote<W: AsRef<str>>(words: &[W]) -> String {
    let words: Vec<_> = words.iter().map(|text| word(text.as_ref())).collect();
    format!("{{{}}}", words.join(" "))
}
