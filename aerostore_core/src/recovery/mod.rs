//! The `recovery` layer.
