//! Compare lists: `{{> altitude 10000} {match flight_id AAL*}}`.
#![forbid(unsafe_code)]

use aerostore_core::query::{Compare, Expr, Literal, Operator, QueryError, compare};
use aerostore_core::row::{Column, ColumnType};

use crate::commands::table::Opened;
use crate::error::Error;
use crate::ffi::{Integer, Interp, Obj};

/// The terms of a list, all of which must hold.
pub(in crate::commands) fn all(table: &Opened, interp: &Interp, list: &Obj) -> Result<Expr, Error> {
    read(table, interp, list).map(Expr::All)
}

/// The terms of a list, one of which must hold.
pub(super) fn any(table: &Opened, interp: &Interp, list: &Obj) -> Result<Expr, Error> {
    read(table, interp, list).map(Expr::Any)
}

fn read(table: &Opened, interp: &Interp, list: &Obj) -> Result<Vec<Expr>, Error> {
    let terms = list.items(interp).map_err(|reason| malformed("list of terms", list, &reason))?;
    terms.iter().map(|words| term(table, interp, words)).collect()
}

fn term(table: &Opened, interp: &Interp, term: &Obj) -> Result<Expr, Error> {
    let words = term.items(interp).map_err(|reason| malformed("term", term, &reason))?;
    if let [operator, column, operands @ ..] = &words[..]
        && let Some(operator) = operator.text().ok().and_then(|name| Operator::from_name(&name))
        && let Ok(index) = table.bound.column(column)
    {
        let members;
        let operands = match operands {
            [list] if operator.takes_list() => {
                members = list.items(interp).map_err(|reason| malformed("term", term, &reason))?;
                &members[..]
            }
            operands if operator.operand_count() == Some(operands.len()) => operands,
            _ => return Err(wrong_count(term, operator, operands.len())),
        };
        let column = table.bound.schema.column(index);
        let literals = operands
            .iter()
            .map(|operand| literal(column, operator, operand, term))
            .collect::<Result<_, _>>()?;
        return Ok(Expr::Compare(Compare::new(column.name(), operator, literals)));
    }
    // Something is wrong with operator or column: the engine says what.
    let words: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word.bytes()).into_owned()).collect();
    Ok(compare::term(&table.bound.schema, &words)?)
}

/// An operand. One that is a number goes with a column of numbers as it is; what is null in a row is null here; all else
/// is text, which the engine reads as the column's type demands.
pub(super) fn literal(
    column: &Column,
    operator: Operator,
    operand: &Obj,
    term: &Obj,
) -> Result<Literal, Error> {
    use ColumnType as T;
    let number = match column.column_type() {
        T::I16 | T::I32 | T::I64 | T::F32 | T::F64 | T::Timestamp | T::TimestampMicros => {
            match operand.integer() {
                Integer::Wide(number) => Some(Literal::Int(number)),
                Integer::TooBig | Integer::Not => operand.as_double().map(Literal::Float),
            }
        }
        _ => None,
    };
    if let Some(number) = number {
        return Ok(number);
    }
    let is_pattern = matches!(
        operator,
        Operator::Match
            | Operator::NotMatch
            | Operator::MatchCase
            | Operator::NotMatchCase
            | Operator::Prefix
    );
    match operand.text() {
        Ok(text) if text == "\\N" && !is_pattern => Ok(Literal::Null),
        Ok(text) if text.is_empty() && column.is_nullable() && !is_pattern => Ok(Literal::Null),
        Ok(text) => Ok(Literal::Text(text.into_owned())),
        Err(_) => Err(Error::value(format!(
            "bad term \"{{{}}}\": expected text without NUL but got \"{}\"",
            term.quoted(),
            operand.quoted()
        ))),
    }
}

/// A list that is none, or a term of the wrong form.
fn malformed(what: &str, text: &Obj, reason: &str) -> Error {
    Error::syntax(format!("bad {what} \"{}\": {reason}", text.quoted())).with(text.quoted())
}

fn wrong_count(term: &Obj, operator: Operator, found: usize) -> Error {
    let term = format!("{{{}}}", term.quoted());
    if !operator.takes_list() {
        return QueryError::OperandCount { term, operator, found }.into();
    }
    let usage = operator.usage();
    let words = if found == 1 { "word" } else { "words" };
    let message =
        format!("bad term \"{term}\": expected {{{usage}}} but got {found} {words} after the column");
    Error::syntax(message).with(term)
}
