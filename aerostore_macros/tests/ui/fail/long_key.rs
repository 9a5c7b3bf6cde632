use aerostore_core::row::speedtable;

#[speedtable]
struct Fix {
    #[column(key, max = 2000)]
    id: String,
}

fn main() {}
