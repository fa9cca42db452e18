//! What other layers get wrong: one test each, over HTTP/1.1 and HTTP/2.

use std::{
    fmt::Debug,
    future::{pending, ready},
    iter::repeat_n,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use http::{HeaderMap, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, upgrade};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    spawn,
    sync::mpsc,
    time::sleep,
};
use tower::{Layer, service_fn};
use tower_passthrough::{
    metrics::{
        MetricsLayer, OVERFLOW_TOTAL, REQUEST_DURATION_SECONDS, RESPONSE_FIRST_BYTE_SECONDS,
        RESPONSE_HEAD_SECONDS,
    },
    observe::{Outcome, Tunnel},
};

use crate::{
    books::{Call, Entry, Expected, Exporter, assert_agree, books},
    common::{
        Broken, End, Script, Size,
        Step::{self, Data, Panic, Trailers},
    },
    net::{BoxError, Client, Proto, RequestBody, Served, Server, loopback, serve, soon},
};

const PROTOS: [Proto; 2] = [Proto::H1, Proto::H2];

type Reply = Result<Response<UnsyncBoxBody<Bytes, Broken>>, BoxError>;

/// Both ends of a connection.
struct Connection {
    client: Client,
    server: Server,
}

impl Connection {
    async fn open(proto: Proto, service: impl Served) -> Self {
        let (near, far) = loopback().await;
        let server = serve(proto, far, service);
        let client = Client::connect(proto, near).await;
        Self { client, server }
    }

    async fn ask(&mut self, request: Request<RequestBody>) -> hyper::Result<Response<Incoming>> {
        self.client.send(request).await
    }

    async fn get(&mut self) -> Response<Incoming> {
        self.ask(get()).await.unwrap()
    }

    /// The client leaves. Back when the server has let go of everything.
    async fn leave(self) {
        drop(self.client);
        self.server.closed().await;
    }
}

/// Wraps a service that answers all requests so.
fn answering(
    layer: &MetricsLayer,
    reply: impl Fn() -> Reply + Clone + Send + 'static,
) -> impl Served {
    layer.layer(service_fn(move |_: Request<Incoming>| ready(reply())))
}

fn request(method: Method) -> http::request::Builder {
    Request::builder().method(method).uri("http://a/")
}

fn empty() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn get() -> Request<RequestBody> {
    request(Method::GET).body(empty()).unwrap()
}

fn reply(
    head: http::response::Builder,
    body: impl Body<Data = Bytes, Error = Broken> + Send + 'static,
) -> Reply {
    Ok(head.body(body.boxed_unsync())?)
}

fn ok(body: impl Body<Data = Bytes, Error = Broken> + Send + 'static) -> Reply {
    reply(Response::builder(), body)
}

fn full(length: usize) -> impl Body<Data = Bytes, Error = Broken> + Send {
    Full::from(vec![b'x'; length]).map_err(|never| match never {})
}

/// A body of unknown size that shows its end to nobody.
fn script(steps: impl IntoIterator<Item = Step>) -> Script {
    Script::new(steps, Size::Unknown, End::Hidden)
}

fn frame(length: usize) -> Frame<Bytes> {
    Frame::data(vec![b'x'; length].into())
}

/// Yields one frame, and then stays open.
fn open_after(length: usize) -> impl Body<Data = Bytes, Error = Broken> + Send {
    StreamBody::new(stream::iter([Ok(frame(length))]).chain(stream::pending()))
}

/// A body whose frames come from elsewhere.
fn fed(mut frames: mpsc::UnboundedReceiver<usize>) -> impl Body<Data = Bytes, Error = Broken> {
    StreamBody::new(stream::poll_fn(move |cx| {
        frames
            .poll_recv(cx)
            .map(|length| length.map(|length| Ok(frame(length))))
    }))
}

/// Reads to the end, or to where it breaks.
async fn read(response: Response<Incoming>) -> usize {
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(Ok(frame)) = soon(body.frame()).await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
    bytes
}

async fn read_bytes(body: &mut Incoming, bytes: usize) {
    let mut read = 0;
    while read < bytes {
        let frame = soon(body.frame()).await.unwrap().unwrap();
        read += frame.data_ref().map_or(0, Bytes::len);
    }
    assert_eq!(read, bytes);
}

/// A GET with a sized response of no bytes that is complete.
fn entry(status: u16) -> Entry {
    Entry {
        base: vec![("method", "GET")],
        status,
        has_head: true,
        kind: "unary",
        outcome: Some(Outcome::Complete),
        request_bytes: Some(0),
        response_bytes: 0,
        has_first_byte: false,
        call: None,
    }
}

fn sized(status: u16, bytes: u64) -> Entry {
    Entry {
        response_bytes: bytes,
        ..entry(status)
    }
}

fn streamed(bytes: u64, outcome: Outcome) -> Entry {
    Entry {
        kind: "stream",
        outcome: Some(outcome),
        response_bytes: bytes,
        has_first_byte: bytes > 0,
        ..entry(200)
    }
}

