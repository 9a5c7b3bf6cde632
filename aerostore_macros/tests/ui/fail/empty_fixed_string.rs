use aerostore_core::row::{FixedString, speedtable};

#[speedtable]
struct Fix {
    #[column(key)]
    id: i64,
    note: FixedString<0>,
}

fn main() {}
