use proptest::prelude::*;

use super::*;
use crate::row::arbitrary;

fn flights() -> SchemaBuilder {
    Schema::builder("FlightState")
        .column(Column::new("flight_id", ColumnType::FixedString(24)).alias("flight").alias("ident"))
        .column(Column::new("lat", ColumnType::F64).nullable().ordered())
        .column(Column::new("lon", ColumnType::F64).nullable().alias("long").alias("longitude"))
        .column(Column::new("phase", ColumnType::String(12)).default("cruise"))
        .key("flight_id")
}

fn reason(builder: SchemaBuilder) -> String {
    builder.build().unwrap_err().to_string()
}

#[test]
fn finds_columns_by_every_name() {
    let schema = flights().build().unwrap();
    for (name, index) in
        [("flight_id", 0), ("flight", 0), ("ident", 0), ("lat", 1), ("longitude", 2), ("long", 2)]
    {
        assert_eq!(schema.find(name), Some(index), "{name}");
    }
    assert_eq!(schema.find("Lat"), None);
    assert_eq!(schema.require("x").unwrap_err().to_string(), "no column \"x\" in table \"FlightState\"");
    assert_eq!(schema.key_column().index_kind(), IndexKind::Hash);
    assert!(schema.key_column().is_unique() && !schema.column(1).is_unique());
    assert_eq!(schema.fixed_bytes(), 8 + 24 + 8 + 8 + 8);
}

#[test]
fn bad_definitions_are_refused() {
    assert_eq!(reason(Schema::builder("T")), "bad definition of table \"T\": no columns");
    let id = || Column::new("id", ColumnType::I32);
    assert!(reason(Schema::builder("T").column(id())).contains("no key column"));
    assert!(reason(Schema::builder("T").column(id()).key("k")).contains("no column \"k\""));
    assert!(reason(Schema::builder("T").column(id().nullable()).key("id")).contains("must not be nullable"));
    assert!(
        reason(Schema::builder("T").column(id().default(1)).key("id")).contains("must not have a default")
    );
    assert!(reason(flights().column(Column::new("ident", ColumnType::Bool))).contains("duplicate"));
    assert!(reason(flights().column(id().alias("lat"))).contains("\"lat\""));
    for name in ["", "a b", "1a", "a\0", "\u{e9}", &"x".repeat(65)] {
        assert!(matches!(
            flights().column(Column::new(name, ColumnType::Bool)).build(),
            Err(RowError::Name { .. })
        ));
        assert!(matches!(Schema::builder(name).build(), Err(RowError::Name { .. })));
    }
    let texts = [ColumnType::String(0), ColumnType::FixedString(0), ColumnType::String(MAX_IMAGE_BYTES + 1)];
    for kind in texts {
        assert!(matches!(flights().column(Column::new("t", kind)).build(), Err(RowError::Definition { .. })));
    }
    let long_key = Schema::builder("T").column(Column::new("id", ColumnType::String(1025))).key("id");
    assert!(reason(long_key).contains("1024"));
    let bad_default = flights().column(id().default("x"));
    assert!(matches!(bad_default.build(), Err(RowError::Type { .. })));
}

#[test]
fn up_to_64_columns_of_bounded_width() {
    let wide = |count: usize, kind| {
        let mut builder = Schema::builder("Wide");
        for index in 0..count {
            builder = builder.column(Column::new(&format!("c{index}"), kind));
        }
        builder.key("c0").build()
    };
    assert_eq!(wide(64, ColumnType::I64).unwrap().fixed_bytes(), 8 * 65);
    assert!(wide(65, ColumnType::I64).unwrap_err().to_string().contains("65 columns"));
    let texts = Schema::builder("Wide").column(Column::new("id", ColumnType::Bool)).key("id");
    let texts = (0..17)
        .fold(texts, |builder, index| {
            builder.column(Column::new(&format!("t{index}"), ColumnType::FixedString(u16::MAX)))
        })
        .build();
    assert!(texts.unwrap_err().to_string().contains("exceeds the limit"));
}

