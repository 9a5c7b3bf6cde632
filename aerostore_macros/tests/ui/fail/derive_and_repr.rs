use aerostore_core::row::speedtable;

#[speedtable]
#[derive(Debug)]
#[repr(packed)]
struct Fix {
    #[column(key)]
    #[serde(skip)]
    id: i64,
}

fn main() {}
