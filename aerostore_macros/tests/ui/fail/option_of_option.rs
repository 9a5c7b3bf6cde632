use aerostore_core::row::speedtable;

#[speedtable]
struct Fix {
    #[column(key)]
    id: i64,
    lat: Option<Option<f64>>,
}

fn main() {}
