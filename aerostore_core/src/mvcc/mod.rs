//! The `mvcc` layer.
