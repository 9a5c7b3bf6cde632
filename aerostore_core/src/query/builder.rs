//! The typed builder: the column constants that `#[speedtable]` makes have methods that make conditions the compiler has checked.
//!
//! ```
//! use aerostore_core::query::Query;
//! use aerostore_core::row::speedtable;
//!
//! #[speedtable]
//! pub struct Flight {
//!     #[column(key, max = 24)]
//!     flight_id: String,
//!     altitude: Option<i32>,
//! }
//!
//! let climbing = Flight::ALTITUDE.between(10_000, 20_000).and(Flight::FLIGHT_ID.prefix("UAL"));
//! let query = Query::filtered(climbing).sort_by(Flight::ALTITUDE.descending()).limit(10);
//! ```
//!
//! ```compile_fail
//! # use aerostore_core::row::TypedColumn;
//! const ALTITUDE: TypedColumn<(), i32> = TypedColumn::new(1, "altitude");
//! ALTITUDE.eq("high"); // text does not compare with a number
//! ```
//!
//! ```compile_fail
//! # use aerostore_core::row::TypedColumn;
//! const ALTITUDE: TypedColumn<(), i32> = TypedColumn::new(1, "altitude");
//! ALTITUDE.prefix("1"); // a number has no prefix
//! ```

#![forbid(unsafe_code)]

use std::net::IpAddr;

use super::operator::Operator;
use super::syntax::{Compare, Expr, Literal, SortKey};
use crate::row::{FixedString, Mac, Timestamp, TimestampMicros, TypedColumn};

/// A Rust type that a column holds.
pub trait ColumnValue {
    /// What such a column is compared with.
    type Operand<'a>: Into<Literal>;
}

/// A Rust type of text that a column holds.
pub trait TextValue: ColumnValue {}

macro_rules! column_values {
    ($($held:ty),* $(,)?) => {
        $(impl ColumnValue for $held {
            type Operand<'a> = $held;
        })*
    };
}

column_values! { bool, i16, i32, i64, f32, f64, char, IpAddr, [u8; 6] }

impl ColumnValue for String {
    type Operand<'a> = &'a str;
}

impl TextValue for String {}

impl<const N: usize> ColumnValue for FixedString<N> {
    type Operand<'a> = &'a str;
}

impl<const N: usize> TextValue for FixedString<N> {}

impl ColumnValue for Timestamp {
    type Operand<'a> = i64;
}

impl ColumnValue for TimestampMicros {
    type Operand<'a> = i64;
}

impl ColumnValue for Mac {
    type Operand<'a> = [u8; 6];
}

impl<R, T> TypedColumn<R, T> {
    /// There is no value.
    pub fn is_null(self) -> Expr {
        self.compare(Operator::Null, Vec::new())
    }

    /// There is a value.
    pub fn is_not_null(self) -> Expr {
        self.compare(Operator::NotNull, Vec::new())
    }

    /// Smallest first, nulls last.
    pub fn ascending(self) -> SortKey {
        SortKey::ascending(self.name())
    }

    /// The reverse of ascending.
    pub fn descending(self) -> SortKey {
        SortKey::descending(self.name())
    }

    fn compare(self, operator: Operator, operands: Vec<Literal>) -> Expr {
        Expr::Compare(Compare::new(self.name(), operator, operands))
    }
}

impl<R, T: ColumnValue> TypedColumn<R, T> {
    /// The value equals `operand`.
    pub fn eq(self, operand: T::Operand<'_>) -> Expr {
        self.compare(Operator::Equal, vec![operand.into()])
    }

    /// The value differs from `operand`.
    pub fn ne(self, operand: T::Operand<'_>) -> Expr {
        self.compare(Operator::NotEqual, vec![operand.into()])
    }

    /// The value is greater than `operand`.
    pub fn gt(self, operand: T::Operand<'_>) -> Expr {
        self.compare(Operator::Greater, vec![operand.into()])
    }

    /// The value is at least `operand`.
    pub fn gte(self, operand: T::Operand<'_>) -> Expr {
        self.compare(Operator::GreaterOrEqual, vec![operand.into()])
    }

    /// The value is less than `operand`.
    pub fn lt(self, operand: T::Operand<'_>) -> Expr {
        self.compare(Operator::Less, vec![operand.into()])
    }

    /// The value is at most `operand`.
    pub fn lte(self, operand: T::Operand<'_>) -> Expr {
        self.compare(Operator::LessOrEqual, vec![operand.into()])
    }

    /// The value is at least `low` and less than `high`.
    pub fn range(self, low: T::Operand<'_>, high: T::Operand<'_>) -> Expr {
        self.compare(Operator::Range, vec![low.into(), high.into()])
    }

    /// The value is at least `low` and at most `high`.
    pub fn between(self, low: T::Operand<'_>, high: T::Operand<'_>) -> Expr {
        self.compare(Operator::Between, vec![low.into(), high.into()])
    }

    /// The value equals one of `operands`.
    pub fn in_values<'a>(self, operands: impl IntoIterator<Item = T::Operand<'a>>) -> Expr {
        self.compare(Operator::In, operands.into_iter().map(Into::into).collect())
    }

    /// The value equals none of `operands`.
    pub fn not_in_values<'a>(self, operands: impl IntoIterator<Item = T::Operand<'a>>) -> Expr {
        self.compare(Operator::NotIn, operands.into_iter().map(Into::into).collect())
    }
}

impl<R> TypedColumn<R, bool> {
    /// The value is true.
    pub fn is_true(self) -> Expr {
        self.compare(Operator::True, Vec::new())
    }

    /// The value is false.
    pub fn is_false(self) -> Expr {
        self.compare(Operator::False, Vec::new())
    }
}

impl<R, T: TextValue> TypedColumn<R, T> {
    /// The text starts with `text`.
    pub fn prefix(self, text: &str) -> Expr {
        self.compare(Operator::Prefix, vec![text.into()])
    }

    /// The text fits a glob pattern, upper and lower case the same.
    pub fn matches(self, pattern: &str) -> Expr {
        self.compare(Operator::Match, vec![pattern.into()])
    }

    /// The text fits a glob pattern.
    pub fn matches_case(self, pattern: &str) -> Expr {
        self.compare(Operator::MatchCase, vec![pattern.into()])
    }
}
