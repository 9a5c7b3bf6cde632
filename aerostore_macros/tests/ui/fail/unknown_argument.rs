use aerostore_core::row::speedtable;

#[speedtable(index = 3)]
struct Fix {
    #[column(key, primary)]
    id: i64,
    #[column(ordered, hash)]
    lat: f64,
}

fn main() {}
