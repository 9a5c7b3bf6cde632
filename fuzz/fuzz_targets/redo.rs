//! Redo records from any bytes: operations that lie one after the other in the record, then the end or one error.
#![no_main]

use aerostore_core::row::{RowImage, Schema, delta};
use aerostore_core::txn::{RedoOp, RedoReader};
use aerostore_fuzz::WIDE;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut bytes_seen = 0;
    for op in RedoReader::new(data) {
        // Replay ends at the first error too.
        let Ok((_table, op)) = op else { return };
        let body = op.body();
        bytes_seen += 9 + body.len();
        assert!(bytes_seen <= data.len());
        match op {
            RedoOp::Create(schema) | RedoOp::Alter(schema) => drop(Schema::from_bytes(schema)),
            RedoOp::Insert(_) | RedoOp::Update(_) | RedoOp::Delete(_) => {
                let _ = delta::key(&WIDE, body);
                let _ = delta::decode_into(&WIDE, body, &mut RowImage::new(&WIDE));
            }
            // Their columns are checked against the table's when they are replayed.
            RedoOp::Index(_) | RedoOp::NoIndex(_) | RedoOp::Drop(_) | RedoOp::Before(_) => {}
        }
    }
    assert_eq!(bytes_seen, data.len(), "bytes left over without an error");
});
