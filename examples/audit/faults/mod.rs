//! Two middlewares as they are often written, each with a fault that breaks streaming.
//!
//! They stand here to be shown, side by side with the layers of the crate. Do not use them.

mod collect;
mod data_only;

use std::{error::Error, future::Future, pin::Pin};

pub(crate) use self::{collect::CollectLayer, data_only::DataOnlyLayer};

type BoxError = Box<dyn Error + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;
