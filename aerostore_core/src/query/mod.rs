//! Queries: what rows to look for, how to reach them, and the run.
//!
//! A front end builds a [`Query`], a syntax tree of names and literals; [`Plan::new`] binds it to a schema, or says what
//! is wrong with it, and decides how rows are reached; [`Plan::run`] and [`Plan::count`] take rows from a [`RowSource`].

mod bind;
mod builder;
pub mod compare;
mod error;
mod executor;
mod field;
mod glob;
mod interval;
mod operand;
mod operator;
mod plan;
mod planner;
mod predicate;
mod sort;
mod source;
mod syntax;

pub use builder::{ColumnValue, TextValue};
pub use error::QueryError;
pub use executor::Outcome;
pub use glob::Glob;
pub use operator::Operator;
pub use plan::{AccessPath, Plan};
pub use predicate::Predicate;
pub use source::{IndexScan, IndexStatistics, KeyRange, RowSet, RowSource, TableStatistics};
pub use syntax::{Compare, Expr, Literal, Query, SortKey};

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
