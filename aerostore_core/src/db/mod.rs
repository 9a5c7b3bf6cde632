//! The `db` layer.
