//! Every end of an exchange gives back one permit, at the moment that the mechanism's table says.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Waker},
};

use http::Method;
use http_body::Body;
use tower::{Layer, Service};
use tower_passthrough::observe::Tunnel;

use crate::{
    common::{
        End, Size,
        Step::{Data, Error, Panic, Pending, Trailers},
    },
    drive::{Actor, Does, Exchange, Until, answer, answering, drive, exchange, hinting},
    free, limit,
};

const MAX: usize = 3;

/// When the permit returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Returns {
    /// While what is left of the exchange is still there.
    AtOnce,
    /// When that is dropped.
    AtDrop,
}

#[track_caller]
fn returns(name: &str, exchange: Exchange, when: Returns) {
    let layer = limit(MAX);
    // A permit too many would hide behind none that is out.
    let _other = drive(&layer, streaming().until(Until::Head));
    assert_eq!(free(&layer, MAX), MAX - 1, "{name}, before");
    let held = drive(&layer, exchange);
    let free_by_now = match when {
        Returns::AtOnce => MAX - 1,
        Returns::AtDrop => MAX - 2,
    };
    assert_eq!(free(&layer, MAX), free_by_now, "{name}, while held");
    drop(held);
    assert_eq!(free(&layer, MAX), MAX - 1, "{name}, after");
}

/// A stream of unknown length that hides its end.
fn streaming() -> Exchange {
    answering(answer(200, &[], [Data(3), Pending, Data(2)]))
}

fn whole(end: End) -> Exchange {
    answering(hinting(answer(200, &[], [Data(3)]), Size::Exact, end))
}

#[test]
fn permit_returns_when_the_body_is_over() {
    use Returns::{AtDrop, AtOnce};

    let empty = || hinting(answer(200, &[], []), Size::Unknown, End::Shown);
    let trailers = || answering(answer(200, &[], [Data(3), Trailers]));
    let announced = || answering(answer(200, &[("content-length", "3")], [Data(3)]));
    let shown = || whole(End::Shown).until(Until::Polls(1));
    let to_head = |end| whole(end).method(Method::HEAD).until(Until::Head);
    let no_content = || answering(answer(204, &[], [Data(3)])).until(Until::Head);

    returns("none", streaming(), AtOnce);
    returns("data", streaming().until(Until::Polls(3)), AtDrop);
    returns("trailers", trailers().until(Until::Polls(2)), AtOnce);
    returns("end shown at a frame", shown(), AtOnce);
    let at_the_head = answering(empty()).until(Until::Head);
    returns("end shown at the head", at_the_head, AtOnce);
    returns("length", announced().until(Until::Polls(1)), AtDrop);
    returns("length and none", announced(), AtOnce);
    let size = whole(End::Hidden).until(Until::Polls(1));
    returns("size", size, AtDrop);
    returns("to HEAD", to_head(End::Hidden), AtDrop);
    returns("no content", no_content(), AtDrop);
}

#[test]
fn permit_returns_when_the_exchange_is_cut() {
    use Returns::{AtDrop, AtOnce};

    returns("not polled", streaming().until(Until::Called), AtDrop);
    returns("no frame", streaming().until(Until::Head), AtDrop);
    returns("one frame", streaming().until(Until::Polls(1)), AtDrop);
    returns("pending", streaming().until(Until::Polls(2)), AtDrop);
    let error = answering(answer(200, &[], [Data(3), Error]));
    returns("body error", error, AtOnce);
    returns("service error", exchange(Does::Fail), AtOnce);
    returns("no head", exchange(Does::NeverAnswer), AtDrop);
    returns("panic in call", exchange(Does::PanicInCall), AtOnce);
    returns("panic in future", exchange(Does::PanicInFuture), AtOnce);
    let panic = answering(answer(200, &[], [Data(3), Panic]));
    returns("panic in body", panic, AtOnce);
}

#[test]
fn permit_of_a_tunnel_that_nobody_holds_returns_at_the_head() {
    let upgrade = || answering(answer(101, &[], [])).upgrade().until(Until::Head);
    let connect = || {
        let exchange = answering(answer(200, &[], []));
        exchange.method(Method::CONNECT).until(Until::Head)
    };
    returns("upgrade", upgrade(), Returns::AtOnce);
    returns("connect", connect(), Returns::AtOnce);
    let refused = answering(answer(200, &[], [])).upgrade().keeping_tunnel();
    returns(
        "no upgrade after all",
        refused.until(Until::Head),
        Returns::AtDrop,
    );
}

#[test]
fn permit_of_a_tunnel_returns_with_its_last_clone() {
    let layer = limit(MAX);
    let upgrade = answering(answer(101, &[], [])).upgrade().keeping_tunnel();
    let held = drive(&layer, upgrade).unwrap();
    let tunnel: Tunnel = held.only_tunnel().unwrap();
    let clone = tunnel.clone();
    assert_eq!(free(&layer, MAX), MAX - 1);
    drop(tunnel);
    assert_eq!(free(&layer, MAX), MAX - 1);
    drop(clone);
    assert_eq!(free(&layer, MAX), MAX);
}

#[test]
fn permit_returns_at_a_panic_though_the_remains_are_kept() {
    let layer = limit(MAX);
    let cx = &mut Context::from_waker(Waker::noop());
    let request = || exchange(Does::Fail).request;

    let mut service = layer.layer(Actor::new(Does::PanicInCall));
    assert!(service.poll_ready(cx).is_ready());
    assert!(catch_unwind(AssertUnwindSafe(|| service.call(request()))).is_err());
    assert_eq!(free(&layer, MAX), MAX, "call");

    let mut service = layer.layer(Actor::new(Does::PanicInFuture));
    assert!(service.poll_ready(cx).is_ready());
    let mut future = Box::pin(service.call(request()));
    assert_eq!(free(&layer, MAX), MAX - 1, "future, before");
    assert!(catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))).is_err());
    assert_eq!(free(&layer, MAX), MAX, "future");

    let answer = answer(200, &[], [Data(3), Panic, Data(2)]);
    let held = drive(&layer, answering(answer).until(Until::Polls(1)));
    let mut body = held.unwrap().into_body().unwrap();
    assert_eq!(free(&layer, MAX), MAX - 1, "body, before");
    assert!(catch_unwind(AssertUnwindSafe(|| body.as_mut().poll_frame(cx))).is_err());
    assert_eq!(free(&layer, MAX), MAX, "body");
    assert!(body.as_mut().poll_frame(cx).is_ready());
    drop((service, future, body));
    assert_eq!(free(&layer, MAX), MAX, "dropped");
}
