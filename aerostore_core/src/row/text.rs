//! Values from text and to text, without allocation.
//!
//! Forms       integers and timestamps in decimal digits with an optional sign; floats in decimal, `.` and exponent; bool
//!             as `0` or `1` (read also as true, false, yes, no, on, off and their first letters, in any case); addresses
//!             in their usual form. Null is `\N`, and nothing at all in a nullable column.
//! Strict      no spaces around numbers, no rounding, no wrapping, no NaN.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use super::error::RowError;
use super::image::RowImage;
use super::kind::ColumnType;
use super::schema::{Column, Schema};
use super::value::Value;

/// How null is written.
pub const NULL: &[u8] = b"\\N";
const EXCERPT_CHARS: usize = 40;

/// Reads `text` as a value of column `index` and puts it into `image`.
///
/// # Errors
/// What [`parse`] reports, and what [`RowImage::set`] does.
///
/// # Panics
/// When there is no such column.
#[inline]
pub fn parse_into(schema: &Schema, index: usize, text: &[u8], image: &mut RowImage) -> Result<(), RowError> {
    let value = parse(schema.column(index), text)?;
    image.set(schema, index, value)
}

/// Reads `text` as a value of `column`.
///
/// # Errors
/// [`RowError::Parse`] for text that is no value of the type, [`RowError::Range`] for a number that it cannot hold,
/// [`RowError::NotFinite`], [`RowError::Utf8`], [`RowError::NotNull`] for [`NULL`] in a column that has none.
#[inline]
pub fn parse<'t>(column: &Column, text: &'t [u8]) -> Result<Value<'t>, RowError> {
    if text.is_empty() && column.is_nullable() {
        return Ok(Value::Null);
    }
    if text == NULL {
        return if column.is_nullable() {
            Ok(Value::Null)
        } else {
            Err(RowError::NotNull { column: column.name().to_owned() })
        };
    }
    match column.column_type() {
        ColumnType::FixedString(_) | ColumnType::String(_) => utf8(column, text).map(Value::Str),
        ColumnType::I64 => integer(column, text).map(Value::I64),
        ColumnType::Timestamp => integer(column, text).map(Value::Timestamp),
        ColumnType::TimestampMicros => integer(column, text).map(Value::TimestampMicros),
        ColumnType::I32 => match i32::try_from(integer(column, text)?) {
            Ok(number) => Ok(Value::I32(number)),
            Err(_) => Err(out_of_range(column, text)),
        },
        ColumnType::I16 => match i16::try_from(integer(column, text)?) {
            Ok(number) => Ok(Value::I16(number)),
            Err(_) => Err(out_of_range(column, text)),
        },
        ColumnType::F64 => match fast_float2::parse::<f64, _>(text) {
            Ok(number) if number.is_finite() => Ok(Value::F64(number)),
            Ok(_) => Err(not_finite(column, text)),
            Err(_) => Err(no_value(column, text)),
        },
        ColumnType::F32 => match fast_float2::parse::<f32, _>(text) {
            Ok(number) if number.is_finite() => Ok(Value::F32(number)),
            Ok(_) => Err(not_finite(column, text)),
            Err(_) => Err(no_value(column, text)),
        },
        ColumnType::Bool => boolean(text).map(Value::Bool).ok_or_else(|| no_value(column, text)),
        ColumnType::Char => character(column, text).map(Value::Char),
        ColumnType::Inet => inet(text).map(Value::Inet).ok_or_else(|| no_value(column, text)),
        ColumnType::Mac => mac(text).map(Value::Mac).ok_or_else(|| no_value(column, text)),
    }
}

/// Appends `value` to `out` as [`parse`] reads it.
pub fn format(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(NULL),
        Value::Bool(flag) => out.push(if flag { b'1' } else { b'0' }),
        Value::I16(number) => put_integer(i64::from(number), out),
        Value::I32(number) => put_integer(i64::from(number), out),
        Value::I64(number) | Value::Timestamp(number) | Value::TimestampMicros(number) => {
            put_integer(number, out);
        }
        Value::F32(number) => out.extend_from_slice(zmij::Buffer::new().format(number).as_bytes()),
        Value::F64(number) => out.extend_from_slice(zmij::Buffer::new().format(number).as_bytes()),
        Value::Char(letter) => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        Value::Str(text) => out.extend_from_slice(text.as_bytes()),
        Value::Inet(address) => put_inet(address, out),
        Value::Mac(octets) => put_mac(octets, out),
    }
}

