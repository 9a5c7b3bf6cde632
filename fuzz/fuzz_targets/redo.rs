//! Redo records from any bytes: operations that lie one after the other in the record, then the end or one error.
#![no_main]

use aerostore_core::row::{RowImage, Schema, delta};
use aerostore_core::txn::{RedoOp, RedoReader};
use aerostore_fuzz::WIDE;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut seen = 0;
    for op in RedoReader::new(data) {
        // Replay ends at the first error too.
        let Ok((_table, op)) = op else { return };
        let body = op.body();
        let begin = body.as_ptr().addr() - data.as_ptr().addr() - HEADER_BYTES;
        assert_eq!(pass_over(data, seen, begin), begin, "operations one after the other");
        seen = begin + HEADER_BYTES + body.len();
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
    assert_eq!(pass_over(data, seen, data.len()), data.len(), "bytes left over without an error");
});

/// Kind, table and length of an operation.
const HEADER_BYTES: usize = 9;
/// Kinds from here on change nothing, and are passed over where they are not known.
const CHANGES_NOTHING: u8 = 128;

/// Where the operations that change nothing end, of those from `at` on that lie before `until`.
fn pass_over(data: &[u8], mut at: usize, until: usize) -> usize {
    while at < until && data[at] >= CHANGES_NOTHING {
        let length = data[at + 5..].first_chunk().expect("a whole header");
        at += HEADER_BYTES + u32::from_le_bytes(*length) as usize;
    }
    at
}
