//! Fields of tab-separated text: every value written so that it reads back the same, and what quoting means.
//!
//! Rules   F1: a field that is `\N`, or the null mark, is null; nothing else is, but an empty field of a column that may be null, where
//!         nothing is quoted or the column holds no text. F2: no other field is written as one of these. F3: what is written has neither
//!         the separator nor a control character in it, so that lines and fields end where they should; it does not begin with a
//!         byte order mark, which a reader would take off the first line. F4: where nothing is quoted, a value that F2 and F3 do not
//!         allow is refused.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use super::error::RowError;
use super::image::RowImage;
use super::schema::{Column, Schema};
use super::text::{self, NULL};
use super::value::Value;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// How characters that would end a field, or a line, are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Quoting {
    /// As they are: what has such characters cannot be written.
    #[default]
    None,
    /// With a backslash: `\t`, `\n`, `\r`, `\\`, `\xHH`.
    Escape,
    /// As in a URI: `%09`, `%25`.
    Uri,
}

/// How fields are written and read.
#[derive(Debug, Clone)]
pub struct FieldFormat {
    quoting: Quoting,
    separator: u8,
    null_mark: Option<Vec<u8>>,
    /// Bytes that are not written as they are.
    special: [bool; 256],
}

impl Default for FieldFormat {
    fn default() -> Self {
        Self::new(Quoting::None, b'\t', None)
    }
}

impl FieldFormat {
    /// Fields that end at `separator`; a field of exactly `null_mark` is null too, and null is written so.
    pub fn new(quoting: Quoting, separator: u8, null_mark: Option<Vec<u8>>) -> Self {
        let mut special = [false; 256];
        special[..32].fill(true);
        special[usize::from(separator)] = true;
        match quoting {
            Quoting::None => {}
            Quoting::Escape => special[usize::from(b'\\')] = true,
            Quoting::Uri => special[usize::from(b'%')] = true,
        }
        Self { quoting, separator, null_mark, special }
    }

    /// What ends a field.
    #[inline]
    pub fn separator(&self) -> u8 {
        self.separator
    }

    /// Appends `value` to `out` as a field of `column`; false, and nothing is appended, when it cannot be written (F4).
    #[inline]
    pub fn put(&self, column: &Column, value: Value<'_>, out: &mut Vec<u8>) -> bool {
        if value.is_null() {
            out.extend_from_slice(self.null_mark.as_deref().unwrap_or(NULL));
            return true;
        }
        let start = out.len();
        text::format(value, out);
        let field = &out[start..];
        if field.iter().any(|byte| self.special[usize::from(*byte)]) || field.starts_with(BYTE_ORDER_MARK) {
            return self.quote_from(start, out);
        }
        if self.means_null(column, field) {
            return self.quote_first(start, out);
        }
        true
    }

    /// Reads `field` as a value of column `index` and puts it into `image`.
    ///
    /// # Errors
    /// As [`text::parse_into`]; [`RowError::Parse`] for a character quoted in no way that there is.
    ///
    /// # Panics
    /// When there is no such column.
    #[inline]
    pub fn read_into(
        &self,
        schema: &Schema,
        index: usize,
        field: &[u8],
        image: &mut RowImage,
    ) -> Result<(), RowError> {
        if self.is_mark(field) {
            return image.set(schema, index, Value::Null);
        }
        if self.quoting == Quoting::None || field == NULL {
            return text::parse_into(schema, index, field, image);
        }
        let column = schema.column(index);
        let unquoted = self.unquote(field).ok_or_else(|| RowError::Parse {
            column: column.name().to_owned(),
            expected: column.column_type(),
            text: String::from_utf8_lossy(field).into_owned(),
        })?;
        if !column.column_type().is_string() {
            return text::parse_into(schema, index, &unquoted, image);
        }
        let text = std::str::from_utf8(&unquoted).map_err(|reason| RowError::Utf8 {
            column: column.name().to_owned(),
            offset: reason.valid_up_to(),
        })?;
        image.set(schema, index, Value::Str(text))
    }

    #[inline]
    fn is_mark(&self, field: &[u8]) -> bool {
        self.null_mark.as_deref() == Some(field)
    }

