use std::{cell::Cell, time::Instant};

/// When something happened: a clock that is read once, and only if somebody asks.
///
/// All hooks that one layer calls for one event are handed the same moment, also those of both parts
/// of a pair. Whoever asks first reads the clock, the others get the same answer; if nobody asks,
/// nothing is paid. Layers around each other each have a moment of their own.
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
pub struct Moment(Cell<Option<Instant>>);

impl Moment {
    /// A moment whose clock is not read yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// The instant of the event: the clock's reading at the first call, the same ever after.
    #[inline]
    pub fn instant(&self) -> Instant {
        self.0.get().unwrap_or_else(|| {
            let now = Instant::now();
            self.0.set(Some(now));
            now
        })
    }
}

impl From<Instant> for Moment {
    fn from(instant: Instant) -> Self {
        Self(Cell::new(Some(instant)))
    }
}
