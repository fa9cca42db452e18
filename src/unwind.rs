//! What is left of a panic that was caught.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Drops what a panic carries, which may itself panic at that.
pub(crate) fn discard(payload: Box<dyn Any + Send>) {
    // What is left then is the payload of that panic, and so on: it is let be.
    mem::forget(catch_unwind(AssertUnwindSafe(|| drop(payload))));
}
