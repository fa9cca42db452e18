//! Which values of the field a response leaves the layer with.

use std::{
    convert::Infallible,
    task::{Context, Waker},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body::SizeHint;
use http_body_util::Empty;
use tokio::sync::oneshot;
use tower::{Layer, Service, service_fn};
use tower_passthrough::buffering::{
    Buffering::{self, Auto, Off, On},
    BufferingControl, BufferingLayer, Policy,
};

use crate::{Answer, FIELD, overriding, pass, values};

fn sized() -> Answer {
    Answer::new(SizeHint::with_exact(5))
}

fn unsized_() -> Answer {
    Answer::new(SizeHint::default())
}

type Values = &'static [&'static str];

/// The policy, the field that the response has, and what it leaves with: if it looks like a stream,
/// and if it does not.
#[rustfmt::skip]
const TABLE: [(Policy, Values, [Values; 2]); 24] = [
    (Policy::new(Off), &[], [&["no"], &["no"]]),
    (Policy::new(Off), &["no"], [&["no"], &["no"]]),
    (Policy::new(Off), &["yes"], [&["yes"], &["yes"]]),
    (Policy::new(Off), &["maybe", "yes"], [&["maybe", "yes"], &["maybe", "yes"]]),
    (Policy::new(Off).overriding(), &[], [&["no"], &["no"]]),
    (Policy::new(Off).overriding(), &["no"], [&["no"], &["no"]]),
    (Policy::new(Off).overriding(), &["yes"], [&["no"], &["no"]]),
    (Policy::new(Off).overriding(), &["maybe", "yes"], [&["no"], &["no"]]),
    (Policy::new(On), &[], [&["yes"], &["yes"]]),
    (Policy::new(On), &["no"], [&["no"], &["no"]]),
    (Policy::new(On), &["yes"], [&["yes"], &["yes"]]),
    (Policy::new(On), &["maybe", "yes"], [&["maybe", "yes"], &["maybe", "yes"]]),
    (Policy::new(On).overriding(), &[], [&["yes"], &["yes"]]),
    (Policy::new(On).overriding(), &["no"], [&["yes"], &["yes"]]),
    (Policy::new(On).overriding(), &["yes"], [&["yes"], &["yes"]]),
    (Policy::new(On).overriding(), &["maybe", "yes"], [&["yes"], &["yes"]]),
    (Policy::new(Auto), &[], [&["no"], &[]]),
    (Policy::new(Auto), &["no"], [&["no"], &["no"]]),
    (Policy::new(Auto), &["yes"], [&["yes"], &["yes"]]),
    (Policy::new(Auto), &["maybe", "yes"], [&["maybe", "yes"], &["maybe", "yes"]]),
    (Policy::new(Auto).overriding(), &[], [&["no"], &[]]),
    (Policy::new(Auto).overriding(), &["no"], [&["no"], &[]]),
    (Policy::new(Auto).overriding(), &["yes"], [&["no"], &[]]),
    (Policy::new(Auto).overriding(), &["maybe", "yes"], [&["no"], &[]]),
];

/// Every sort of response, and whether it looks like a stream.
fn responses() -> Vec<(&'static str, Method, Answer, bool)> {
    const GET: Method = Method::GET;
    let events = || unsized_().of_type("text/event-stream");
    let mut responses = vec![
        ("nothing known", GET, unsized_(), true),
        ("JSON", GET, unsized_().of_type("application/json"), true),
        ("sized", GET, sized(), false),
        (
            "sized JSON",
            GET,
            sized().of_type("application/json"),
            false,
        ),
        ("empty", GET, Answer::new(SizeHint::with_exact(0)), false),
        (
            "a length",
            GET,
            unsized_().field("content-length", "5"),
            false,
        ),
        ("bounded", GET, Answer::new(bounded(1, 5)), true),
        ("at least", GET, Answer::new(bounded(5, u64::MAX)), true),
        ("not found", GET, unsized_().status(404), true),
        ("sized error", GET, sized().status(500), false),
        ("events", GET, events(), true),
        ("events, POST", Method::POST, events(), true),
        ("failed events", GET, events().status(500), true),
        ("partial events", GET, events().status(206), true),
        // What has no content.
        ("HEAD", Method::HEAD, unsized_(), false),
        ("HEAD of events", Method::HEAD, events(), false),
        ("100", GET, events().status(100), false),
        ("101", GET, events().status(101), false),
        ("103", GET, events().status(103), false),
        ("204", GET, events().status(204), false),
        ("205", GET, events().status(205), true),
        ("304", GET, events().status(304), false),
        ("CONNECT", Method::CONNECT, events(), false),
        (
            "CONNECT, 299",
            Method::CONNECT,
            unsized_().status(299),
            false,
        ),
        (
            "CONNECT, refused",
            Method::CONNECT,
            unsized_().status(403),
            true,
        ),
    ];
    for (content_type, is_stream) in TYPES {
        responses.push((content_type, GET, sized().of_type(content_type), is_stream));
        let known = sized().field("content-length", "5").of_type(content_type);
        responses.push((content_type, GET, known, is_stream));
        let unknown = unsized_().of_type(content_type);
        responses.push((content_type, GET, unknown, true));
        let head = unsized_().of_type(content_type);
        responses.push((content_type, Method::HEAD, head, false));
    }
    responses
}

