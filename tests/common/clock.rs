//! Clocks and signals that are moved by hand.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    future::Future,
    marker::PhantomPinned,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tower_passthrough::timer::Timer;

#[derive(Debug)]
struct Time {
    now: Instant,
    made: usize,
    polled: usize,
    asked: usize,
    /// Of each sleep that is neither over nor dropped: when it is over, and who waits for it.
    sleeps: Vec<(usize, Instant, Option<Waker>)>,
}

/// A clock that stands still until it is moved.
#[derive(Debug, Clone)]
pub(crate) struct Clock(Arc<Mutex<Time>>);

impl Default for Clock {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Time {
            now: Instant::now(),
            made: 0,
            polled: 0,
            asked: 0,
            sleeps: Vec::new(),
        })))
    }
}

impl Clock {
    fn time(&self) -> MutexGuard<'_, Time> {
        self.0.lock().unwrap()
    }

    /// Moves the clock, and wakes who waits for it.
    pub(crate) fn pass(&self, duration: Duration) {
        let mut time = self.time();
        time.now += duration;
        let now = time.now;
        for (_, due, waker) in &mut time.sleeps {
            if *due <= now {
                waker.take().into_iter().for_each(Waker::wake);
            }
        }
    }

    /// How many sleeps were made.
    pub(crate) fn made(&self) -> usize {
        self.time().made
    }

    /// How often a sleep was polled.
    pub(crate) fn polled(&self) -> usize {
        self.time().polled
    }

    /// How often the time was asked for.
    pub(crate) fn asked(&self) -> usize {
        self.time().asked
    }

    /// How many sleeps are neither over nor dropped.
    pub(crate) fn held(&self) -> usize {
        self.time().sleeps.len()
    }
}

impl Timer for Clock {
    type Sleep = Sleep;

    fn sleep(&self, duration: Duration) -> Sleep {
        let mut time = self.time();
        time.made += 1;
        let (id, due) = (time.made, time.now + duration);
        time.sleeps.push((id, due, None));
        Sleep {
            clock: self.clone(),
            id,
            pinned: PhantomPinned,
        }
    }

    fn now(&self) -> Instant {
        let mut time = self.time();
        time.asked += 1;
        time.now
    }
}

/// A sleep of a [`Clock`]. Panics if it is polled once it is over. Never `Unpin`.
#[derive(Debug)]
pub(crate) struct Sleep {
    clock: Clock,
    id: usize,
    pinned: PhantomPinned,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut time = self.clock.time();
        time.polled += 1;
        let place = time.sleeps.iter().position(|(id, ..)| *id == self.id);
        let place = place.expect("polled after its end");
        let now = time.now;
        let (_, due, waker) = &mut time.sleeps[place];
        if *due <= now {
            time.sleeps.remove(place);
            return Poll::Ready(());
        }
        *waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.clock.time().sleeps.retain(|(id, ..)| *id != self.id);
    }
}

/// What a [`Signal`] was asked.
#[derive(Debug, Default)]
struct Calls {
    has_come: bool,
    made: usize,
    polls: usize,
    wakers: Vec<Waker>,
}

/// A signal that comes when it is told to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signal(Arc<Mutex<Calls>>);

impl Signal {
    pub(crate) fn come(&self) {
        let mut calls = self.0.lock().unwrap();
        calls.has_come = true;
        calls.wakers.drain(..).for_each(Waker::wake);
    }

    /// How many futures were made.
    pub(crate) fn made(&self) -> usize {
        self.0.lock().unwrap().made
    }

    /// How often they were polled.
    pub(crate) fn polls(&self) -> usize {
        self.0.lock().unwrap().polls
    }

    /// What makes futures that wait for it.
    pub(crate) fn waiting(&self) -> impl Fn() -> Waiting + Clone + Send + Sync + use<> {
        let signal = self.clone();
        move || {
            signal.0.lock().unwrap().made += 1;
            Waiting {
                signal: signal.clone(),
                is_over: AtomicBool::new(false),
                pinned: PhantomPinned,
            }
        }
    }
}

/// Waits for a [`Signal`]. Panics if it is polled once that has come. Never `Unpin`.
#[derive(Debug)]
pub(crate) struct Waiting {
    signal: Signal,
    is_over: AtomicBool,
    pinned: PhantomPinned,
}

impl Future for Waiting {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut calls = self.signal.0.lock().unwrap();
        calls.polls += 1;
        if calls.has_come {
            let was_over = self.is_over.swap(true, Ordering::SeqCst);
            assert!(!was_over, "polled after its end");
            return Poll::Ready(());
        }
        calls.wakers.push(cx.waker().clone());
        Poll::Pending
    }
}
