//! Where metrics go.

use std::{ptr, sync::Arc, thread};

use metrics::Recorder;

#[derive(Clone)]
pub(super) enum Source {
    /// To the recorder that the facade's macros would go to.
    Current,
    Given(Arc<dyn Recorder + Send + Sync>),
}

impl Source {
    pub(super) fn with<T>(&self, then: impl FnOnce(&dyn Recorder) -> T) -> T {
        match self {
            Self::Current => metrics::with_recorder(then),
            Self::Given(recorder) => then(&**recorder),
        }
    }

    /// Tells recorders that live at the same time apart.
    #[inline]
    pub(super) fn id(&self) -> usize {
        self.with(|recorder| ptr::from_ref(recorder).cast::<()>().addr())
    }

    /// Whether the recorder of this [`id`](Self::id) is there for good. One that is local to a
    /// thread is not, and the next one may live at the same address.
    ///
    /// The facade does not tell which one it is. But a thread that is new has no local one. `None`
    /// if there can be no such thread.
    pub(super) fn stays(&self, id: usize) -> Option<bool> {
        match self {
            Self::Given(_) => Some(true),
            Self::Current => {
                let new = thread::Builder::new().spawn(move || Self::Current.id() == id);
                new.ok()?.join().ok()
            }
        }
    }
}