fn headless(status: u16, outcome: Outcome) -> Entry {
    Entry {
        has_head: false,
        outcome: Some(outcome),
        ..entry(status)
    }
}

fn assert_tells(
    exporter: &Exporter,
    entries: impl IntoIterator<Item = Entry>,
    context: impl Debug,
) {
    let context = format!("{context:?}");
    assert_agree(&exporter.series(), &Expected::of(entries), &context);
}

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
            let response = connection.ask(asked.body(empty()).unwrap()).await.unwrap();
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
async fn the_duration_covers_the_body() {
    for proto in PROTOS {
        let (builder, exporter) = books();
        let layer = builder.build().unwrap();
        let (feed, frames) = mpsc::unbounded_channel();
        let frames = Arc::new(Mutex::new(Some(frames)));
        let service = answering(&layer, move || {
            ok(fed(frames.lock().unwrap().take().unwrap()))
        });
        let mut connection = Connection::open(proto, service).await;

        // The server's clock is ours: what lies between two events here bounds what it measures.
        // The pauses make it long enough to be told apart.
        let asked = Instant::now();
        let mut response = connection.get().await;
        let answered = Instant::now();
        sleep(Duration::from_millis(20)).await;
        let fed_first = Instant::now();
        feed.send(5).unwrap();
        read_bytes(response.body_mut(), 5).await;
        let got_first = Instant::now();
        sleep(Duration::from_millis(20)).await;
        let fed_last = Instant::now();
        drop(feed);
        assert_eq!(read(response).await, 0);
        let ended = Instant::now();
        connection.leave().await;

        let assert_between = |name, least: Duration, most: Duration| {
            let seconds = exporter.seconds(name);
            let is_between = least.as_secs_f64() <= seconds && seconds <= most.as_secs_f64();
            assert!(is_between, "{name}: {seconds}, not {least:?} to {most:?}");
        };
        assert_between(RESPONSE_HEAD_SECONDS, Duration::ZERO, answered - asked);
        assert_between(
            RESPONSE_FIRST_BYTE_SECONDS,
            fed_first - answered,
            got_first - asked,
        );
        assert_between(REQUEST_DURATION_SECONDS, fed_last - answered, ended - asked);
        assert_tells(&exporter, [streamed(5, Outcome::Complete)], proto);
    }
}

#[tokio::test]
async fn a_stream_is_in_flight_and_counted_while_it_is_open() {
    for proto in PROTOS {
        let (builder, exporter) = books();
        let layer = builder.build().unwrap();
        let open = || answering(&layer, || ok(open_after(5)));
        let mut connections = join_all([open(), open(), open()].map(|service| async {
            let mut connection = Connection::open(proto, service).await;
            let mut response = connection.get().await;
            read_bytes(response.body_mut(), 5).await;
            (connection, response)
        }))
        .await;
        let over = streamed(5, Outcome::Disconnected);
        let open = Entry {
            outcome: None,
            ..over.clone()
        };
        while let Some((connection, response)) = connections.pop() {
            let left = connections.len();
            let told = repeat_n(open.clone(), left + 1).chain(repeat_n(over.clone(), 2 - left));
            assert_tells(&exporter, told, proto);
            drop(response);
            connection.leave().await;
        }
        assert_tells(&exporter, repeat_n(over, 3), proto);
    }
}

/// Accepts all upgrades. A task keeps each tunnel until its client closes it.
fn tunnelling(mut request: Request<Incoming>, closed: mpsc::UnboundedSender<()>) -> Reply {
    let tunnel = request.extensions_mut().remove::<Tunnel>();
    let head = match *request.method() {
        Method::CONNECT => Response::builder(),
        _ => Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "test"),
    };
    spawn(async move {
        let mut io = TokioIo::new(upgrade::on(request).await.unwrap());
        io.read_to_end(&mut Vec::new()).await.unwrap();
        drop(tunnel);
        closed.send(()).unwrap();
    });
    reply(head, full(0))
}

