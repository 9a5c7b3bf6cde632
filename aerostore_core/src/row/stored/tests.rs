use proptest::prelude::*;

use super::*;
use crate::row::{Column, ColumnType, RowImage, Schema, arbitrary};

/// Definitions of the first columns of `schema`, from the key on.
fn prefix(schema: &Schema, columns: usize) -> Schema {
    let own = schema.columns()[..columns].iter().cloned();
    Schema::builder(schema.name()).columns(own).key(schema.key_column().name()).build().unwrap()
}

proptest! {
    /// J1, J2
    #[test]
    fn an_image_of_other_columns_reads_as_what_both_have(
        (schema, [values]) in arbitrary::rows::<1>(),
        cut in any::<prop::sample::Index>(),
        narrow_writes: bool,
    ) {
        let least = schema.key_index() + 1;
        let columns = least + cut.index(schema.columns().len() - least + 1);
        let narrow = prefix(&schema, columns);
        let (writer, reader) = if narrow_writes { (&narrow, &schema) } else { (&schema, &narrow) };
        let written = arbitrary::image(writer, &values[..writer.columns().len()]);
        let written = written.view(writer).unwrap();
        let copies = Copies::default();
        let seen = match copies.view(reader, written.stored()) {
            Ok(seen) => seen,
            Err(error) => {
                // A row without the value that a column must have: nobody alters a table to that.
                let is_null = matches!(error, RowError::NotNull { .. });
                prop_assert!(is_null && narrow_writes);
                return Ok(());
            }
        };
        prop_assert_eq!(seen.check(), Ok(()));
        for index in 0..reader.columns().len() {
            let expected = if index < columns {
                written.get(index)
            } else {
                reader.column(index).default_value().unwrap_or(Value::Null)
            };
            prop_assert_eq!(seen.get(index), expected);
        }
        // What was written by the reader's definition from the start is the same, byte for byte.
        let expected = arbitrary::image(reader, &(0..reader.columns().len()).map(|index| seen.get(index).to_owned()).collect::<Vec<_>>());
        prop_assert_eq!(seen.bytes(), expected.bytes());
    }
}

fn schema() -> Schema {
    Schema::builder("T")
        .column(Column::new("id", ColumnType::I16))
        .column(Column::new("note", ColumnType::String(30)).nullable())
        .key("id")
        .build()
        .unwrap()
}

fn added() -> [Column; 3] {
    [
        Column::new("flag", ColumnType::Bool).nullable().default(true),
        Column::new("word", ColumnType::String(30)).default("none"),
        Column::new("level", ColumnType::I64).nullable(),
    ]
}

/// J3
#[test]
fn columns_that_a_writer_does_not_know_stay_as_they_are() {
    let narrow = schema();
    let wide = narrow.with_columns(&added()).unwrap();
    let mut before = RowImage::new(&wide);
    let given = [(0, Value::I16(1)), (1, Value::Str("first")), (2, Value::Null), (3, Value::Str("kept"))];
    before.set_all(&wide, &given).unwrap();
    before.finish(&wide).unwrap();
    let before = before.view(&wide).unwrap();
    let mut image = RowImage::new(&narrow);
    image.set_all(&narrow, &[(0, Value::I16(1)), (1, Value::Str("a longer text than before"))]).unwrap();
    image.finish(&narrow).unwrap();
    image.widen(&narrow, before).unwrap();
    let after: Vec<_> = image.view(&wide).unwrap().values().collect();
    assert_eq!(
        after,
        [
            Value::I16(1),
            Value::Str("a longer text than before"),
            Value::Null,
            Value::Str("kept"),
            Value::Null
        ]
    );
}

#[test]
fn a_template_has_what_rows_lack() {
    let wide = schema().with_columns(&added()).unwrap();
    let template = wide.template().unwrap();
    let value = |index| ColumnPlace::of(&wide, index).value(&template).unwrap();
    assert_eq!([2, 3, 4].map(value), [Value::Bool(true), Value::Str("none"), Value::Null]);
}

#[test]
fn copies_stay_where_they_are() {
    let narrow = schema();
    let wide = narrow.with_columns(&added()).unwrap();
    let copies = Copies::default();
    let images: Vec<_> = (0..100)
        .map(|id| {
            let mut image = RowImage::new(&narrow);
            image.set(&narrow, 0, Value::I16(id)).unwrap();
            image.finish(&narrow).unwrap();
            image
        })
        .collect();
    let stored = |image: &RowImage| image.view(&narrow).unwrap().bytes().to_vec();
    let bytes: Vec<_> = images.iter().map(stored).collect();
    let views: Vec<_> =
        bytes.iter().map(|bytes| copies.view(&wide, StoredImage::new(bytes, 2)).unwrap()).collect();
    for (id, view) in (0_i16..).zip(views) {
        assert_eq!((view.get(0), view.get(3)), (Value::I16(id), Value::Str("none")));
    }
}

#[test]
fn what_cannot_be_added_says_why() {
    let schema = schema();
    let refused = |column: Column| schema.with_columns(&[column]).unwrap_err().to_string();
    let int = |name: &str| Column::new(name, ColumnType::I64);
    assert_eq!(
        [
            int("must"),
            int("x").nullable().ordered(),
            int("note").nullable(),
            int("d").nullable().default("x")
        ]
        .map(refused),
        [
            "bad definition of table \"T\": the added column \"must\" must be nullable or have a default, for the rows there are",
            "bad definition of table \"T\": the added column \"x\" gets its index when it is there",
            "duplicate column name or alias \"note\"",
            "column \"d\": expected wide but got string",
        ]
    );
    assert!(schema.with_columns(&[]).is_err());
    let many: Vec<_> = (0..63).map(|number| int(&format!("c{number}")).nullable()).collect();
    assert!(schema.with_columns(&many[..62]).is_ok());
    assert!(schema.with_columns(&many).is_err());
}

#[test]
fn a_definition_extends_those_with_the_first_of_its_columns() {
    let narrow = schema();
    let wide = narrow.with_columns(&added()).unwrap();
    assert!(wide.extends(&narrow) && wide.extends(&wide) && !narrow.extends(&wide));
    let other = narrow.with_columns(&added()[1..]).unwrap();
    assert!(!wide.extends(&other) && !other.extends(&wide));
    assert_eq!(wide.difference(&narrow).unwrap(), "it has a column \"flag\"");
}
