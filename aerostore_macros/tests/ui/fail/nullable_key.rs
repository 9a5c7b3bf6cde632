use aerostore_core::row::speedtable;

#[speedtable]
struct Fix {
    #[column(key)]
    id: Option<i64>,
}

fn main() {}
