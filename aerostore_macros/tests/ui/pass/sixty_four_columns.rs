//! As many columns as there are bits in a mask.

use aerostore_core::row::{Row, speedtable};

#[speedtable]
struct Wide {
    #[column(key)]
    id: i64,
    c1: Option<i32>,
    c2: Option<i32>,
    c3: Option<i32>,
    c4: Option<i32>,
    c5: Option<i32>,
    c6: Option<i32>,
    c7: Option<i32>,
    c8: Option<i32>,
    c9: Option<i32>,
    c10: Option<i32>,
    c11: Option<i32>,
    c12: Option<i32>,
    c13: Option<i32>,
    c14: Option<i32>,
    c15: Option<i32>,
    c16: Option<i32>,
    c17: Option<i32>,
    c18: Option<i32>,
    c19: Option<i32>,
    c20: Option<i32>,
    c21: Option<i32>,
    c22: Option<i32>,
    c23: Option<i32>,
    c24: Option<i32>,
    c25: Option<i32>,
    c26: Option<i32>,
    c27: Option<i32>,
    c28: Option<i32>,
    c29: Option<i32>,
    c30: Option<i32>,
    c31: Option<i32>,
    c32: Option<i32>,
    c33: Option<i32>,
    c34: Option<i32>,
    c35: Option<i32>,
    c36: Option<i32>,
    c37: Option<i32>,
    c38: Option<i32>,
    c39: Option<i32>,
    c40: Option<i32>,
    c41: Option<i32>,
    c42: Option<i32>,
    c43: Option<i32>,
    c44: Option<i32>,
    c45: Option<i32>,
    c46: Option<i32>,
    c47: Option<i32>,
    c48: Option<i32>,
    c49: Option<i32>,
    c50: Option<i32>,
    c51: Option<i32>,
    c52: Option<i32>,
    c53: Option<i32>,
    c54: Option<i32>,
    c55: Option<i32>,
    c56: Option<i32>,
    c57: Option<i32>,
    c58: Option<i32>,
    c59: Option<i32>,
    c60: Option<i32>,
    c61: Option<i32>,
    c62: Option<i32>,
    c63: Option<i32>,
}

fn main() {
    let mut row = Wide::new(1);
    row.set_c63(Some(9));
    assert_eq!((Wide::C63.index(), row.c63(), row.c62()), (63, Some(9), None));
    assert!(row.dirty().contains(63));
    assert_eq!(Wide::schema().columns().len(), 64);
}
