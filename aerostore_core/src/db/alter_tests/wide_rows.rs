//! Rows about as wide as rows can be, of tables that get columns (J10 of `row::stored`).

use super::Place;
use super::restarts::{assert_sound, named, set};
use crate::db::{Database, Event, Table, TableStanding, Transaction, TxnOptions};
use crate::row::{Column, ColumnType, MAX_IMAGE_BYTES, MAX_TEMPLATE_BYTES, RowImage, Schema, Value};
use std::time::Duration;

const COUNT: usize = 1;
const TEXT: usize = 2;
const OTHER: usize = 3;
const ADDED: usize = 4;

fn schema() -> Schema {
    Schema::builder("Gate")
        .column(Column::new("id", ColumnType::I64))
        .column(Column::new("count", ColumnType::I64).nullable())
        .column(Column::new("text", ColumnType::String(MAX_IMAGE_BYTES)).nullable())
        .column(Column::new("other", ColumnType::String(MAX_IMAGE_BYTES)).nullable())
        .key("id")
        .build()
        .unwrap()
}

fn open(place: &Place) -> Database {
    let builder = Database::builder(&place.dir).shm_path(&place.shm).max_bytes(128 << 20);
    builder.synchronous_commit(false).open().unwrap()
}

fn start_cold(place: &Place, db: Database) -> Database {
    db.close().unwrap();
    std::fs::remove_file(&place.shm).unwrap();
    open(place)
}

/// The longest that a row's only text can be.
fn longest() -> String {
    "x".repeat(MAX_IMAGE_BYTES as usize - schema().fixed_bytes())
}

/// An added column, with a default of so many bytes.
fn note(default_bytes: usize) -> Column {
    Column::new("note", ColumnType::String(MAX_IMAGE_BYTES)).nullable().default(&*"y".repeat(default_bytes))
}

/// Columns to add: of next to nothing, and of as much as can be.
fn additions() -> [Column; 3] {
    let fixed = schema().with_columns(&[note(1)]).unwrap().fixed_bytes();
    [
        Column::new("more", ColumnType::I64).nullable(),
        note(500_000),
        note(MAX_TEMPLATE_BYTES as usize - fixed),
    ]
}

fn with<R>(db: &Database, f: impl FnMut(&mut Transaction) -> Result<R, crate::db::Error>) -> R {
    db.transaction(TxnOptions::default(), f).unwrap()
}

/// The count of a row, and how long the texts are that the handle knows of.
fn shape(db: &Database, table: &Table, key: i64) -> Option<(i64, Vec<usize>)> {
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    txn.get(table, Value::I64(key), |row| {
        let texts = (TEXT..row.schema().columns().len()).filter_map(|index| row.get(index).as_str());
        (row.get(COUNT).as_i64().unwrap_or(-1), texts.map(str::len).collect())
    })
    .unwrap()
}