    /// Would this field of that column be read as null?
    fn means_null(&self, column: &Column, field: &[u8]) -> bool {
        let is_empty = field.is_empty() && column.is_nullable() && self.quoting == Quoting::None;
        is_empty || field == NULL || self.is_mark(field)
    }

    /// Quotes what lies in `out` from `start` on.
    #[cold]
    fn quote_from(&self, start: usize, out: &mut Vec<u8>) -> bool {
        let plain = out.split_off(start);
        if self.quoting == Quoting::None {
            return false;
        }
        let mark = if plain.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        for (place, byte) in plain.iter().enumerate() {
            if place < mark || self.special[usize::from(*byte)] {
                self.quote(*byte, out);
            } else {
                out.push(*byte);
            }
        }
        // Only a mark that looks quoted itself can be what came of it.
        let can_be_told = !self.is_mark(&out[start..]);
        if !can_be_told {
            out.truncate(start);
        }
        can_be_told
    }

    /// Quotes the first byte of what lies in `out` from `start` on, all of which else means null.
    #[cold]
    fn quote_first(&self, start: usize, out: &mut Vec<u8>) -> bool {
        let plain = out.split_off(start);
        let [first, rest @ ..] = &plain[..] else { return false };
        if self.quoting == Quoting::None {
            return false;
        }
        self.quote_as_number(*first, out);
        out.extend_from_slice(rest);
        true
    }

    fn quote(&self, byte: u8, out: &mut Vec<u8>) {
        let letter = match byte {
            b'\t' if self.separator != b't' => b't',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\\' => b'\\',
            _ => return self.quote_as_number(byte, out),
        };
        if self.quoting == Quoting::Escape {
            out.extend_from_slice(&[b'\\', letter]);
        } else {
            self.quote_as_number(byte, out);
        }
    }

    fn quote_as_number(&self, byte: u8, out: &mut Vec<u8>) {
        let digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        out.extend_from_slice(if self.quoting == Quoting::Escape { b"\\x" } else { b"%" });
        out.extend_from_slice(&digits);
    }

    /// The field without its quoting; `None` when that is not what it looks like.
    fn unquote<'f>(&self, field: &'f [u8]) -> Option<Cow<'f, [u8]>> {
        let sign = if self.quoting == Quoting::Escape { b'\\' } else { b'%' };
        let Some(first) = memchr::memchr(sign, field) else { return Some(Cow::Borrowed(field)) };
        let mut plain = field[..first].to_vec();
        let mut rest = &field[first..];
        while let [byte, after @ ..] = rest {
            if *byte != sign {
                plain.push(*byte);
                rest = after;
                continue;
            }
            let (byte, behind) = match (self.quoting, after) {
                (Quoting::Uri, [high, low, behind @ ..])
                | (Quoting::Escape, [b'x', high, low, behind @ ..]) => {
                    (digit(*high)? << 4 | digit(*low)?, behind)
                }
                (Quoting::Escape, [b't', behind @ ..]) => (b'\t', behind),
                (Quoting::Escape, [b'n', behind @ ..]) => (b'\n', behind),
                (Quoting::Escape, [b'r', behind @ ..]) => (b'\r', behind),
                (Quoting::Escape, [b'\\', behind @ ..]) => (b'\\', behind),
                _ => return None,
            };
            plain.push(byte);
            rest = behind;
        }
        Some(Cow::Owned(plain))
    }
}

