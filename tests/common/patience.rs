//! Waiting for what must come.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{future::Future, time::Duration};

use tokio::time::timeout;

/// Only turns a hang into a failure: a busy machine may take a minute to start a browser.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Fails what would hang.
pub(crate) async fn soon<T>(what: &str, awaited: impl Future<Output = T>) -> T {
    let came = timeout(PATIENCE, awaited).await;
    came.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
