//! Who is let in, who waits, and in which order.
//!
//! No code of others runs under the lock. A waker's `clone` and `drop` are such code: the drop of
//! the last one may drop a whole task, with a service in it that is in this queue.

use std::{
    collections::BTreeMap,
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::observe::{Moment, Observer, Outcome};

/// At most so many permits at once, handed out in the order in which they are asked for.
pub(super) struct Semaphore {
    max: usize,
    state: Mutex<State>,
}

/// While somebody waits, no permit is free: one that is given back goes to the first in the queue
/// at once, and nobody can get in between.
#[derive(Default)]
struct State {
    /// Permits that are out, those that nobody has picked up yet included. More than `max` only by
    /// [`Place::enter`].
    taken: usize,
    /// The number of the next ticket.
    next: u64,
    /// By the numbers of their tickets. One who has a ticket and is not in here has a permit.
    waiting: BTreeMap<u64, Waker>,
}

impl Semaphore {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a permit if one is free.
    fn try_take(&self) -> bool {
        let mut state = self.lock();
        let is_free = state.taken < self.max;
        state.taken += usize::from(is_free);
        is_free
    }

    /// Takes a permit if one is free, else gives a ticket.
    fn take_or_wait(&self, waker: Waker) -> Standing {
        let mut state = self.lock();
        if state.taken < self.max {
            state.taken += 1;
            drop(state);
            drop(waker);
            return Standing::Inside;
        }
        let ticket = state.next;
        state.next += 1;
        state.waiting.insert(ticket, waker);
        Standing::Waiting(ticket)
    }

    /// Whether this ticket has got its permit. If not, `waker` is told when it does.
    fn is_granted(&self, ticket: u64, waker: Waker) -> bool {
        let mut state = self.lock();
        let (unused, is_granted) = match state.waiting.get_mut(&ticket) {
            Some(place) => (mem::replace(place, waker), false),
            None => (waker, true),
        };
        drop(state);
        drop(unused);
        is_granted
    }

    /// Takes a ticket out of the queue. `false` if it has got its permit.
    fn revoke(&self, ticket: u64) -> bool {
        let waker = self.lock().waiting.remove(&ticket);
        waker.is_some()
    }

    /// Takes a permit, free or not.
    fn overdraw(&self) {
        self.lock().taken += 1;
    }

    /// Gives a permit back.
    fn release(&self) {
        let mut state = self.lock();
        let first = if state.taken > self.max {
            None
        } else {
            state.waiting.pop_first()
        };
        if first.is_none() {
            state.taken -= 1;
        }
        drop(state);
        if let Some((_, waker)) = first {
            waker.wake();
        }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        let (taken, waiting) = (state.taken, state.waiting.len());
        drop(state);
        f.debug_struct("Semaphore")
            .field("max", &self.max)
            .field("taken", &taken)
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}

/// Where one who asks for a permit stands. If dropped, its permit or its place in the queue goes
/// to the next.
#[derive(Debug)]
pub(super) struct Place {
    semaphore: Arc<Semaphore>,
    standing: Standing,
}

#[derive(Debug, Clone, Copy)]
enum Standing {
    Outside,
    Waiting(u64),
    Inside,
}

impl Place {
    pub(super) fn outside(semaphore: &Arc<Semaphore>) -> Self {
        Self {
            semaphore: Arc::clone(semaphore),
            standing: Standing::Outside,
        }
    }

    /// Another one outside, before the same semaphore.
    pub(super) fn another(&self) -> Self {
        Self::outside(&self.semaphore)
    }

    /// Ready once it has a permit.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let waker = || cx.waker().clone();
        let standing = match self.standing {
            Standing::Inside => return Poll::Ready(()),
            Standing::Outside if self.semaphore.try_take() => Standing::Inside,
            Standing::Outside => self.semaphore.take_or_wait(waker()),
            Standing::Waiting(ticket) if self.semaphore.is_granted(ticket, waker()) => {
                Standing::Inside
            }
            Standing::Waiting(_) => return Poll::Pending,
        };
        self.standing = standing;
        match self.standing {
            Standing::Inside => Poll::Ready(()),
            Standing::Outside | Standing::Waiting(_) => Poll::Pending,
        }
    }

    /// Makes a permit of it, even of one that has none yet: then there is one too many, until as
    /// many are given back.
    pub(super) fn enter(&mut self) -> Permit {
        match mem::replace(&mut self.standing, Standing::Outside) {
            Standing::Inside => {}
            Standing::Waiting(ticket) if !self.semaphore.revoke(ticket) => {}
            Standing::Waiting(_) | Standing::Outside => self.semaphore.overdraw(),
        }
        Permit(Arc::clone(&self.semaphore))
    }

    /// Gives back what it has.
    pub(super) fn leave(&mut self) {
        match mem::replace(&mut self.standing, Standing::Outside) {
            Standing::Inside => self.semaphore.release(),
            Standing::Waiting(ticket) if !self.semaphore.revoke(ticket) => {
                self.semaphore.release();
            }
            Standing::Waiting(_) | Standing::Outside => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The permit of one exchange: the observer of [`ConcurrencyLimitLayer`], which watches for
/// nothing but the end.
///
/// [`ConcurrencyLimitLayer`]: super::ConcurrencyLimitLayer
pub struct Permit(Arc<Semaphore>);

impl Observer for Permit {
    fn on_end(self, _: Outcome, _: &Moment) {}
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The window between the two looks is too small for the test with threads to come to it.
    #[test]
    fn permit_that_returns_before_the_place_in_the_queue_is_taken_is_not_missed() {
        let semaphore = Semaphore::new(1);
        assert!(semaphore.try_take());
        assert!(!semaphore.try_take());
        semaphore.release();
        let standing = semaphore.take_or_wait(Waker::noop().clone());
        assert!(matches!(standing, Standing::Inside));
        assert!(!semaphore.try_take());
    }
}
