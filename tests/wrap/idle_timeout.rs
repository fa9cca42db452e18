//! When `IdleTimeoutLayer` ends a body, and when it does not.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Response};
use http_body::Body;
use tower_passthrough::{
    observe::{ObserveLayer, Outcome},
    timeout::{IdleTimeoutBody, IdleTimeoutError, IdleTimeoutLayer},
};

use crate::{
    clock::Clock,
    common::{Broken, Given, Hints, Watch, hints, poll_body},
    events::{Fed, Feed, answered, read},
};

const SECOND: Duration = Duration::from_secs(1);
/// Of the limit of ten seconds.
const ALMOST: Duration = Duration::from_nanos(9_999_999_999);

fn layer(clock: &Clock) -> IdleTimeoutLayer<Clock> {
    IdleTimeoutLayer::with_timer(10 * SECOND, clock.clone()).unwrap()
}

type Limited = Pin<Box<IdleTimeoutBody<Fed, Clock>>>;

fn open() -> (Feed, Clock, Limited) {
    let (feed, clock) = (Feed::default(), Clock::default());
    let response = Response::new(feed.body());
    let body = answered(&layer(&clock), Method::GET, response).into_body();
    (feed, clock, body)
}

fn poll(body: &mut Limited) -> Given {
    poll_body(body, &mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_gap_as_long_as_the_limit_ends_the_body() {
    // Before the first frame, and after so many.
    for frames in 0..3 {
        let (feed, clock, mut body) = open();
        for _ in 0..frames {
            feed.data("x");
            assert_eq!(read(&mut body), ["x"]);
        }
        assert!(read(&mut body).is_empty());
        clock.pass(ALMOST);
        assert!(read(&mut body).is_empty(), "{frames}");
        clock.pass(Duration::from_nanos(1));
        assert_eq!(read(&mut body), ["error"], "{frames}");
        // Once. The inner body is asked no more.
        feed.data("late");
        let polls = feed.polls();
        assert_eq!(read(&mut body), ["end"]);
        assert_eq!(read(&mut body), ["end"]);
        assert_eq!(feed.polls(), polls);
    }
}

#[test]
fn a_body_that_goes_on_goes_on_for_ever() {
    let (feed, clock, mut body) = open();
    for text in ["x", ""].repeat(1_000) {
        assert!(read(&mut body).is_empty());
        clock.pass(ALMOST);
        assert!(read(&mut body).is_empty());
        feed.data(text); // an empty frame too is a sign of life
        assert_eq!(read(&mut body), [text]);
    }
    clock.pass(9 * SECOND);
    feed.trailers();
    feed.end();
    assert_eq!(read(&mut body), ["trailers", "end"]);
}

#[test]
fn the_body_is_asked_before_the_timer() {
    let (feed, clock, mut body) = open();
    assert_eq!(poll(&mut body), Given::Pending);
    clock.pass(10 * SECOND);
    feed.data("just in time");
    assert_eq!(poll(&mut body), Given::Data("just in time".into()));
    assert_eq!(poll(&mut body), Given::Pending);
    clock.pass(10 * SECOND);
    feed.end();
    assert_eq!(poll(&mut body), Given::End);
}

#[test]
fn a_server_that_does_not_ask_is_no_timeout() {
    let (feed, clock, mut body) = open();
    clock.pass(1_000 * SECOND);
    assert_eq!(poll(&mut body), Given::Pending);
    clock.pass(9 * SECOND);
    feed.data("1");
    feed.data("2");
    // The client reads slowly: what is there is taken by and by.
    clock.pass(1_000 * SECOND);
    assert_eq!(poll(&mut body), Given::Data("1".into()));
    clock.pass(1_000 * SECOND);
    assert_eq!(poll(&mut body), Given::Data("2".into()));
    clock.pass(1_000 * SECOND);
    // The gap begins with the first time that it asks in vain.
    assert_eq!(poll(&mut body), Given::Pending);
    clock.pass(9 * SECOND);
    assert_eq!(poll(&mut body), Given::Pending);
    clock.pass(SECOND);
    assert_eq!(poll(&mut body), Given::Error);
}

#[test]
fn the_error_says_what_it_is() {
    let (_feed, clock, mut body) = open();
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(body.as_mut().poll_frame(cx).is_pending());
    clock.pass(10 * SECOND);
    let Poll::Ready(Some(Err(error))) = body.as_mut().poll_frame(cx) else {
        panic!("no error");
    };
    let error = error.downcast_ref::<IdleTimeoutError>().unwrap();
    assert_eq!(error.limit, 10 * SECOND);
    assert_eq!(error.to_string(), "the response body was idle for 10s");
}

#[test]
fn the_error_of_the_inner_body_is_the_one_in_the_box() {
    let (feed, _clock, mut body) = open();
    feed.error();
    let cx = &mut Context::from_waker(Waker::noop());
    let Poll::Ready(Some(Err(error))) = body.as_mut().poll_frame(cx) else {
        panic!("no error");
    };
    assert_eq!(error.downcast_ref(), Some(&Broken));
}

#[test]
fn hints_are_those_of_the_inner_body_until_it_is_cut() {
    let (feed, clock, mut body) = open();
    let hinted = |lower, upper, is_end_stream| Hints {
        lower,
        upper,
        is_end_stream,
    };
    assert_eq!(hints(&body), hinted(0, None, false));
    feed.size(5, Some(5));
    assert_eq!(hints(&body), hinted(5, Some(5), false));
    feed.data("abc");
    read(&mut body);
    feed.size(2, Some(9));
    assert_eq!(hints(&body), hinted(2, Some(9), false));
    clock.pass(10 * SECOND);
    assert_eq!(hints(&body), hinted(2, Some(9), false));
    assert_eq!(read(&mut body), ["error"]);
    assert_eq!(hints(&body), hinted(0, Some(0), true));

    let (feed, _clock, body) = open();
    feed.show_end();
    assert_eq!(hints(&body), hinted(0, None, true));
}

#[test]
fn frames_pass_at_the_poll_that_yields_them_from_their_own_memory() {
    let (feed, _clock, mut body) = open();
    for text in ["data: 1\n\n", "", "x"] {
        let sent = Bytes::from(text);
        feed.data(sent.clone());
        let polls = feed.polls();
        let Given::Data(given) = poll(&mut body) else {
            panic!("no data");
        };
        assert_eq!((given.as_ptr(), &given), (sent.as_ptr(), &sent));
        assert_eq!(poll(&mut body), Given::Pending);
        assert_eq!(feed.polls(), polls + 2);
    }
}

#[test]
fn a_body_that_goes_on_touches_no_timer() {
    let (feed, clock, mut body) = open();
    for _ in 0..10_000 {
        feed.data("x");
        assert_eq!(poll(&mut body), Given::Data("x".into()));
        clock.pass(SECOND);
    }
    assert_eq!((clock.made(), clock.asked(), clock.polled()), (0, 0, 0));
}

#[test]
fn a_body_that_stops_and_goes_arms_one_sleep_a_limit() {
    let (feed, clock, mut body) = open();
    for _ in 0..10_000 {
        assert_eq!(poll(&mut body), Given::Pending);
        clock.pass(SECOND / 100);
        feed.data("x");
        assert_eq!(poll(&mut body), Given::Data("x".into()));
    }
    // 100 s in all.
    assert_eq!((clock.made(), clock.held()), (10, 1));
}

#[test]
fn a_limit_that_no_body_could_keep_is_refused() {
    let error = IdleTimeoutLayer::with_timer(Duration::ZERO, Clock::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "idle timeout: the limit is zero, which no body could keep"
    );
    let shortest = Duration::from_nanos(1);
    assert!(IdleTimeoutLayer::with_timer(shortest, Clock::default()).is_ok());
}

#[test]
fn observers_outside_see_an_error_and_those_inside_a_disconnect() {
    let (outside, inside) = (Watch::default(), Watch::default());
    let (feed, clock) = (Feed::default(), Clock::default());
    let layer = (
        ObserveLayer::new(outside.clone()),
        layer(&clock),
        ObserveLayer::new(inside.clone()),
    );
    let answer = answered::<_, Fed, _>(&layer, Method::GET, Response::new(feed.body()));
    let mut body = answer.into_body();
    feed.data("x");
    assert_eq!(read(&mut body), ["x"]);
    clock.pass(10 * SECOND);
    assert_eq!(read(&mut body), ["error"]);
    assert_eq!(outside.outcomes(), [Outcome::BodyError]);
    drop(body);
    assert_eq!(outside.outcomes(), [Outcome::BodyError]);
    assert_eq!(inside.outcomes(), [Outcome::Disconnected]);
}
