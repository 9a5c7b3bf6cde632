//! Whole queries against a naive evaluation of the same syntax tree.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::fixture::Table;
use super::{AccessPath, Branch, Compare, Expr, Glob, Literal, Operator, Plan, Predicate, Query, SortKey};
use crate::row::{Column, ColumnType, IndexKind, NullRule, OwnedValue, Schema, Value};

/// Different values of the last column, so that a table with that one as its key has many rows.
const MANY: i64 = 40;

/// Columns of every kind, each with few values, so that rows tie and operands hit.
fn pool() -> Vec<(ColumnType, Vec<OwnedValue>)> {
    let text = |words: &[&str]| words.iter().map(|word| OwnedValue::Str((*word).into())).collect::<Vec<_>>();
    let inet = |text: &str| OwnedValue::Inet(text.parse::<IpAddr>().expect("an address"));
    vec![
        (ColumnType::String(9), text(&["a", "ab", "abc", "b", "B", "é"])),
        (
            ColumnType::I32,
            vec![OwnedValue::I32(-1), OwnedValue::I32(0), OwnedValue::I32(7), OwnedValue::I32(i32::MAX)],
        ),
        (
            ColumnType::F64,
            vec![OwnedValue::F64(-1.5), OwnedValue::F64(0.0), OwnedValue::F64(7.0), OwnedValue::F64(1e300)],
        ),
        (ColumnType::F32, vec![OwnedValue::F32(0.1), OwnedValue::F32(-2.5), OwnedValue::F32(3e38)]),
        (ColumnType::FixedString(4), text(&["", "a", "ab", "abcd", "zz"])),
        (ColumnType::String(40), text(&["", "a", "abcdefghi", "abcdefghj", "abcdefghijk"])),
        (ColumnType::Bool, vec![OwnedValue::Bool(false), OwnedValue::Bool(true)]),
        (ColumnType::Char, vec![OwnedValue::Char('a'), OwnedValue::Char('Z'), OwnedValue::Char('\u{1f6e9}')]),
        (ColumnType::Timestamp, vec![OwnedValue::Timestamp(i64::MIN), OwnedValue::Timestamp(5)]),
        (ColumnType::I16, vec![OwnedValue::I16(i16::MIN), OwnedValue::I16(5)]),
        (ColumnType::I64, vec![OwnedValue::I64(i64::MAX), OwnedValue::I64(5)]),
        (ColumnType::Inet, vec![inet("10.0.0.1"), inet("10.0.0.2"), inet("::1"), inet("fe80::2")]),
        (ColumnType::Mac, vec![OwnedValue::Mac([0, 1, 2, 3, 4, 5]), OwnedValue::Mac([255; 6])]),
        (ColumnType::I64, (0..MANY).map(OwnedValue::I64).collect()),
    ]
}

fn schema(key: usize) -> Schema {
    let mut builder = Schema::builder("Pool");
    for (index, (kind, _)) in pool().into_iter().enumerate() {
        let column = Column::new(&format!("c{index}"), kind);
        builder = builder.column(if index == key { column } else { column.nullable() });
    }
    builder.key(&format!("c{key}")).build().expect("a sound definition")
}

/// Rows in the order of their keys, so that a scan and a walk over keys give the same order.
fn rows(key: usize) -> impl Strategy<Value = Vec<Vec<OwnedValue>>> {
    let row: Vec<BoxedStrategy<OwnedValue>> = pool()
        .into_iter()
        .enumerate()
        .map(|(index, (_, values))| {
            if index == key {
                select(values).prop_filter("empty key", |value| value.as_value() != Value::Str("")).boxed()
            } else {
                prop_oneof![5 => select(values), 1 => Just(OwnedValue::Null)].boxed()
            }
        })
        .collect();
    let most = if key + 1 == pool().len() { 60 } else { 12 };
    vec(row, 0..most).prop_map(move |rows| {
        rows.into_iter()
            .map(|row| (row[key].clone(), row))
            .collect::<BTreeMap<_, _>>()
            .into_values()
            .collect()
    })
}

