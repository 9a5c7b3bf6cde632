//! Predicates: a condition bound to a schema, ready to be asked of row images.
//!
//! Shape       a tree of `all` and `any` over leaves; negations have moved into the leaves, where each knows what becomes
//!             of a null. A leaf is one column and one test of its kind. Rows are asked through the `probe` made of it.
//! Nulls       N1: under `Unknown`, a null passes `null` only, also when a comparison is negated. N2: under `High` a null
//!             is above every value and equal to itself; it is no text and neither true nor false. N3: a null operand
//!             equals no value; under `Unknown` a comparison of order with it holds for no row, nor does its negation.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use super::bind;
use super::error::QueryError;
use super::field::Field;
use super::glob::Glob;
use super::interval::Interval;
use super::merge;
use super::places::Places;
use super::probe::Probe;
use super::syntax::{Compare, Expr};
use crate::row::{NullRule, RowView, Schema};

/// A condition on the rows of one schema.
#[derive(Clone, Debug)]
pub struct Predicate {
    pub(super) node: Node,
    probe: Probe,
}

/// The probe follows from the node.
impl PartialEq for Predicate {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    /// Shared by the parts that a condition is taken apart into.
    Leaf(Arc<Leaf>),
}

/// One column's test.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) field: Field,
    pub(super) test: Test,
    /// Whether a value passes when the test fails.
    pub(super) negated: bool,
    pub(super) null_passes: bool,
    /// The terms that it stands for, all of which must hold, for display.
    pub(super) sources: Vec<Source>,
}

/// Whether they let the same rows through, however they were written.
impl PartialEq for Leaf {
    fn eq(&self, other: &Self) -> bool {
        let settled = |leaf: &Self| (leaf.field, leaf.negated, leaf.null_passes);
        settled(self) == settled(other) && self.test == other.test
    }
}

/// A term as it was written.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Whether it stands under a negation.
    pub(super) inverted: bool,
    pub(super) compare: Compare,
}

/// A test of a value that is not null.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    /// No value passes.
    Never,
    Within(Interval),
    /// Sorted, each once.
    Ints(Arc<[i64]>),
    /// Sorted, each once.
    Floats(Arc<[f64]>),
    /// Sorted, each once.
    Strings(Arc<[Box<[u8]>]>),
    Glob(Arc<Glob>),
}

impl Predicate {
    /// Binds `filter` to `schema`.
    ///
    /// # Errors
    ///
    /// [`QueryError`] with the term that is wrong.
    pub fn new(schema: &Schema, filter: Expr, nulls: NullRule) -> Result<Self, QueryError> {
        bind::bind(schema, filter, nulls).map(|node| Self::compile(merge::normal(node)))
    }

    /// Makes a condition that is bound ready to be asked.
    pub(super) fn compile(node: Node) -> Self {
        Self { probe: Probe::new(&node), node }
    }

    /// Whether the condition holds for `row`, which must be of the predicate's schema.
    #[inline]
    pub fn matches(&self, row: RowView<'_>) -> bool {
        self.probe.matches(row)
    }

    /// How many bytes of an image it looks at, from its start, apart from texts behind the fixed part.
    pub fn image_bytes(&self) -> usize {
        self.probe.image_bytes()
    }

    /// The places of those of `rows` for which it holds, of at most [`Places::MAX`].
    #[inline]
    pub(super) fn select(&self, rows: &[RowView<'_>]) -> Places {
        self.probe.select(rows, Places::first(rows.len()))
    }
}

impl Node {
    /// The first column that is asked for.
    pub(super) fn first_column(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.field.index(),
            Self::All(nodes) | Self::Any(nodes) => nodes.first().map_or(usize::MAX, Self::first_column),
        }
    }

    /// The nodes that must all pass.
    pub(super) fn conjuncts(&self) -> &[Self] {
        match self {
            Self::All(nodes) => nodes,
            other => std::slice::from_ref(other),
        }
    }

    /// Adds the columns that are asked for to `columns`.
    pub(super) fn collect_columns(&self, columns: &mut Vec<usize>) {
        match self {
            Self::Leaf(leaf) if columns.contains(&leaf.field.index()) => {}
            Self::Leaf(leaf) => columns.push(leaf.field.index()),
            Self::All(nodes) | Self::Any(nodes) => {
                for node in nodes {
                    node.collect_columns(columns);
                }
            }
        }
    }

    /// Roughly what asking costs, so that cheap questions can be asked first.
    pub(super) fn cost(&self) -> u32 {
        match self {
            Self::Leaf(leaf) => leaf.test.cost(),
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().map(Self::cost).sum::<u32>() + 1,
        }
    }
}

impl Test {
    fn cost(&self) -> u32 {
        match self {
            Self::Never => 0,
            Self::Within(Interval::Int { .. } | Interval::Float { .. }) => 1,
            Self::Within(Interval::Bytes { .. }) | Self::Ints(_) | Self::Floats(_) => 4,
            Self::Strings(_) => 16,
            Self::Glob(_) => 32,
        }
    }
}

/// As in a compare list, with words for the tree around its terms.
impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.fmt(f)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nodes, between, none) = match self {
            Self::Leaf(leaf) => return leaf.fmt(f),
            Self::All(nodes) => (nodes, " and ", "true"),
            Self::Any(nodes) => (nodes, " or ", "false"),
        };
        if nodes.is_empty() {
            return f.write_str(none);
        }
        for (index, node) in nodes.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { between })?;
            match node {
                Self::Leaf(leaf) if leaf.sources.len() == 1 || between == " and " => leaf.fmt(f)?,
                tree => write!(f, "({tree})")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Source { inverted, compare }) in self.sources.iter().enumerate() {
            let (and, not) = (if index == 0 { "" } else { " and " }, if *inverted { "not " } else { "" });
            write!(f, "{and}{not}{{{compare}}}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
