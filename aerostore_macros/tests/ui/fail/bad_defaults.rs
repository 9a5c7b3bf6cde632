use aerostore_core::row::speedtable;

#[speedtable]
struct Fix {
    #[column(key)]
    id: i64,
    #[column(default = 1 + 1)]
    sum: i32,
    #[column(default = '\0')]
    letter: char,
}

fn main() {}
