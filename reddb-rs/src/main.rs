//! The `reddb` binary.

fn main() {}