fn literal(value: &OwnedValue) -> Literal {
    match value {
        OwnedValue::Null => Literal::Null,
        OwnedValue::Bool(flag) => Literal::Bool(*flag),
        OwnedValue::I16(number) => Literal::Int(i64::from(*number)),
        OwnedValue::I32(number) => Literal::Int(i64::from(*number)),
        OwnedValue::I64(number) | OwnedValue::Timestamp(number) | OwnedValue::TimestampMicros(number) => {
            Literal::Int(*number)
        }
        OwnedValue::F32(number) => Literal::Float(f64::from(*number)),
        OwnedValue::F64(number) => Literal::Float(*number),
        OwnedValue::Char(letter) => Literal::Text(letter.to_string()),
        OwnedValue::Str(text) => Literal::Text(text.to_string()),
        OwnedValue::Inet(address) => Literal::Inet(*address),
        OwnedValue::Mac(octets) => Literal::Mac(*octets),
    }
}

/// An operand, as the naive evaluation takes it and as the query does: typed, or as the text that a script would give.
fn operand(column: usize) -> impl Strategy<Value = (OwnedValue, Literal)> {
    let (kind, mut values) = pool().swap_remove(column);
    values.push(OwnedValue::Null);
    match kind {
        ColumnType::I32 | ColumnType::I16 | ColumnType::I64 => {
            values.extend([
                OwnedValue::F64(6.5),
                OwnedValue::F64(-1e20),
                OwnedValue::I64(1 << 40),
                OwnedValue::F64(5.0),
            ]);
        }
        ColumnType::F64 => values.extend([OwnedValue::I64(7), OwnedValue::F64(-1e308)]),
        ColumnType::String(_) | ColumnType::FixedString(_) => {
            values.extend(["abcdefghijklmnop", "aa", "\u{10ffff}"].map(|text| OwnedValue::Str(text.into())));
        }
        _ => {}
    }
    (select(values), any::<bool>()).prop_map(|(value, as_text)| {
        let typed = literal(&value);
        let literal =
            if as_text && typed != Literal::Null { Literal::Text(value.to_string()) } else { typed };
        (value, literal)
    })
}

/// A tree whose leaves carry their operands twice.
#[derive(Clone, Debug)]
enum Tree {
    All(Vec<Tree>),
    Any(Vec<Tree>),
    Not(Box<Tree>),
    Leaf(usize, Operator, Vec<(OwnedValue, Literal)>),
}

/// A leaf on one of these columns.
fn leaf(columns: Vec<usize>) -> impl Strategy<Value = Tree> {
    use Operator as O;
    let is_text = |kind: ColumnType| kind.is_string() || kind == ColumnType::Char;
    let operators = [
        vec![O::Equal, O::NotEqual, O::Less, O::LessOrEqual, O::Greater, O::GreaterOrEqual],
        vec![O::Range, O::Between, O::In, O::NotIn, O::Null, O::NotNull, O::True, O::False],
        vec![O::Match, O::NotMatch, O::MatchCase, O::NotMatchCase, O::Prefix],
    ];
    let takes = move |kind: ColumnType, operator: Operator| match operator {
        O::True | O::False => kind.is_number() || kind == ColumnType::Bool,
        O::Prefix => kind.is_string(),
        O::Match | O::NotMatch | O::MatchCase | O::NotMatchCase => is_text(kind),
        _ => true,
    };
    (select(columns), select(operators.concat()))
        .prop_filter("operator for the type", move |(column, operator)| takes(pool()[*column].0, *operator))
        .prop_flat_map(|(column, operator)| {
            let operands = match (operator, operator.operand_count()) {
                (O::Match | O::NotMatch | O::MatchCase | O::NotMatchCase | O::Prefix, _) => {
                    let patterns = vec!["", "a", "A*", "?", "*b*", "[a-c]*", "*c", "abcdefgh?"];
                    let pair = |text: &str| (OwnedValue::Str(text.into()), Literal::Text(text.to_owned()));
                    vec(select(patterns).prop_map(pair), 1).boxed()
                }
                (_, Some(count)) => vec(operand(column), count).boxed(),
                (_, None) => vec(operand(column), 0..4).boxed(),
            };
            operands.prop_map(move |operands| Tree::Leaf(column, operator, operands))
        })
}

fn tree() -> impl Strategy<Value = Tree> {
    tree_of((0..pool().len()).collect())
}

fn tree_of(columns: Vec<usize>) -> impl Strategy<Value = Tree> {
    leaf(columns).prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            3 => vec(inner.clone(), 0..4).prop_map(Tree::All),
            2 => vec(inner.clone(), 0..4).prop_map(Tree::Any),
            1 => inner.prop_map(|tree| Tree::Not(Box::new(tree))),
        ]
    })
}

