//! `#[speedtable]`: a Rust struct as a row of an Aerostore table.
//!
//! Use it as `aerostore_core::row::speedtable`, with `aerostore_core` among the dependencies: what it writes refers to that
//! crate.

mod check;
mod expand;
mod parse;

use proc_macro::TokenStream;

/// Turns a struct with named fields into a row type: one column per field, up to 64.
///
/// ```
/// use aerostore_core::row::{FixedString, Row, RowImage, Timestamp, speedtable};
///
/// /// Where a flight is.
/// #[speedtable]
/// pub struct Position {
///     #[column(key, alias = "flight")]
///     flight_id: FixedString<24>,
///     /// Degrees north.
///     #[column(ordered, alias = "latitude")]
///     lat: Option<f64>,
///     #[column(max = 80)]
///     remark: Option<String>,
///     #[column(default = 0)]
///     reports: i32,
///     updated_at: Timestamp,
/// }
///
/// let mut position = Position::new("BEL3881".parse()?, Timestamp(1_533_099_600));
/// position.set_lat(Some(46.96));
/// assert_eq!((position.flight_id(), position.lat(), position.remark()), ("BEL3881", Some(46.96), None));
/// assert!(position.dirty().contains(Position::LAT.index()));
///
/// let mut image = RowImage::new(Position::schema());
/// position.encode(&mut image)?;
/// assert_eq!(Position::LAT.get(image.view(Position::schema())?), Some(46.96));
/// assert_eq!(Position::decode(image.view(Position::schema())?)?, position);
/// # Ok::<(), aerostore_core::row::RowError>(())
/// ```
///
/// # The struct
///
/// `#[speedtable(name = "...")]` gives the table another name than the struct's; `nulls = "high"` makes null compare as
/// above every value. The struct can have no generics and no derives: it gets `Clone`, `Debug` and `PartialEq`.
///
/// # The fields
///
/// A field's type is one of `bool i16 i32 i64 f32 f64 char FixedString<N> String Timestamp TimestampMicros IpAddr Mac`,
/// or an `Option` of one for a column that may be null. `#[column(...)]` takes:
///
/// | | |
/// |---|---|
/// | `key` | the column is the key; exactly one is |
/// | `alias = "..."` | another name of the column; may be repeated |
/// | `name = "..."` | another name than the field's |
/// | `hash`, `ordered` | the index that the column has |
/// | `unique` | no two rows share a value |
/// | `max = N` | the most bytes of a `String`, which must have it |
/// | `default = literal` | the value of rows made without one |
///
/// # What there is then
///
/// - `new`, which takes the fields that are neither optional nor have a default, in order;
/// - for each field a getter of its name (strings are borrowed) and a setter `set_...` that marks it dirty, as visible as
///   the field, or as the struct where the field says nothing; and a constant in capitals, a `TypedColumn`;
/// - an implementation of `aerostore_core::row::Row`: the schema, encoding and decoding of images and of deltas.
///
/// The values lie in a `#[repr(C)]` struct whose size and offsets are proved equal to the stored layout when compiling.
#[proc_macro_attribute]
pub fn speedtable(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let row = parse::row(arguments.into(), item.into()).and_then(|row| check::row(&row).map(|()| row));
    match row {
        Ok(row) => expand::row(&row).into(),
        Err(error) => error.into_compile_error().into(),
    }
}
