//! What is dropped before the end is told.

use std::{
    convert::Infallible,
    future::ready,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::Response;
use tower::Service;
use tower_passthrough::{
    RequestHead,
    observe::{
        MakeObserver, Moment, Observer,
        Outcome::{self},
    },
};

use crate::{
    Incoming, answer,
    common::{End, Script, Size, Step::Data},
    watched,
};

/// Asks, when told of the end, how many scripts were dropped.
#[derive(Debug, Clone, Default)]
struct Witness {
    drops: Arc<AtomicUsize>,
    drops_at_end: Arc<Mutex<Vec<usize>>>,
}

impl MakeObserver for Witness {
    type Observer = Self;

    fn observe(&self, _: &RequestHead<'_>, _: &Moment) -> Option<Self> {
        Some(self.clone())
    }
}

impl Observer for Witness {
    fn on_end(self, _: Outcome, _: &Moment) {
        let drops = self.drops.load(Ordering::SeqCst);
        self.drops_at_end.lock().unwrap().push(drops);
    }
}

#[test]
fn body_is_let_go_before_its_drop_is_told() {
    let script = Script::new([Data(3)], Size::Unknown, End::Hidden);
    let witness = Witness {
        drops: Arc::clone(&script.drops),
        ..Witness::default()
    };
    drop(answer(&witness, Incoming::default(), Response::new(script)));
    assert_eq!(*witness.drops_at_end.lock().unwrap(), [1]);
}

#[test]
fn future_is_let_go_before_its_drop_is_told() {
    let script = Script::new([Data(3)], Size::Unknown, End::Hidden);
    let witness = Witness {
        drops: Arc::clone(&script.drops),
        ..Witness::default()
    };
    let mut script = Some(script);
    let mut service = watched(&witness, |_: Incoming| {
        ready(Ok::<_, Infallible>(Response::new(script.take().unwrap())))
    });
    drop(service.call(Incoming::default()));
    assert_eq!(*witness.drops_at_end.lock().unwrap(), [1]);
}
