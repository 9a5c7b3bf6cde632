//! Where a column's values lie in a row image, as one word: for those who read a column without its table's definition.
#![forbid(unsafe_code)]

use super::bytes::u32_at;
use super::error::RowError;
use super::fixed::is_trimmed_to;
use super::kind::{ColumnType, MAX_COLUMNS, MAX_IMAGE_BYTES};
use super::mask::NullMask;
use super::schema::{Schema, Slot};
use super::value::Value;
use super::view::{slot_value, text_bytes, truncated};

/// A column's place in the images of its table.
///
/// As a word it is kind (1 and up) | column | width of a fixed string | offset, from the lowest byte on; 0 is no place.
#[derive(Clone, Copy, Debug)]
pub struct ColumnPlace {
    column: usize,
    slot: Slot,
}

/// The column types by the number that stands for each in a word.
const KINDS: [ColumnType; 13] = [
    ColumnType::Bool,
    ColumnType::I16,
    ColumnType::I32,
    ColumnType::I64,
    ColumnType::F32,
    ColumnType::F64,
    ColumnType::Char,
    ColumnType::FixedString(0),
    ColumnType::String(0),
    ColumnType::Timestamp,
    ColumnType::TimestampMicros,
    ColumnType::Inet,
    ColumnType::Mac,
];

fn byte(word: u64, index: u32) -> u8 {
    word.to_le_bytes()[index as usize]
}

impl ColumnPlace {
    /// The place of column `index`.
    ///
    /// # Panics
    /// When there is no such column.
    #[inline]
    pub fn of(schema: &Schema, index: usize) -> Self {
        Self { column: index, slot: schema.slot(index) }
    }

    /// The column.
    pub fn column(&self) -> usize {
        self.column
    }

    /// Bytes of an image up to the end of its slot.
    pub fn end_bytes(&self) -> u64 {
        u64::from(self.slot.end)
    }

    /// As a word.
    pub fn word(&self) -> u64 {
        let same =
            |kind: &ColumnType| std::mem::discriminant(kind) == std::mem::discriminant(&self.slot.kind);
        let kind = KINDS.iter().position(same).map_or(0, |at| at as u64 + 1);
        let width = match self.slot.kind {
            ColumnType::FixedString(width) => u64::from(width),
            _ => 0,
        };
        kind | (self.column as u64) << 8 | width << 16 | u64::from(self.slot.offset) << 32
    }

    /// The place that `word` stands for; `None` for one that stands for none.
    pub fn from_word(word: u64) -> Option<Self> {
        let kind = match *KINDS.get(usize::from(byte(word, 0)).checked_sub(1)?)? {
            ColumnType::FixedString(_) => {
                ColumnType::FixedString(u16::from_le_bytes([byte(word, 2), byte(word, 3)]))
            }
            kind => kind,
        };
        let column = usize::from(byte(word, 1));
        let offset = u32::try_from(word >> 32).ok().filter(|offset| *offset < MAX_IMAGE_BYTES)?;
        (column < MAX_COLUMNS)
            .then(|| Self { column, slot: Slot { kind, offset, end: offset + kind.fixed_bytes() } })
    }

    /// The column's value in `image`.
    ///
    /// # Errors
    /// [`RowError::Truncated`] when the image does not reach so far.
    #[inline]
    pub fn value<'a>(&self, image: &'a [u8]) -> Result<Value<'a>, RowError> {
        Ok(if self.is_there(image)? { slot_value(image, self.slot) } else { Value::Null })
    }

    /// Whether the column's value in `image` is `text`; not if it is no string column.
    ///
    /// # Errors
    /// As for [`ColumnPlace::value`].
    #[inline]
    pub fn has_text(&self, image: &[u8], text: &[u8]) -> Result<bool, RowError> {
        if !self.is_there(image)? {
            return Ok(false);
        }
        Ok(match self.slot.kind {
            ColumnType::FixedString(_) => {
                is_trimmed_to(&image[self.slot.offset as usize..self.slot.end as usize], text)
            }
            ColumnType::String(_) => text_bytes(image, self.slot) == text,
            _ => false,
        })
    }

    /// Whether `image`, which reaches as far as the column's value, has one.
    #[inline]
    fn is_there(&self, image: &[u8]) -> Result<bool, RowError> {
        let Slot { kind, offset, end } = self.slot;
        let reaches = |end: u64| if end <= image.len() as u64 { Ok(()) } else { Err(truncated(end, image)) };
        reaches(u64::from(end.max(8)))?;
        if NullMask(super::bytes::u64_at(image, 0)).contains(self.column) {
            return Ok(false);
        }
        if matches!(kind, ColumnType::String(_)) {
            let at = offset as usize;
            reaches(u64::from(u32_at(image, at)) + u64::from(u32_at(image, at + 4)))?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Column, RowImage, RowView};
    use proptest::prelude::*;

    fn schema() -> Schema {
        KINDS
            .iter()
            .enumerate()
            .fold(Schema::builder("All"), |builder, (index, kind)| {
                let kind = match kind {
                    ColumnType::FixedString(_) => ColumnType::FixedString(7),
                    ColumnType::String(_) => ColumnType::String(40),
                    kind => *kind,
                };
                let column = Column::new(&format!("c{index}"), kind);
                builder.column(if index == 3 { column } else { column.nullable() })
            })
            .key("c3")
            .build()
            .unwrap()
    }

    #[test]
    fn a_place_reads_what_a_view_reads() {
        let schema = schema();
        let mut image = RowImage::new(&schema);
        let set = |image: &mut RowImage, values: &[(usize, Value<'_>)]| {
            for (index, value) in values {
                image.set(&schema, *index, *value).unwrap();
            }
            image.finish(&schema).unwrap();
        };
        let check = |view: RowView<'_>| {
            for index in 0..schema.columns().len() {
                let place = ColumnPlace::from_word(ColumnPlace::of(&schema, index).word()).unwrap();
                assert_eq!(place.column(), index);
                assert_eq!(place.value(view.bytes()), Ok(view.get(index)), "column {index}");
                for text in ["seven", "a text in the tail", "a text in the tai", "a text in the tail!", ""] {
                    let is_it = Ok(view.get(index) == Value::Str(text));
                    assert_eq!(place.has_text(view.bytes(), text.as_bytes()), is_it, "column {index}");
                }
            }
        };
        set(&mut image, &[(3, Value::I64(7))]);
        check(image.view(&schema).unwrap());
        let text = [(7, Value::Str("seven")), (8, Value::Str("a text in the tail")), (5, Value::F64(-1.5))];
        set(&mut image, &text);
        check(image.view(&schema).unwrap());
    }

    proptest! {
        #[test]
        fn no_word_and_no_image_makes_it_panic(word: u64, image in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(place) = ColumnPlace::from_word(word) {
                let _ = place.value(&image);
                let _ = place.has_text(&image, b"text");
            }
        }
    }
}
