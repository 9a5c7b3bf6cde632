use aerostore_core::row::speedtable;

#[speedtable]
struct Fix {
    #[column(key)]
    id: i64,
    #[column(default = "high")]
    level: i32,
}

fn main() {}
