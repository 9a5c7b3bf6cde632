//! The `index` layer.
