//! When the end is said to have happened: with the last thing in the exchange, not with a late
//! drop.

use std::{
    sync::{Arc, Mutex},
    thread::sleep,
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, Response, StatusCode, header::CONTENT_LENGTH};
use tower_passthrough::{
    RequestHead,
    observe::{MakeObserver, Moment, Observer, Outcome},
};

use crate::{
    Incoming, answer,
    common::{
        End, Script, Size,
        Step::{self, Data, Pending, Trailers},
        Told, Watch,
    },
    next,
};

const A_WHILE: Duration = Duration::from_millis(30);

struct Held {
    method: Method,
    status: StatusCode,
    content_length: Option<&'static str>,
    steps: &'static [Step],
    size: Size,
    end: End,
}

const GET: Held = Held {
    method: Method::GET,
    status: StatusCode::OK,
    content_length: None,
    steps: &[],
    size: Size::Unknown,
    end: End::Hidden,
};

impl Held {
    /// Polls each step with a while after each, then drops the body.
    fn play<M: MakeObserver + Clone>(&self, make: &M) {
        let script = Script::new(self.steps.iter().cloned(), self.size, self.end);
        let mut response = Response::new(script);
        *response.status_mut() = self.status;
        if let Some(value) = self.content_length {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(CONTENT_LENGTH, value);
        }
        let mut request = Incoming::default();
        *request.method_mut() = self.method.clone();
        let mut body = answer(make, request, response).into_body();
        sleep(A_WHILE);
        for _ in self.steps {
            next(&mut body);
            sleep(A_WHILE);
        }
    }

    /// Asserts that the exchange ended at the very moment of the last thing that was told before.
    #[track_caller]
    fn ends_with(&self, last: Told) {
        let watch = Watch::default();
        self.play(&watch);
        let moments = watch.moments();
        let [.., (told, at), (Told::End(Outcome::Complete), end)] = moments[..] else {
            panic!("not complete: {moments:?}");
        };
        assert_eq!((told, at), (last, end), "{moments:?}");
    }
}

#[test]
fn body_held_after_its_content_length_ends_with_its_last_data() {
    Held {
        content_length: Some("5"),
        steps: &[Data(3), Data(2)],
        ..GET
    }
    .ends_with(Told::Data(2));
}

#[test]
fn body_held_after_its_exact_size_ends_with_its_last_data() {
    Held {
        steps: &[Data(3), Data(2)],
        size: Size::Exact,
        ..GET
    }
    .ends_with(Told::Data(2));
}

#[test]
fn body_held_after_the_end_that_it_showed_ends_with_its_last_data() {
    Held {
        steps: &[Data(3), Data(2)],
        end: End::Shown,
        ..GET
    }
    .ends_with(Told::Data(2));
}

#[test]
fn body_held_pending_after_its_content_length_ends_with_its_last_data() {
    Held {
        content_length: Some("5"),
        steps: &[Data(5), Pending, Pending],
        ..GET
    }
    .ends_with(Told::Data(5));
}

#[test]
fn data_beyond_the_content_length_moves_the_end() {
    Held {
        content_length: Some("3"),
        steps: &[Data(3), Data(2)],
        ..GET
    }
    .ends_with(Told::Data(2));
}

#[test]
fn trailers_beyond_the_content_length_are_the_end() {
    for size in [Size::Unknown, Size::Exact] {
        Held {
            content_length: Some("3"),
            steps: &[Data(3), Trailers],
            size,
            ..GET
        }
        .ends_with(Told::Trailers);
    }
}

#[test]
fn response_without_content_that_is_held_ends_with_its_head() {
    for (method, status) in [
        (Method::HEAD, StatusCode::OK),
        (Method::GET, StatusCode::NO_CONTENT),
        (Method::GET, StatusCode::NOT_MODIFIED),
    ] {
        Held {
            method,
            status,
            ..GET
        }
        .ends_with(Told::Response(status));
    }
}

#[test]
fn empty_body_that_is_held_ends_with_its_head() {
    for (content_length, size, end) in [
        (Some("0"), Size::Unknown, End::Hidden),
        (None, Size::Exact, End::Hidden),
        (None, Size::Unknown, End::Shown),
    ] {
        Held {
            content_length,
            size,
            end,
            ..GET
        }
        .ends_with(Told::Response(StatusCode::OK));
    }
}

#[test]
fn data_in_a_response_to_head_moves_the_end() {
    Held {
        method: Method::HEAD,
        steps: &[Data(5)],
        ..GET
    }
    .ends_with(Told::Data(5));
}

#[test]
fn body_that_is_cut_off_ends_with_its_drop() {
    let watch = Watch::default();
    Held {
        content_length: Some("6"),
        steps: &[Data(5)],
        ..GET
    }
    .play(&watch);
    let moments = watch.moments();
    let [_, (_, data), (Told::End(Outcome::Disconnected), end)] = moments[..] else {
        panic!("not disconnected: {moments:?}");
    };
    assert!(end - data >= A_WHILE, "{moments:?}");
}

/// Asks for no moment but the last.
#[derive(Clone, Default)]
struct Incurious(Arc<Mutex<Option<Instant>>>);

impl MakeObserver for Incurious {
    type Observer = Self;

    fn observe(&self, _: &RequestHead<'_>, _: &Moment) -> Option<Self> {
        Some(self.clone())
    }
}

impl Observer for Incurious {
    fn on_end(self, _: Outcome, at: &Moment) {
        *self.0.lock().unwrap() = Some(at.instant());
    }
}

#[test]
fn end_is_not_moved_by_an_observer_that_asks_late() {
    for held in [
        Held {
            content_length: Some("5"),
            steps: &[Data(5)],
            ..GET
        },
        Held {
            method: Method::HEAD,
            ..GET
        },
    ] {
        let late = Incurious::default();
        held.play(&late);
        let end = late.0.lock().unwrap().unwrap();
        assert!(end.elapsed() >= A_WHILE, "{:?}", end.elapsed());
    }
}
