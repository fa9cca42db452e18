//! The conformance kit: our layers pass it, it finds what is broken, and it does what it says.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "clippy counts only functions that are `#[test]` as tests"
)]

#[path = "../common/mod.rs"]
mod common;
mod hostile;
mod kit;
mod ours;
mod saboteur;
mod saboteurs;
mod wrapped;
