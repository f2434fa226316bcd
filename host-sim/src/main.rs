//! The `ripple` command.
fn main() {}
