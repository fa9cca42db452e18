//! Upgraded exchanges: open as long as somebody holds the tunnel.

mod refused;

use std::{
    convert::Infallible,
    future::{Future, poll_fn, ready},
    pin::pin,
    sync::mpsc,
    task::Poll,
    thread,
    time::Instant,
};

use http::{HeaderValue, Method, Response, StatusCode, header::UPGRADE};
use http_body::Body;
use tower::{Layer, Service, service_fn};
use tower_passthrough::observe::{
    MakeObserver, ObserveLayer,
    Outcome::{Complete, Upgraded},
    ResponseBody, Tunnel,
};

use crate::{
    Blind, HINTS, Incoming, answer,
    common::{
        End, Given, Script, Size,
        Step::{Data, Pending},
        Told, Watch,
    },
    frames, hints, next, poll, watched,
};

/// What is asked, and an answer that makes a tunnel of the connection.
const UPGRADES: [(fn() -> Incoming, StatusCode); 4] = [
    (websocket, StatusCode::SWITCHING_PROTOCOLS),
    (connect, StatusCode::OK),
    (connect, StatusCode::NO_CONTENT),
    (connect, StatusCode::SWITCHING_PROTOCOLS),
];

/// What is asked, and an answer that does not.
const REFUSALS: [(fn() -> Incoming, StatusCode); 8] = [
    (websocket, StatusCode::CONTINUE),
    (websocket, StatusCode::OK),
    (websocket, StatusCode::BAD_REQUEST),
    (websocket, StatusCode::UPGRADE_REQUIRED),
    (connect, StatusCode::CONTINUE),
    (connect, StatusCode::MULTIPLE_CHOICES),
    (connect, StatusCode::PROXY_AUTHENTICATION_REQUIRED),
    (connect, StatusCode::BAD_GATEWAY),
];

fn websocket() -> Incoming {
    let mut request = Incoming::default();
    let headers = request.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    request
}

fn connect() -> Incoming {
    let mut request = Incoming::default();
    *request.method_mut() = Method::CONNECT;
    request
}

fn response(status: StatusCode, script: Script) -> Response<Script> {
    let mut response = Response::new(script);
    *response.status_mut() = status;
    response
}

/// Calls a service that answers at once. Returns the tunnel that it took from the request, too.
fn take_tunnel<M: MakeObserver + Clone>(
    make: &M,
    request: Incoming,
    response: Response<Script>,
) -> (Response<ResponseBody<Script, M::Observer>>, Option<Tunnel>) {
    let mut response = Some(response);
    let mut tunnel = None;
    let response = {
        let mut service = watched(make, |mut request: Incoming| {
            tunnel = request.extensions_mut().remove::<Tunnel>();
            ready(Ok::<_, Infallible>(response.take().unwrap()))
        });
        match poll(pin!(service.call(request))) {
            Poll::Ready(Ok(response)) => response,
            Poll::Pending => unreachable!("it is ready"),
        }
    };
    (response, tunnel)
}

// With a tunnel that is held.

#[test]
fn upgraded_exchange_ends_with_the_last_clone_of_its_tunnel() {
    for (request, status) in UPGRADES {
        for (size, end) in HINTS {
            for steps in [vec![], vec![Data(3), Pending, Data(2)]] {
                let context = format!("{status}, {size:?}, {end:?}, {steps:?}");
                let watch = Watch::default();
                let script = Script::new(steps, size, end);
                let mut bare = script.clone();
                let (response, tunnel) = take_tunnel(&watch, request(), response(status, script));
                let tunnel = tunnel.expect("a request that may upgrade");
                let clone = tunnel.clone();
                let mut body = response.into_body();

                // The body is none of the tunnel's, but it is handed on.
                assert_eq!(hints(&body), hints(&bare), "{context}");
                assert_eq!(frames(&mut body, 4), frames(&mut bare, 4), "{context}");
                drop(body);
                drop(tunnel);
                assert_eq!(watch.told(), [Told::Response(status)], "{context}");
                drop(clone);
                assert_eq!(
                    watch.told(),
                    [Told::Response(status), Told::End(Upgraded)],
                    "{context}"
                );
            }
        }
    }
}

