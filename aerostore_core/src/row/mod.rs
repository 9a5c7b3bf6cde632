//! The `row` layer.
