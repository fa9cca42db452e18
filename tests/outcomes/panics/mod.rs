//! Panics: of the service, of its body, and of the observers. The exchange ends when it happens,
//! whoever catches it, and whatever becomes of the remains.

mod at_the_end;
mod observers;
mod service;

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::Buf;
use http::{HeaderMap, StatusCode};
use tower_passthrough::{
    RequestHead, ResponseHead,
    observe::{
        MakeObserver, Moment, Observer,
        Outcome::{self},
    },
};

use crate::common::{Told, Watch};

const OK: Told = Told::Response(StatusCode::OK);

/// What `act` panicked with, if it did.
fn panic_of<T>(act: impl FnOnce() -> T) -> Option<Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(|| drop(act()))).err()
}

fn message(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<&str>().copied()
}

#[track_caller]
fn assert_panics<T>(with: &str, act: impl FnOnce() -> T) {
    let payload = panic_of(act).expect("a panic");
    assert_eq!(message(&*payload), Some(with));
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hook {
    Observe,
    Response,
    Data,
    Trailers,
    End,
}

/// Writes down what it is told, then panics in one of its hooks.
#[derive(Debug, Clone)]
struct Bomb {
    hook: Hook,
    watch: Watch,
}

impl Bomb {
    fn new(hook: Hook) -> Self {
        Self {
            hook,
            watch: Watch::default(),
        }
    }

    fn blow(&self, hook: Hook) {
        assert!(self.hook != hook, "bomb");
    }
}

impl MakeObserver for Bomb {
    type Observer = Self;

    fn observe(&self, _: &RequestHead<'_>, _: &Moment) -> Option<Self> {
        self.blow(Hook::Observe);
        Some(self.clone())
    }
}

impl Observer for Bomb {
    fn on_response(&mut self, head: &ResponseHead<'_>, at: &Moment) {
        self.watch.on_response(head, at);
        self.blow(Hook::Response);
    }

    fn on_data<D: Buf>(&mut self, data: &D, at: &Moment) {
        self.watch.on_data(data, at);
        self.blow(Hook::Data);
    }

    fn on_trailers(&mut self, trailers: &HeaderMap, at: &Moment) {
        self.watch.on_trailers(trailers, at);
        self.blow(Hook::Trailers);
    }

    fn on_end(self, outcome: Outcome, at: &Moment) {
        self.watch.clone().on_end(outcome, at);
        self.blow(Hook::End);
    }
}
