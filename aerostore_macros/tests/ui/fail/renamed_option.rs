use aerostore_core::row::speedtable;

type Maybe = Option<f64>;

#[speedtable]
struct Fix {
    #[column(key)]
    id: i64,
    lat: Maybe,
}

fn main() {}
