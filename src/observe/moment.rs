//! When something happens.

use std::{cell::Cell, time::Instant};

/// When something happened: a clock that is read once, and only if somebody asks.
///
/// All hooks that one layer calls for one event are handed the same moment, also those of both parts
/// of a pair. Whoever asks first reads the clock, the others get the same answer; if nobody asks,
/// nothing is paid. Layers around each other each have a moment of their own. It is lent for the hook,
/// and not `Sync`: what is to be kept of it is its [`instant`](Self::instant).
///
/// ```
/// use tower_passthrough::observe::Moment;
///
/// let at = Moment::new();
/// let first = at.instant();
/// std::thread::sleep(std::time::Duration::from_millis(1));
/// assert_eq!(at.instant(), first);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Moment {
    instant: Cell<Option<Instant>>,
    /// Whether it may be long past when it is told.
    #[cfg(feature = "metrics")]
    is_past: bool,
}

impl Moment {
    /// A moment whose clock is not read yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            instant: Cell::new(None),
            #[cfg(feature = "metrics")]
            is_past: false,
        }
    }

    /// The instant of the event: the clock's reading at the first call, the same ever after.
    #[inline]
    pub fn instant(&self) -> Instant {
        self.instant.get().unwrap_or_else(|| {
            let now = Instant::now();
            self.instant.set(Some(now));
            now
        })
    }

    /// When it is told: that is later for a body that was kept for a while after its end.
    #[cfg(feature = "metrics")]
    #[inline]
    pub(crate) fn told(&self) -> Instant {
        if self.is_past {
            Instant::now()
        } else {
            self.instant()
        }
    }
}

/// A moment in the past.
impl From<Instant> for Moment {
    fn from(instant: Instant) -> Self {
        Self {
            instant: Cell::new(Some(instant)),
            #[cfg(feature = "metrics")]
            is_past: true,
        }
    }
}
