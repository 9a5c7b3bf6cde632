use aerostore_core::row::{FixedString, speedtable};

#[speedtable]
struct Fix {
    #[column(key)]
    id: i64,
    c0: FixedString<65535>,
    c1: FixedString<65535>,
    c2: FixedString<65535>,
    c3: FixedString<65535>,
    c4: FixedString<65535>,
    c5: FixedString<65535>,
    c6: FixedString<65535>,
    c7: FixedString<65535>,
    c8: FixedString<65535>,
    c9: FixedString<65535>,
    c10: FixedString<65535>,
    c11: FixedString<65535>,
    c12: FixedString<65535>,
    c13: FixedString<65535>,
    c14: FixedString<65535>,
    c15: FixedString<65535>,
    c16: FixedString<65535>,
}

fn main() {}
