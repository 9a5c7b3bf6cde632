//! The paths that every row takes do not allocate once their buffers have grown.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail there")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use aerostore_core::index::key;
use aerostore_core::row::{
    DirtyMask, FixedString, Row, RowImage, RowView, Timestamp, Value, delta, speedtable, text,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting.
struct Counting;

// SAFETY: every call is passed on unchanged to the system's allocator; counting touches only a thread-local cell that needs
// neither allocation nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the same promises to us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System.alloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[speedtable]
struct Position {
    #[column(key)]
    flight_id: FixedString<24>,
    lat: Option<f64>,
    altitude: Option<i32>,
    #[column(max = 80)]
    remark: Option<String>,
    updated_at: Option<Timestamp>,
}

const LINE: [&[u8]; 5] = [b"BEL3881", b"46.962982", b"34975", b"over the Alps", b"1533099600"];

struct Buffers {
    image: RowImage,
    delta: Vec<u8>,
    key: Vec<u8>,
    text: Vec<u8>,
}

/// What ingest, read and log do with one row.
fn one_row(buffers: &mut Buffers, base: RowView<'_>) {
    let schema = Position::schema();
    let Buffers { image, delta, key, text } = buffers;
    delta.clear();
    key.clear();
    text.clear();
    image.reset(schema);
    for (index, field) in LINE.into_iter().enumerate() {
        text::parse_into(schema, index, field, image).unwrap();
    }
    image.set(schema, 3, Value::Str("a longer remark than before")).unwrap();
    image.finish(schema).unwrap();
    let view = image.view(schema).unwrap();
    for value in view.values() {
        text::format(value, text);
    }
    let changed = delta::changed(schema, base, view);
    assert_eq!(changed, DirtyMask::of(1).with(3));
    delta::encode(schema, view, changed.with(0), delta);
    key::key_bytes(view.key(), key);
    assert_ne!(key::hash(key), 0);
    image.copy_from(base);
    delta::decode_into(schema, delta, image).unwrap();
    image.finish(schema).unwrap();
}

#[test]
fn rows_pass_without_allocation() {
    let schema = Position::schema();
    let mut base = RowImage::new(schema);
    for (index, field) in LINE.into_iter().enumerate() {
        text::parse_into(schema, index, field, &mut base).unwrap();
    }
    base.set(schema, 1, Value::F64(47.0)).unwrap();
    base.finish(schema).unwrap();
    let mut row = Position::decode(base.view(schema).unwrap()).unwrap();
    row.set_remark(None);
    let mut buffers =
        Buffers { image: RowImage::new(schema), delta: Vec::new(), key: Vec::new(), text: Vec::new() };
    let mut rounds = || {
        let before = ALLOCATIONS.with(Cell::get);
        for _ in 0..10 {
            one_row(&mut buffers, base.view(schema).unwrap());
            row.set_altitude(Some(35_000));
            row.encode(&mut buffers.image).unwrap();
            let typed = Position::decode(buffers.image.view(schema).unwrap()).unwrap();
            assert_eq!(typed.altitude(), Some(35_000));
            row.encode_delta(&mut buffers.delta).unwrap();
            buffers.delta.clear();
        }
        ALLOCATIONS.with(Cell::get) - before
    };
    assert_ne!(rounds(), 0, "the buffers grow first");
    assert_eq!(rounds(), 0);
}
