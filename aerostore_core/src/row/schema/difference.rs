//! What two definitions differ in, for people.
#![forbid(unsafe_code)]

use super::{Column, Schema, Ttl};
use crate::row::{IndexKind, NullRule};

impl Schema {
    /// The first thing in which `other` differs from this definition, in words; `None` when they are equal.
    pub fn difference(&self, other: &Self) -> Option<String> {
        if self == other {
            return None;
        }
        let columns = self.columns.iter().zip(&other.columns);
        for (index, (mine, others)) in columns.enumerate() {
            if mine.name != others.name {
                return Some(format!("column {index} is \"{}\", not \"{}\"", mine.name, others.name));
            }
            if let Some(difference) = column_difference(mine, others) {
                return Some(format!("column \"{}\" {difference}", mine.name));
            }
        }
        let (count, others) = (self.columns.len(), other.columns.len());
        if let Some(column) = self.columns.get(others) {
            return Some(format!("it has a column \"{}\"", column.name));
        }
        if let Some(column) = other.columns.get(count) {
            return Some(format!("it has no column \"{}\"", column.name));
        }
        Some(if self.key != other.key {
            format!("its key is \"{}\", not \"{}\"", self.key_column().name, other.key_column().name)
        } else if self.rules.numbered_key != other.rules.numbered_key {
            (if self.rules.numbered_key { "it numbers its rows" } else { "it does not number its rows" })
                .into()
        } else if self.rules.nulls != other.rules.nulls {
            format!("nulls are {}, not {}", rule_name(self.rules.nulls), rule_name(other.rules.nulls))
        } else if self.rules.ttl != other.rules.ttl {
            format!("{}, not {}", self.ttl_text(), other.ttl_text())
        } else {
            format!("its name is \"{}\", not \"{}\"", self.name, other.name)
        })
    }

    fn ttl_text(&self) -> String {
        match self.rules.ttl {
            None => "rows live for ever".into(),
            Some(Ttl { column, seconds }) => {
                format!("rows live for {seconds} s from \"{}\"", self.columns[column].name)
            }
        }
    }
}

fn rule_name(rule: NullRule) -> &'static str {
    match rule {
        NullRule::Unknown => "unknown",
        NullRule::High => "high",
    }
}

fn index_name(kind: IndexKind) -> &'static str {
    match kind {
        IndexKind::None => "none",
        IndexKind::Hash => "hash",
        IndexKind::Ordered => "ordered",
    }
}

/// What to say behind the name of `mine`.
fn column_difference(mine: &Column, others: &Column) -> Option<String> {
    let default = |column: &Column| {
        column.default_value().map_or_else(|| "no default".into(), |value| format!("default {value}"))
    };
    let aliases = |column: &Column| format!("{{{}}}", column.aliases.join(" "));
    Some(if mine.kind != others.kind {
        format!("is {}, not {}", mine.kind, others.kind)
    } else if mine.nullable != others.nullable {
        (if mine.nullable { "may be null" } else { "may not be null" }).into()
    } else if mine.unique != others.unique {
        (if mine.unique { "is unique" } else { "is not unique" }).into()
    } else if mine.index != others.index {
        format!("has index {}, not {}", index_name(mine.index), index_name(others.index))
    } else if mine.default != others.default {
        format!("has {}, not {}", default(mine), default(others))
    } else if mine.aliases != others.aliases {
        format!("has aliases {}, not {}", aliases(mine), aliases(others))
    } else {
        return None;
    })
}