#[test]
fn equality_compares_definitions() {
    let schema = flights().build().unwrap();
    assert_eq!(schema, flights().build().unwrap());
    assert_ne!(schema, flights().nulls(NullRule::High).build().unwrap());
    let more = flights().column(Column::new("on", ColumnType::Bool).nullable()).build().unwrap();
    assert_ne!(schema, more);
    assert_ne!(schema.layout_hash(), more.layout_hash());
}

#[test]
fn stored_definitions_come_back() {
    let schema = flights().nulls(NullRule::High).build().unwrap();
    let bytes = schema.to_bytes();
    let back = Schema::from_bytes(&bytes).unwrap();
    assert_eq!(back, schema);
    assert_eq!((back.layout_hash(), back.find("ident")), (schema.layout_hash(), Some(0)));
    assert_eq!(Schema::name_in(&bytes), Ok(schema.name()));
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(Schema::from_bytes(&damaged).unwrap_err().is_corruption(), "byte {at}");
        assert!(Schema::from_bytes(&bytes[..at]).unwrap_err().is_corruption(), "cut at {at}");
    }
}

fn numbered() -> SchemaBuilder {
    Schema::builder("Cache")
        .column(Column::new("_key", ColumnType::I64))
        .column(Column::new("at", ColumnType::Timestamp).alias("since").nullable())
        .column(Column::new("note", ColumnType::String(9)).nullable())
        .key("_key")
}

#[test]
fn rules_for_the_whole_table_come_back() {
    let plain = numbered().build().unwrap();
    assert_eq!((plain.ttl(), plain.has_numbered_key()), (None, false));
    assert_eq!(plain.to_bytes()[4], 1, "a definition that version 1 can say");
    for builder in
        [numbered().ttl("since", 60), numbered().numbered_key(), numbered().numbered_key().ttl("at", 1)]
    {
        let schema = builder.build().unwrap();
        let back = Schema::from_bytes(&schema.to_bytes()).unwrap();
        assert_eq!(back, schema);
        assert_eq!((back.ttl(), back.has_numbered_key()), (schema.ttl(), schema.has_numbered_key()));
        assert_eq!(Schema::name_in(&schema.to_bytes()), Ok("Cache"));
        assert_ne!(back, plain);
    }
    assert_eq!(numbered().ttl("since", 60).build().unwrap().ttl(), Some(Ttl { column: 1, seconds: 60 }));
}

#[test]
fn bad_rules_for_the_whole_table_are_refused() {
    assert!(reason(numbered().ttl("note", 1)).contains("it is string(9) and must be timestamp or wide"));
    assert!(reason(numbered().ttl("at", 0)).contains("must be 1 to"));
    assert!(reason(numbered().ttl("at", u64::MAX)).contains("must be 1 to"));
    assert!(reason(numbered().ttl("gone", 1)).contains("no column \"gone\""));
    assert!(reason(flights().numbered_key()).contains("must be wide to be numbered"));
}

/// The checksum vouches for transport, not for sense: a body that carries a right checksum is hostile all the same.
fn sealed(version: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"AESC".to_vec();
    bytes.extend([version, 0, 0, 0]);
    bytes.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    bytes.extend(crc32c::crc32c(body).to_le_bytes());
    bytes.extend(body);
    bytes
}

proptest! {
    #[test]
    fn definitions_round_trip(schema in arbitrary::schema()) {
        prop_assert_eq!(Schema::from_bytes(&schema.to_bytes()), Ok(schema));
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Schema::from_bytes(&bytes);
        for version in [1, 2] {
            let _ = Schema::from_bytes(&sealed(version, &bytes));
            let _ = Schema::name_in(&sealed(version, &bytes));
        }
    }

    #[test]
    fn a_damaged_body_with_a_right_checksum_never_panics(
        schema in arbitrary::schema(), at in any::<prop::sample::Index>(), byte: u8,
    ) {
        let mut body = schema.to_bytes().split_off(16);
        let at = at.index(body.len());
        body[at] = byte;
        let _ = Schema::from_bytes(&sealed(1, &body));
        body.extend([1, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, byte & 1]);
        let _ = Schema::from_bytes(&sealed(2, &body));
    }
}