/// Types, and whether content of a known size is a stream by its type alone.
const TYPES: [(&str, bool); 32] = [
    ("text/event-stream", true),
    ("Text/Event-Stream", true),
    ("text/event-stream; charset=utf-8", true),
    ("text/event-stream\t;a=\"b;c\"", true),
    ("text/event-streams", false),
    ("text/event", false),
    ("text/event-stream+json", false),
    ("application/event-stream", false),
    ("text/plain; text/event-stream", false),
    ("application/x-ndjson", true),
    ("APPLICATION/X-NDJSON;charset=utf-8", true),
    ("application/x-ndjson+zip", false),
    ("application/jsonl", true),
    ("application/json-seq", true),
    ("application/json", false),
    ("application/geo+json-seq", false),
    ("application/grpc-web", true),
    ("application/grpc-web+proto", true),
    ("application/grpc-web+json", true),
    ("application/grpc-web+thrift; a=b", true),
    ("Application/Grpc-Web+Proto", true),
    ("application/grpc-web-text", true),
    ("application/grpc-web-text+proto", true),
    ("APPLICATION/grpc-web-TEXT", true),
    ("application/grpc-webs", false),
    ("application/grpc-web-texts+proto", false),
    ("application/grpc", false),
    ("application/grpc+proto", false),
    ("application/grpc+web", false),
    ("application/octet-stream", false),
    ("", false),
    ("+", false),
];

fn bounded(lower: u64, upper: u64) -> SizeHint {
    let mut size = SizeHint::new();
    size.set_lower(lower);
    size.set_upper(upper);
    size
}

#[test]
fn each_policy_does_to_each_response_what_the_table_says() {
    let mut rows = 0;
    for (what, method, answer, is_stream) in responses() {
        for (policy, before, after) in TABLE {
            let answer = before
                .iter()
                .fold(answer.clone(), |answer, value| answer.field(FIELD, value));
            let path = match method {
                Method::CONNECT => "proxied.test:443",
                _ => "/",
            };
            let fields = pass(&BufferingControl::new(policy), &method, path, &answer);
            let expected = after[usize::from(!is_stream)];
            assert_eq!(values(&fields), expected, "{what} {answer:?} {policy:?}");
            assert_eq!(
                fields.len() - expected.len(),
                answer.fields.len() - before.len(),
                "{what} {policy:?}: other fields are left"
            );
            rows += 1;
        }
    }
    assert_eq!(rows, 24 * (25 + 4 * 32));
}

#[test]
fn there_is_no_field_more_in_a_full_head() {
    let control = BufferingControl::new(Off);
    let full = || {
        let mut response = Response::new(Empty::<Bytes>::new());
        let fields = response.headers_mut();
        for number in 0.. {
            let name = HeaderName::try_from(format!("x-{number}")).unwrap();
            if fields.try_insert(name, HeaderValue::from(0)).is_err() {
                break;
            }
        }
        response
    };
    let service = service_fn(async |_: Request<Empty<Bytes>>| Ok::<_, Infallible>(full()));
    let mut service = BufferingLayer::new(control).layer(service);
    let response = service.call(Request::default()).now_or_never().unwrap();
    let fields = response.unwrap().into_parts().0.headers;
    assert_eq!(
        (values(&fields), fields.len()),
        (vec![], full().headers().len())
    );
}

type Change = fn(&BufferingControl);

#[test]
fn the_policy_is_that_of_the_moment_at_which_the_head_comes() {
    let control = BufferingControl::new(Off);
    control.set("/chat", Off).unwrap();
    let changes: [(Change, &str); 4] = [
        (|it| drop(it.set("/chat", On)), "yes"),
        (|it| assert!(it.remove("/chat").is_some()), "no"),
        (|it| it.set_default(On), "yes"),
        (|it| drop(it.set("/*", Off)), "no"),
    ];
    for (change, expected) in changes {
        let (answer, answered) = oneshot::channel();
        let mut answered = Some(answered);
        let service = service_fn(|_: Request<Empty<Bytes>>| answered.take().unwrap());
        let mut service = BufferingLayer::new(control.clone()).layer(service);
        let request = Request::get("/chat?x=1").body(Empty::new()).unwrap();
        let mut call = Box::pin(service.call(request));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(call.poll_unpin(&mut cx).is_pending());

        change(&control);
        answer.send(sized().response()).unwrap();
        let response = call.now_or_never().unwrap().unwrap();
        assert_eq!(values(response.headers()), [expected]);
    }
}

#[test]
fn clones_of_layers_and_services_go_by_the_same_control() {
    let control = BufferingControl::new(On);
    let layer = BufferingLayer::new(control.clone());
    let service =
        || service_fn(async |_: Request<Empty<Bytes>>| Ok::<_, Infallible>(sized().response()));
    let service = layer.clone().layer(service());
    for (buffering, expected) in [(Off, "no"), (On, "yes")] {
        control.set_default(buffering);
        let response = service.clone().call(Request::default()).now_or_never();
        assert_eq!(values(response.unwrap().unwrap().headers()), [expected]);
    }
}

#[test]
fn buffering_is_written_as_it_is_read() {
    for (buffering, written) in [(Off, "off"), (On, "on"), (Auto, "auto")] {
        assert_eq!(buffering.as_str(), written);
        assert_eq!(format!("{buffering:>5}"), format!("{written:>5}"));
        assert_eq!(written.parse(), Ok(buffering));
        assert_eq!(Policy::from(buffering), Policy::new(buffering));
        assert_ne!(Policy::new(buffering), overriding(buffering));
        assert_eq!(overriding(buffering), overriding(buffering).overriding());
    }
    for (written, shown) in [("", ""), ("Off", "Off"), (" on", " on"), ("a\nb", "a\\nb")] {
        let error = written.parse::<Buffering>().unwrap_err().to_string();
        assert_eq!(
            error,
            format!("buffering `{shown}`: it is `off`, `on` or `auto`")
        );
    }
}
