//! A mapping whose first page was changed: refused with an error, or attached; never a crash.
#![no_main]

use aerostore_core::shm::{Arena, ArenaExpect, ArenaOptions, ShmError, mark_sweep};
use libfuzzer_sys::fuzz_target;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::LazyLock;

const UUID: [u8; 16] = *b"0123456789abcdef";
const LAYOUT: u64 = 7;

struct Original {
    path: PathBuf,
    page: Vec<u8>,
    bytes: u64,
}

static ORIGINAL: LazyLock<Original> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("aerostore-fuzz-mapping-{}.mmap", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let options = ArenaOptions {
        max_bytes: 8 << 20,
        system_bytes: 4096,
        uuid: UUID,
        layout_hash: LAYOUT,
        reserve_extents: 0,
    };
    let arena = Arena::create(&path, &options).expect("an arena");
    arena.header().set_ready();
    drop(arena);
    let bytes = std::fs::read(&path).expect("its file");
    Original { path, page: bytes[..4096].to_vec(), bytes: bytes.len() as u64 }
});

// Edits of four bytes: place (u16), value, and whether to cut the file short.
fuzz_target!(|data: &[u8]| {
    let original = &*ORIGINAL;
    let mut page = original.page.clone();
    let mut bytes = original.bytes;
    for edit in data.chunks_exact(4).take(16) {
        let place = usize::from(edit[0]) | usize::from(edit[1]) << 8;
        // The header is in the first bytes; most edits shall hit it.
        page[place % if edit[3] & 1 == 0 { 256 } else { 4096 }] = edit[2];
        if edit[3] == 0xFF {
            bytes = u64::from(edit[2]) << 12;
        }
    }
    let file = std::fs::OpenOptions::new().write(true).open(&original.path).expect("the file");
    file.set_len(bytes).expect("a length");
    file.write_all_at(&page[..page.len().min(usize::try_from(bytes).unwrap_or(0))], 0).expect("a page");
    let expect = ArenaExpect { uuid: Some(UUID), layout_hash: LAYOUT };
    if let Ok(arena) = Arena::attach(&original.path, &expect) {
        assert_eq!(arena.uuid(), UUID);
        let _ = arena.used_bytes();
        let _ = mark_sweep::<ShmError>(&arena, |_| Ok(()));
    }
});
