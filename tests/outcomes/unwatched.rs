//! Exchanges that nobody watches.

use std::{convert::Infallible, future::ready, pin::pin, sync::atomic::Ordering};

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::Empty;
use tower::Service;
use tower_passthrough::observe::Tunnel;

use crate::{
    Blind, Incoming,
    common::{
        End, Script, Size,
        Step::{Data, Pending, Trailers},
    },
    frames, poll, watched, watched_body,
};

#[test]
fn unwatched_exchange_is_handed_on_as_it_is() {
    let blind = Blind::default();
    let steps = [Data(3), Pending, Data(2), Trailers];
    let mut body = watched_body(&blind, steps.clone());
    let mut bare = Script::new(steps, Size::Unknown, End::Hidden);
    assert_eq!(frames(&mut body, 7), frames(&mut bare, 7));
    assert_eq!(blind.0.load(Ordering::SeqCst), 1);
}

#[test]
fn unwatched_request_gets_no_tunnel() {
    let mut service = watched(&Blind::default(), |request: Incoming| {
        assert!(request.extensions().get::<Tunnel>().is_none());
        ready(Ok::<_, Infallible>(
            Response::new(Empty::<Bytes>::default()),
        ))
    });
    let mut request = Incoming::default();
    *request.method_mut() = Method::CONNECT;
    assert!(poll(pin!(service.call(request))).is_ready());
}
