//! Deltas and row images from any bytes: an error, or a sound row that encodes to a delta that decodes to itself.
#![no_main]

use aerostore_core::row::{DirtyMask, RowImage, RowView, delta};
use aerostore_fuzz::WIDE;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    if choice & 1 == 0 {
        from_delta(data);
    } else {
        from_image(data);
    }
});

fn from_delta(data: &[u8]) {
    let _ = delta::mask(data);
    let _ = delta::key(&WIDE, data);
    let mut image = RowImage::new(&WIDE);
    let Ok(used) = delta::decode_into(&WIDE, data, &mut image) else { return };
    assert!(used <= data.len());
    if image.finish(&WIDE).is_ok() {
        round_trip(image.view(&WIDE).expect("a finished image"));
    }
}

fn from_image(data: &[u8]) {
    // An image starts at a multiple of eight; a vector of words does too.
    let mut words = vec![0_u64; data.len().div_ceil(8)];
    for (word, bytes) in words.iter_mut().zip(data.chunks(8)) {
        let mut whole = [0; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(whole);
    }
    let aligned: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let Ok(view) = RowView::new(&WIDE, &aligned) else { return };
    for value in view.values() {
        let _ = value.to_string();
    }
    if view.check().is_ok() {
        round_trip(view);
    }
}

fn round_trip(view: RowView<'_>) {
    view.check().expect("a sound image");
    let mut bytes = Vec::new();
    delta::encode(&WIDE, view, delta::all_columns(&WIDE), &mut bytes);
    let mut again = RowImage::new(&WIDE);
    let used = delta::decode_into(&WIDE, &bytes, &mut again).expect("what was encoded can be decoded");
    assert_eq!(used, bytes.len());
    again.finish(&WIDE).expect("a whole row");
    let again = again.view(&WIDE).expect("a finished image");
    assert_eq!(delta::changed(&WIDE, view, again), DirtyMask(0));
}