impl Tree {
    fn expr(&self) -> Expr {
        match self {
            Self::All(trees) => Expr::All(trees.iter().map(Self::expr).collect()),
            Self::Any(trees) => Expr::Any(trees.iter().map(Self::expr).collect()),
            Self::Not(tree) => tree.expr().negate(),
            Self::Leaf(column, operator, operands) => {
                let operands = operands.iter().map(|(_, literal)| literal.clone()).collect();
                Expr::Compare(Compare::new(format!("c{column}"), *operator, operands))
            }
        }
    }

    /// The same with operands that this number stands for.
    fn with_others(&self, seed: usize) -> Self {
        let each = |trees: &[Self]| -> Vec<Self> {
            trees.iter().enumerate().map(|(at, tree)| tree.with_others(seed / 3 + at * 7)).collect()
        };
        match self {
            Self::All(trees) => Self::All(each(trees)),
            Self::Any(trees) => Self::Any(each(trees)),
            Self::Not(tree) => Self::Not(Box::new(tree.with_others(seed))),
            Self::Leaf(column, operator, operands) => {
                let mut values = pool().swap_remove(*column).1;
                values.push(OwnedValue::Null);
                let other = |(at, _): (usize, &_)| {
                    let value = if operator.takes_text() {
                        OwnedValue::Str(["a", "", "A*", "ab", "*"][(seed + at) % 5].into())
                    } else {
                        values[(seed / 2 + at) % values.len()].clone()
                    };
                    let literal = literal(&value);
                    (value, literal)
                };
                Self::Leaf(*column, *operator, operands.iter().enumerate().map(other).collect())
            }
        }
    }

    fn operands(&self) -> Vec<Literal> {
        match self {
            Self::All(trees) | Self::Any(trees) => trees.iter().flat_map(Self::operands).collect(),
            Self::Not(tree) => tree.operands(),
            Self::Leaf(_, _, operands) => operands.iter().map(|(_, literal)| literal.clone()).collect(),
        }
    }

    /// As one line; `None` where it has an empty node, for which there are no words.
    fn text(&self) -> Option<String> {
        let quoted = |literal: &Literal| match literal {
            Literal::Text(text) => format!("'{}'", text.replace('\'', "''")),
            other => format!("'{other}'"),
        };
        let joined = |trees: &[Self], word: &str| {
            let parts: Option<Vec<String>> = trees.iter().map(Self::text).collect();
            parts.filter(|parts| !parts.is_empty()).map(|parts| format!("({})", parts.join(word)))
        };
        match self {
            Self::All(trees) => joined(trees, " and "),
            Self::Any(trees) => joined(trees, " or "),
            Self::Not(tree) => tree.text().map(|tree| format!("not {tree}")),
            Self::Leaf(column, operator, operands) => {
                let operands: Vec<String> = operands.iter().map(|(_, literal)| quoted(literal)).collect();
                // What is the null there is written in a way that a column of text cannot tell from text.
                if operands.iter().any(|text| text == "''" || text == "'\\N'") {
                    return None;
                }
                Some(if operator.takes_list() {
                    format!("c{column} {operator} ({})", operands.join(","))
                } else {
                    format!("c{column} {operator} {}", operands.join(" "))
                })
            }
        }
    }

    /// Three-valued logic, by definition.
    fn holds(&self, row: &[OwnedValue], nulls: NullRule) -> Option<bool> {
        match self {
            Self::All(trees) => {
                let parts: Vec<_> = trees.iter().map(|tree| tree.holds(row, nulls)).collect();
                if parts.contains(&Some(false)) {
                    Some(false)
                } else {
                    (!parts.contains(&None)).then_some(true)
                }
            }
            Self::Any(trees) => {
                let parts: Vec<_> = trees.iter().map(|tree| tree.holds(row, nulls)).collect();
                if parts.contains(&Some(true)) {
                    Some(true)
                } else {
                    (!parts.contains(&None)).then_some(false)
                }
            }
            Self::Not(tree) => tree.holds(row, nulls).map(|holds| !holds),
            Self::Leaf(column, operator, operands) => {
                let operands: Vec<Value<'_>> = operands.iter().map(|(value, _)| value.as_value()).collect();
                compare(row[*column].as_value(), *operator, &operands, nulls)
            }
        }
    }
}

