//! The operators of comparisons: their names and how many operands they take.

#![forbid(unsafe_code)]

use std::fmt;

/// An operator on one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operator {
    /// The value equals the operand.
    Equal,
    /// It differs from it.
    NotEqual,
    /// It is less.
    Less,
    /// It is less or equal.
    LessOrEqual,
    /// It is greater.
    Greater,
    /// It is greater or equal.
    GreaterOrEqual,
    /// It is at least the first operand and less than the second.
    Range,
    /// It is at least the first operand and at most the second.
    Between,
    /// It equals one of the operands.
    In,
    /// It equals none of them.
    NotIn,
    /// The text fits a glob pattern, upper and lower case the same.
    Match,
    /// It does not.
    NotMatch,
    /// The text fits a glob pattern.
    MatchCase,
    /// It does not.
    NotMatchCase,
    /// The text starts with the operand.
    Prefix,
    /// There is no value.
    Null,
    /// There is a value.
    NotNull,
    /// The value is true, or a number other than zero.
    True,
    /// The value is false, or zero.
    False,
}

/// Every operator with all its names, the canonical one first, in the order in which errors list them.
const NAMES: [(Operator, &[&str]); 19] = [
    (Operator::Equal, &["=", "=="]),
    (Operator::NotEqual, &["!=", "<>"]),
    (Operator::Less, &["<"]),
    (Operator::LessOrEqual, &["<="]),
    (Operator::Greater, &[">"]),
    (Operator::GreaterOrEqual, &[">="]),
    (Operator::Range, &["range"]),
    (Operator::Between, &["between"]),
    (Operator::In, &["in"]),
    (Operator::NotIn, &["notin"]),
    (Operator::Match, &["match"]),
    (Operator::NotMatch, &["notmatch"]),
    (Operator::MatchCase, &["match_case"]),
    (Operator::NotMatchCase, &["notmatch_case"]),
    (Operator::Prefix, &["prefix"]),
    (Operator::Null, &["null"]),
    (Operator::NotNull, &["notnull"]),
    (Operator::True, &["true"]),
    (Operator::False, &["false"]),
];

impl Operator {
    /// The operator of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, names)| names.contains(&name)).map(|(operator, _)| *operator)
    }

    /// The canonical name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(operator, _)| *operator == self).map_or("?", |(_, names)| names[0])
    }

    /// All names of all operators, as a list for an error message.
    pub fn list() -> String {
        let names: Vec<&str> = NAMES.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        match names.split_last() {
            Some((last, others)) => format!("{}, or {last}", others.join(", ")),
            None => String::new(),
        }
    }

    /// How the operator is written, with its column and operands.
    pub fn usage(self) -> &'static str {
        match self {
            Self::Equal => "= column value",
            Self::NotEqual => "!= column value",
            Self::Less => "< column value",
            Self::LessOrEqual => "<= column value",
            Self::Greater => "> column value",
            Self::GreaterOrEqual => ">= column value",
            Self::Range => "range column low high",
            Self::Between => "between column low high",
            Self::In => "in column {value ...}",
            Self::NotIn => "notin column {value ...}",
            Self::Match => "match column pattern",
            Self::NotMatch => "notmatch column pattern",
            Self::MatchCase => "match_case column pattern",
            Self::NotMatchCase => "notmatch_case column pattern",
            Self::Prefix => "prefix column text",
            Self::Null => "null column",
            Self::NotNull => "notnull column",
            Self::True => "true column",
            Self::False => "false column",
        }
    }

    /// How many operands it takes; `None` when any number will do.
    pub fn operand_count(self) -> Option<usize> {
        match self {
            Self::In | Self::NotIn => None,
            Self::Null | Self::NotNull | Self::True | Self::False => Some(0),
            Self::Range | Self::Between => Some(2),
            _ => Some(1),
        }
    }

    /// Whether its operands are the members of one list.
    pub fn takes_list(self) -> bool {
        self.operand_count().is_none()
    }

    /// Whether its operand is a pattern or a prefix, and so text in every case.
    pub fn takes_text(self) -> bool {
        matches!(self.positive().0, Self::Match | Self::MatchCase | Self::Prefix)
    }

    /// The operator that holds for exactly the values for which this one does not, and whether its sense turned.
    pub(super) fn positive(self) -> (Self, bool) {
        match self {
            Self::NotEqual => (Self::Equal, true),
            Self::NotIn => (Self::In, true),
            Self::NotMatch => (Self::Match, true),
            Self::NotMatchCase => (Self::MatchCase, true),
            Self::NotNull => (Self::Null, true),
            Self::False => (Self::True, true),
            positive => (positive, false),
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_operator() {
        for (operator, names) in NAMES {
            assert_eq!(operator.name(), names[0]);
            assert!(operator.usage().starts_with(names[0]));
            assert!(names.iter().all(|name| Operator::from_name(name) == Some(operator)));
        }
        assert_eq!(Operator::from_name("like"), None);
        assert!(Operator::list().ends_with("true, or false"));
    }
}
