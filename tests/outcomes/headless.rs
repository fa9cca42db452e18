//! Exchanges without a head.

use std::{
    convert::Infallible,
    future::{pending, ready},
    pin::pin,
    task::Poll,
};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Empty;
use tower::Service;
use tower_passthrough::observe::Outcome::{Cancelled, Complete, ServiceError};

use crate::{
    Incoming,
    common::{Broken, Script, Told, Watch},
    poll, watched,
};

#[test]
fn service_error_ends_before_a_head() {
    let watch = Watch::default();
    let mut service = watched(&watch, |_: Incoming| {
        ready(Err::<Response<Script>, _>(Broken))
    });
    let mut future = pin!(service.call(Incoming::default()));
    assert_eq!(watch.told(), []);
    assert!(matches!(poll(future.as_mut()), Poll::Ready(Err(Broken))));
    assert_eq!(watch.told(), [Told::End(ServiceError)]);
}

#[test]
fn service_error_after_pending_ends_before_a_head() {
    let watch = Watch::default();
    let mut service = watched(&watch, |_: Incoming| async {
        tokio::task::yield_now().await;
        Err::<Response<Script>, _>(Broken)
    });
    let mut future = Box::pin(service.call(Incoming::default()));
    assert!(poll(future.as_mut()).is_pending());
    assert_eq!(watch.told(), []);
    assert!(matches!(poll(future.as_mut()), Poll::Ready(Err(Broken))));
    assert_eq!(watch.told(), [Told::End(ServiceError)]);
    drop(future);
    assert_eq!(watch.told(), [Told::End(ServiceError)]);
}

#[test]
fn future_dropped_before_the_head_is_cancelled() {
    for polls in [0, 1, 2] {
        let watch = Watch::default();
        let mut service = watched(&watch, |_: Incoming| {
            pending::<Result<Response<Script>, Infallible>>()
        });
        let mut future = Box::pin(service.call(Incoming::default()));
        for _ in 0..polls {
            assert!(poll(future.as_mut()).is_pending());
        }
        assert_eq!(watch.told(), [], "after {polls} polls");
        drop(future);
        assert_eq!(watch.told(), [Told::End(Cancelled)], "after {polls} polls");
    }
}

#[test]
fn future_with_a_head_that_nobody_polled_for_is_cancelled() {
    let watch = Watch::default();
    let mut service = watched(&watch, |_: Incoming| {
        ready(Ok::<_, Infallible>(
            Response::new(Empty::<Bytes>::default()),
        ))
    });
    drop(service.call(Incoming::default()));
    assert_eq!(watch.told(), [Told::End(Cancelled)]);
}

#[test]
fn service_dropped_before_its_future_ends_nothing() {
    let watch = Watch::default();
    let mut service = watched(&watch, |_: Incoming| {
        ready(Ok::<_, Infallible>(
            Response::new(Empty::<Bytes>::default()),
        ))
    });
    let future = service.call(Incoming::default());
    drop(service);
    assert_eq!(watch.told(), []);
    assert!(poll(pin!(future)).is_ready());
    assert_eq!(
        watch.told(),
        [Told::Response(StatusCode::OK), Told::End(Complete)]
    );
}
