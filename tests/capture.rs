//! `CaptureLayer`: what the one summary of an exchange says, however the exchange ends.
#![cfg(feature = "capture")]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;
#[path = "common/drive.rs"]
mod drive;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use bytes::Buf;
use common::{Broken, End, Size, Step};
use drive::{
    Does, Exchange, Until, answer, answering, drive, drive_and_panic, exchange, hinting, request,
};
use futures_util::FutureExt;
use http::{Method, Request, Response, Version};
use http_body::{Body, Frame};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_passthrough::{
    GrpcStatus, RequestHead, ResponseHead,
    capture::{CaptureLayer, Summary},
    observe::{MakeObserver, Moment, Observer, Outcome},
};

/// A summary without its times: those are exact only in relation to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    method: Method,
    version: Version,
    status: Option<u16>,
    outcome: Outcome,
    grpc_status: Option<u32>,
    body_bytes: u64,
    data_frames: u64,
    trailers: bool,
    has_time_to_head: bool,
    has_time_to_first_byte: bool,
}

impl Facts {
    /// Those of a GET that got no head.
    fn headless(outcome: Outcome) -> Self {
        Self {
            method: Method::GET,
            version: Version::HTTP_11,
            status: None,
            outcome,
            grpc_status: None,
            body_bytes: 0,
            data_frames: 0,
            trailers: false,
            has_time_to_head: false,
            has_time_to_first_byte: false,
        }
    }

    /// Those of a GET with a head, but without any body.
    fn of(status: u16, outcome: Outcome) -> Self {
        Self {
            status: Some(status),
            has_time_to_head: true,
            ..Self::headless(outcome)
        }
    }

    fn data(self, frames: u64, bytes: u64) -> Self {
        Self {
            data_frames: frames,
            body_bytes: bytes,
            has_time_to_first_byte: bytes > 0,
            ..self
        }
    }

    fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    fn trailers(self) -> Self {
        Self {
            trailers: true,
            ..self
        }
    }
}

impl From<&Summary> for Facts {
    fn from(summary: &Summary) -> Self {
        Self {
            method: summary.method.clone(),
            version: summary.version,
            status: summary.status.map(|status| status.as_u16()),
            outcome: summary.outcome,
            grpc_status: summary.grpc_status.map(GrpcStatus::code),
            body_bytes: summary.body_bytes,
            data_frames: summary.data_frames,
            trailers: summary.trailers,
            has_time_to_head: summary.time_to_head.is_some(),
            has_time_to_first_byte: summary.time_to_first_byte.is_some(),
        }
    }
}

/// A layer, and the summaries of all its exchanges that are over.
fn capturing() -> (
    CaptureLayer<impl Fn(&Summary) + Clone + Send + 'static>,
    impl Fn() -> Vec<Summary>,
) {
    let summaries = Arc::<Mutex<Vec<Summary>>>::default();
    let all = Arc::clone(&summaries);
    let layer = CaptureLayer::new(move |summary: &Summary| {
        summaries.lock().unwrap().push(summary.clone());
    });
    (layer, move || all.lock().unwrap().clone())
}

/// The one summary of this exchange, whose times are in order.
fn summary_of(exchange: Exchange) -> Summary {
    let (layer, all) = capturing();
    let before = Instant::now();
    drop(drive(&layer, exchange));
    let elapsed = before.elapsed();
    let [summary] = all().try_into().unwrap();
    let times = [
        summary.time_to_head,
        summary.time_to_first_byte,
        Some(summary.duration),
        Some(elapsed),
    ];
    assert!(times.into_iter().flatten().is_sorted(), "{summary:?}");
    summary
}

fn three_and_four() -> [Step; 4] {
    [Step::Data(3), Step::Pending, Step::Data(0), Step::Data(4)]
}

