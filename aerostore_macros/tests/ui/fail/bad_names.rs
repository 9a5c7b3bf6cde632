use aerostore_core::row::speedtable;

#[speedtable(name = "a table")]
struct Fix {
    #[column(key, alias = "")]
    id: i64,
    #[column(name = "1st")]
    first: f64,
}

fn main() {}
