//! Queries: what rows to look for, how to reach them, and the run.
//!
//! A front end builds a [`Query`], a syntax tree of names and literals; [`Plan::new`] binds it to a schema, or says what
//! is wrong with it; [`Plan::run`] and [`Plan::count`] choose a [`Route`] by the statistics of a [`RowSource`], and take
//! rows from it.

mod bind;
mod builder;
pub mod compare;
mod costs;
mod error;
mod executor;
mod explain;
mod field;
mod glob;
mod interval;
mod kept;
mod keys;
mod merge;
mod operand;
mod operator;
mod places;
mod plan;
mod planner;
mod predicate;
mod probe;
mod ranges;
mod route;
mod shared_scan;
mod sort;
mod source;
mod stats;
mod syntax;
pub mod text;

pub use builder::{ColumnValue, TextValue};
pub use error::QueryError;
pub use executor::Outcome;
pub use explain::{Explain, Step, StepKind};
pub use glob::Glob;
pub use operator::Operator;
pub use plan::Plan;
pub use predicate::Predicate;
pub use route::{AccessPath, Among, Branch, IndexPath, Route};
pub use source::{
    Helper, IndexScan, IndexStatistics, KeyRange, Lead, RowSet, RowSource, Share, Standing, TableStatistics,
};
pub use syntax::{Compare, Expr, Literal, Query, SortKey};

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