#[test]
fn a_whole_body_is_complete() {
    let streamed = || answer(200, &[], three_and_four());
    let sized = || answer(200, &[("content-length", "7")], three_and_four());
    let exact = || hinting(answer(201, &[], three_and_four()), Size::Exact, End::Hidden);
    let shown = || hinting(streamed(), Size::Unknown, End::Shown);
    let trailing = || answer(200, &[], [Step::Data(5), Step::Trailers]);
    let empty = || hinting(answer(404, &[], []), Size::Exact, End::Shown);
    let complete = |status| Facts::of(status, Outcome::Complete);

    for (name, exchange, expected) in [
        (
            "polled to `None`",
            answering(streamed()),
            complete(200).data(3, 7),
        ),
        (
            "dropped at its content-length",
            answering(sized()).until(Until::Polls(4)),
            complete(200).data(3, 7),
        ),
        (
            "dropped at its exact size",
            answering(exact()).until(Until::Polls(4)),
            complete(201).data(3, 7),
        ),
        (
            "dropped at its end",
            answering(shown()).until(Until::Polls(4)),
            complete(200).data(3, 7),
        ),
        (
            "dropped after trailers",
            answering(trailing()).until(Until::Polls(2)),
            complete(200).data(1, 5).trailers(),
        ),
        (
            "trailers only",
            answering(answer(200, &[], [Step::Trailers])),
            complete(200).trailers(),
        ),
        (
            "only empty frames",
            answering(answer(200, &[], [Step::Data(0), Step::Data(0)])),
            complete(200).data(2, 0),
        ),
        (
            "empty, never polled",
            answering(empty()).until(Until::Head),
            complete(404),
        ),
        (
            "HEAD, never polled",
            answering(streamed())
                .method(Method::HEAD)
                .until(Until::Head),
            complete(200).method(Method::HEAD),
        ),
        (
            "304, never polled",
            answering(answer(304, &[], [Step::Data(5)])).until(Until::Head),
            complete(304),
        ),
    ] {
        assert_eq!(Facts::from(&summary_of(exchange)), expected, "{name}");
    }
}

#[test]
fn a_body_that_is_cut_keeps_what_came_before() {
    let failing = || answer(200, &[], [Step::Data(3), Step::Data(0), Step::Error]);
    let panicking = || answer(200, &[], [Step::Data(3), Step::Panic]);
    let streamed = || answer(200, &[], three_and_four());

    for (name, exchange, expected) in [
        (
            "an error",
            answering(failing()),
            Facts::of(200, Outcome::BodyError).data(2, 3),
        ),
        (
            "an error before all data",
            answering(answer(503, &[], [Step::Error])),
            Facts::of(503, Outcome::BodyError),
        ),
        (
            "a drop mid-stream",
            answering(streamed()).until(Until::Polls(3)),
            Facts::of(200, Outcome::Disconnected).data(2, 3),
        ),
        (
            "a drop before the first frame",
            answering(streamed()).until(Until::Head),
            Facts::of(200, Outcome::Disconnected),
        ),
        (
            "a panic",
            answering(panicking()),
            Facts::of(200, Outcome::Panicked).data(1, 3),
        ),
    ] {
        assert_eq!(Facts::from(&summary_of(exchange)), expected, "{name}");
    }
}

#[test]
fn without_a_head_there_is_no_status() {
    for (name, exchange, outcome) in [
        (
            "the service fails",
            exchange(Does::Fail),
            Outcome::ServiceError,
        ),
        (
            "the future is never polled",
            answering(answer(200, &[], [])).until(Until::Called),
            Outcome::Cancelled,
        ),
        (
            "the future is dropped while it pends",
            exchange(Does::NeverAnswer),
            Outcome::Cancelled,
        ),
        (
            "the call panics",
            exchange(Does::PanicInCall),
            Outcome::Panicked,
        ),
        (
            "the future panics",
            exchange(Does::PanicInFuture),
            Outcome::Panicked,
        ),
    ] {
        let facts = Facts::from(&summary_of(exchange));
        assert_eq!(facts, Facts::headless(outcome), "{name}");
    }
}

#[test]
fn an_upgrade_is_told_when_its_tunnel_closes() {
    let switching = || answering(answer(101, &[], [])).upgrade();
    let connected = || answering(answer(200, &[], [])).method(Method::CONNECT);
    let upgraded = Facts::of(101, Outcome::Upgraded);
    let tunnelled = Facts::of(200, Outcome::Upgraded).method(Method::CONNECT);

    for (name, exchange, expected) in [
        ("101", switching(), upgraded),
        ("CONNECT", connected(), tunnelled),
    ] {
        let summary = summary_of(exchange.clone());
        assert_eq!(Facts::from(&summary), expected, "{name}, nobody keeps it");

        let (layer, all) = capturing();
        let held = drive(&layer, exchange.keeping_tunnel()).unwrap();
        let tunnel = held.only_tunnel().unwrap();
        assert_eq!(all(), [], "{name}, kept");
        thread::sleep(Duration::from_millis(10));
        drop(tunnel);
        let [summary] = all().try_into().unwrap();
        assert_eq!(Facts::from(&summary), expected, "{name}, kept");
        let kept_at_least = summary.time_to_head.unwrap() + Duration::from_millis(10);
        assert!(summary.duration >= kept_at_least, "{name}, kept");
    }
}

