//! The `sys` layer.