fn compare(value: Value<'_>, operator: Operator, operands: &[Value<'_>], nulls: NullRule) -> Option<bool> {
    use Operator as O;
    let unknown = nulls == NullRule::Unknown;
    if matches!(operator, O::Null | O::NotNull) {
        return Some(value.is_null() == (operator == O::Null));
    }
    if unknown && value.is_null() {
        return None;
    }
    let by_order = !matches!(operator, O::Equal | O::NotEqual | O::In | O::NotIn);
    if unknown && by_order && operands.iter().any(Value::is_null) {
        return None;
    }
    let text = value.to_string();
    let fits = |fold_case| {
        !value.is_null() && Glob::new(operands[0].as_str().expect("a pattern"), fold_case).matches(&text)
    };
    let zero = value.as_f64() == Some(0.0) || value == Value::Bool(false);
    Some(match operator {
        O::Equal => value == operands[0],
        O::NotEqual => value != operands[0],
        O::Less => value < operands[0],
        O::LessOrEqual => value <= operands[0],
        O::Greater => value > operands[0],
        O::GreaterOrEqual => value >= operands[0],
        O::Range => operands[0] <= value && value < operands[1],
        O::Between => operands[0] <= value && value <= operands[1],
        O::In => operands.contains(&value),
        O::NotIn => !operands.contains(&value),
        O::Match => fits(true),
        O::NotMatch => !fits(true),
        O::MatchCase => fits(false),
        O::NotMatchCase => !fits(false),
        O::Prefix => !value.is_null() && text.starts_with(operands[0].as_str().expect("a prefix")),
        O::True => !value.is_null() && !zero,
        O::False => !value.is_null() && zero,
        O::Null | O::NotNull => unreachable!("handled above"),
    })
}

/// A path in text: a number and the text of it are the same term.
fn path(path: &AccessPath) -> String {
    let AccessPath::Union(branches) = path else { return format!("{path:?}") };
    let branch = |branch: &Branch| {
        let given = branch.given.as_ref().map(ToString::to_string);
        format!("{:?} {:?} {given:?}", branch.path, shown(branch.residual.as_ref()))
    };
    branches.iter().map(branch).collect::<Vec<_>>().join("; ")
}

fn shown(predicate: Option<&Arc<Predicate>>) -> Option<String> {
    predicate.map(ToString::to_string)
}

fn order(keys: &[(usize, bool)], a: &[OwnedValue], b: &[OwnedValue]) -> Ordering {
    keys.iter().fold(Ordering::Equal, |order, &(column, descending)| {
        let next = a[column].cmp(&b[column]);
        order.then(if descending { next.reverse() } else { next })
    })
}

/// An index on a column, with entries that are stale and statistics that are wrong.
#[derive(Clone, Debug)]
struct Index {
    column: usize,
    kind: IndexKind,
    stale: Vec<(usize, usize)>,
    times: u64,
    table_times: u64,
}

fn index() -> impl Strategy<Value = Index> {
    (0..pool().len()).prop_flat_map(index_on)
}

fn index_on(column: usize) -> impl Strategy<Value = Index> {
    let stale = vec((0..6_usize, 0..12_usize), 0..4);
    let times = || select(vec![1_u64, 1000, 1_000_000]);
    (Just(column), 0..6, stale, times(), times()).prop_map(|(column, kind, stale, times, table_times)| {
        Index {
            column,
            kind: if kind == 0 { IndexKind::Hash } else { IndexKind::Ordered },
            stale,
            times,
            table_times,
        }
    })
}

impl Index {
    fn make(self, table: &mut Table) {
        let values = &pool()[self.column].1;
        let rows = table.images.len();
        let stale: Vec<_> = self
            .stale
            .into_iter()
            .filter(|(_, row)| *row < rows)
            .map(|(value, row)| (values[value % values.len()].clone(), row))
            .collect();
        table.index(self.column, self.kind, &stale);
        table.exaggeration.0 = self.table_times;
        table.exaggeration.1.insert(self.column, self.times);
    }
}

fn cases() -> impl Strategy<Value = (usize, Vec<Vec<OwnedValue>>)> {
    (0..pool().len()).prop_flat_map(|key| (Just(key), rows(key)))
}