fn put_integer(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[expect(clippy::expect_used, reason = "writing to a vector cannot fail")]
fn put_inet(address: IpAddr, out: &mut Vec<u8>) {
    use std::io::Write;
    write!(out, "{address}").expect("a vector takes any bytes");
}

fn put_mac(octets: [u8; 6], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (place, octet) in octets.into_iter().enumerate() {
        if place > 0 {
            out.push(b':');
        }
        out.push(DIGITS[usize::from(octet >> 4)]);
        out.push(DIGITS[usize::from(octet & 15)]);
    }
}

/// Eighteen digits cannot overflow, so only longer ones pay for the check.
#[inline]
fn integer(column: &Column, text: &[u8]) -> Result<i64, RowError> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() {
        return Err(no_value(column, text));
    }
    if digits.len() > 18 {
        return long_integer(column, text, negative, digits);
    }
    let mut number = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(no_value(column, text));
        }
        number = number * 10 + i64::from(digit);
    }
    Ok(if negative { -number } else { number })
}

/// Accumulates downwards, because the least integer has no positive counterpart.
#[cold]
fn long_integer(column: &Column, text: &[u8], negative: bool, digits: &[u8]) -> Result<i64, RowError> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(no_value(column, text));
    }
    let mut number = 0_i64;
    for byte in digits {
        number = number
            .checked_mul(10)
            .and_then(|number| number.checked_sub(i64::from(byte - b'0')))
            .ok_or_else(|| out_of_range(column, text))?;
    }
    if negative { Ok(number) } else { number.checked_neg().ok_or_else(|| out_of_range(column, text)) }
}

fn boolean(text: &[u8]) -> Option<bool> {
    const TRUE: [&[u8]; 6] = [b"1", b"t", b"true", b"y", b"yes", b"on"];
    const FALSE: [&[u8]; 6] = [b"0", b"f", b"false", b"n", b"no", b"off"];
    if TRUE.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Some(true);
    }
    FALSE.iter().any(|word| text.eq_ignore_ascii_case(word)).then_some(false)
}

fn character(column: &Column, text: &[u8]) -> Result<char, RowError> {
    let mut letters = utf8(column, text)?.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) => Ok(letter),
        _ => Err(no_value(column, text)),
    }
}

fn inet(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Six pairs of hexadecimal digits, all separated by `:` or all by `-`.
fn mac(text: &[u8]) -> Option<[u8; 6]> {
    if text.len() != 17 || !matches!(text[2], b':' | b'-') {
        return None;
    }
    let mut octets = [0; 6];
    for (octet, group) in octets.iter_mut().zip(text.chunks(3)) {
        if group.get(2).is_some_and(|&separator| separator != text[2]) {
            return None;
        }
        let [high, low] = [group[0], group[1]].map(|digit| char::from(digit).to_digit(16));
        *octet = u8::try_from(high? * 16 + low?).ok()?;
    }
    Some(octets)
}

#[inline]
fn utf8<'t>(column: &Column, text: &'t [u8]) -> Result<&'t str, RowError> {
    std::str::from_utf8(text)
        .map_err(|error| RowError::Utf8 { column: column.name().to_owned(), offset: error.valid_up_to() })
}

/// The start of a text, for an error.
fn excerpt(text: &[u8]) -> String {
    let head = &text[..text.len().min(4 * EXCERPT_CHARS)];
    let mut shown: String = String::from_utf8_lossy(head).chars().take(EXCERPT_CHARS).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

#[cold]
fn no_value(column: &Column, text: &[u8]) -> RowError {
    RowError::Parse { column: column.name().to_owned(), expected: column.column_type(), text: excerpt(text) }
}

#[cold]
fn out_of_range(column: &Column, text: &[u8]) -> RowError {
    RowError::Range { column: column.name().to_owned(), expected: column.column_type(), value: excerpt(text) }
}

/// Digits that came out infinite are out of range; words such as `inf` and `nan` are not finite.
#[cold]
fn not_finite(column: &Column, text: &[u8]) -> RowError {
    if text.iter().any(u8::is_ascii_digit) {
        out_of_range(column, text)
    } else {
        RowError::NotFinite { column: column.name().to_owned() }
    }
}

#[cfg(test)]
mod tests;
