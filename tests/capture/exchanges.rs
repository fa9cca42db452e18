//! How an exchange ended, and what passed by then.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use futures_util::FutureExt;
use http::{Method, Response, Version};
use http_body::{Body, Frame};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_passthrough::{capture::Summary, observe::Outcome};

use crate::{
    Facts, capturing,
    common::{Broken, End, Huge, Size, Step},
    drive::{Does, Until, answer, answering, drive, exchange, hinting, request},
    summary_of, three_and_four,
};

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