#[test]
fn the_grpc_status_is_that_of_the_trailers_else_of_the_head() {
    const NONE: &[(&str, &str)] = &[];
    for (in_head, in_trailers, expected) in [
        (&[][..], None, None),
        (&["7"], None, Some(7)),
        (&["0"], None, Some(0)),
        (&[], Some(&["14"][..]), Some(14)),
        (&["7"], Some(&["0"]), Some(0)),
        (&["7"], Some(&[]), Some(7)),
        (&["7"], Some(&["?"]), Some(7)),
        (&["?"], Some(&["5"]), Some(5)),
        (&["99"], None, Some(99)),
        (&[], Some(&["99"]), Some(99)),
        (&["4294967294"], None, Some(4_294_967_294)),
        (&["4294967295"], None, None),
        (&[""], None, None),
        (&["-1"], None, None),
        (&["+1"], None, None),
        (&["1.0"], None, None),
        (&["NOT_FOUND"], None, None),
        (&["\u{e9}"], None, None),
        (&[], Some(&["OK"]), None),
        // Of several the first counts.
        (&["5", "7"], None, Some(5)),
    ] {
        let mut response = answer(200, NONE, [Step::Data(5)]);
        for value in in_head {
            let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
            response.headers_mut().append("grpc-status", value);
        }
        if let Some(values) = in_trailers {
            let script = response.body_mut();
            script.steps.push_back(Step::Trailers);
            let value = |value: &&str| ("grpc-status".parse().unwrap(), value.parse().unwrap());
            script.trailers = values.iter().map(value).collect();
        }
        let summary = summary_of(answering(response));
        let context = format!("{in_head:?} in the head, {in_trailers:?} in the trailers");
        let expected = Facts {
            grpc_status: expected,
            trailers: in_trailers.is_some(),
            ..Facts::of(200, Outcome::Complete).data(1, 5)
        };
        assert_eq!(Facts::from(&summary), expected, "{context}");
    }
}

#[test]
fn a_grpc_status_outlives_a_cut_body() {
    let response = answer(200, &[("grpc-status", "2")], [Step::Data(1), Step::Error]);
    let summary = summary_of(answering(response));
    assert_eq!(summary.outcome, Outcome::BodyError);
    assert_eq!(summary.grpc_status.unwrap().name(), Some("UNKNOWN"));
}

#[test]
fn the_version_and_a_long_method_are_those_of_the_request() {
    for (method, version) in [
        ("M", Version::HTTP_09),
        ("PROPFIND", Version::HTTP_10),
        ("BASELINE-CONTROL", Version::HTTP_2),
        (
            "AN-EXTENSION-METHOD-MUCH-LONGER-THAN-15-BYTES",
            Version::HTTP_3,
        ),
    ] {
        let mut exchange = answering(answer(200, &[], []));
        *exchange.request.method_mut() = method.parse().unwrap();
        *exchange.request.version_mut() = version;
        let summary = summary_of(exchange);
        let expected = Facts {
            method: method.parse().unwrap(),
            version,
            ..Facts::of(200, Outcome::Complete)
        };
        assert_eq!(Facts::from(&summary), expected);
        assert_eq!(summary.method.as_str(), method);
    }
}

#[test]
fn times_are_exactly_those_between_the_moments() {
    let (layer, all) = capturing();
    let start = Instant::now();
    let at = |seconds| Moment::from(start + Duration::from_secs(seconds));
    let request = request(Method::GET);
    let mut observer = layer.observe(&RequestHead::from(&request), &at(0)).unwrap();
    observer.on_response(&ResponseHead::from(&answer(200, &[], [])), &at(1));
    observer.on_data(&&b""[..], &at(2));
    observer.on_data(&&b"first"[..], &at(4));
    observer.on_data(&&b"second"[..], &at(8));
    observer.on_trailers(&common::trailers(), &at(16));
    observer.on_end(Outcome::Complete, &at(32));

    let [summary] = all().try_into().unwrap();
    assert_eq!(summary.time_to_head, Some(Duration::from_secs(1)));
    assert_eq!(summary.time_to_first_byte, Some(Duration::from_secs(4)));
    assert_eq!(summary.duration, Duration::from_secs(32));
}