/// The value of a hexadecimal digit.
fn digit(letter: u8) -> Option<u8> {
    char::from(letter).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::ColumnType;
    use proptest::prelude::*;

    fn schema() -> Schema {
        Schema::builder("T")
            .column(Column::new("key", ColumnType::I32))
            .column(Column::new("text", ColumnType::String(60)).nullable())
            .column(Column::new("name", ColumnType::String(60)))
            .column(Column::new("letter", ColumnType::Char).nullable())
            .column(Column::new("number", ColumnType::F64).nullable())
            .key("key")
            .build()
            .unwrap()
    }

    /// The values after a turn through a field each; `None` when one of them cannot be written.
    fn turned(format: &FieldFormat, values: &[Value<'_>]) -> Option<Vec<String>> {
        let schema = schema();
        let mut image = RowImage::new(&schema);
        image.reset(&schema);
        image.set(&schema, 0, Value::I32(1)).unwrap();
        for (index, value) in values.iter().enumerate() {
            let mut field = b"before".to_vec();
            if !format.put(schema.column(index + 1), *value, &mut field) {
                assert_eq!(field, b"before");
                return None;
            }
            let field = &field[6..];
            let ends = |byte: &u8| matches!(byte, b'\n' | b'\r') || *byte == format.separator;
            assert!(!field.iter().any(ends), "{:?}", field.escape_ascii().to_string());
            format.read_into(&schema, index + 1, field, &mut image).unwrap();
        }
        image.finish(&schema).unwrap();
        let view = image.view(&schema).unwrap();
        Some((1..=values.len()).map(|index| format!("{:?}", view.get(index))).collect())
    }

    fn shown(values: &[Value<'_>]) -> Vec<String> {
        values.iter().map(|value| format!("{value:?}")).collect()
    }

    fn awkward() -> impl Strategy<Value = String> {
        const PIECES: [&str; 18] = [
            "\t",
            "\n",
            "\r",
            "\\",
            "\\N",
            "%",
            "%09",
            "\\x41",
            "N",
            "x",
            "t",
            "ab",
            "\u{feff}",
            "é",
            "\u{1F600}",
            ",",
            "\u{1}",
            "NULL",
        ];
        prop::collection::vec(prop::sample::select(&PIECES[..]), 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn every_value_reads_back_as_it_was_written(
            text in prop::option::of(awkward()),
            name in awkward(),
            letter in prop::option::of(prop::sample::select(&['\t', '\n', '\\', '%', 'a', ',', '\u{feff}', '😀'][..])),
            number in prop::option::of(-1e9..1e9f64),
            quoting in prop::sample::select(&[Quoting::None, Quoting::Escape, Quoting::Uri][..]),
            separator in prop::sample::select(&b"\t,|;"[..]),
            mark in prop::option::of(prop::sample::select(&["", "NULL", "\\N", "ab", "\\\\", "%25", "x"][..])),
        ) {
            let format = FieldFormat::new(quoting, separator, mark.map(|mark| mark.as_bytes().to_vec()));
            let values = [
                text.as_deref().map_or(Value::Null, Value::Str),
                Value::Str(&name),
                letter.map_or(Value::Null, Value::Char),
                number.map_or(Value::Null, Value::F64),
            ];
            match turned(&format, &values) {
                Some(turned) => prop_assert_eq!(turned, shown(&values)),
                // Where things are quoted, only an empty text can mean null, and what is quoted as the mark is.
                None if quoting != Quoting::None => match mark {
                    Some("") => prop_assert!(name.is_empty() || text.as_deref() == Some("")),
                    mark => prop_assert!(matches!(mark, Some("\\\\" | "%25")), "{:?}", mark),
                },
                None => {}
            }
        }
    }

    #[test]
    fn what_no_quoting_can_carry_is_refused() {
        let schema = schema();
        let refused =
            |format: &FieldFormat, value| !format.put(schema.column(1), Value::Str(value), &mut Vec::new());
        let plain = FieldFormat::default();
        for value in ["a\tb", "a\n", "\r", "\\N", "", "\u{feff}a"] {
            assert!(refused(&plain, value), "{value:?}");
        }
        assert!(!refused(&plain, "a b\\c%"));
        assert!(refused(&FieldFormat::new(Quoting::Escape, b'\t', Some(Vec::new())), ""));
    }

    #[test]
    fn bad_quoting_is_an_error() {
        let schema = schema();
        let mut image = RowImage::new(&schema);
        for (quoting, bad) in [
            (Quoting::Escape, ["a\\", "\\q", "\\x4", "\\xGG", "\\x\\n"]),
            (Quoting::Uri, ["%", "a%4", "%zz", "%%", "%-1"]),
        ] {
            let format = FieldFormat::new(quoting, b'\t', None);
            for field in bad {
                let outcome = format.read_into(&schema, 1, field.as_bytes(), &mut image);
                assert!(matches!(outcome, Err(RowError::Parse { .. })), "{field:?}: {outcome:?}");
            }
        }
        let escape = FieldFormat::new(Quoting::Escape, b'\t', None);
        let outcome = escape.read_into(&schema, 1, b"\\xFF", &mut image);
        assert!(matches!(outcome, Err(RowError::Utf8 { offset: 0, .. })), "{outcome:?}");
    }
}
