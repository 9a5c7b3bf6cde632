//! `#[speedtable]`.