#[test]
fn times_are_in_order_and_count_from_the_call() {
    const PAUSE: Duration = Duration::from_millis(10);
    let (layer, all) = capturing();
    let before = Instant::now();
    let mut service = layer.layer(service_fn(|_| {
        thread::sleep(PAUSE);
        async {
            let response = answer(200, &[], [Step::Data(0), Step::Data(1), Step::Data(1)]);
            Ok::<_, Broken>(response)
        }
    }));
    let response = service.call(request(Method::GET)).now_or_never();
    let mut body = pin!(response.unwrap().unwrap().into_body());
    let cx = &mut Context::from_waker(Waker::noop());
    while body.as_mut().poll_frame(cx).map(|frame| frame.is_some()) == Poll::Ready(true) {
        thread::sleep(PAUSE);
    }
    let all_of_it = before.elapsed();

    let [summary] = all().try_into().unwrap();
    let head = summary.time_to_head.unwrap();
    let first_byte = summary.time_to_first_byte.unwrap();
    assert!(head >= PAUSE);
    // The empty frame came with the head, the first byte a pause later, the end two pauses later.
    assert!(first_byte >= head + PAUSE);
    assert!(summary.duration >= first_byte + 2 * PAUSE);
    assert!(summary.duration <= all_of_it);
}

#[test]
fn what_happens_at_one_moment_has_one_time() {
    let empty = || hinting(answer(200, &[], []), Size::Unknown, End::Shown);
    let one_frame = || hinting(answer(200, &[], [Step::Data(5)]), Size::Unknown, End::Shown);

    let summary = summary_of(answering(empty()).until(Until::Head));
    assert_eq!(Some(summary.duration), summary.time_to_head);

    let summary = summary_of(answering(one_frame()).until(Until::Polls(1)));
    assert_eq!(Some(summary.duration), summary.time_to_first_byte);
    assert!(summary.time_to_head <= summary.time_to_first_byte);
}

#[test]
fn a_body_that_is_kept_does_not_lengthen_a_finished_exchange() {
    const HOLD: Duration = Duration::from_millis(30);
    let five = || answer(200, &[], [Step::Data(5)]);
    let sized = || answer(200, &[("content-length", "5")], [Step::Data(5)]);
    let exact = || hinting(five(), Size::Exact, End::Hidden);
    let shown = || hinting(five(), Size::Unknown, End::Shown);
    let no_content = || answer(204, &[], [Step::Data(5)]);
    let streamed = || five();
    let summary_after_hold = |exchange| {
        let (layer, all) = capturing();
        let held = drive(&layer, exchange);
        thread::sleep(HOLD);
        drop(held);
        let [summary] = all().try_into().unwrap();
        summary
    };

    for (name, exchange) in [
        ("content-length", answering(sized()).until(Until::Polls(1))),
        ("exact size", answering(exact()).until(Until::Polls(1))),
        ("shown end", answering(shown()).until(Until::Polls(1))),
    ] {
        let summary = summary_after_hold(exchange);
        assert_eq!(summary.outcome, Outcome::Complete, "{name}");
        assert_eq!(Some(summary.duration), summary.time_to_first_byte, "{name}");
    }
    let head = answering(streamed()).method(Method::HEAD);
    for (name, exchange) in [
        ("HEAD", head.until(Until::Head)),
        ("204", answering(no_content()).until(Until::Head)),
    ] {
        let summary = summary_after_hold(exchange);
        assert_eq!(summary.outcome, Outcome::Complete, "{name}");
        assert_eq!(Some(summary.duration), summary.time_to_head, "{name}");
    }
    for (name, exchange, outcome) in [
        (
            "mid-stream",
            answering(streamed()).until(Until::Polls(1)),
            Outcome::Disconnected,
        ),
        ("no head", exchange(Does::NeverAnswer), Outcome::Cancelled),
    ] {
        let summary = summary_after_hold(exchange);
        assert_eq!(summary.outcome, outcome, "{name}");
        assert!(summary.duration >= HOLD, "{name}");
    }
}

