//! The planner: pure rules from a query to a plan.
//!
//! Rules       P1: the keys a row may have follow from the tree: a leaf on the key with equality or membership names them,
//!             `all` intersects what its parts name, `any` unites it if every part names some. P2: when keys follow, rows
//!             are reached by them; else by a scan. P3: terms that the keys imply are not asked again. P4: of the others,
//!             the cheap are asked first.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::bind::find_column;
use super::error::QueryError;
use super::field::Field;
use super::interval::Single;
use super::operand::{value_of_bytes, value_of_float, value_of_int};
use super::plan::{AccessPath, Plan, SortColumn};
use super::predicate::{Leaf, Node, Predicate, Test};
use super::syntax::{Query, SortKey};
use crate::row::{OwnedValue, Schema};

/// The plan of `query`.
pub(super) fn plan(schema: &Arc<Schema>, query: Query) -> Result<Plan, QueryError> {
    let nulls = query.null_rule.unwrap_or(schema.null_rule());
    let filter = Predicate::new(schema, query.filter, nulls)?;
    let sort = query.sort.iter().map(|key| sort_column(schema, key)).collect::<Result<_, _>>()?;
    let columns = match query.columns {
        Some(names) => {
            names.iter().map(|name| find_column(schema, name, || name.clone())).collect::<Result<_, _>>()?
        }
        None => (0..schema.columns().len()).collect(),
    };
    let (path, residual) = access(schema, filter.0);
    let residual = residual.map(|node| Arc::new(Predicate(node)));
    Ok(Plan {
        schema: Arc::clone(schema),
        path,
        residual,
        sort,
        limit: query.limit,
        offset: query.offset,
        columns,
    })
}

fn sort_column(schema: &Schema, key: &SortKey) -> Result<SortColumn, QueryError> {
    let quoted = || format!("{}{}", if key.descending { "-" } else { "" }, key.column);
    let index = find_column(schema, &key.column, quoted)?;
    Ok(SortColumn { field: Field::new(schema, index), descending: key.descending })
}

/// The path to the rows that `filter` may hold for, and what is left to ask of them.
fn access(schema: &Schema, filter: Node) -> (AccessPath, Option<Node>) {
    let path = match keys(schema, &filter) {
        None => return (AccessPath::Scan, residual(filter, |_| false)),
        Some(mut values) => match (values.pop(), values.is_empty()) {
            (None, _) => return (AccessPath::Nothing, None),
            (Some(value), true) => AccessPath::Point(value),
            (Some(value), false) => {
                values.push(value);
                AccessPath::Points(values)
            }
        },
    };
    (path, residual(filter, |node| matches!(node, Node::Leaf(leaf) if leaf_keys(schema, leaf).is_some())))
}

/// The keys of the rows that may pass, sorted, each once; `None` when any key may.
fn keys(schema: &Schema, node: &Node) -> Option<Vec<OwnedValue>> {
    match node {
        Node::Leaf(leaf) => leaf_keys(schema, leaf),
        Node::All(nodes) => nodes.iter().filter_map(|node| keys(schema, node)).reduce(|mut common, other| {
            common.retain(|value| other.binary_search(value).is_ok());
            common
        }),
        Node::Any(nodes) => {
            let mut union = nodes.iter().map(|node| keys(schema, node)).collect::<Option<Vec<_>>>()?.concat();
            union.sort_unstable();
            union.dedup();
            Some(union)
        }
    }
}

/// The keys that one leaf names. A key is never null, so what a null would do does not matter.
fn leaf_keys(schema: &Schema, leaf: &Leaf) -> Option<Vec<OwnedValue>> {
    let always_fails = leaf.test == Test::Never && !leaf.negated;
    if always_fails && (!leaf.null_passes || leaf.field.index() == schema.key_index()) {
        return Some(Vec::new());
    }
    if leaf.negated || leaf.field.index() != schema.key_index() {
        return None;
    }
    let kind = leaf.field.column_type();
    let values: Vec<Option<OwnedValue>> = match &leaf.test {
        Test::Within(interval) => vec![match interval.single()? {
            Single::Int(number) => value_of_int(kind, number),
            Single::Float(number) => value_of_float(kind, number),
            Single::Bytes(bytes) => value_of_bytes(kind, bytes),
        }],
        Test::Ints(set) => set.iter().map(|number| value_of_int(kind, *number)).collect(),
        Test::Floats(set) => set.iter().map(|number| value_of_float(kind, *number)).collect(),
        Test::Strings(set) => set.iter().map(|bytes| value_of_bytes(kind, bytes)).collect(),
        Test::Glob(_) | Test::Never => return None,
    };
    // What the column cannot hold, and the empty string, is no row's key.
    let possible = |value: &OwnedValue| {
        let value = value.as_value();
        value.as_str() != Some("") && schema.coerce(schema.key_index(), value).is_ok()
    };
    Some(values.into_iter().flatten().filter(possible).collect())
}

/// What is left of `filter` without the terms that are `implied`, the cheap first.
fn residual(filter: Node, implied: impl Fn(&Node) -> bool) -> Option<Node> {
    let mut nodes = match filter {
        Node::All(nodes) => nodes,
        other => vec![other],
    };
    nodes.retain(|node| !implied(node));
    nodes.sort_by_key(Node::cost);
    match nodes.len() {
        0 => None,
        1 => nodes.pop(),
        _ => Some(Node::All(nodes)),
    }
}

#[cfg(test)]
mod tests;