#[test]
fn upgraded_exchange_ends_at_the_moment_the_tunnel_is_dropped() {
    let watch = Watch::default();
    let script = Script::new([], Size::Exact, End::Shown);
    let (_, tunnel) = take_tunnel(
        &watch,
        websocket(),
        response(StatusCode::SWITCHING_PROTOCOLS, script),
    );
    let before = Instant::now();
    drop(tunnel);
    let [_, (Told::End(Upgraded), at)] = watch.moments()[..] else {
        panic!("not upgraded: {:?}", watch.told());
    };
    assert!(at >= before, "{before:?} {at:?}");
}

#[test]
fn tunnel_may_be_dropped_on_another_thread() {
    let watch = Watch::default();
    let script = Script::new([], Size::Exact, End::Shown);
    let (response, tunnel) = take_tunnel(&watch, connect(), response(StatusCode::OK, script));
    let clone = tunnel.clone();
    thread::spawn(move || drop(tunnel)).join().unwrap();
    assert_eq!(watch.outcomes(), []);
    thread::spawn(move || drop(clone)).join().unwrap();
    assert_eq!(watch.outcomes(), [Upgraded]);
    drop(response);
    assert_eq!(watch.outcomes(), [Upgraded]);
}

#[test]
fn tunnel_dropped_by_a_panic_ends_the_exchange_as_upgraded() {
    let watch = Watch::default();
    let script = Script::new([], Size::Exact, End::Shown);
    let (_, tunnel) = take_tunnel(&watch, connect(), response(StatusCode::OK, script));
    let thread = thread::spawn(move || {
        let _open = tunnel;
        panic!("scripted");
    });
    assert!(thread.join().is_err());
    assert_eq!(watch.outcomes(), [Upgraded]);
}

#[test]
fn one_tunnel_holds_all_layers_of_a_stack_open() {
    for (request, status) in UPGRADES {
        let [outer, middle, inner] = [(); 3].map(|()| Watch::default());
        let (sender, receiver) = mpsc::channel();
        let service = service_fn(move |mut request: Incoming| {
            sender.send(request.extensions_mut().remove()).unwrap();
            let script = Script::new([], Size::Exact, End::Shown);
            ready(Ok::<_, Infallible>(response(status, script)))
        });
        let service = ObserveLayer::new(inner.clone()).layer(service);
        let service = ObserveLayer::new(middle.clone()).layer(service);
        let mut service = ObserveLayer::new(outer.clone()).layer(service);
        drop(poll(pin!(service.call(request()))));
        let tunnel: Option<Tunnel> = receiver.recv().unwrap();
        let clone = tunnel.clone();
        drop(tunnel);
        for watch in [&outer, &middle, &inner] {
            assert_eq!(watch.told(), [Told::Response(status)], "{status}");
        }
        drop(clone);
        for watch in [&outer, &middle, &inner] {
            let told = [Told::Response(status), Told::End(Upgraded)];
            assert_eq!(watch.told(), told, "{status}");
        }
    }
}

#[test]
fn tunnel_of_an_outer_layer_passes_one_that_does_not_watch() {
    let watch = Watch::default();
    let (sender, receiver) = mpsc::channel();
    let inner = watched(&Blind::default(), move |mut request: Incoming| {
        let tunnel: Option<Tunnel> = request.extensions_mut().remove();
        sender.send(tunnel).unwrap();
        let script = Script::new([], Size::Exact, End::Shown);
        ready(Ok::<_, Infallible>(response(StatusCode::OK, script)))
    });
    let mut service = ObserveLayer::new(watch.clone()).layer(inner);
    drop(poll(pin!(service.call(connect()))));
    assert_eq!(watch.outcomes(), []);
    drop(receiver.recv().unwrap());
    assert_eq!(watch.outcomes(), [Upgraded]);
}

// Without.

#[test]
fn upgraded_exchange_without_a_held_tunnel_ends_at_the_head() {
    for (request, status) in UPGRADES {
        for (size, end) in HINTS {
            let context = format!("{status}, {size:?}, {end:?}");
            let told = [Told::Response(status), Told::End(Upgraded)];
            let watch = Watch::default();
            let script = Script::new([Data(3), Data(2)], size, end);
            let mut body = answer(&watch, request(), response(status, script)).into_body();
            assert_eq!(watch.told(), told, "{context}");

            assert!(matches!(next(&mut body), Given::Data(_)), "{context}");
            drop(body);
            assert_eq!(watch.told(), told, "{context}");
        }
    }
}

