//! What a definition must not be.
#![forbid(unsafe_code)]

use super::{Column, NamePlace, Ttl, find};
use crate::row::RowError;
use crate::row::kind::{ColumnType, MAX_IMAGE_BYTES, MAX_KEY_BYTES};

const MAX_NAME_BYTES: usize = 64;
/// A thousand years: sums with a time do not overflow, in microseconds either.
const MAX_TTL_SECONDS: u64 = 31_557_600_000;

pub(super) fn check_name(name: &str, also: impl Fn(u8) -> bool) -> Result<(), RowError> {
    let reason = match name.as_bytes() {
        [] => "empty",
        bytes if bytes.len() > MAX_NAME_BYTES => "longer than 64 bytes",
        [first, ..] if first.is_ascii_digit() => "starts with a digit",
        bytes if bytes.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_' || also(byte)) => {
            return Ok(());
        }
        _ => "only letters, digits and _ are allowed",
    };
    Err(RowError::Name { name: name.to_owned(), reason })
}

pub(super) fn collect_names(columns: &[Column]) -> Result<Vec<NamePlace>, RowError> {
    let mut names = Vec::with_capacity(columns.iter().map(|column| 1 + column.aliases.len()).sum());
    for (index, column) in columns.iter().enumerate() {
        let aliases = (0..column.aliases.len()).map(Some);
        for alias in std::iter::once(None).chain(aliases) {
            let place = NamePlace { column: index, alias };
            check_name(place.name_in(columns), |_| false)?;
            names.push(place);
        }
    }
    names.sort_unstable_by_key(|place| place.name_in(columns));
    let mut pairs = names.windows(2).map(|pair| [pair[0].name_in(columns), pair[1].name_in(columns)]);
    match pairs.find(|[one, other]| one == other) {
        Some([name, _]) => Err(RowError::DuplicateName { name: name.to_owned() }),
        None => Ok(names),
    }
}

pub(super) fn check_width(table: &str, column: &Column) -> Result<(), RowError> {
    let reason = match column.kind.max_bytes() {
        Some(0) => "needs a length of at least 1",
        Some(bytes) if bytes > MAX_IMAGE_BYTES => "is longer than a row can be",
        _ => return Ok(()),
    };
    Err(RowError::Definition {
        table: table.to_owned(),
        reason: format!("column \"{}\" {reason}", column.name),
    })
}

pub(super) fn check_key(table: &str, column: &Column) -> Result<(), RowError> {
    let reason = if column.nullable {
        "must not be nullable".to_owned()
    } else if column.default.is_some() {
        "must not have a default".to_owned()
    } else if column.kind.max_bytes().is_some_and(|bytes| bytes > MAX_KEY_BYTES) {
        format!("must not be longer than {MAX_KEY_BYTES} bytes")
    } else {
        return Ok(());
    };
    Err(RowError::Definition {
        table: table.to_owned(),
        reason: format!("the key \"{}\" {reason}", column.name),
    })
}

/// A key that the table numbers.
pub(super) fn check_numbered(table: &str, key: &Column, numbered: bool) -> Result<(), RowError> {
    if numbered && key.kind != ColumnType::I64 {
        let reason = format!("the key \"{}\" is {} and must be wide to be numbered", key.name, key.kind);
        return Err(RowError::Definition { table: table.to_owned(), reason });
    }
    Ok(())
}

/// S5
pub(super) fn check_ttl(
    table: &str,
    columns: &[Column],
    names: &[NamePlace],
    column: &str,
    seconds: u64,
) -> Result<Ttl, RowError> {
    let Some(index) = find(columns, names, column) else {
        return Err(RowError::UnknownColumn { name: column.to_owned(), table: table.to_owned() });
    };
    let kind = columns[index].kind;
    let is_time = matches!(kind, ColumnType::Timestamp | ColumnType::TimestampMicros | ColumnType::I64);
    let reason = if !is_time {
        format!(
            "a time to live cannot count from column \"{column}\": it is {kind} and must be timestamp or wide"
        )
    } else if seconds == 0 || seconds > MAX_TTL_SECONDS {
        format!("a time to live must be 1 to {MAX_TTL_SECONDS} seconds")
    } else {
        return Ok(Ttl { column: index, seconds });
    };
    Err(RowError::Definition { table: table.to_owned(), reason })
}