/// A query with its rows.
struct Case {
    key: usize,
    rows: Vec<Vec<OwnedValue>>,
    tree: Tree,
    keys: Vec<(usize, bool)>,
    limit: Option<u64>,
    offset: u64,
    nulls: NullRule,
}

impl Case {
    /// Runs the query with these indexes and compares what comes with what a look at every row says.
    fn check(self, indexes: impl IntoIterator<Item = Index>) -> Result<(), TestCaseError> {
        let Self { key, rows, tree, keys, limit, offset, nulls } = self;
        let mut query = Query::filtered(tree.expr()).nulls(nulls).offset(offset);
        for &(column, descending) in &keys {
            let name = format!("c{column}");
            query =
                query.sort_by(if descending { SortKey::descending(name) } else { SortKey::ascending(name) });
        }
        if let Some(limit) = limit {
            query = query.limit(limit);
        }

        let mut expected: Vec<&Vec<OwnedValue>> =
            rows.iter().filter(|row| tree.holds(row, nulls) == Some(true)).collect();
        expected.sort_by(|a, b| order(&keys, a, b));
        let matching: BTreeSet<String> = expected.iter().map(|row| row[key].to_string()).collect();
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).expect("small"));
        let expected: Vec<_> =
            expected.into_iter().skip(usize::try_from(offset).expect("small")).take(limit).collect();

        let mut table = Table::new(schema(key), &rows);
        for index in indexes {
            index.make(&mut table);
        }
        let route = table.route(query.clone());
        let (found, outcome) = table.run(query);
        prop_assert_eq!(outcome.rows_returned, found.len() as u64);
        let distinct: BTreeSet<&String> = found.iter().collect();
        prop_assert_eq!(distinct.len(), found.len(), "a row twice: {:?}", route);
        prop_assert!(distinct.iter().all(|key| matching.contains(*key)), "a row too many: {:?}", route);
        // Rows that tie come in the order of the route; all that decides it must be as it should.
        let row_of = |found: &String| rows.iter().find(|row| row[key].to_string() == *found);
        let sorted =
            |row: &Vec<OwnedValue>| keys.iter().map(|(column, _)| row[*column].clone()).collect::<Vec<_>>();
        let found: Vec<_> = found.iter().filter_map(row_of).map(sorted).collect();
        let expected: Vec<_> = expected.into_iter().map(sorted).collect();
        prop_assert_eq!(found, expected, "{:?}", route);
        Ok(())
    }
}

fn nulls(high: bool) -> NullRule {
    if high { NullRule::High } else { NullRule::Unknown }
}

