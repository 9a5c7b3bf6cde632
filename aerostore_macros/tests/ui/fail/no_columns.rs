use aerostore_core::row::speedtable;

#[speedtable]
struct Fix {}

fn main() {}
