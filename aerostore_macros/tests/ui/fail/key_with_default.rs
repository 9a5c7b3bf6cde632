use aerostore_core::row::speedtable;

#[speedtable]
struct Fix {
    #[column(key, default = 1)]
    id: i64,
}

fn main() {}
