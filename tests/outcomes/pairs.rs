//! Pairs of observers: both are told of everything, in order.

use std::sync::{Arc, Mutex};

use bytes::Buf;
use http::{HeaderMap, StatusCode};
use tower_passthrough::{
    RequestHead, ResponseHead,
    observe::{
        MakeObserver, Moment, Observer,
        Outcome::{self, BodyError, Complete, Disconnected},
    },
};

use crate::{
    Blind,
    common::{
        Step::{Data, Error, Trailers},
        Told, Watch,
    },
    frames, watched_body,
};

/// Writes down its name and what it was told, on a roll that it shares with others.
#[derive(Clone)]
struct Named(&'static str, Roll);

type Roll = Arc<Mutex<Vec<(&'static str, &'static str)>>>;

impl Named {
    fn write(&self, told: &'static str) {
        self.1.lock().unwrap().push((self.0, told));
    }
}

impl MakeObserver for Named {
    type Observer = Self;

    fn observe(&self, _: &RequestHead<'_>, _: &Moment) -> Option<Self> {
        self.write("observe");
        Some(self.clone())
    }
}

impl Observer for Named {
    fn on_response(&mut self, _: &ResponseHead<'_>, _: &Moment) {
        self.write("response");
    }

    fn on_data<D: Buf>(&mut self, _: &D, _: &Moment) {
        self.write("data");
    }

    fn on_trailers(&mut self, _: &HeaderMap, _: &Moment) {
        self.write("trailers");
    }

    fn on_end(self, outcome: Outcome, _: &Moment) {
        self.write(outcome.as_str());
    }
}

#[test]
fn pair_is_told_the_first_one_first() {
    let roll = Roll::default();
    let [a, b, c] = ["a", "b", "c"].map(|name| Named(name, Arc::clone(&roll)));
    drop(frames(
        &mut watched_body(&((a, b), c), [Data(3), Trailers]),
        2,
    ));
    let told = ["observe", "response", "data", "trailers", "complete"];
    let expected: Vec<_> = told
        .iter()
        .flat_map(|told| ["a", "b", "c"].map(|name| (name, *told)))
        .collect();
    assert_eq!(*roll.lock().unwrap(), expected);
}

#[test]
fn pair_is_told_the_same_at_the_same_moments() {
    let (a, b) = (Watch::default(), Watch::default());
    let mut body = watched_body(&(a.clone(), b.clone()), [Data(3), Trailers]);
    frames(&mut body, 2);
    assert_eq!(
        a.told(),
        [
            Told::Response(StatusCode::OK),
            Told::Data(3),
            Told::Trailers,
            Told::End(Complete)
        ]
    );
    assert_eq!(a.moments(), b.moments());
}

#[test]
fn pair_ends_both_once_however_it_ends() {
    for (steps, polls, outcome) in [
        (vec![Data(3)], 2, Complete),
        (vec![Data(3), Trailers], 3, Complete),
        (vec![Data(3), Error], 3, BodyError),
        (vec![Data(3), Data(2)], 1, Disconnected),
        (vec![Data(3)], 0, Disconnected),
    ] {
        let (a, b) = (Watch::default(), Watch::default());
        let mut body = watched_body(&(a.clone(), b.clone()), steps.clone());
        frames(&mut body, polls);
        drop(body);
        assert_eq!(a.outcomes(), [outcome], "first, {polls} polls of {steps:?}");
        assert_eq!(
            b.outcomes(),
            [outcome],
            "second, {polls} polls of {steps:?}"
        );
    }
}

#[test]
fn pair_of_which_one_does_not_watch_tells_the_other() {
    let expected = [
        Told::Response(StatusCode::OK),
        Told::Data(3),
        Told::Trailers,
        Told::End(Complete),
    ];
    let watch = Watch::default();
    frames(
        &mut watched_body(&(watch.clone(), Blind::default()), [Data(3), Trailers]),
        2,
    );
    assert_eq!(watch.told(), expected, "first");

    let watch = Watch::default();
    frames(
        &mut watched_body(&(Blind::default(), watch.clone()), [Data(3), Trailers]),
        2,
    );
    assert_eq!(watch.told(), expected, "second");
}

#[test]
fn pair_of_which_none_watches_hands_on() {
    let mut body = watched_body(&(Blind::default(), Blind::default()), [Data(3), Trailers]);
    let given = frames(&mut body, 3);
    assert_eq!(
        given,
        frames(&mut watched_body(&Blind::default(), [Data(3), Trailers]), 3)
    );
}
