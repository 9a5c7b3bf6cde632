use aerostore_core::row::speedtable;

#[speedtable]
enum Fix {
    A,
}

fn main() {}
