use aerostore_core::row::speedtable;

#[speedtable]
struct Fix {
    #[column(key)]
    id: i64,
    dirty: bool,
    lat: f64,
    set_lat: f64,
}

fn main() {}
