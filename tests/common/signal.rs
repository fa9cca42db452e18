//! The signal to drain, of which it is known who has seen it, and a clock that the test moves.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower_passthrough::timer::Timer;

use crate::net::soon;

#[derive(Clone, Default)]
pub(crate) struct Signal {
    pub(crate) token: CancellationToken,
    seen: watch::Sender<usize>,
}

impl Signal {
    /// What a `DrainLayer` is made with.
    pub(crate) fn maker(
        &self,
    ) -> impl Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Clone + Send + Sync + 'static {
        let signal = self.clone();
        move || {
            let Signal { token, seen } = signal.clone();
            Box::pin(async move {
                token.cancelled().await;
                seen.send_modify(|seen| *seen += 1);
            })
        }
    }

    /// Waits until so many streams have seen the signal.
    pub(crate) async fn seen_by(&self, streams: usize) {
        let mut seen = self.seen.subscribe();
        soon(seen.wait_for(|seen| *seen == streams)).await.unwrap();
    }
}

/// Stands still but when it is told to go on.
#[derive(Clone)]
pub(crate) struct Clock(watch::Sender<Instant>);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Instant::now()))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now += by);
    }
}

impl Timer for Clock {
    type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        let mut clock = self.0.subscribe();
        let until = self.now() + duration;
        Box::pin(async move {
            clock.wait_for(|now| *now >= until).await.unwrap();
        })
    }

    fn now(&self) -> Instant {
        *self.0.borrow()
    }
}
