//! [`Timer`]: the clock and the sleep that a layer waits with, of whichever runtime.
//!
//! With the feature `tokio`, there is one for tokio
#![cfg_attr(feature = "tokio", doc = "([`TokioTimer`]),")]
#![cfg_attr(not(feature = "tokio"), doc = "(`TokioTimer`),")]
//! and a layer that waits can be made by `new`, without naming one. Without it, any type that is a
//! [`Timer`] goes into its other constructors.

use std::{
    future::Future,
    time::{Duration, Instant},
};
#[cfg(feature = "tokio")]
use std::{
    pin::Pin,
    task::{Context, Poll},
};

#[cfg(feature = "tokio")]
use pin_project_lite::pin_project;

/// Waits, by the means of a runtime.
///
/// ```
/// use std::{future::Future, pin::Pin, time::Duration};
/// use tower_passthrough::timer::Timer;
///
/// #[derive(Clone)]
/// struct OfThreads;
///
/// impl Timer for OfThreads {
///     type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;
///
///     fn sleep(&self, duration: Duration) -> Self::Sleep {
///         let (done, is_done) = tokio::sync::oneshot::channel();
///         std::thread::spawn(move || {
///             std::thread::sleep(duration);
///             done.send(())
///         });
///         Box::pin(async { is_done.await.unwrap_or(()) })
///     }
/// }
/// # let start = std::time::Instant::now();
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(OfThreads.sleep(Duration::from_millis(5)));
/// # assert!(start.elapsed() >= Duration::from_millis(5));
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Timer {
    /// Resolves when the time is over.
    type Sleep: Future<Output = ()>;

    /// Sleeps for this long, from the call on.
    fn sleep(&self, duration: Duration) -> Self::Sleep;

    /// The time. A timer whose sleeps do not follow the clock of the system has another.
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// Waits on tokio's timer. It has to be called, as layers do when a body is polled, within a tokio
/// runtime with time enabled: outside of one, tokio panics.
///
/// ```
/// use std::time::Duration;
/// use tower_passthrough::timer::{Timer, TokioTimer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let start = TokioTimer.now();
/// TokioTimer.sleep(Duration::from_millis(5)).await;
/// assert!(TokioTimer.now() - start >= Duration::from_millis(5));
/// # }
/// ```
#[cfg(feature = "tokio")]
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioTimer;

#[cfg(feature = "tokio")]
impl Timer for TokioTimer {
    type Sleep = TokioSleep;

    fn sleep(&self, duration: Duration) -> TokioSleep {
        TokioSleep {
            sleep: tokio::time::sleep(duration),
        }
    }

    /// The same as the system's, but in tests that pause tokio's clock.
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

#[cfg(feature = "tokio")]
pin_project! {
    /// The sleep of [`TokioTimer`].
    #[derive(Debug)]
    pub struct TokioSleep {
        #[pin]
        sleep: tokio::time::Sleep,
    }
}

#[cfg(feature = "tokio")]
impl Future for TokioSleep {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().sleep.poll(cx)
    }
}