#[test]
fn the_context_is_taken_from_the_request_before_the_service_sees_it() {
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct RequestId(u64);

    let order = Arc::<Mutex<Vec<&str>>>::default();
    let (in_context, in_service, in_callback) =
        (Arc::clone(&order), Arc::clone(&order), Arc::clone(&order));
    let taken = Arc::<Mutex<Vec<_>>>::default();
    let all = Arc::clone(&taken);
    let layer = CaptureLayer::with_context(
        move |request: &RequestHead<'_>| {
            in_context.lock().unwrap().push("context");
            (
                request.uri.path().to_owned(),
                request.headers["x-who"].clone(),
                request.extensions.get::<RequestId>().cloned(),
            )
        },
        move |summary: &Summary<_>| {
            in_callback.lock().unwrap().push("callback");
            taken.lock().unwrap().push((
                summary.context.clone(),
                summary.status,
                summary.body_bytes,
            ));
        },
    );
    let service = layer.layer(service_fn(move |mut request: Request<_>| {
        in_service.lock().unwrap().push("service");
        // What the service does to the request comes too late.
        *request.uri_mut() = "/elsewhere".parse().unwrap();
        request.headers_mut().clear();
        request.extensions_mut().clear();
        async move {
            let _: Request<http_body_util::Empty<bytes::Bytes>> = request;
            let response = answer(202, &[], [Step::Data(5)]);
            Ok::<_, Broken>(hinting(response, Size::Unknown, End::Shown))
        }
    }));

    let mut asked = request(Method::GET);
    *asked.uri_mut() = "/v1/chat?model=x".parse().unwrap();
    asked.headers_mut().insert("x-who", "curl".parse().unwrap());
    asked.extensions_mut().insert(RequestId(7));
    let response = service.oneshot(asked).now_or_never().unwrap().unwrap();
    let mut body = pin!(response.into_body());
    let polled = body
        .as_mut()
        .poll_frame(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Some(Ok(_)))));

    let context = (
        "/v1/chat".to_owned(),
        "curl".parse().unwrap(),
        Some(RequestId(7)),
    );
    assert_eq!(
        *all.lock().unwrap(),
        [(context, Some(http::StatusCode::ACCEPTED), 5)]
    );
    assert_eq!(*order.lock().unwrap(), ["context", "service", "callback"]);
}

#[test]
fn a_context_reaches_the_callback_without_a_head_too() {
    let (sender, receiver) = mpsc::channel();
    let layer = CaptureLayer::with_context(
        |request: &RequestHead<'_>| request.method.to_string(),
        move |summary: &Summary<String>| {
            let told = (summary.context.clone(), summary.outcome);
            sender.send(told).unwrap();
        },
    );
    for does in [Does::Fail, Does::NeverAnswer, Does::PanicInCall] {
        drop(drive(&layer, exchange(does)));
    }
    drop(layer);
    let context = || "GET".to_owned();
    assert_eq!(
        receiver.iter().collect::<Vec<_>>(),
        [
            (context(), Outcome::ServiceError),
            (context(), Outcome::Cancelled),
            (context(), Outcome::Panicked),
        ]
    );
}

#[test]
fn a_callback_may_be_a_function() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    fn count(_: &Summary) {
        CALLS.fetch_add(1, Ordering::SeqCst);
    }

    let layer: CaptureLayer<fn(&Summary)> = CaptureLayer::new(count);
    drop(drive(&layer, exchange(Does::Fail)));
    assert_eq!(CALLS.load(Ordering::SeqCst), 1);
}

#[test]
fn a_callback_that_holds_a_sender_tells_each_exchange_once() {
    let (sender, receiver) = mpsc::channel();
    let layer = CaptureLayer::new(move |summary: &Summary| {
        sender.send(summary.status.map(|it| it.as_u16())).unwrap();
    });
    // One service for all, and a clone for each: as servers do it.
    let service = layer.layer(service_fn(|request: Request<_>| async move {
        let _: &http_body_util::Empty<bytes::Bytes> = request.body();
        let status = request.uri().path()[1..].parse().unwrap();
        Ok::<_, Broken>(answer(status, &[], [Step::Data(1)]))
    }));
    let mut bodies = Vec::new();
    for status in 200..300 {
        let mut request = request(Method::GET);
        *request.uri_mut() = format!("/{status}").parse().unwrap();
        let response = service.clone().oneshot(request).now_or_never();
        bodies.push(response.unwrap().unwrap().into_body());
    }
    assert_eq!(receiver.try_recv(), Err(mpsc::TryRecvError::Empty));
    drop((layer, service));
    // Ended on another thread, in the other order.
    thread::spawn(move || bodies.into_iter().rev().for_each(drop))
        .join()
        .unwrap();
    let told: Vec<_> = receiver.iter().collect();
    assert_eq!(told, (200..300).rev().map(Some).collect::<Vec<_>>());
}

