//! The same on tokio's timer, with its clock paused: it moves when there is nothing else to do.

use std::{
    future::pending,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower_passthrough::{
    sse::{DrainError, DrainLayer, KeepAliveLayer},
    timeout::{IdleTimeoutError, IdleTimeoutLayer},
    timer::{Timer, TokioTimer},
};

use crate::events::{Fed, Feed, streamed, text};

const SECOND: Duration = Duration::from_secs(1);

/// The next frame. As the clock moves by itself, none takes for ever.
async fn frame<B>(body: &mut Pin<Box<B>>) -> Option<Result<Frame<B::Data>, B::Error>>
where
    B: Body,
{
    let waited = timeout(Duration::from_secs(10_000_000), body.frame()).await;
    waited.expect("neither a frame nor an end")
}

/// The next frame, and how many seconds it took.
async fn next<B>(body: &mut Pin<Box<B>>) -> (String, f64)
where
    B: Body<Data = bytes::Bytes, Error: ToString>,
{
    let start = Instant::now();
    let given = match frame(body).await {
        Some(Ok(frame)) => text(frame.data_ref().unwrap()),
        Some(Err(error)) => error.to_string(),
        None => "end".to_owned(),
    };
    (given, start.elapsed().as_secs_f64())
}

/// Feeds the body with this after so many seconds.
fn later(feed: &Feed, seconds: u64, data: &'static str) {
    let feed = feed.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(seconds)).await;
        feed.data(data);
    });
}

/// After so many seconds, and the millisecond or two that tokio's timer may be late.
#[track_caller]
fn assert_next((given, seconds): (String, f64), expected: &str, after: f64) {
    assert_eq!(given, expected);
    assert!((after..after + 0.002).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn keep_alives_come_when_they_are_due() {
    let feed = Feed::default();
    let layer = KeepAliveLayer::new(15 * SECOND).unwrap();
    let mut body = streamed(&layer, feed.body());
    assert_next(next(&mut body).await, ": keep-alive\n", 15.0);
    assert_next(next(&mut body).await, ": keep-alive\n", 15.0);
    later(&feed, 14, "data: 1\n\n");
    assert_next(next(&mut body).await, "data: 1\n\n", 14.0);
    assert_next(next(&mut body).await, ": keep-alive\n", 15.0);
    later(&feed, 1, "data");
    assert_next(next(&mut body).await, "data", 1.0);
    later(&feed, 100, "\n\n");
    assert_next(next(&mut body).await, "\n\n", 100.0);
    assert_next(next(&mut body).await, ": keep-alive\n", 15.0);
}

#[tokio::test(start_paused = true)]
async fn streams_drain_when_a_token_is_cancelled() {
    let token = CancellationToken::new();
    let signal = {
        let token = token.clone();
        move || token.clone().cancelled_owned()
    };
    let layer = DrainLayer::new(signal, 10 * SECOND).unwrap();
    let feeds = [(); 3].map(|()| Feed::default());
    let mut bodies = feeds
        .each_ref()
        .map(|feed| streamed::<_, Fed, _>(&layer, feed.body()));
    let [between, within, stuck] = &mut bodies;
    for (body, begun) in [
        (&mut *between, "data: 1\n\n"),
        (&mut *within, "data: 1\n"),
        (&mut *stuck, "data: 1\n"),
    ] {
        let feed = feeds.iter().find(|feed| feed.polls() == 0).unwrap();
        feed.data(begun);
        assert_next(next(body).await, begun, 0.0);
    }
    tokio::spawn(async move {
        sleep(5 * SECOND).await;
        token.cancel();
    });
    later(&feeds[1], 8, "\ndata: 2");
    // All wait at once, as on a server.
    let within = async {
        assert_next(next(within).await, "\n", 8.0);
        assert_next(next(within).await, "end", 0.0);
    };
    let between = async { assert_next(next(between).await, "end", 5.0) };
    let stuck = async {
        let start = Instant::now();
        let error = frame(stuck).await.unwrap().unwrap_err();
        assert!(error.is::<DrainError>());
        assert_next((String::new(), start.elapsed().as_secs_f64()), "", 15.0);
    };
    tokio::join!(within, between, stuck);

    // Late ones.
    let feed = Feed::default();
    let mut body = streamed::<_, Fed, _>(&layer, feed.body());
    later(&feed, 1, "data: 1\n\ndata: 2");
    assert_next(next(&mut body).await, "data: 1\n\n", 1.0);
    assert_next(next(&mut body).await, "end", 0.0);
    let mut body = streamed::<_, Fed, _>(&layer, Feed::default().body());
    assert_next(next(&mut body).await, "end", 10.0);
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_never_comes_ends_nothing() {
    let layer = DrainLayer::new(pending, SECOND).unwrap();
    let feed = Feed::default();
    let mut body = streamed::<_, Fed, _>(&layer, feed.body());
    later(&feed, 1_000_000, "data: 1\n\n");
    assert_next(next(&mut body).await, "data: 1\n\n", 1_000_000.0);
}

#[tokio::test(start_paused = true)]
async fn idle_bodies_end_when_their_limit_is_over() {
    let feed = Feed::default();
    let layer = IdleTimeoutLayer::new(60 * SECOND).unwrap();
    let mut body = streamed(&layer, feed.body());
    later(&feed, 59, "x");
    assert_next(next(&mut body).await, "x", 59.0);
    later(&feed, 59, "");
    assert_next(next(&mut body).await, "", 59.0);
    let start = Instant::now();
    let error = frame(&mut body).await.unwrap().unwrap_err();
    assert!(error.is::<IdleTimeoutError>());
    assert_next((String::new(), start.elapsed().as_secs_f64()), "", 60.0);
    assert!(frame(&mut body).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_timer_goes_by_the_clock_of_tokio() {
    let start = TokioTimer.now();
    TokioTimer.sleep(100 * SECOND).await;
    let passed = TokioTimer.now() - start;
    assert!((100 * SECOND..101 * SECOND).contains(&passed), "{passed:?}");
}

/// A timer whose sleeps are over at once, while the system's clock stands still beside it.
#[derive(Clone)]
struct Rushed;

impl Timer for Rushed {
    type Sleep = std::future::Ready<()>;

    fn sleep(&self, _: Duration) -> Self::Sleep {
        std::future::ready(())
    }
}

#[test]
fn a_timer_that_is_ahead_of_the_clock_is_believed() {
    let start = Rushed.now();
    let layer = KeepAliveLayer::builder(5 * SECOND, Rushed).build();
    let mut body = streamed(&layer.unwrap(), Feed::default().body());
    let cx = &mut Context::from_waker(Waker::noop());
    for _ in 0..3 {
        let polled = body.as_mut().poll_frame(cx);
        assert!(matches!(polled, Poll::Ready(Some(Ok(_)))));
    }
    assert!(start.elapsed() < 5 * SECOND);
}
