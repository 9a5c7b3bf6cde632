use aerostore_core::row::speedtable;

#[speedtable]
struct Fix<T> {
    #[column(key)]
    id: T,
}

fn main() {}
