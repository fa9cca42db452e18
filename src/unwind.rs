//! Panics that are caught, and what is left of them.

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

/// Runs what may panic, and gives the panic's message.
#[cfg(feature = "conformance")]
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let message = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => "not a text".to_owned(),
        };
        discard(panic);
        message
    })
}
