//! The `shm` layer.