#[test]
fn a_poll_after_the_end_is_not_told() {
    let (layer, all) = capturing();
    let exchange = answering(answer(200, &[], [Step::Data(1)]));
    let held = drive(&layer, exchange.until(Until::Polls(5))).unwrap();
    let whole = Facts::of(200, Outcome::Complete).data(1, 1);
    assert_eq!(all().iter().map(Facts::from).collect::<Vec<_>>(), [whole]);
    drop(held);
    assert_eq!(all().len(), 1);
}

#[test]
fn stacked_layers_are_told_the_same() {
    let (outer, outer_all) = capturing();
    let (inner, inner_all) = capturing();
    let layer = ServiceBuilder::new().layer(outer).layer(inner);
    let response = answer(200, &[("grpc-status", "5")], three_and_four());
    drop(drive(&layer.into_inner(), answering(response)));
    let facts = |all: Vec<Summary>| all.iter().map(Facts::from).collect::<Vec<_>>();
    let expected = Facts {
        grpc_status: Some(5),
        ..Facts::of(200, Outcome::Complete).data(3, 7)
    };
    assert_eq!(facts(inner_all()), facts(outer_all()));
    assert_eq!(facts(outer_all()), [expected]);
}

/// Claims to be as long as memory.
struct Huge;

impl Buf for Huge {
    fn remaining(&self) -> usize {
        usize::MAX
    }

    fn chunk(&self) -> &[u8] {
        &[]
    }

    fn advance(&mut self, _: usize) {}
}

struct Endless;

impl Body for Endless {
    type Data = Huge;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Huge>, Broken>>> {
        Poll::Ready(Some(Ok(Frame::data(Huge))))
    }
}

#[test]
fn impossible_lengths_do_not_overflow() {
    let (layer, all) = capturing();
    let service = layer.layer(service_fn(|_| async {
        Ok::<_, Broken>(Response::new(Endless))
    }));
    let response = service.oneshot(request(Method::GET)).now_or_never();
    let mut body = Box::pin(response.unwrap().unwrap().into_body());
    for _ in 0..3 {
        let polled = body
            .as_mut()
            .poll_frame(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Some(Ok(_)))));
    }
    drop(body);
    let [summary] = all().try_into().unwrap();
    let expected = Facts::of(200, Outcome::Disconnected).data(3, 3_u64.wrapping_mul(u64::MAX));
    assert_eq!(Facts::from(&summary), expected);
}

/// A layer whose callback counts, then panics.
fn panicking() -> (
    CaptureLayer<impl Fn(&Summary) + Clone + Send + 'static>,
    Arc<AtomicUsize>,
) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let layer = CaptureLayer::new(move |_: &Summary| {
        counted.fetch_add(1, Ordering::SeqCst);
        panic!("callback");
    });
    (layer, calls)
}

/// The message of the panic that gets out of `f`, if one does.
fn panic_of<T>(f: impl FnOnce() -> T) -> Option<&'static str> {
    let payload = catch_unwind(AssertUnwindSafe(f)).err()?;
    Some(payload.downcast_ref::<&str>().copied().unwrap())
}

