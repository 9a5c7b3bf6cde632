//! The `epoch` layer.
