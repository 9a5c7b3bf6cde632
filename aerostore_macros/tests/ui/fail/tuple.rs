use aerostore_core::row::speedtable;

#[speedtable]
struct Fix(i64);

fn main() {}
