//! Row images as they are stored: each by the definition that its writer knew, which may have had fewer columns, or more, than
//! the one that it is read by.
//!
//! Rules       J1: definitions of one table differ in how many columns they have, and in nothing else: those that two have in common are the first
//!             of both and lie at the same places of an image. So an image needs to say no more than how many it has. J2: whoever reads
//!             an image by a definition with another number of columns reads a copy: a column that the image lacks has its default there, or is null; one
//!             that the definition lacks is not in it. J3: who puts values into an image that has more columns than he knows leaves
//!             those as they are. J10: an image is stored with at most `MAX_IMAGE_BYTES`, and what the defaults of the columns take that its table has got since: as no
//!             definition with added columns has a template of more than `MAX_TEMPLATE_BYTES`, both together are the most, which a version, and a chunk of a checkpoint, has room
//!             for. So a copy (J2) has no limit, nor what recovery stores by the newest definition: whatever was committed can be read, deleted, and recovered. Who
//!             writes a row makes one within `MAX_IMAGE_BYTES`, or one that is not wider than the row was, as he reads it.
#![forbid(unsafe_code)]

use std::cell::{Cell, OnceCell};

use super::error::RowError;
use super::image::RowImage;
use super::kind::MAX_IMAGE_BYTES;
use super::place::ColumnPlace;
use super::schema::Schema;
use super::value::Value;
use super::view::RowView;

/// An image, and how many columns it has.
#[derive(Clone, Copy, Debug)]
pub struct StoredImage<'a> {
    bytes: &'a [u8],
    columns: usize,
}

impl<'a> StoredImage<'a> {
    /// The image in `bytes`, of so many columns.
    #[inline]
    pub fn new(bytes: &'a [u8], columns: usize) -> Self {
        Self { bytes, columns }
    }

    /// Its bytes.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// How many columns it has.
    #[inline]
    pub fn columns(self) -> usize {
        self.columns
    }

    /// The value of a column, which is one of its own.
    ///
    /// # Errors
    /// [`RowError::Truncated`] when the image does not reach so far.
    #[inline]
    pub fn value(self, place: ColumnPlace) -> Result<Value<'a>, RowError> {
        place.value(self.bytes)
    }
}

impl<'a> RowView<'a> {
    /// The image as it is stored.
    #[inline]
    pub fn stored(self) -> StoredImage<'a> {
        StoredImage::new(self.bytes(), self.schema().columns().len())
    }
}

impl Schema {
    /// The image as this definition reads it (J2), where it has not as many columns.
    ///
    /// # Errors
    /// [`RowError::Truncated`], [`RowError::NotNull`] and whatever else shows that the image is damaged.
    #[cold]
    pub fn copy_of(&self, image: StoredImage<'_>) -> Result<Box<[u8]>, RowError> {
        let mut copy = RowImage::new(self);
        copy.lift_limit(); // J10
        for index in 0..self.columns().len().min(image.columns()) {
            copy.set(self, index, image.value(ColumnPlace::of(self, index))?)?;
        }
        copy.finish(self)?;
        Ok(copy.bytes().into())
    }

    /// An image of which the columns count that other definitions of the table lack: they have their defaults, or are null.
    ///
    /// # Errors
    /// [`RowError::TooWide`].
    pub fn template(&self) -> Result<Box<[u8]>, RowError> {
        let mut template = RowImage::new(self);
        for (index, column) in self.columns().iter().enumerate() {
            if let Some(value) = column.default_value() {
                template.set(self, index, value)?;
            }
        }
        Ok(template.view(self)?.bytes().into())
    }
}

impl RowImage {
    /// Finishes a row that takes the place of `before`, if there is one (J10).
    ///
    /// # Errors
    /// As for [`finish`](Self::finish).
    #[inline]
    pub(crate) fn finish_over(
        &mut self,
        schema: &Schema,
        before: Option<RowView<'_>>,
    ) -> Result<(), RowError> {
        let own = before.map_or(0, |before| before.bytes().len());
        self.limit_to(own.max(MAX_IMAGE_BYTES as usize));
        self.finish(schema)
    }

    /// Makes an image by `own`, which is finished, one by the definition of `before`, which has more columns: those beyond stay as they are there (J3).
    ///
    /// # Errors
    /// [`RowError::TooWide`].
    #[cold]
    pub(crate) fn widen(&mut self, own: &Schema, before: RowView<'_>) -> Result<(), RowError> {
        let schema = before.schema();
        let mut wide = Self::from_view(before);
        let limit = wide.lift_limit(); // one text may become longer before another becomes shorter
        let narrow = self.view(own)?;
        for index in 0..own.columns().len() {
            wide.set(schema, index, narrow.get(index))?;
        }
        wide.limit_to(limit);
        wide.finish(schema)?;
        *self = wide;
        Ok(())
    }
}

/// Copies in the first part of [`Copies`].
const FIRST_PART: usize = 16;
/// Each part has room for twice as many as the one before: for more than there can be rows.
const PARTS: usize = 40;

type Part = OnceCell<Box<[OnceCell<Box<[u8]>>]>>;

struct Parts {
    count: Cell<usize>,
    parts: [Part; PARTS],
}

/// Copies of images (J2), each of which stays where it is for as long as this does. Empty it is a word.
#[derive(Default)]
pub struct Copies(OnceCell<Box<Parts>>);

impl Copies {
    /// The image as `schema` reads it: itself, or a copy that is kept here.
    ///
    /// # Errors
    /// As for [`RowView::new`] and [`Schema::copy_of`].
    #[inline]
    pub fn view<'a>(&'a self, schema: &'a Schema, image: StoredImage<'a>) -> Result<RowView<'a>, RowError> {
        if image.columns() == schema.columns().len() {
            RowView::new(schema, image.bytes())
        } else {
            self.copied(schema, image)
        }
    }

    #[cold]
    fn copied<'a>(&'a self, schema: &'a Schema, image: StoredImage<'a>) -> Result<RowView<'a>, RowError> {
        RowView::new(schema, self.keep(schema.copy_of(image)?))
    }

    fn keep(&self, copy: Box<[u8]>) -> &[u8] {
        let Parts { count, parts } = &**self.0.get_or_init(|| {
            Box::new(Parts { count: Cell::new(0), parts: [const { OnceCell::new() }; PARTS] })
        });
        let number = count.replace(count.get() + 1);
        // Part p begins with number FIRST_PART * (2^p - 1).
        let part = (number / FIRST_PART + 1).ilog2();
        let place = number - FIRST_PART * ((1 << part) - 1);
        let room = || (0..FIRST_PART << part).map(|_| OnceCell::new()).collect();
        parts[part as usize].get_or_init(room)[place].get_or_init(|| copy)
    }
}

#[cfg(test)]
mod tests;
