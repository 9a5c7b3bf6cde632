//! Probes: a condition compiled for the bytes of row images.
//!
//! Shape       what a test needs to know of its column is settled when the probe is made: where the value lies, how wide it is, which
//!             bit says that it is null. An interval of integers is one subtraction and one comparison of unsigned numbers.
//! Invariants  as for fields (F1): used only with images of the schema that it was made for.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::field::{Field, array};
use super::glob::Glob;
use super::interval::Interval;
use super::places::Places;
use super::predicate::{Leaf, Node, Test};
use crate::row::{ColumnType, RowView};

/// A compiled condition.
#[derive(Clone, Debug)]
pub(super) enum Probe {
    Leaf(LeafProbe),
    All(Box<[Probe]>),
    Any(Box<[Probe]>),
}

/// One column's test.
#[derive(Clone, Debug)]
pub(super) struct LeafProbe {
    /// The column's bit in the null mask.
    null_bit: u64,
    null_passes: bool,
    negated: bool,
    /// Where the value lies.
    offset: usize,
    /// The bytes of an image up to the end of the value, if that lies in the fixed part.
    fixed: usize,
    check: Check,
}

/// A test of a value that is not null. Integers pass when they lie at most `span` above `low`.
#[derive(Clone, Debug)]
enum Check {
    Never,
    Bool {
        low: u8,
        span: u8,
    },
    I16 {
        low: i16,
        span: u16,
    },
    I32 {
        low: i32,
        span: u32,
    },
    Char {
        low: u32,
        span: u32,
    },
    I64 {
        low: i64,
        span: u64,
    },
    F32 {
        low: f64,
        high: f64,
    },
    F64 {
        low: f64,
        high: f64,
    },
    /// A text padded to the width of its column.
    Padded(Box<[u8]>),
    /// Of another kind.
    Field(Field, FieldCheck),
}

/// A test that needs to find the value first.
#[derive(Clone, Debug)]
enum FieldCheck {
    Bytes { low: Box<[u8]>, high: Option<Box<[u8]>> },
    Ints(Arc<[i64]>),
    Floats(Arc<[f64]>),
    Strings(Arc<[Box<[u8]>]>),
    Glob(Arc<Glob>),
}

impl Probe {
    /// Compiles `node`.
    pub(super) fn new(node: &Node) -> Self {
        match node {
            Node::Leaf(leaf) => Self::Leaf(LeafProbe::new(leaf)),
            Node::All(nodes) => Self::All(nodes.iter().map(Self::new).collect()),
            Node::Any(nodes) => Self::Any(nodes.iter().map(Self::new).collect()),
        }
    }

    /// How many bytes of an image are looked at, from its start, apart from texts behind its fixed part.
    pub(super) fn image_bytes(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.fixed,
            Self::All(probes) | Self::Any(probes) => probes.iter().map(Self::image_bytes).max().unwrap_or(0),
        }
    }

    #[inline]
    pub(super) fn matches(&self, row: RowView<'_>) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.matches(row),
            tree => tree.tree_matches(row),
        }
    }

    /// Those of the rows at `asked` that match. Tests of numbers are made of all rows at once, without a branch for each; of any
    /// other only the rows that can still pass are asked.
    pub(super) fn select(&self, rows: &[RowView<'_>], asked: Places) -> Places {
        match self {
            Self::Leaf(leaf) => leaf.select(rows, asked),
            Self::All(probes) => {
                let mut left = asked;
                for probe in probes {
                    if left.is_empty() {
                        break;
                    }
                    left = probe.select(rows, left);
                }
                left
            }
            Self::Any(probes) => probes
                .iter()
                .fold(Places::NONE, |passed, probe| passed.or(probe.select(rows, asked.without(passed)))),
        }
    }

    /// Apart, so that a single test is inlined where it is asked.
    fn tree_matches(&self, row: RowView<'_>) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.matches(row),
            Self::All(probes) => probes.iter().all(|probe| probe.tree_matches(row)),
            Self::Any(probes) => probes.iter().any(|probe| probe.tree_matches(row)),
        }
    }
}

impl LeafProbe {
    fn new(leaf: &Leaf) -> Self {
        Self {
            null_bit: 1 << leaf.field.index(),
            null_passes: leaf.null_passes,
            negated: leaf.negated,
            offset: leaf.field.offset(),
            fixed: leaf.field.offset() + leaf.field.column_type().fixed_bytes() as usize,
            check: Check::new(leaf.field, &leaf.test),
        }
    }

    #[inline]
    fn matches(&self, row: RowView<'_>) -> bool {
        !self.select(&[row], Places::first(1)).is_empty()
    }

