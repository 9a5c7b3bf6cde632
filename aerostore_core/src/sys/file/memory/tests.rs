use super::*;

const DIR: &str = "/d";

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// Every set of names that a power loss may leave, as text.
fn names(fs: &MemoryFileSystem) -> Vec<String> {
    let mut found: Vec<String> = (0..16_u32)
        .map(|coins| {
            let mut turn = 0;
            let after = fs.power_loss(|| {
                turn += 1;
                coins >> (turn - 1) & 1 == 1
            });
            let name = |path: &PathBuf| format!("{}", path.file_name().unwrap().display());
            after.paths().iter().map(name).collect::<Vec<_>>().join(" ")
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn names_are_sure_once_their_directory_is_synced() {
    let fs = MemoryFileSystem::default();
    drop(fs.create_new(&path("a")).unwrap());
    assert_eq!(names(&fs), ["", "a"]);
    fs.sync_dir(Path::new("/other")).unwrap();
    assert_eq!(names(&fs), ["", "a"]);
    fs.sync_dir(Path::new(DIR)).unwrap();
    assert_eq!(names(&fs), ["a"]);
    fs.rename(&path("a"), &path("b")).unwrap();
    assert_eq!(names(&fs), ["a", "b"]);
    drop(fs.create_new(&path("c")).unwrap());
    fs.remove(&path("b")).unwrap();
    assert_eq!(names(&fs), ["", "a", "a c", "b", "b c", "c"]);
    fs.sync_dir(Path::new(DIR)).unwrap();
    assert_eq!(names(&fs), ["c"]);
}

#[test]
fn the_call_that_is_to_fail_fails_and_no_other() {
    let fs = MemoryFileSystem::default();
    let mut file = fs.create_new(&path("a")).unwrap();
    fs.fail(Call::Write, 1, 1);
    file.write_at(0, b"1234").unwrap();
    assert_eq!(file.write_at(4, b"5678").unwrap_err().kind(), ErrorKind::StorageFull);
    file.write_at(8, b"9").unwrap();
    assert_eq!(fs.bytes(&path("a")), b"123456\0\x009");
    assert!(fs.heal());
    fs.fail(Call::Sync, 3, 1);
    file.sync_data().unwrap();
    assert!(!fs.heal());
}

#[test]
fn a_moment_is_kept_for_every_change() {
    let fs = MemoryFileSystem::default();
    let mut file = fs.create_new(&path("a")).unwrap();
    fs.sync_dir(Path::new(DIR)).unwrap();
    fs.record(|| 7);
    file.write_at(0, b"x").unwrap();
    file.sync_data().unwrap();
    let moments = fs.recorded();
    let found: Vec<_> =
        moments.iter().map(|moment| (moment.mark, moment.power_loss(|| false).bytes(&path("a")))).collect();
    assert_eq!(found, [(7, vec![]), (7, vec![]), (7, vec![b'x'])]);
}
