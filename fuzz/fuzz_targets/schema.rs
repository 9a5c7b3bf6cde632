//! A stored schema: refused, or the same schema when it is written and read again.
#![no_main]

use aerostore_core::row::{RowImage, Schema};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&seal, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if seal & 1 != 0 && bytes.len() >= 16 {
        // Past the envelope, which stops nearly everything: length and checksum of the body made to fit.
        let body_bytes = u32::try_from(bytes.len() - 16).unwrap_or(u32::MAX);
        bytes[..8].copy_from_slice(b"AESC\x01\0\0\0");
        bytes[8..12].copy_from_slice(&body_bytes.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[16..]);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    }
    if let Ok(schema) = Schema::from_bytes(&bytes) {
        let again = Schema::from_bytes(&schema.to_bytes()).expect("what was written can be read");
        assert!(again == schema);
        assert_eq!(again.layout_hash(), schema.layout_hash());
        RowImage::new(&schema);
    }
});
