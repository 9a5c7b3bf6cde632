//! What a row type must keep to that tokens alone can tell, reported where it is broken.
//!
//! What needs types (is it a column type? how wide is the row?) is asserted by the expansion instead. Between the two, a
//! row type that compiles has a schema that builds.

use std::collections::HashMap;

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Expr, ExprUnary, Lit, Result, UnOp};

use crate::parse::{ColumnSpec, Errors, Name, RowSpec, last_segment};

const MAX_COLUMNS: usize = 64;
const MAX_NAME_BYTES: usize = 64;
/// Methods of every row: a getter of that name would hide one.
const RESERVED: [&str; 12] = [
    "new",
    "schema",
    "encode",
    "decode",
    "value",
    "set_value",
    "nulls",
    "dirty",
    "clear_dirty",
    "encode_delta",
    "apply_delta",
    "clone",
];

const TYPES: &str =
    "bool, i16, i32, i64, f32, f64, char, FixedString<N>, String, Timestamp, TimestampMicros, IpAddr or Mac";
/// Types that others may expect a column to have.
const FOREIGN: [&str; 28] = [
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
    "usize",
    "i8",
    "i128",
    "isize",
    "str",
    "Vec",
    "Box",
    "Rc",
    "Arc",
    "Cow",
    "Cell",
    "RefCell",
    "HashMap",
    "HashSet",
    "BTreeMap",
    "BTreeSet",
    "VecDeque",
    "Duration",
    "Instant",
    "SystemTime",
    "PathBuf",
    "Ipv4Addr",
    "Ipv6Addr",
];

pub(crate) fn row(row: &RowSpec) -> Result<()> {
    let mut errors = Errors::default();
    check_name(&row.name, ":.-", &mut errors);
    if row.columns.is_empty() {
        errors.at(row.ident.span(), "a table has at least one column");
    }
    if let Some(column) = row.columns.get(MAX_COLUMNS) {
        errors.at(column.ident.span(), format!("a table has at most {MAX_COLUMNS} columns"));
    }
    check_keys(row, &mut errors);
    check_names(row, &mut errors);
    check_methods(row, &mut errors);
    for column in &row.columns {
        check_type(column, &mut errors);
        if let Some(default) = &column.default {
            check_default(default, &mut errors);
        }
    }
    errors.into_result()
}

fn check_name(name: &Name, also: &str, errors: &mut Errors) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || also.contains(c);
    let problem = match name.text.chars().next() {
        None => "is empty",
        Some(first) if first.is_ascii_digit() => "starts with a digit",
        Some(_) if name.text.len() > MAX_NAME_BYTES => "is longer than 64 bytes",
        Some(_) if !name.text.chars().all(allowed) => "has characters other than letters, digits and _",
        Some(_) => return,
    };
    errors.at(name.span, format!("the name \"{}\" {problem}", name.text));
}

fn check_keys(row: &RowSpec, errors: &mut Errors) {
    let mut keys = row.columns.iter().filter_map(|column| column.key.map(|span| (column, span)));
    let Some((key, _)) = keys.next() else {
        if !row.columns.is_empty() {
            errors.at(row.ident.span(), "no key: mark one field with #[column(key)]");
        }
        return;
    };
    for (_, span) in keys {
        errors.at(span, format!("a second key: `{}` is the key already", key.ident));
    }
    if key.optional().is_some() {
        errors.at(key.ty.span(), "the key must not be null: no Option is possible");
    }
    if let Some(default) = &key.default {
        errors.at(default.span(), "the key must not have a default");
    }
}

fn check_names(row: &RowSpec, errors: &mut Errors) {
    let mut seen: HashMap<&str, &ColumnSpec> = HashMap::new();
    for column in &row.columns {
        for name in std::iter::once(&column.name).chain(&column.aliases) {
            check_name(name, "", errors);
            if let Some(other) = seen.insert(&name.text, column) {
                errors.at(name.span, format!("`{}` has the name \"{}\" already", other.ident, name.text));
            }
        }
    }
}

/// Getters, setters and constants must neither collide with each other nor hide what every row has.
fn check_methods(row: &RowSpec, errors: &mut Errors) {
    let mut seen: HashMap<String, &ColumnSpec> = HashMap::new();
    for column in &row.columns {
        let name = column.ident.unraw().to_string();
        if RESERVED.contains(&name.as_str()) || name.starts_with("__") {
            errors.at(
                column.ident.span(),
                format!("`{name}` is reserved: use another field name and name = \"...\""),
            );
        }
        for item in [name.clone(), format!("set_{name}"), name.to_uppercase()] {
            match seen.insert(item.clone(), column) {
                Some(other) if other.ident != column.ident => {
                    let message = format!("`{}` and `{name}` both need the name `{item}`", other.ident);
                    errors.at(column.ident.span(), message);
                }
                _ => {}
            }
        }
    }
}

/// Refuses types by their names where they are well known. The trait behind the columns would refuse them too, but once
/// for every use in the expansion; that is left to names that only the compiler can follow.
fn check_type(column: &ColumnSpec, errors: &mut Errors) {
    let base = column.base();
    let message = match last_segment(base).map(|segment| segment.ident.to_string()).as_deref() {
        Some("Option") => "a column is null or not: an Option holds no other".to_owned(),
        Some("String") if column.max.is_none() => "a String needs a limit: #[column(max = BYTES)]".to_owned(),
        Some(name) if !FOREIGN.contains(&name) => return,
        _ => format!("no column can have this type: it must be {TYPES}, or an Option of one"),
    };
    errors.at(base.span(), message);
}

/// Only literals: their values are known here, so that building the schema cannot fail when the program runs.
fn check_default(default: &Expr, errors: &mut Errors) {
    let number = match default {
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => expr,
        other => other,
    };
    let Expr::Lit(literal) = number else {
        return errors.at(default.span(), "a default is a literal");
    };
    check_literal(&literal.lit, default.span(), errors);
}

fn check_literal(literal: &Lit, span: Span, errors: &mut Errors) {
    let nul = match literal {
        Lit::Str(text) => text.value().contains('\0'),
        Lit::Char(letter) => letter.value() == '\0',
        _ => false,
    };
    if nul {
        errors.at(span, "strings and characters must not contain NUL");
    }
}