    /// Those of the rows at `asked` that pass.
    #[inline]
    fn select(&self, rows: &[RowView<'_>], asked: Places) -> Places {
        let at = self.offset;
        let passing = match &self.check {
            Check::Never => self.each(rows, |_| false),
            Check::Bool { low, span } => self.each(rows, |bytes| bytes[at].wrapping_sub(*low) <= *span),
            Check::I16 { low, span } => self.each(rows, |bytes| {
                i16::from_le_bytes(array(bytes, at)).wrapping_sub(*low).cast_unsigned() <= *span
            }),
            Check::I32 { low, span } => self.each(rows, |bytes| {
                i32::from_le_bytes(array(bytes, at)).wrapping_sub(*low).cast_unsigned() <= *span
            }),
            Check::Char { low, span } => {
                self.each(rows, |bytes| u32::from_le_bytes(array(bytes, at)).wrapping_sub(*low) <= *span)
            }
            Check::I64 { low, span } => self.each(rows, |bytes| {
                i64::from_le_bytes(array(bytes, at)).wrapping_sub(*low).cast_unsigned() <= *span
            }),
            Check::F32 { low, high } => self.each(rows, |bytes| {
                (*low..=*high).contains(&f64::from(f32::from_le_bytes(array(bytes, at))))
            }),
            Check::F64 { low, high } => {
                self.each(rows, |bytes| (*low..=*high).contains(&f64::from_le_bytes(array(bytes, at))))
            }
            Check::Padded(text) => self.each(rows, |bytes| bytes[at..at + text.len()] == **text),
            Check::Field(field, check) => {
                return asked.filter_by(rows, |row| self.settle(row.bytes(), |_| check.passes(*field, row)));
            }
        };
        passing.and(asked)
    }

    /// Asks every row, whose value `passes` is told of if it is not null.
    #[inline]
    fn each(&self, rows: &[RowView<'_>], passes: impl Fn(&[u8]) -> bool) -> Places {
        // Cut to one length, so that what follows needs to be checked once for all rows.
        Places::of(rows, |row| self.settle(&row.bytes()[..self.fixed], &passes))
    }

    #[inline]
    fn settle(&self, bytes: &[u8], passes: impl Fn(&[u8]) -> bool) -> bool {
        if u64::from_le_bytes(array(bytes, 0)) & self.null_bit != 0 {
            self.null_passes
        } else {
            passes(bytes) != self.negated
        }
    }
}

impl Check {
    fn new(field: Field, test: &Test) -> Self {
        match test {
            Test::Never => Self::Never,
            Test::Within(Interval::Int { low, high }) => Self::ints(field, *low, *high),
            Test::Within(Interval::Float { low, high }) => match field.column_type() {
                ColumnType::F32 => Self::F32 { low: *low, high: *high },
                _ => Self::F64 { low: *low, high: *high },
            },
            Test::Within(Interval::Bytes { low, high: Some(high) })
                if high.split_last() == Some((&0, low))
                    && matches!(field.column_type(), ColumnType::FixedString(_)) =>
            {
                Self::padded(field, low)
            }
            Test::Within(Interval::Bytes { low, high }) => {
                Self::Field(field, FieldCheck::Bytes { low: low.clone(), high: high.clone() })
            }
            Test::Ints(set) => Self::Field(field, FieldCheck::Ints(Arc::clone(set))),
            Test::Floats(set) => Self::Field(field, FieldCheck::Floats(Arc::clone(set))),
            Test::Strings(set) => Self::Field(field, FieldCheck::Strings(Arc::clone(set))),
            Test::Glob(glob) => Self::Field(field, FieldCheck::Glob(Arc::clone(glob))),
        }
    }

    /// Just `text`, which may be longer than the column has room for, or have a NUL, which no value has.
    fn padded(field: Field, text: &[u8]) -> Self {
        let ColumnType::FixedString(width) = field.column_type() else { return Self::Never };
        let mut padded = vec![0; usize::from(width)];
        match padded.get_mut(..text.len()) {
            Some(start) if !text.contains(&0) => start.copy_from_slice(text),
            _ => return Self::Never,
        }
        Self::Padded(padded.into())
    }

    /// The integers from `low` to `high`, as far as the column has them.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the type before, and no span exceeds it"
    )]
    fn ints(field: Field, low: i64, high: i64) -> Self {
        let (least, greatest) = field.int_limits();
        let (low, high) = (low.max(least), high.min(greatest));
        if low > high {
            return Self::Never;
        }
        let span = high.wrapping_sub(low).cast_unsigned();
        match field.column_type() {
            ColumnType::Bool => Self::Bool { low: low as u8, span: span as u8 },
            ColumnType::I16 => Self::I16 { low: low as i16, span: span as u16 },
            ColumnType::I32 => Self::I32 { low: low as i32, span: span as u32 },
            ColumnType::Char => Self::Char { low: low as u32, span: span as u32 },
            _ => Self::I64 { low, span },
        }
    }
}

impl FieldCheck {
    /// Apart, so that the checks of numbers stay small enough to be inlined.
    #[inline(never)]
    fn passes(&self, field: Field, row: RowView<'_>) -> bool {
        match self {
            Self::Bytes { low, high } => Interval::has_bytes(low, high.as_deref(), field.bytes(row)),
            Self::Ints(set) => set.binary_search(&field.int(row)).is_ok(),
            Self::Floats(set) => {
                let value = field.float(row);
                set.binary_search_by(|member| member.total_cmp(&value)).is_ok()
            }
            Self::Strings(set) => {
                let value = field.bytes(row);
                set.binary_search_by(|member| (**member).cmp(value)).is_ok()
            }
            Self::Glob(glob) => match field.column_type() {
                ColumnType::Char => {
                    let letter = u32::try_from(field.int(row)).ok().and_then(char::from_u32);
                    letter.is_some_and(|letter| glob.matches(letter.encode_utf8(&mut [0; 4])))
                }
                _ => std::str::from_utf8(field.bytes(row)).is_ok_and(|text| glob.matches(text)),
            },
        }
    }
}
