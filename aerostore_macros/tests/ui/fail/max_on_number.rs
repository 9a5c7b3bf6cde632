use aerostore_core::row::speedtable;

#[speedtable]
struct Fix {
    #[column(key)]
    id: i64,
    #[column(max = 8)]
    note: i32,
}

fn main() {}
