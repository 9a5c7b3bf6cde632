//! Values, schemas and row images: what a row is, apart from who can see it.
//!
//! A *schema* is a runtime object, from a table definition or from `#[speedtable]` on a Rust struct; either way a row
//! is stored as one *image* of the same layout. This layer turns values into images and back, compares images, and
//! writes the changed columns of one as a delta for the log. It knows nothing of tables, transactions or memory.

mod bytes;
mod catalog;
mod coerce;
pub mod delta;
mod error;
mod field;
mod field_text;
mod fixed;
#[doc(hidden)]
pub mod generated;
mod image;
mod kind;
mod mask;
mod place;
mod schema;
mod stored;
pub mod text;
pub mod tsv;
mod typed;
mod value;
mod view;

pub use aerostore_macros::speedtable;
pub(crate) use bytes::{Reader, put_varint, u32_at, u64_at};
pub use error::RowError;
pub use field::{Field, Mac, Stored, Timestamp, TimestampMicros};
pub use field_text::{FieldFormat, Quoting};
pub use fixed::FixedString;
pub use image::RowImage;
pub use kind::{
    ColumnType, IndexKind, IndexSpec, Layout, MAX_COLUMNS, MAX_IMAGE_BYTES, MAX_KEY_BYTES,
    MAX_TEMPLATE_BYTES, NullRule,
};
pub use mask::{DirtyMask, NullMask};
pub use place::ColumnPlace;
pub use schema::{Column, Schema, SchemaBuilder, Ttl};
pub use stored::{Copies, StoredImage};
pub use typed::{Row, TypedColumn};
pub use value::{OwnedValue, Value};
pub use view::{RowView, VisitRows, each_row};

#[cfg(test)]
pub(crate) mod arbitrary;
