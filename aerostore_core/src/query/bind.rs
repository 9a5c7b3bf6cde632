//! Binding: from names and literals to fields and tests.
//!
//! Negations move down to the leaves, by De Morgan's rules; there each turns the test round, and the null rules of
//! [`predicate`](super::predicate) say what becomes of nulls. So a row is asked without any three-valued logic.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::error::QueryError;
use super::field::{Field, Kind};
use super::glob::Glob;
use super::interval::Interval;
use super::operand::Operand;
use super::operator::Operator;
use super::predicate::{Leaf, Node, Source, Test};
use super::syntax::{Compare, Expr, Literal};
use crate::row::{ColumnType, NullRule, Schema};

/// Binds `filter` to the columns of `schema`.
pub(super) fn bind(schema: &Schema, filter: Expr, nulls: NullRule) -> Result<Node, QueryError> {
    Binder { schema, nulls }.expr(filter, false)
}

/// The column of this name; the error quotes the term that is made only then.
pub(super) fn find_column(
    schema: &Schema,
    name: &str,
    term: impl FnOnce() -> String,
) -> Result<usize, QueryError> {
    schema.find(name).ok_or_else(|| QueryError::UnknownColumn {
        term: term(),
        column: name.to_owned(),
        table: schema.name().to_owned(),
        columns: column_list(&schema.columns().iter().map(crate::row::Column::name).collect::<Vec<_>>()),
    })
}

/// Names as a list for an error message.
pub(super) fn column_list(names: &[&str]) -> String {
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, [one])) => format!("{one} or {last}"),
        Some((last, others)) => format!("{}, or {last}", others.join(", ")),
        None => String::new(),
    }
}

struct Binder<'s> {
    schema: &'s Schema,
    nulls: NullRule,
}

/// What a comparison comes to: which values pass, and whether a null does.
struct Verdict {
    test: Test,
    negated: bool,
    null_passes: bool,
}

impl Binder<'_> {
    fn expr(&self, filter: Expr, inverted: bool) -> Result<Node, QueryError> {
        let bind = |terms: Vec<Expr>| {
            terms.into_iter().map(|term| self.expr(term, inverted)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match (filter, inverted) {
            (Expr::Not(term), _) => return self.expr(*term, !inverted),
            (Expr::Compare(compare), _) => Node::Leaf(Arc::new(self.leaf(compare, inverted)?)),
            (Expr::All(terms), false) | (Expr::Any(terms), true) => Node::All(bind(terms)?),
            (Expr::Any(terms), false) | (Expr::All(terms), true) => Node::Any(bind(terms)?),
        })
    }

    fn leaf(&self, compare: Compare, inverted: bool) -> Result<Leaf, QueryError> {
        let index = find_column(self.schema, &compare.column, || braced(&compare))?;
        let found = compare.operands.len();
        if compare.operator.operand_count().is_some_and(|count| count != found) {
            return Err(QueryError::OperandCount {
                term: braced(&compare),
                operator: compare.operator,
                found,
            });
        }
        let field = Field::new(self.schema, index);
        let Verdict { test, negated, null_passes } = match self.verdict(&compare, field)? {
            Some(verdict) if inverted => self.turned(verdict, compare.operator),
            Some(verdict) => verdict,
            None => Verdict { test: Test::Never, negated: false, null_passes: false },
        };
        Ok(Leaf { field, test, negated, null_passes, sources: vec![Source { inverted, compare }] })
    }

    /// The verdict of the opposite comparison.
    fn turned(&self, verdict: Verdict, operator: Operator) -> Verdict {
        let about_nulls = matches!(operator, Operator::Null | Operator::NotNull);
        let null_passes = (about_nulls || self.nulls == NullRule::High) && !verdict.null_passes;
        Verdict { negated: !verdict.negated, null_passes, ..verdict }
    }

    /// `None` when neither the comparison nor its opposite holds for any row.
    fn verdict(&self, compare: &Compare, field: Field) -> Result<Option<Verdict>, QueryError> {
        let (positive, negated) = compare.operator.positive();
        let (test, null_passes) = match positive {
            Operator::Null => return Ok(Some(Verdict { test: Test::Never, negated, null_passes: !negated })),
            Operator::True => {
                // A null is neither true nor false, so `false` is not simply the opposite of `true`.
                let test = zero_test(compare, field)?;
                return Ok(Some(Verdict { test, negated: !negated, null_passes: false }));
            }
            Operator::Match | Operator::MatchCase | Operator::Prefix => {
                (text_test(compare, positive, field)?, false)
            }
            Operator::In => self.set_test(compare, field)?,
            _ => match self.interval_test(compare, positive, field)? {
                Some(bound) => bound,
                None => return Ok(None),
            },
        };
        let null_passes = self.nulls == NullRule::High && null_passes != negated;
        Ok(Some(Verdict { test, negated, null_passes }))
    }

    /// The test of a comparison with bounds, and whether a null above all values passes; `None` as for a verdict.
    fn interval_test(
        &self,
        compare: &Compare,
        operator: Operator,
        field: Field,
    ) -> Result<Option<(Test, bool)>, QueryError> {
        let operands = self.operands(compare, field)?;
        let kind = field.kind();
        let full = || Interval::full(kind);
        let (interval, null_passes) = match (operator, &operands[..]) {
            (Operator::Equal, [same]) => (Interval::exactly(kind, same), *same == Operand::Null),
            _ if self.nulls == NullRule::Unknown && operands.contains(&Operand::Null) => return Ok(None),
            (Operator::Less, [high]) => (full().at_most(high, true), false),
            (Operator::LessOrEqual, [high]) => (full().at_most(high, false), *high == Operand::Null),
            (Operator::Greater, [low]) => (full().at_least(low, true), *low != Operand::Null),
            (Operator::GreaterOrEqual, [low]) => (full().at_least(low, false), true),
            (Operator::Range, [low, high]) => (full().at_least(low, false).at_most(high, true), false),
            (Operator::Between, [low, high]) => {
                (full().at_least(low, false).at_most(high, false), *high == Operand::Null)
            }
            (_, operands) => {
                let (operator, found) = (compare.operator, operands.len());
                return Err(QueryError::OperandCount { term: braced(compare), operator, found });
            }
        };
        let test = if interval.is_empty() { Test::Never } else { Test::Within(interval) };
        Ok(Some((test, null_passes)))
    }

    /// The test of membership, and whether null is a member.
    fn set_test(&self, compare: &Compare, field: Field) -> Result<(Test, bool), QueryError> {
        let operands = self.operands(compare, field)?;
        let has_null = operands.contains(&Operand::Null);
        let (mut ints, mut floats, mut strings) = (Vec::new(), Vec::new(), Vec::new());
        for operand in operands {
            match operand {
                // A number that no integer equals is no member.
                Operand::Int { floor, exact } => ints.extend(i64::try_from(floor).ok().filter(|_| exact)),
                Operand::Float(number) => floats.push(number),
                Operand::Bytes(bytes) => strings.push(bytes),
                Operand::Null => {}
            }
        }
        let test = match field.kind() {
            Kind::Int => {
                ints.sort_unstable();
                ints.dedup();
                if ints.is_empty() { Test::Never } else { Test::Ints(ints.into()) }
            }
            Kind::Float => {
                floats.sort_unstable_by(f64::total_cmp);
                floats.dedup();
                if floats.is_empty() { Test::Never } else { Test::Floats(floats.into()) }
            }
            Kind::Bytes => {
                strings.sort_unstable();
                strings.dedup();
                if strings.is_empty() { Test::Never } else { Test::Strings(strings.into()) }
            }
        };
        Ok((test, has_null))
    }

    fn operands(&self, compare: &Compare, field: Field) -> Result<Vec<Operand>, QueryError> {
        let column = self.schema.column(field.index());
        let read = |literal| {
            Operand::read(column, literal).map_err(|expected| bad_operand(compare, literal, expected))
        };
        compare.operands.iter().map(read).collect()
    }
}

