//! A value that many look at while one changes it.

use std::sync::{
    Mutex, PoisonError, RwLock, RwLockReadGuard, TryLockError,
    atomic::{AtomicUsize, Ordering},
};

/// A value that is looked at far more often than it is changed. Whoever looks never waits.
///
/// There are two slots. One is current: it is looked at. A change is made in the other, which is
/// then made the current one; so what was current stays as it is until the change after.
///
/// - Who looks is held up by a change only if, between finding out which slot is current and
///   locking it, one change was made and the next begun. Then it looks again, and finds another
///   slot current than before: somebody has got on.
/// - Who changes waits for other changes, and for whoever is still looking at the slot that was
///   current before the last change. Nobody looks there for longer than the look takes, unless its
///   thread is suspended in the middle of it.
///
/// All looks and changes are as if done one after the other: a look sees every change that had
/// returned before it began, and once a look has seen a change, no later one misses it.
#[derive(Debug)]
pub(super) struct Published<T> {
    slots: [RwLock<T>; 2],
    /// Which slot is current.
    current: AtomicUsize,
    /// Held by whoever changes the value.
    change: Mutex<()>,
}

impl<T: Clone> Published<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            slots: [RwLock::new(value.clone()), RwLock::new(value)],
            current: AtomicUsize::new(0),
            change: Mutex::new(()),
        }
    }

    /// `look` is short, and does not change the value: that would wait for its own end.
    pub(super) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        loop {
            let slot = self.current.load(Ordering::Acquire);
            if let Some(value) = self.lock_if_current(slot) {
                return look(&value);
            }
        }
    }

    fn lock_if_current(&self, slot: usize) -> Option<RwLockReadGuard<'_, T>> {
        let value = match self.slots[slot].try_read() {
            Ok(value) => value,
            // Nobody can have panicked with half a value in a slot: it is moved there as a whole.
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        // While it is locked it does not change. It could hold what is not published yet, if it
        // was filled after it was found to be current.
        (self.current.load(Ordering::Acquire) == slot).then_some(value)
    }

    /// If `change` panics, the value stays as it was.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        // What the lock protects is not in it, and is whole whenever somebody panics.
        let _alone = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut value = self.read(T::clone);
        let result = change(&mut value);
        let other = 1 - self.current.load(Ordering::Relaxed);
        *self.slots[other]
            .write()
            .unwrap_or_else(PoisonError::into_inner) = value;
        // The slot must be unlocked by now, or whoever looks would have to wait for that.
        self.current.store(other, Ordering::Release);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::mpsc,
        thread,
    };

    use super::*;

    fn value(published: &Published<u8>) -> u8 {
        published.read(|value| *value)
    }

    #[test]
    fn what_was_changed_is_seen() {
        let published = Published::new(0);
        for next in 1..=5 {
            let before = published.change(|value| std::mem::replace(value, next));
            assert_eq!((before, value(&published)), (next - 1, next));
        }
    }

    #[test]
    fn nobody_waits_for_a_change_that_is_being_made() {
        let published = Published::new(7);
        let _change = published.change.lock().unwrap();
        let _half_way = published.slots[1].write().unwrap();
        assert_eq!(value(&published), 7);
    }

    #[test]
    fn what_is_not_published_is_not_seen() {
        let published = Published::new(7);
        // Somebody found slot 1 to be current, and was held up for a change and a half.
        let half_way = published.slots[1].write().unwrap();
        assert!(published.lock_if_current(1).is_none(), "it is being filled");
        drop(half_way);
        assert!(published.lock_if_current(1).is_none(), "it is filled");
        published.current.store(1, Ordering::Release);
        assert!(published.lock_if_current(1).is_some(), "it is published");
    }

    #[test]
    fn a_slow_look_holds_up_the_change_after_the_next_and_no_other_look() {
        let published = Published::new(1);
        thread::scope(|scope| {
            let slow = published.lock_if_current(0).unwrap();
            published.change(|value| *value = 2);
            let (done, is_done) = mpsc::channel();
            let published = &published;
            scope.spawn(move || {
                published.change(|value| *value = 3);
                done.send(()).unwrap();
            });
            for _ in 0..1_000 {
                assert_eq!(value(published), 2);
                thread::yield_now();
            }
            assert_eq!((*slow, is_done.try_recv().is_err()), (1, true));
            drop(slow);
            is_done.recv().unwrap();
            assert_eq!(value(published), 3);
        });
    }

    #[test]
    fn a_panic_in_a_change_leaves_the_value() {
        let published = Published::new(7);
        let change = || published.change(|value| panic!("{}", std::mem::take(value)));
        for _ in 0..2 {
            assert!(catch_unwind(AssertUnwindSafe(change)).is_err());
            assert_eq!(value(&published), 7);
        }
        published.change(|value| *value = 8);
        assert_eq!(value(&published), 8);
    }

    #[test]
    fn poisoned_slots_are_used_on() {
        let published = Published::new(7);
        for slot in &published.slots {
            let poison = || panic!("{:?}", slot.write());
            assert!(catch_unwind(AssertUnwindSafe(poison)).is_err());
            assert!(slot.is_poisoned());
        }
        assert_eq!(value(&published), 7);
        published.change(|value| *value = 8);
        published.change(|value| *value += 1);
        assert_eq!(value(&published), 9);
    }
}
