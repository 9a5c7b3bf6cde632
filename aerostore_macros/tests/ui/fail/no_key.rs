use aerostore_core::row::speedtable;

#[speedtable]
struct Fix {
    lat: f64,
}

fn main() {}
