//! What is fetched before several entries are looked for is what they are found in.

use super::{Kind, Root, key};
use crate::db::garbage_tests::Scene;
use crate::index::fetch_ahead;
use crate::txn::Session;

/// How many of the entries lie in the block that was fetched for them, five of them at a time.
fn fetched(root: Root, session: &mut Session, entries: &[(Vec<u8>, u64)]) -> usize {
    root.with(session, |index, guard, _| {
        let mut count = 0;
        for few in entries.chunks(5) {
            let mut places: Vec<_> = few.iter().filter_map(|(key, row)| index.ahead(key, *row)).collect();
            fetch_ahead(guard, &mut places)?;
            for (place, (key, row)) in places.iter().zip(few) {
                count += usize::from(index.was_fetched(guard, place, key, *row)?);
            }
        }
        Ok(count)
    })
}

#[test]
fn what_is_fetched_ahead_is_where_entries_are_found() {
    let scene = Scene::new("index-ahead", 1);
    let mut session = scene.process();
    let root = Root::make(&mut session, Kind::Ordered);
    assert_eq!(fetched(root, &mut session, &[(key(1), 16)]), 1, "of an empty index");
    // Of some keys there are many rows, which lie in several blocks. Three levels.
    let entries: Vec<_> = (0..20_000_u64).map(|number| (key(number / 500), number * 16)).collect();
    root.insert_all(&mut session, &entries);
    assert_eq!(fetched(root, &mut session, &entries), entries.len());
    // Blocks that were split one by one.
    for (key, row) in entries.iter().step_by(7) {
        root.insert(&mut session, key, row + 8 * 16 * 20_000);
    }
    assert_eq!(fetched(root, &mut session, &entries), entries.len());
    // Of long keys only the beginning is known: most of these are told apart by it.
    let texts: Vec<_> =
        (0..5000_u64).map(|number| (format!("{:08}{number}", number / 2).into_bytes(), 16)).collect();
    let root = Root::make(&mut session, Kind::Ordered);
    root.insert_all(&mut session, &texts);
    assert!(fetched(root, &mut session, &texts) > 4500);
}
