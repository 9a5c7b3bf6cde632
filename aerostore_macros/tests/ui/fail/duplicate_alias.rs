use aerostore_core::row::speedtable;

#[speedtable]
struct Fix {
    #[column(key, alias = "lat")]
    id: i64,
    lat: f64,
}

fn main() {}