#[test]
fn tunnel_dropped_before_the_head_holds_nothing_open() {
    let watch = Watch::default();
    let mut service = watched(&watch, |mut request: Incoming| async move {
        let tunnel = request.extensions_mut().remove::<Tunnel>();
        tokio::task::yield_now().await;
        drop(tunnel);
        tokio::task::yield_now().await;
        let script = Script::new([], Size::Exact, End::Shown);
        Ok::<_, Infallible>(response(StatusCode::OK, script))
    });
    let mut future = pin!(service.call(connect()));
    assert!(poll(future.as_mut()).is_pending());
    assert!(poll(future.as_mut()).is_pending());
    assert_eq!(watch.outcomes(), []);
    assert!(poll(future.as_mut()).is_ready());
    assert_eq!(watch.outcomes(), [Upgraded]);
}

#[test]
fn one_layer_of_a_stack_without_a_held_tunnel_ends_both_at_the_head() {
    let (outer, inner) = (Watch::default(), Watch::default());
    let service = watched(&inner, |_: Incoming| {
        let script = Script::new([], Size::Exact, End::Shown);
        ready(Ok::<_, Infallible>(response(StatusCode::OK, script)))
    });
    let mut service = ObserveLayer::new(outer.clone()).layer(service);
    let response = poll(pin!(service.call(connect())));
    assert_eq!(outer.outcomes(), [Upgraded]);
    assert_eq!(inner.outcomes(), [Upgraded]);
    drop(response);
    assert_eq!(outer.outcomes(), [Upgraded]);
    assert_eq!(inner.outcomes(), [Upgraded]);
}

#[test]
fn layers_that_see_different_heads_end_each_by_its_own() {
    let (outer, inner) = (Watch::default(), Watch::default());
    let mut service = watched(&inner, |_: Incoming| {
        let script = Script::new([], Size::Exact, End::Hidden);
        ready(Ok::<_, Infallible>(response(StatusCode::OK, script)))
    });
    // Keeps the future of the inner one after it is done, as a combinator need not.
    let service = service_fn(move |request: Incoming| {
        let mut future = Box::pin(service.call(request));
        poll_fn(move |cx| {
            future.as_mut().poll(cx).map_ok(|mut response| {
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                response
            })
        })
    });
    let mut service = ObserveLayer::new(outer.clone()).layer(service);
    let mut future = Box::pin(service.call(websocket()));
    let Poll::Ready(Ok(response)) = poll(future.as_mut()) else {
        unreachable!("it is ready");
    };
    assert_eq!(outer.outcomes(), [Upgraded]);
    assert_eq!(inner.outcomes(), []);
    drop(response);
    assert_eq!(inner.outcomes(), [Complete]);
}

#[test]
fn switching_protocols_that_nobody_asked_for_ends_at_the_head() {
    let watch = Watch::default();
    let script = Script::new([], Size::Exact, End::Shown);
    let status = StatusCode::SWITCHING_PROTOCOLS;
    let (_response, tunnel) = take_tunnel(&watch, Incoming::default(), response(status, script));
    assert!(tunnel.is_none());
    assert_eq!(watch.told(), [Told::Response(status), Told::End(Upgraded)]);
}

#[test]
fn request_that_cannot_upgrade_gets_no_tunnel() {
    for method in [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS] {
        let mut request = Incoming::default();
        *request.method_mut() = method.clone();
        let script = Script::new([], Size::Exact, End::Shown);
        let (_, tunnel) = take_tunnel(&Watch::default(), request, response(StatusCode::OK, script));
        assert!(tunnel.is_none(), "{method}");
    }
}

#[test]
fn tunnel_shows_how_many_hold_it() {
    let script = Script::new([], Size::Exact, End::Shown);
    assert!(script.is_end_stream());
    let (_response, tunnel) = take_tunnel(
        &Watch::default(),
        connect(),
        response(StatusCode::OK, script),
    );
    let tunnel = tunnel.expect("a request that may upgrade");
    let _clone = tunnel.clone();
    assert_eq!(format!("{tunnel:?}"), "Tunnel { holders: 2, .. }");
}
