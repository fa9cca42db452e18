//! Who is woken.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
};

/// Counts how often it is woken.
#[derive(Debug, Clone)]
pub(super) struct Alarm {
    rings: Arc<Rings>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Rings(AtomicUsize);

impl Wake for Rings {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Alarm {
    pub(super) fn new() -> Self {
        let rings = Arc::<Rings>::default();
        Self {
            waker: Waker::from(rings.clone()),
            rings,
        }
    }

    pub(super) fn rings(&self) -> usize {
        self.rings.0.load(Ordering::SeqCst)
    }

    pub(super) fn rang_since(&self, rings: usize) -> &'static str {
        if self.rings() > rings {
            "woken"
        } else {
            "not woken"
        }
    }

    pub(super) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }
}
