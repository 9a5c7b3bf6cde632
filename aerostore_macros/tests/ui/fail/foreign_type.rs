use aerostore_core::row::speedtable;

#[speedtable]
struct Fix {
    #[column(key)]
    id: i64,
    tags: Vec<u8>,
    count: Option<u32>,
    name: &'static str,
    pair: (f64, f64),
}

fn main() {}
