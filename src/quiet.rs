//! How long nothing has come: the timer of the layers that wait for a body.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use pin_project_lite::pin_project;

use crate::timer::Timer;

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
