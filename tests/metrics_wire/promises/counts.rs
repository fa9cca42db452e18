//! Each exchange is counted once, as what it was.

use std::{
    fmt::Debug,
    future::{pending, ready},
};

use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tower::{Layer, service_fn};
use tower_passthrough::observe::Outcome;

use super::{
    Connection, PROTOS, answering, assert_tells, get, headless, open_after, read, read_bytes,
    request, script, sized, streamed,
};
use crate::{
    books::{Call, Entry, books},
    common::{
        Broken, End, Script, Size,
        Step::{self, Data, Panic, Trailers},
    },
    net::{no_body, soon},
    replies::{Reply, full, ok, reply},
};

#[tokio::test]
async fn an_exchange_is_counted_once_with_its_status() {
    const STATUSES: [u16; 5] = [200, 201, 404, 503, 200];
    for proto in PROTOS {
        let (builder, exporter) = books();
        let layer = builder.build().unwrap();
        let service = layer.layer(service_fn(|request: Request<Incoming>| {
            let status: u16 = request.headers()["x-status"]
                .to_str()
                .unwrap()
                .parse()
                .unwrap();
            ready(reply(Response::builder().status(status), full(5)))
        }));
        let mut connection = Connection::open(proto, service).await;
        for status in STATUSES {
            let asked = request(Method::GET).header("x-status", status);
            let response = connection
                .ask(asked.body(no_body()).unwrap())
                .await
                .unwrap();
            assert_eq!(read(response).await, 5);
        }
        connection.leave().await;
        assert_tells(&exporter, STATUSES.map(|status| sized(status, 5)), proto);
    }
}

#[tokio::test]
async fn a_client_that_leaves_mid_body_is_told_apart_from_one_that_stays() {
    for proto in PROTOS {
        let (builder, exporter) = books();
        let layer = builder.build().unwrap();
        let whole = answering(&layer, || ok(script([Data(5)])));
        let mut connection = Connection::open(proto, whole).await;
        assert_eq!(read(connection.get().await).await, 5);
        connection.leave().await;

        let open = answering(&layer, || ok(open_after(5)));
        let mut connection = Connection::open(proto, open).await;
        let mut response = connection.get().await;
        read_bytes(response.body_mut(), 5).await;
        connection.leave().await;

        let told = [Outcome::Complete, Outcome::Disconnected].map(|it| streamed(5, it));
        assert_tells(&exporter, told, proto);
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_is_counted_and_not_in_flight() {
    for proto in PROTOS {
        let (builder, exporter) = books();
        let layer = builder.build().unwrap();
        let (calls, mut called) = mpsc::unbounded_channel();
        let service = layer.layer(service_fn(move |_: Request<Incoming>| {
            calls.send(()).unwrap();
            pending::<Reply>()
        }));
        let mut connection = Connection::open(proto, service).await;
        tokio::select! {
            response = connection.ask(get()) => panic!("{response:?}"),
            called = soon(called.recv()) => called.unwrap(),
        }
        connection.leave().await;
        assert_tells(&exporter, [headless(499, Outcome::Cancelled)], proto);
    }
}

#[tokio::test]
async fn a_service_error_is_counted() {
    for proto in PROTOS {
        let (builder, exporter) = books();
        let layer = builder.build().unwrap();
        let service = answering(&layer, || Err(Broken.into()));
        let mut connection = Connection::open(proto, service).await;
        assert!(connection.ask(get()).await.is_err());
        connection.leave().await;
        assert_tells(&exporter, [headless(500, Outcome::ServiceError)], proto);
    }
}

#[tokio::test]
async fn a_panic_is_counted_and_not_in_flight() {
    let body: fn() -> Reply = || ok(script([Data(5), Panic]));
    for (panics, reply, told) in [
        (
            "service",
            (|| panic!("scripted")) as fn() -> Reply,
            headless(500, Outcome::Panicked),
        ),
        ("body", body, streamed(5, Outcome::Panicked)),
    ] {
        for proto in PROTOS {
            let (builder, exporter) = books();
            let layer = builder.build().unwrap();
            let future = move |_: Request<Incoming>| async move { reply() };
            let mut connection = Connection::open(proto, layer.layer(service_fn(future))).await;
            if let Ok(response) = connection.ask(get()).await {
                read(response).await;
            }
            drop(connection.client);
            assert_eq!(connection.server.panics().await, 1, "{panics}, {proto:?}");
            assert_tells(&exporter, [told.clone()], (panics, proto));
        }
    }
}

#[tokio::test]
async fn a_body_error_is_told_apart() {
    for proto in PROTOS {
        let (builder, exporter) = books();
        let layer = builder.build().unwrap();
        for last in [None, Some(Step::Error)] {
            let service = answering(&layer, move || {
                ok(script([Data(5)].into_iter().chain(last.clone())))
            });
            let mut connection = Connection::open(proto, service).await;
            // What a server has not written yet when the body breaks, it may never write.
            if let Ok(response) = connection.ask(get()).await {
                read(response).await;
            }
            connection.leave().await;
        }
        let told = [Outcome::Complete, Outcome::BodyError].map(|it| streamed(5, it));
        assert_tells(&exporter, told, proto);
    }
}

/// Where a gRPC call's status is.
#[derive(Debug, Clone, Copy)]
enum Says {
    Trailers(&'static str),
    /// There is no body.
    Head(&'static str),
    Nothing,
}

fn grpc_reply(says: Says) -> Reply {
    let fields = |status: &'static str| {
        HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())])
    };
    let head = Response::builder().header("content-type", "application/grpc+proto");
    match says {
        Says::Trailers(status) => {
            let mut body = script([Data(5), Trailers]);
            body.trailers = fields(status);
            reply(head, body)
        }
        Says::Head(status) => {
            let empty = Script::new([], Size::Exact, End::Shown);
            reply(head.header("grpc-status", status), empty)
        }
        Says::Nothing => reply(head, script([Data(5)])),
    }
}

#[tokio::test]
async fn a_grpc_error_in_trailers_is_told_apart() {
    for proto in PROTOS {
        let (builder, exporter) = books();
        let layer = builder.build().unwrap();
        let mut told = Vec::new();
        for (says, service, code) in [
            (Says::Trailers("0"), "pkg.Svc", "OK"),
            (Says::Trailers("5"), "pkg.Svc", "NotFound"),
            (Says::Head("5"), "pkg.Svc", "NotFound"),
            (Says::Nothing, "pkg.Svc", "Unknown"),
            // Any client can name any method.
            (Says::Trailers("12"), "_other", "Unimplemented"),
        ] {
            let served = answering(&layer, move || grpc_reply(says));
            let mut connection = Connection::open(proto, served).await;
            let asked = request(Method::POST)
                .uri("http://a/pkg.Svc/Get")
                .header("content-type", "application/grpc");
            let response = connection
                .ask(asked.body(no_body()).unwrap())
                .await
                .unwrap();
            let bytes = read(response).await;
            connection.leave().await;
            assert_eq!(bytes == 0, matches!(says, Says::Head(_)), "{says:?}");
            let method = if service == "_other" { "_other" } else { "Get" };
            told.push(Entry {
                base: vec![("method", "POST")],
                kind: "grpc",
                has_first_byte: bytes > 0,
                call: Some(Call {
                    service,
                    method,
                    code,
                }),
                ..sized(200, bytes.try_into().unwrap())
            });
        }
        assert_tells(&exporter, told, proto);
    }
}