/// The key of a table with many rows, and columns for conditions that meet often.
const FEW: [usize; 4] = [13, 0, 1, 2];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn queries_agree_with_naive_evaluation(
        (key, rows) in cases(),
        tree in tree(),
        keys in vec((0..pool().len(), any::<bool>()), 0..3),
        limit in proptest::option::of(0..9_u64),
        offset in 0..4_u64,
        indexes in vec(index(), 0..5),
        high: bool,
    ) {
        Case { key, rows, tree, keys, limit, offset, nulls: nulls(high) }.check(indexes)?;
    }

    #[test]
    fn indexes_on_all_columns_of_a_condition_agree_with_naive_evaluation(
        rows in rows(FEW[0]),
        tree in tree_of(FEW.to_vec()),
        keys in vec((select(&FEW[..]), any::<bool>()), 0..3),
        limit in proptest::option::of(0..20_u64),
        offset in 0..4_u64,
        indexes in FEW.map(index_on),
        high: bool,
    ) {
        Case { key: FEW[0], rows, tree, keys, limit, offset, nulls: nulls(high) }.check(indexes)?;
    }

    #[test]
    fn kept_ways_agree_with_naive_evaluation(
        (key, rows) in cases(),
        tree in prop_oneof![tree(), tree_of(vec![13, 0, 1])],
        sort in proptest::option::of((0..pool().len(), any::<bool>())),
        limit in proptest::option::of(0..9_u64),
        steps in vec((0..1000_usize, proptest::option::of(vec(index(), 0..4)), any::<bool>()), 3..12),
        high: bool,
    ) {
        let mut query = Query::filtered(tree.expr()).nulls(nulls(high));
        if let Some((column, descending)) = sort {
            let name = format!("c{column}");
            query = query.sort_by(if descending { SortKey::descending(name) } else { SortKey::ascending(name) });
        }
        let mut table = Table::new(schema(key), &rows);
        let plan = table.plan(limit.map_or(query.clone(), |limit| query.limit(limit)));
        for (seed, indexes, counting) in steps {
            // Indexes come and go, and of what kind they are changes, between runs.
            if let Some(indexes) = indexes {
                table.indexes.clear();
                table.exaggeration.1.clear();
                for mut index in indexes {
                    // So that ways are kept.
                    (index.times, index.table_times) = (1, 1);
                    index.make(&mut table);
                }
            }
            let tree = tree.with_others(seed);
            let mut expected: Vec<_> =
                rows.iter().filter(|row| tree.holds(row, nulls(high)) == Some(true)).collect();
            let order_by = Vec::from_iter(sort);
            expected.sort_by(|a, b| order(&order_by, a, b));
            let matching: BTreeSet<_> = expected.iter().map(|row| row[key].to_string()).collect();
            expected.truncate(limit.map_or(usize::MAX, |limit| usize::try_from(limit).expect("small")));

            let again = plan.with_operands(tree.operands()).expect("sound operands");
            if counting {
                let counted = again.count(&mut table).expect("a sound plan");
                prop_assert_eq!(counted.rows_returned, expected.len() as u64, "{:?}", again);
                continue;
            }
            let found = table.keys(&again);
            let distinct: BTreeSet<&String> = found.iter().collect();
            prop_assert_eq!(distinct.len(), found.len(), "a row twice: {:?}", again);
            prop_assert!(found.iter().all(|key| matching.contains(key)), "a row too many: {:?}", again);
            let sorted = |row: &Vec<OwnedValue>| sort.map(|(column, _)| row[column].clone());
            let row_of = |found: &String| rows.iter().find(|row| row[key].to_string() == *found);
            let found: Vec<_> = found.iter().filter_map(row_of).map(sorted).collect();
            let expected: Vec<_> = expected.into_iter().map(sorted).collect();
            prop_assert_eq!(found, expected, "{:?}", again);
        }
    }

    #[test]
    fn the_order_of_terms_decides_nothing((key, rows) in cases(), terms in vec(tree(), 2..5), any: bool, indexes in vec(index(), 0..4)) {
        let mut table = Table::new(schema(key), &rows);
        for index in indexes {
            index.make(&mut table);
        }
        let mut terms: Vec<Expr> = terms.iter().map(Tree::expr).collect();
        let mut route = |terms: &[Expr]| {
            let terms = terms.to_vec();
            let route = table.route(Query::filtered(if any { Expr::Any(terms) } else { Expr::All(terms) }));
            // As texts: a number and its text are the same term.
            (path(route.access_path()), shown(route.residual()))
        };
        let first = route(&terms);
        terms.reverse();
        prop_assert_eq!(&route(&terms), &first);
        terms.rotate_left(1);
        prop_assert_eq!(&route(&terms), &first);
    }

    #[test]
    fn a_tree_in_text_is_the_same_tree(key in 0..pool().len(), tree in tree()) {
        let schema = Arc::new(schema(key));
        let Some(text) = tree.text() else { return Ok(()) };
        let parsed = super::text::parse(&schema, &text).expect("sound text");
        let parsed = Plan::new(&schema, parsed).expect("a sound query");
        let built = Plan::new(&schema, Query::filtered(tree.expr())).expect("a sound query");
        prop_assert_eq!(shown(parsed.filter()), shown(built.filter()), "{}", text);
    }

    #[test]
    fn any_text_is_a_query_or_an_error(text in "([a-z0-9<>=!()',\\\\*é -]| and | or | not | in |c[0-9] |limit |sort ){0,24}") {
        let schema = Arc::new(schema(0));
        match super::text::parse(&schema, &text).and_then(|query| Plan::new(&schema, query)) {
            Ok(_) => {}
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn any_words_are_a_term_or_an_error(words in vec("[a-z0-9<>=!{} \\\\*é-]{0,9}", 0..5)) {
        let table = Table::flights();
        if let Ok(filter) = super::compare::term(&table.schema, &words) {
            let _ = Plan::new(&table.schema, Query::filtered(filter));
        }
    }
}
