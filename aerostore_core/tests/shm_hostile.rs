//! Mappings that are not what they should be: each is refused with an error that says what is wrong, and left as it was.
#![allow(clippy::unwrap_used, reason = "tests")]

mod shm_common;

use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use aerostore_core::shm::{Arena, ArenaExpect, ArenaOptions, EXTENT_BYTES, Heap, OwnerId, Reserve, ShmError};
use aerostore_core::shm::{BlockKind, FORMAT_VERSION, MAGIC};
use aerostore_core::sys::{Create, RegularFile};
use shm_common::Scratch;

const UUID: [u8; 16] = *b"0123456789abcdef";

fn options() -> ArenaOptions {
    ArenaOptions {
        max_bytes: 8 * EXTENT_BYTES,
        system_bytes: 10_000,
        uuid: UUID,
        layout_hash: 77,
        ..Default::default()
    }
}

const EXPECT: ArenaExpect = ArenaExpect { uuid: Some(UUID), layout_hash: 77 };

/// A finished arena in a scratch file.
fn finished(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    Arena::create(&scratch.0, &options()).unwrap().header().set_ready();
    scratch
}

/// Overwrites bytes of the file.
fn patch(path: &Path, offset: u64, bytes: &[u8]) {
    std::fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

/// Overwrites bytes of the identity and makes its checksum fit.
fn patch_identity(path: &Path, offset: u64, bytes: &[u8]) {
    patch(path, offset, bytes);
    let file = std::fs::File::open(path).unwrap();
    let mut identity = [0; 88];
    file.read_exact_at(&mut identity, 16).unwrap();
    patch(path, 104, &u64::from(crc32c::crc32c(&identity)).to_ne_bytes());
}

fn attach(path: &Path) -> Result<Arena, ShmError> {
    Arena::attach(path, &EXPECT)
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

#[test]
fn a_finished_arena_is_attached_and_keeps_its_contents() {
    let scratch = finished("finished");
    assert_eq!(std::fs::metadata(&scratch.0).unwrap().permissions().mode() & 0o777, 0o600);
    let first = attach(&scratch.0).unwrap();
    let second = attach(&scratch.0).unwrap();
    let mut heap = Heap::new(first.clone(), OwnerId { slot: 0, incarnation: 1 });
    let block = heap.alloc(5_000, BlockKind::RAW, 0, Reserve::No).unwrap();
    first.root(7).store(block.offset, std::sync::atomic::Ordering::Release);
    // The other mapping follows as the file grows.
    let far = (0..20_000).map(|_| heap.alloc(300, BlockKind::ROW, 0, Reserve::No).unwrap()).last().unwrap();
    assert!(far.offset > 3 * EXTENT_BYTES);
    assert_eq!(second.block_ref(far.offset).unwrap(), far);
    assert_eq!(second.root(7).load(std::sync::atomic::Ordering::Acquire), block.offset);
    assert_eq!(second.uuid(), UUID);
    let (offset, bytes) = second.system_area();
    assert!(offset.is_multiple_of(4096) && bytes >= 10_000);
    assert!(second.header().is_ready() && !second.header().is_clean());
    first.header().set_clean(true);
    assert!(second.header().is_clean());
    assert!(matches!(Arena::create(&scratch.0, &options()), Err(ShmError::AlreadyExists { .. })));
}

#[test]
fn absent_empty_and_unfinished_files_are_created_anew() {
    let scratch = Scratch::new("absent");
    assert!(attach(&scratch.0).unwrap_err().is_absent());
    std::fs::write(&scratch.0, b"").unwrap();
    assert!(attach(&scratch.0).unwrap_err().is_absent());
    let unfinished = Arena::create(&scratch.0, &options()).unwrap();
    drop(unfinished);
    assert!(attach(&scratch.0).unwrap_err().is_absent());
    Arena::create(&scratch.0, &options()).unwrap().header().set_ready();
    attach(&scratch.0).unwrap();
}

#[test]
fn a_file_that_grows_while_it_is_opened_is_not_taken_for_truncated() {
    let scratch = finished("growing");
    let before = length(&scratch.0);
    let opened = RegularFile::open(&scratch.0, Create::Never).unwrap();
    let arena = attach(&scratch.0).unwrap();
    let mut heap = Heap::new(arena.clone(), OwnerId { slot: 0, incarnation: 1 });
    while arena.file_bytes() == before {
        heap.alloc(1_000_000, BlockKind::RAW, 0, Reserve::No).unwrap();
    }
    Arena::attach_in(&opened, &EXPECT).unwrap();
}

#[test]
fn truncated_files_say_how_long_they_should_be() {
    let scratch = finished("truncated");
    let whole = length(&scratch.0);
    for actual in [whole - 1, EXTENT_BYTES, 5000, 4096, 4095, 64, 9] {
        std::fs::OpenOptions::new().write(true).open(&scratch.0).unwrap().set_len(actual).unwrap();
        match attach(&scratch.0) {
            Err(ShmError::Truncated { expected, actual: found, .. }) => {
                assert_eq!(found, actual);
                assert_eq!(expected, if actual < 4096 { 4096 } else { whole });
            }
            other => panic!("{actual}: {other:?}"),
        }
    }
}

#[test]
fn foreign_files_are_neither_attached_nor_overwritten() {
    let scratch = Scratch::new("foreign");
    let zeros = vec![0; 3 << 20];
    for content in [&b"x"[..], b"abc", b"a letter to a friend, which is not a database", &zeros] {
        std::fs::write(&scratch.0, content).unwrap();
        assert!(matches!(attach(&scratch.0), Err(ShmError::ForeignMagic { .. })));
        assert!(matches!(Arena::create(&scratch.0, &options()), Err(ShmError::ForeignMagic { .. })));
        assert_eq!(std::fs::read(&scratch.0).unwrap(), content);
    }
}

#[test]
fn other_versions_are_neither_attached_nor_overwritten() {
    let scratch = finished("version");
    patch(&scratch.0, 4, &(FORMAT_VERSION + 1).to_ne_bytes());
    let expected_error = |result: Result<Arena, ShmError>| {
        assert!(matches!(result, Err(ShmError::Version { found, expected, .. })
            if found == FORMAT_VERSION + 1 && expected == FORMAT_VERSION));
    };
    expected_error(attach(&scratch.0));
    expected_error(Arena::create(&scratch.0, &options()));
}

#[test]
fn other_layouts_databases_and_boots_are_refused() {
    let scratch = finished("other");
    let layout = Arena::attach(&scratch.0, &ArenaExpect { layout_hash: 78, ..EXPECT });
    assert!(matches!(layout, Err(ShmError::LayoutMismatch { found: 77, expected: 78, .. })));
    let uuid = Arena::attach(&scratch.0, &ArenaExpect { uuid: Some([1; 16]), ..EXPECT });
    assert!(matches!(uuid, Err(ShmError::UuidMismatch { found: UUID, .. })));
    Arena::attach(&scratch.0, &ArenaExpect { uuid: None, ..EXPECT }).unwrap();
    patch_identity(&scratch.0, 40, &[9; 16]);
    assert!(matches!(attach(&scratch.0), Err(ShmError::BootMismatch { .. })));
}

#[test]
fn damaged_headers_are_corrupt_wherever_they_are_hit() {
    let scratch = finished("damaged");
    for offset in 16..112 {
        let mut byte = [0];
        let file = std::fs::File::open(&scratch.0).unwrap();
        file.read_exact_at(&mut byte, offset).unwrap();
        patch(&scratch.0, offset, &[!byte[0]]);
        assert!(matches!(attach(&scratch.0), Err(ShmError::Corrupt { .. })), "byte {offset}");
        patch(&scratch.0, offset, &byte);
    }
    attach(&scratch.0).unwrap();
    // Sizes that contradict each other under a checksum that fits, and extents that cannot be.
    let (max_bytes, system, first_slab, reserve, extents) = (56, 64, 80, 88, 128);
    let hostile = [u64::MAX, 1 << 62, 1 << 48, 12_345, 0];
    for place in [max_bytes, system, first_slab, reserve, extents] {
        for value in hostile.into_iter().filter(|value| !(place == reserve && *value == 0)) {
            let scratch = finished("sizes");
            patch_identity(&scratch.0, place, &value.to_ne_bytes());
            let error = attach(&scratch.0).unwrap_err();
            assert!(matches!(error, ShmError::Corrupt { .. }), "{value:#x} at {place}: {error}");
        }
    }
}

#[test]
fn links_directories_and_pipes_are_refused() {
    let target = finished("target");
    let link = Scratch::new("link");
    symlink(&target.0, &link.0).unwrap();
    assert!(matches!(attach(&link.0), Err(ShmError::Symlink { .. })));
    assert!(matches!(Arena::create(&link.0, &options()), Err(ShmError::Symlink { .. })));
    let dangling = Scratch::new("dangling");
    symlink("/dev/shm/aerostore-test-nowhere", &dangling.0).unwrap();
    assert!(matches!(Arena::create(&dangling.0, &options()), Err(ShmError::Symlink { .. })));
    for path in ["/dev/shm", "/dev/null"] {
        assert!(matches!(attach(Path::new(path)), Err(ShmError::NotRegularFile { .. })), "{path}");
    }
    let pipe = Scratch::new("pipe");
    let name = std::ffi::CString::new(pipe.0.to_str().unwrap()).unwrap();
    // SAFETY: `name` is a C string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    assert!(matches!(Arena::create(&pipe.0, &options()), Err(ShmError::NotRegularFile { .. })));
}

#[test]
fn files_of_another_user_are_refused() {
    let scratch = finished("owner");
    if std::os::unix::fs::chown(&scratch.0, Some(12_345), None).is_err() {
        return; // only root can give a file away
    }
    assert!(matches!(attach(&scratch.0), Err(ShmError::WrongOwner { uid: 12_345, .. })));
    assert!(matches!(Arena::create(&scratch.0, &options()), Err(ShmError::WrongOwner { .. })));
}

#[test]
fn options_that_leave_no_room_are_refused() {
    let hostile = [
        ArenaOptions { max_bytes: 0, ..options() },
        ArenaOptions { max_bytes: 3 * EXTENT_BYTES - 1, ..options() },
        ArenaOptions { system_bytes: u64::MAX, ..options() },
        ArenaOptions { system_bytes: 6 * EXTENT_BYTES, ..options() },
        ArenaOptions { max_bytes: u64::MAX, ..options() },
        ArenaOptions { reserve_extents: u64::MAX, ..options() },
    ];
    for options in hostile {
        assert!(matches!(Arena::anonymous(&options), Err(ShmError::BadOptions { .. })), "{options:?}");
    }
    Arena::anonymous(&ArenaOptions { max_bytes: 3 * EXTENT_BYTES, ..options() }).unwrap();
    let wide = Arena::anonymous(&ArenaOptions { system_bytes: 3 * EXTENT_BYTES, ..options() }).unwrap();
    let mut heap = Heap::new(wide.clone(), OwnerId { slot: 0, incarnation: 1 });
    let block = heap.alloc(100, BlockKind::RAW, 0, Reserve::No).unwrap();
    let (offset, bytes) = wide.system_area();
    assert!(block.offset > offset + bytes);
}

#[test]
fn errors_name_the_file_and_the_fault() {
    let scratch = finished("message");
    patch(&scratch.0, 0, &0xdead_beef_u32.to_ne_bytes());
    let message = attach(&scratch.0).unwrap_err().to_string();
    assert!(message.contains("0xdeadbeef") && message.contains(scratch.0.to_str().unwrap()), "{message}");
    assert_ne!(MAGIC, 0);
}