#[test]
fn a_panic_of_the_callback_goes_to_whoever_ends_the_exchange() {
    let streamed = || answer(200, &[], [Step::Data(3)]);
    let ends_at_a_poll = [
        ("the end of the body", answering(streamed())),
        ("an error", answering(answer(200, &[], [Step::Error]))),
        ("trailers", answering(answer(200, &[], [Step::Trailers]))),
        (
            "an empty body",
            answering(hinting(answer(200, &[], []), Size::Exact, End::Shown)),
        ),
        (
            "an upgrade that nobody keeps",
            answering(answer(101, &[], [])).upgrade(),
        ),
        ("a service error", exchange(Does::Fail)),
    ];
    for (name, exchange) in ends_at_a_poll {
        let (layer, calls) = panicking();
        let panicked = panic_of(|| drive_and_panic(&layer, exchange));
        assert_eq!(panicked, Some("callback"), "{name}");
        assert_eq!(calls.load(Ordering::SeqCst), 1, "{name}");
    }

    let ends_at_a_drop = [
        ("mid-stream", answering(streamed()).until(Until::Polls(1))),
        (
            "after its content-length",
            answering(answer(200, &[("content-length", "3")], [Step::Data(3)]))
                .until(Until::Polls(1)),
        ),
        ("no head", exchange(Does::NeverAnswer)),
        (
            "a tunnel",
            answering(answer(101, &[], [])).upgrade().keeping_tunnel(),
        ),
    ];
    for (name, exchange) in ends_at_a_drop {
        let (layer, calls) = panicking();
        let held = drive_and_panic(&layer, exchange);
        assert_eq!(calls.load(Ordering::SeqCst), 0, "{name}");
        assert_eq!(panic_of(|| drop(held)), Some("callback"), "{name}");
        assert_eq!(calls.load(Ordering::SeqCst), 1, "{name}");
    }
}

#[test]
fn a_panic_of_the_callback_does_not_replace_the_one_that_unwinds() {
    let in_body = answer(200, &[], [Step::Data(1), Step::Panic]);
    for (name, exchange) in [
        ("call", exchange(Does::PanicInCall)),
        ("future", exchange(Does::PanicInFuture)),
        ("body", answering(in_body)),
    ] {
        let (layer, calls) = panicking();
        let panicked = panic_of(|| drive_and_panic(&layer, exchange));
        assert_eq!(panicked, Some("scripted"), "{name}");
        assert_eq!(calls.load(Ordering::SeqCst), 1, "{name}");
    }

    // Dropped by a panic that has nothing to do with the exchange.
    let (layer, calls) = panicking();
    let streamed = answer(200, &[], [Step::Data(1)]);
    let panicked = panic_of(|| {
        let _held = drive_and_panic(&layer, answering(streamed).until(Until::Polls(1)));
        panic!("elsewhere");
    });
    assert_eq!(panicked, Some("elsewhere"));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn a_body_stays_usable_after_a_panic_of_the_callback() {
    let (layer, calls) = panicking();
    let service = layer.layer(service_fn(|_| async {
        let response = answer(200, &[], [Step::Trailers, Step::Data(5)]);
        Ok::<_, Broken>(response)
    }));
    let response = service.oneshot(request(Method::GET)).now_or_never();
    let mut body = Box::pin(response.unwrap().unwrap().into_body());
    let mut poll = || {
        body.as_mut()
            .poll_frame(&mut Context::from_waker(Waker::noop()))
            .map(|polled| polled.map(|frame| frame.unwrap().into_data().unwrap().len()))
    };
    assert_eq!(panic_of(&mut poll), Some("callback"));
    assert_eq!(poll(), Poll::Ready(Some(5)));
    assert_eq!(poll(), Poll::Ready(None));
    drop(body);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn a_panic_while_the_context_is_taken_goes_to_the_caller() {
    let called = Arc::new(AtomicUsize::new(0));
    let (by_service, by_callback) = (Arc::clone(&called), Arc::clone(&called));
    let layer = CaptureLayer::with_context(
        |_: &RequestHead<'_>| -> u8 { panic!("context") },
        move |_: &Summary<u8>| {
            by_callback.fetch_add(1, Ordering::SeqCst);
        },
    );
    let mut service = layer.layer(service_fn(move |_| {
        by_service.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, Broken>(answer(200, &[], [])) }
    }));
    let panicked = panic_of(|| drop(service.call(request(Method::GET))));
    assert_eq!(panicked, Some("context"));
    assert_eq!(called.load(Ordering::SeqCst), 0);
}

#[test]
fn nothing_is_asked_of_the_callbacks_to_print_or_share_a_layer() {
    struct Opaque;
    let opaque = Arc::new(Opaque);
    let layer = CaptureLayer::new(move |_: &Summary| {
        let _ = &opaque;
    });
    assert_eq!(format!("{layer:?}"), "CaptureLayer { .. }");
    assert_eq!(format!("{:?}", layer.clone()), "CaptureLayer { .. }");
}