#[tokio::test]
async fn a_tunnel_is_in_flight_until_it_is_closed() {
    let connect = || Request::connect("a:443");
    let switch = || {
        Request::get("http://a/")
            .header("connection", "upgrade")
            .header("upgrade", "test")
    };
    for (proto, asked, method, status) in [
        (Proto::H1, switch(), "GET", 101),
        (Proto::H1, connect(), "CONNECT", 200),
        (Proto::H2, connect(), "CONNECT", 200),
    ] {
        let (builder, exporter) = books();
        let layer = builder.build().unwrap();
        let (close, mut closed) = mpsc::unbounded_channel();
        let service = service_fn(move |request| ready(tunnelling(request, close.clone())));
        let mut connection = Connection::open(proto, layer.layer(service)).await;
        let response = connection.ask(asked.body(empty()).unwrap()).await.unwrap();
        let mut io = TokioIo::new(soon(upgrade::on(response)).await.unwrap());

        let over = Entry {
            base: vec![("method", method)],
            kind: "upgrade",
            outcome: Some(Outcome::Upgraded),
            ..entry(status)
        };
        let open = Entry {
            outcome: None,
            ..over.clone()
        };
        assert_tells(&exporter, [open], (proto, method));
        io.shutdown().await.unwrap();
        soon(closed.recv()).await.unwrap();
        assert_tells(&exporter, [over], (proto, method));
        connection.leave().await;
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
            let response = connection.ask(asked.body(empty()).unwrap()).await.unwrap();
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

/// Sends a thousand requests, each with a path, a host and a method of its own.
async fn a_thousand_of_each(proto: Proto, layer: &MetricsLayer) {
    let mut connection = Connection::open(proto, answering(layer, || ok(full(0)))).await;
    for number in 0..1000 {
        let method = format!("METHOD{number}").parse().unwrap();
        let uri = match proto {
            Proto::H1 => format!("/path/{number}"),
            Proto::H2 => format!("http://host{number}.example/path/{number}"),
        };
        let asked = request(method).uri(uri);
        let asked = match proto {
            Proto::H1 => asked.header("host", format!("host{number}.example")),
            Proto::H2 => asked,
        };
        let response = connection.ask(asked.body(empty()).unwrap()).await.unwrap();
        assert_eq!(read(response).await, 0);
    }
    connection.leave().await;
}

#[tokio::test]
async fn a_thousand_paths_hosts_and_methods_are_one_label_set() {
    for proto in PROTOS {
        let (builder, exporter) = books();
        let layer = builder.hosts(["api.example"]).build().unwrap();
        a_thousand_of_each(proto, &layer).await;
        let told = Entry {
            base: vec![("host", "_other"), ("method", "_OTHER")],
            ..entry(200)
        };
        assert_tells(&exporter, repeat_n(told, 1000), proto);
    }
}

#[tokio::test]
async fn raw_paths_take_no_more_label_sets_than_there_are() {
    const MAX: usize = 100;
    // As many are kept for what has no room.
    const OWN: usize = MAX - 3;
    for proto in PROTOS {
        let (builder, exporter) = books();
        let builder = builder.hosts(["api.example"]).raw_paths();
        let layer = builder.max_label_sets(MAX).build().unwrap();
        a_thousand_of_each(proto, &layer).await;

        let told = (0..1000).map(|number| {
            let path = if number < OWN {
                &*format!("/path/{number}").leak()
            } else {
                "_other"
            };
            let method = if number < OWN { "_OTHER" } else { "_other" };
            Entry {
                base: vec![("host", "_other"), ("method", method), ("path", path)],
                ..entry(200)
            }
        });
        let mut expected = Expected::of(told);
        expected.insert(OVERFLOW_TOTAL.to_owned(), 1000 - OWN as u64);
        assert_agree(&exporter.series(), &expected, &format!("{proto:?}"));
    }
}

#[tokio::test]
async fn bytes_are_those_that_the_server_was_handed() {
    for proto in PROTOS {
        let (builder, exporter) = books();
        let layer = builder.build().unwrap();
        let whole: [(fn() -> Reply, usize); 3] = [
            (|| ok(full(100_000)), 100_000),
            (|| ok(script([Data(7), Data(0), Data(7), Data(7)])), 21),
            (|| ok(full(0)), 0),
        ];
        for (reply, bytes) in whole {
            let mut connection = Connection::open(proto, answering(&layer, reply)).await;
            assert_eq!(read(connection.get().await).await, bytes);
            connection.leave().await;
        }
        let open = answering(&layer, || ok(open_after(7)));
        let mut connection = Connection::open(proto, open).await;
        let mut response = connection.get().await;
        read_bytes(response.body_mut(), 7).await;
        connection.leave().await;

        let told = [
            sized(200, 100_000),
            streamed(21, Outcome::Complete),
            sized(200, 0),
            streamed(7, Outcome::Disconnected),
        ];
        assert_tells(&exporter, told, proto);
    }
}

/// Neither ends after its last frame nor says that it has.
struct Unending(Script);

impl Body for Unending {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.0.steps.is_empty() {
            return Poll::Pending;
        }
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[tokio::test]
async fn a_body_that_is_dropped_at_its_announced_length_is_complete() {
    fn body(size: Size) -> Unending {
        Unending(Script::new([Data(5), Data(10)], size, End::Hidden))
    }
    let declared: fn() -> Reply = || {
        let head = Response::builder().header("content-length", "15");
        reply(head, body(Size::Unknown))
    };
    let exact: fn() -> Reply = || ok(body(Size::Exact));
    for (announced, reply) in [("content-length", declared), ("size hint", exact)] {
        for proto in PROTOS {
            let (builder, exporter) = books();
            let layer = builder.build().unwrap();
            let mut connection = Connection::open(proto, answering(&layer, reply)).await;
            let mut response = connection.get().await;
            read_bytes(response.body_mut(), 15).await;
            connection.leave().await;
            assert_tells(&exporter, [sized(200, 15)], (announced, proto));
        }
    }
}
