//! Which layer goes outside of which, and what is lost the other way round: what the crate's page
//! draws. (Of observers around and inside of the others, and of `BufferingLayer` and `HeadersLayer`,
//! the tests of those layers tell.)
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by a panic"
)]

#[path = "common/gate.rs"]
mod gate;

use std::{
    future::{poll_fn, ready},
    pin::Pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header::CACHE_CONTROL};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_passthrough::{
    capture::{CaptureLayer, Summary},
    headers::{HeadersLayer, ResponseRule},
    limit::ConcurrencyLimitLayer,
    sse::{DrainLayer, KeepAliveLayer},
    timeout::IdleTimeoutLayer,
    timer::TokioTimer,
};

use gate::{event_stream, gated_body};

const SECOND: Duration = Duration::from_secs(1);

/// An event stream that stays open and says nothing.
fn quiet() -> impl Service<
    Request<Empty<Bytes>>,
    Response = Response<axum::body::Body>,
    Error = std::convert::Infallible,
    Future: Unpin,
> + Clone {
    service_fn(|_| {
        let (gate, body) = gated_body();
        tokio::spawn(async move {
            sleep_until(Instant::now() + 10_000 * SECOND).await;
            drop(gate);
        });
        ready(Ok(event_stream(body)))
    })
}

/// What comes of a response within 100 seconds of a clock that is skipped.
async fn seen<S, B>(service: S) -> Vec<String>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error: std::fmt::Debug>,
    B: Body<Data = Bytes, Error: ToString>,
{
    let until = Instant::now() + 100 * SECOND;
    let response = service.oneshot(Request::new(Empty::new())).await.unwrap();
    let mut body: Pin<Box<B>> = Box::pin(response.into_body());
    let mut seen = Vec::new();
    while let Ok(Some(frame)) = timeout_at(until, body.frame()).await {
        seen.push(match frame {
            Ok(frame) => String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap(),
            Err(error) => error.to_string(),
        });
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn an_idle_timeout_outside_of_keep_alives_never_strikes() {
    let keep_alive = KeepAliveLayer::new(15 * SECOND).unwrap();
    let idle_timeout = IdleTimeoutLayer::new(40 * SECOND).unwrap();

    let right = seen(keep_alive.layer(idle_timeout.layer(quiet()))).await;
    let error = "the response body was idle for 40s";
    assert_eq!(right, [": keep-alive\n", ": keep-alive\n", error]);

    let wrong = seen(idle_timeout.layer(keep_alive.layer(quiet()))).await;
    assert_eq!(wrong, [": keep-alive\n"; 6]);
}

#[tokio::test(start_paused = true)]
async fn keep_alives_outside_of_a_drain_wait_for_the_event_that_retry_begins() {
    let keep_alive = KeepAliveLayer::new(15 * SECOND).unwrap();
    let drain = DrainLayer::builder(std::future::pending, SECOND, TokioTimer)
        .retry_between(7 * SECOND, 7 * SECOND)
        .build()
        .unwrap();

    let right = seen(drain.layer(keep_alive.layer(quiet()))).await;
    assert_eq!(right[0], "retry: 7000\n");
    assert_eq!(right[1..], [": keep-alive\n"; 6]);

    let wrong = seen(keep_alive.layer(drain.layer(quiet()))).await;
    assert_eq!(wrong, ["retry: 7000\n"]);
}

#[tokio::test]
async fn rules_on_fields_reach_the_refusal_of_a_drain_only_from_outside() {
    let headers = HeadersLayer::builder()
        .response(ResponseRule::insert(CACHE_CONTROL, "no-store"))
        .build()
        .unwrap();
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let drain = DrainLayer::builder(
        move || shutdown.clone().cancelled_owned(),
        SECOND,
        TokioTimer,
    )
    .refuse_late(SECOND)
    .build()
    .unwrap();

    let request = || Request::new(Empty::new());
    let right = headers.layer(drain.layer(quiet())).oneshot(request()).await;
    let right = right.unwrap();
    assert_eq!(right.status(), 503);
    assert_eq!(right.headers()[CACHE_CONTROL], "no-store");

    let wrong = drain.layer(headers.layer(quiet())).oneshot(request()).await;
    let wrong = wrong.unwrap();
    assert_eq!(wrong.status(), 503);
    assert_eq!(wrong.headers().get(CACHE_CONTROL), None);
}

#[tokio::test]
async fn who_waits_for_a_permit_is_not_seen_outside_of_the_limit_either() {
    let calls = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&calls);
    let capture = CaptureLayer::with_context(
        move |_: &tower_passthrough::RequestHead<'_>| *counted.lock().unwrap() += 1,
        |_: &Summary| {},
    );
    let limit = ConcurrencyLimitLayer::new(1).unwrap();
    let service = capture.layer(limit.layer(quiet()));

    let request = || Request::new(Empty::<Bytes>::new());
    let first = service.clone().oneshot(request()).await.unwrap();
    let mut second = Box::pin(service.oneshot(request()));
    let waiting = poll_fn(|cx| Poll::Ready(second.as_mut().poll(cx).is_pending()));
    assert!(waiting.await);
    assert_eq!(*calls.lock().unwrap(), 1);

    drop(first);
    second.await.unwrap();
    assert_eq!(*calls.lock().unwrap(), 2);
}