fn refuse(db: &Database, table: &Table, key: i64, columns: &[(usize, Value<'_>)]) {
    let before = shape(db, table, key);
    let error = db.transaction(TxnOptions::default(), |txn| txn.set(table, Value::I64(key), columns));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("exceeds the limit"), "{error}");
    assert_eq!(shape(db, table, key), before);
}

fn fill(db: &Database, table: &Table, key: i64) {
    set(db, table, key, &[(COUNT, Value::I64(key)), (TEXT, Value::Str(&longest()))]);
}

/// Rows of a table that gets a column, written before that and after it by who does not know of it, with a checkpoint at that time, or none.
fn altered(name: &str, added: &Column, checkpoint: usize) -> (Place, Database, Table, Table) {
    let place = Place::new(name);
    let db = open(&place);
    let checkpoint_at = |number: usize| (checkpoint == number).then(|| db.checkpoint().unwrap());
    let narrow = db.create_table(&schema()).unwrap();
    (1..=3).for_each(|key| fill(&db, &narrow, key));
    checkpoint_at(1);
    let wide = db.add_columns(&narrow, std::slice::from_ref(added)).unwrap();
    checkpoint_at(2);
    fill(&db, &narrow, 4);
    set(&db, &narrow, 2, &[(COUNT, Value::I64(20))]);
    with(&db, |txn| txn.delete(&narrow, Value::I64(3)));
    (place, db, narrow, wide)
}

#[test]
fn rows_as_wide_as_can_be_are_read_deleted_and_recovered_when_their_table_gets_columns() {
    let [little, _, most] = additions();
    for (checkpoint, added) in [(1, &little), (0, &most), (2, &most)] {
        let default = added.default_value().and_then(|text| text.as_str().map(str::len));
        let hint = format!("wide-{}-{checkpoint}", added.name());
        let (place, mut db, narrow, mut wide) = altered(&hint, added, checkpoint);
        let texts: Vec<_> = [longest().len()].into_iter().chain(default).collect();
        drop(narrow);
        for _ in 0..2 {
            let narrow = db.create_table(&schema()).unwrap();
            for (key, count) in [(1, 1), (2, 20), (4, 4)] {
                assert_eq!(shape(&db, &wide, key), Some((count, texts.clone())), "{hint}");
                assert_eq!(shape(&db, &narrow, key), Some((count, texts[..1].to_vec())), "{hint}");
            }
            assert_eq!(db.begin(TxnOptions::default()).unwrap().count(&wide).unwrap(), 3, "{hint}");
            drop((narrow, wide));
            db = start_cold(&place, db);
            wide = named(&db);
        }
        assert_sound(&db, &hint);
        let narrow = db.create_table(&schema()).unwrap();
        assert!(with(&db, |txn| txn.delete(&wide, Value::I64(1))), "{hint}");
        assert!(with(&db, |txn| txn.delete(&narrow, Value::I64(2))), "{hint}");
        assert_eq!(db.checkpoint().unwrap().rows, 1, "{hint}");
        drop((narrow, wide));
        let db = start_cold(&place, db);
        assert_eq!(shape(&db, &named(&db), 4), Some((4, texts)), "{hint}");
    }
}

#[test]
fn columns_are_added_again_up_to_what_rows_have_room_for() {
    let place = Place::new("again");
    let mut db = open(&place);
    let table = db.create_table(&schema()).unwrap();
    fill(&db, &table, 1);
    let note = |name: &str, bytes: usize| {
        let default = "y".repeat(bytes);
        [Column::new(name, ColumnType::String(MAX_IMAGE_BYTES)).nullable().default(&*default)]
    };
    db.add_columns(&table, &note("first", 400_000)).unwrap();
    drop(table);
    let rest = MAX_TEMPLATE_BYTES as usize - 400_000 - schema().fixed_bytes() - 2 * 8;
    for _ in 0..2 {
        db = start_cold(&place, db);
        db.checkpoint().unwrap();
        let table = named(&db);
        assert_eq!(shape(&db, &table, 1), Some((1, vec![longest().len(), 400_000])));
        let error = db.add_columns(&table, &note("second", rest + 1)).unwrap_err().to_string();
        assert!(error.contains("a row of defaults would take 921601 bytes"), "{error}");
        assert_eq!(db.standing(&table).unwrap(), TableStanding::Current);
    }
    db.add_columns(&named(&db), &note("second", rest)).unwrap();
    for _ in 0..2 {
        assert_eq!(shape(&db, &named(&db), 1), Some((1, vec![longest().len(), 400_000, rest])));
        db.checkpoint().unwrap();
        db = start_cold(&place, db);
    }
    assert_sound(&db, "again");
    assert!(with(&db, |txn| txn.delete(&named(&db), Value::I64(1))));
}

#[test]
fn a_row_that_added_columns_have_made_too_wide_can_be_written_if_it_gets_no_wider() {
    let [_, added, _] = additions();
    for is_recovered in [false, true] {
        let (place, mut db, mut narrow, mut wide) = altered(&format!("written-{is_recovered}"), &added, 0);
        if is_recovered {
            drop((narrow, wide));
            db = start_cold(&place, db);
            (narrow, wide) = (db.create_table(&schema()).unwrap(), named(&db));
        }
        // By who knows of the column, and by who does not, upon that.
        set(&db, &wide, 1, &[(COUNT, Value::I64(10))]);
        set(&db, &narrow, 1, &[(COUNT, Value::I64(11))]);
        set(&db, &narrow, 4, &[(COUNT, Value::I64(40))]);
        refuse(&db, &wide, 1, &[(COUNT, Value::I64(1)), (OTHER, Value::Str("a longer one"))]);
        refuse(&db, &narrow, 1, &[(COUNT, Value::I64(1)), (OTHER, Value::Str("a longer one"))]);
        refuse(&db, &wide, 1, &[(ADDED, Value::Str(&"z".repeat(500_009)))]);
        // Another one like it would be new.
        let copy = with(&db, |txn| txn.get(&wide, Value::I64(1), RowImage::from_view));
        let mut copy = copy.unwrap();
        copy.set(wide.schema(), 0, Value::I64(9)).unwrap();
        copy.finish(wide.schema()).unwrap();
        let error = db.transaction(TxnOptions::default(), |txn| txn.insert(&wide, &copy)).unwrap_err();
        assert!(error.to_string().contains("exceeds the limit"), "{error}");
        assert_eq!(shape(&db, &wide, 9), None);
        // What it has lost it cannot get again.
        set(&db, &wide, 4, &[(ADDED, Value::Null)]);
        refuse(&db, &wide, 4, &[(ADDED, Value::Str("z"))]);
        set(&db, &narrow, 4, &[(TEXT, Value::Null)]);
        let expected = [Some((11, vec![longest().len(), 500_000])), Some((40, vec![]))];
        for _ in 0..2 {
            assert_eq!([1, 4].map(|key| shape(&db, &wide, key)), expected);
            assert_sound(&db, "written");
            drop((narrow, wide));
            db = start_cold(&place, db);
            (narrow, wide) = (db.create_table(&schema()).unwrap(), named(&db));
        }
    }
}

#[test]
fn texts_that_trade_their_lengths_are_recovered_whichever_comes_first() {
    let place = Place::new("trade");
    let db = open(&place);
    let table = db.create_table(&schema()).unwrap();
    let text = "x".repeat(900_000);
    let [short, long] = [Value::Str(&text[..100_000]), Value::Str(&text)];
    set(&db, &table, 1, &[(TEXT, short), (OTHER, long)]);
    db.checkpoint().unwrap();
    set(&db, &table, 1, &[(OTHER, short), (TEXT, long)]);
    let wide = db.add_columns(&table, &additions()[..1]).unwrap();
    set(&db, &wide, 1, &[(ADDED, Value::I64(1))]);
    set(&db, &table, 1, &[(TEXT, short), (OTHER, long)]);
    // Upon an image with a column that is not known.
    set(&db, &table, 1, &[(OTHER, short), (TEXT, long)]);
    drop((table, wide));
    let db = start_cold(&place, db);
    assert_eq!(shape(&db, &named(&db), 1), Some((-1, vec![900_000, 100_000])));
    assert_sound(&db, "recovered");
}

#[test]
fn who_follows_a_table_is_told_of_rows_that_added_columns_have_made_too_wide() {
    let (_place, db, narrow, wide) = altered("followed", &additions()[1], 0);
    let follower = db.watch(&wide).subscribe().unwrap();
    set(&db, &narrow, 1, &[(COUNT, Value::I64(10))]);
    fill(&db, &narrow, 5);
    with(&db, |txn| txn.delete(&narrow, Value::I64(1)));
    for (op, count) in [("update", 10), ("insert", 5), ("delete", 10)] {
        let Some(Event::Commit(commit)) = follower.next_within(Duration::from_mins(1)).unwrap() else {
            panic!("no {op}")
        };
        let [change] = &commit.changes[..] else { panic!("{commit:?}") };
        let row = change.after().or(change.before()).unwrap();
        assert_eq!((change.op().as_str(), row.get(COUNT).as_i64()), (op, Some(count)));
        assert_eq!(
            [TEXT, ADDED].map(|index| row.get(index).as_str().unwrap().len()),
            [longest().len(), 500_000]
        );
    }
}
