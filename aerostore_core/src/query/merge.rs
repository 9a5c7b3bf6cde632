//! Conditions in their normal form, which does not depend on the order in which terms were written.
//!
//! Rules       M1: `all` within `all` and `any` within `any` are one node. M2: bounds on one column that must all hold become
//!             one interval. M3: what is cheap to ask stands first; between equals the column decides, then the text. M4: the
//!             same condition twice stands once.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::interval::Interval;
use super::predicate::{Leaf, Node, Test};

/// The normal form of `node`.
pub(super) fn normal(node: Node) -> Node {
    match node {
        Node::Leaf(leaf) => Node::Leaf(leaf),
        Node::All(nodes) => {
            let mut flat = Vec::with_capacity(nodes.len());
            for node in nodes.into_iter().map(normal) {
                match node {
                    Node::All(inner) => flat.extend(inner),
                    other => flat.push(other),
                }
            }
            one(merged(ordered(flat)), Node::All)
        }
        Node::Any(nodes) => {
            let mut flat = Vec::with_capacity(nodes.len());
            for node in nodes.into_iter().map(normal) {
                match node {
                    Node::Any(inner) => flat.extend(inner),
                    other => flat.push(other),
                }
            }
            one(ordered(flat), Node::Any)
        }
    }
}

fn one(mut nodes: Vec<Node>, many: impl FnOnce(Vec<Node>) -> Node) -> Node {
    match nodes.pop() {
        Some(node) if nodes.is_empty() => node,
        last => {
            nodes.extend(last);
            many(nodes)
        }
    }
}

fn ordered(mut nodes: Vec<Node>) -> Vec<Node> {
    if nodes.len() > 1 {
        nodes.sort_by_cached_key(|node| (node.cost(), node.first_column(), node.to_string()));
        nodes.dedup();
    }
    nodes
}

/// Joins the intervals of a column. Nodes are in order, and so are the terms that come together.
fn merged(nodes: Vec<Node>) -> Vec<Node> {
    let mut kept: Vec<Node> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Node::Leaf(leaf) = node else {
            kept.push(node);
            continue;
        };
        let same = |node: &&mut Node| matches!(node, Node::Leaf(other) if joins(other, &leaf));
        match kept.iter_mut().find(same) {
            Some(Node::Leaf(other)) => join(Arc::make_mut(other), Arc::unwrap_or_clone(leaf)),
            _ => kept.push(Node::Leaf(leaf)),
        }
    }
    kept
}

fn joins(a: &Leaf, b: &Leaf) -> bool {
    let is_interval = |leaf: &Leaf| matches!(leaf.test, Test::Within(_)) && !leaf.negated;
    a.field == b.field && is_interval(a) && is_interval(b)
}

fn join(into: &mut Leaf, other: Leaf) {
    if let (Test::Within(a), Test::Within(b)) = (&mut into.test, other.test) {
        let common = std::mem::replace(a, Interval::empty(into.field.kind())).intersect(b);
        into.test = if common.is_empty() { Test::Never } else { Test::Within(common) };
    }
    into.null_passes &= other.null_passes;
    into.sources.extend(other.sources);
}
