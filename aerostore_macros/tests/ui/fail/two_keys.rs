use aerostore_core::row::speedtable;

#[speedtable]
struct Fix {
    #[column(key)]
    id: i64,
    #[column(key)]
    other: i64,
}

fn main() {}
