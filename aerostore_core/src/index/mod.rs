//! The `index` layer.

pub mod key;
