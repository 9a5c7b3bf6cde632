//! The `query` layer.