/// The test that false and zero pass.
fn zero_test(compare: &Compare, field: Field) -> Result<Test, QueryError> {
    let kind = field.column_type();
    if kind != ColumnType::Bool && !kind.is_number() {
        return Err(bad_type(compare, field, "booleans or numbers"));
    }
    Ok(Test::Within(match field.kind() {
        Kind::Float => Interval::Float { low: 0.0, high: 0.0 },
        _ => Interval::Int { low: 0, high: 0 },
    }))
}

/// The test of a pattern or a prefix. The operand is taken as it is: `\N` is a pattern here, not the null.
fn text_test(compare: &Compare, operator: Operator, field: Field) -> Result<Test, QueryError> {
    let kind = field.column_type();
    if !kind.is_string() && (operator == Operator::Prefix || kind != ColumnType::Char) {
        return Err(bad_type(compare, field, "text"));
    }
    let text = match compare.operands.first() {
        Some(Literal::Text(text)) => text,
        Some(other) => return Err(bad_operand(compare, other, "text".to_owned())),
        None => return Ok(Test::Never),
    };
    Ok(match operator {
        Operator::Prefix => Test::Within(Interval::prefix(text.as_bytes())),
        _ => Test::Glob(Arc::new(Glob::new(text, operator == Operator::Match))),
    })
}

#[cold]
fn bad_operand(compare: &Compare, literal: &Literal, expected: String) -> QueryError {
    let operand = match literal {
        Literal::Text(text) => text.clone(),
        other => other.to_string(),
    };
    QueryError::Operand { term: braced(compare), column: compare.column.to_string(), operand, expected }
}

#[cold]
fn bad_type(compare: &Compare, field: Field, expected: &'static str) -> QueryError {
    QueryError::OperatorType {
        term: braced(compare),
        operator: compare.operator,
        column: compare.column.to_string(),
        column_type: field.column_type(),
        expected,
    }
}

/// A term as errors quote it.
fn braced(compare: &Compare) -> String {
    format!("{{{compare}}}")
}
