use aerostore_core::row::{FixedString, speedtable};

#[speedtable]
struct Fix {
    #[column(key)]
    id: i64,
    #[column(default = "cruising")]
    phase: FixedString<4>,
}

fn main() {}
