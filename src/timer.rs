//! [`Timer`]: the clock and the sleep that a layer waits with, of whichever runtime.
//!
//! With the feature `tokio`, there is one for tokio
#![cfg_attr(feature = "tokio", doc = "([`TokioTimer`]),")]
#![cfg_attr(not(feature = "tokio"), doc = "(`TokioTimer`),")]
//! and a layer that waits can be made by `new`, without naming one. Without it, any type that is a
//! [`Timer`] goes into its other constructors.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

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

pin_project! {
    /// Tells when nothing was heard for as long as `limit`.
    ///
    /// It costs nothing as long as there is something to hear. The time is noted when somebody
    /// waits for the first time since; the sleep that is armed by then is armed anew only when it is
    /// over, for what is left.
    pub(crate) struct Quiet<T: Timer> {
        timer: T,
        limit: Duration,
        since: Since,
        #[pin]
        sleep: Option<T::Sleep>,
    }
}

/// Since when it is quiet.
#[derive(Debug, Clone, Copy)]
enum Since {
    /// Nobody has asked since something was heard.
    Unknown,
    /// Since the sleep was armed, or for as much longer as it was armed for less than the limit.
    Armed,
    /// The sleep was armed before.
    At(Instant),
}

impl<T: Timer> Quiet<T> {
    pub(crate) const fn new(timer: T, limit: Duration) -> Self {
        Self {
            timer,
            limit,
            since: Since::Unknown,
            sleep: None,
        }
    }

    #[cfg(feature = "timeout")]
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// The quiet is over.
    #[inline]
    pub(crate) fn break_off(self: Pin<&mut Self>) {
        *self.project().since = Since::Unknown;
    }

    /// Ready when it has been quiet for the limit, since this was first polled after something was
    /// heard. The quiet begins anew then.
    pub(crate) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let mut left = *this.limit;
        loop {
            if this.sleep.is_none() {
                this.sleep.set(Some(this.timer.sleep(left)));
                *this.since = Since::Armed;
            } else if let Since::Unknown = this.since {
                *this.since = Since::At(this.timer.now());
            }
            if let Some(sleep) = this.sleep.as_mut().as_pin_mut() {
                ready!(sleep.poll(cx));
            }
            this.sleep.set(None);
            left = match *this.since {
                Since::At(since) => {
                    let passed = this.timer.now().saturating_duration_since(since);
                    this.limit.saturating_sub(passed)
                }
                // A timer is believed: a clock that does not keep up with it would go round here.
                Since::Armed | Since::Unknown => Duration::ZERO,
            };
            if left.is_zero() {
                return Poll::Ready(());
            }
        }
    }
}

impl<T: Timer> fmt::Debug for Quiet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quiet")
            .field("limit", &self.limit)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}
