//! Streaming-safe HTTP middleware.

mod head;
pub mod observe;

pub use self::head::{RequestHead, ResponseHead};
