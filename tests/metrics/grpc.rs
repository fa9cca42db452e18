//! gRPC calls: where their code comes from, and which requests are calls at all.

use http::HeaderMap;
use metrics::with_local_recorder;
use tower_passthrough::{
    metrics::{GRPC_SERVER_HANDLED_TOTAL, MetricsLayer},
    observe::Outcome,
};

use crate::{
    common::{End, Size, Step},
    drive::{Exchange, Until, answer, answering, drive, hinting},
    rows::{CODES, Row, status},
    series::{by_label, counted, recorder, rendered, series},
};

/// An answer to a call: HTTP status, `grpc-status` of its head and of its trailers.
fn said(http: &str, head: Option<&str>, trailers: Option<&str>) -> Exchange {
    let steps = trailers.iter().map(|_| Step::Trailers);
    let fields = [("content-type", "application/grpc")];
    let mut response = answer(http.parse().unwrap(), &fields, steps);
    response
        .headers_mut()
        .extend(head.map_or_else(HeaderMap::new, status));
    response.body_mut().trailers = trailers.map_or_else(HeaderMap::new, status);
    if trailers.is_none() {
        // Trailers-only: hyper ends the stream with the head.
        response = hinting(response, Size::Exact, End::Shown);
    }
    answering(response)
}

fn check(row: &Row, context: &str) {
    let prometheus = MetricsLayer::builder().build().unwrap();
    let opentelemetry = MetricsLayer::builder().opentelemetry().build().unwrap();
    let base = vec![("method", "POST")];
    for (layer, expected) in [
        (prometheus, row.expected(&base, true)),
        (opentelemetry, row.conventional(true)),
    ] {
        let recorder = recorder();
        with_local_recorder(&recorder, || drop(drive(&layer, row.exchange.clone())));
        assert_eq!(rendered(&recorder), expected, "{context}");
    }
}

#[test]
fn the_code_is_that_of_the_trailers_or_of_the_head_or_follows_from_the_status() {
    for (http, head, trailers, code) in [
        ("200", None, Some("0"), "OK"),
        ("200", Some("0"), None, "OK"),
        ("200", Some("7"), None, "PermissionDenied"),
        ("200", Some("0"), Some("13"), "Internal"),
        ("200", Some("3"), Some("nonsense"), "InvalidArgument"),
        // What gRPC does not define.
        ("200", None, Some("17"), "Unknown"),
        ("200", Some("4294967294"), None, "Unknown"),
        ("200", None, Some("-1"), "Unknown"),
        ("200", None, Some("nonsense"), "Unknown"),
        // None at all.
        ("200", None, None, "Unknown"),
        ("400", None, None, "Internal"),
        ("401", None, None, "Unauthenticated"),
        ("403", None, None, "PermissionDenied"),
        ("404", None, None, "Unimplemented"),
        ("429", None, None, "Unavailable"),
        ("500", None, None, "Unknown"),
        ("502", None, None, "Unavailable"),
        ("503", None, None, "Unavailable"),
        ("504", None, None, "Unavailable"),
        // What was said counts.
        ("503", Some("4"), None, "DeadlineExceeded"),
    ] {
        let exchange = said(http, head, trailers);
        let row = Row::of("said", exchange, (http, "grpc"), Outcome::Complete, 0).call(code);
        check(&row, &format!("{http} {head:?} {trailers:?}"));
    }
}

#[test]
fn each_code_has_its_name() {
    for (number, (name, ..)) in CODES.iter().enumerate() {
        let number = number.to_string();
        for (head, trailers) in [(None, Some(&*number)), (Some(&*number), None)] {
            let exchange = said("200", head, trailers);
            let row = Row::of("said", exchange, ("200", "grpc"), Outcome::Complete, 0).call(name);
            check(&row, &number);
        }
    }
}

#[test]
fn what_was_said_counts_though_the_client_left() {
    let mut exchange = said("200", Some("5"), Some("0"));
    exchange.until = Until::Head;
    let row = Row::of("left", exchange, ("200", "grpc"), Outcome::Disconnected, 0);
    check(&row.call("NotFound"), "left");
}

#[test]
fn a_call_is_one_by_its_request() {
    let call = || said("200", Some("0"), None);
    for (method, content_type, is_call) in [
        ("POST", "application/grpc", true),
        ("POST", "Application/gRPC+proto", true),
        ("POST", "application/grpc; charset=utf-8", true),
        ("POST", "application/grpc-web", false),
        ("POST", "application/grpc-web+proto", false),
        ("POST", "application/grpcs", false),
        ("POST", "application/json", false),
        ("GET", "application/grpc", false),
    ] {
        let layer = MetricsLayer::builder().build().unwrap();
        let recorder = recorder();
        let mut exchange = call().method(method.parse().unwrap());
        let fields = exchange.request.headers_mut();
        fields.insert("content-type", content_type.parse().unwrap());
        with_local_recorder(&recorder, || drop(drive(&layer, exchange)));
        let calls = by_label(&recorder, GRPC_SERVER_HANDLED_TOTAL, "grpc_code");
        let expected = if is_call { counted("OK", 1) } else { vec![] };
        assert_eq!(calls, expected, "{method} {content_type}");
        // The kind goes by the response.
        let head = [("method", method), ("kind", "grpc")];
        let head = series("http_response_head_seconds_count", &head);
        assert_eq!(rendered(&recorder)[&head], "1", "{method} {content_type}");
    }
}

#[test]
fn a_call_is_named_by_its_path() {
    for (path, service, method) in [
        ("/chat.v1.Chat/Say", "chat.v1.Chat", "Say"),
        ("/Chat/Say?x=y", "Chat", "Say"),
        ("/a/b/c", "a/b", "c"),
        ("/Say", "_other", "_other"),
        ("/", "_other", "_other"),
        ("/Chat/", "Chat", ""),
    ] {
        let layer = MetricsLayer::builder().build().unwrap();
        let recorder = recorder();
        let mut exchange = said("200", Some("0"), None).method("POST".parse().unwrap());
        *exchange.request.uri_mut() = path.parse().unwrap();
        let fields = exchange.request.headers_mut();
        fields.insert("content-type", "application/grpc".parse().unwrap());
        with_local_recorder(&recorder, || drop(drive(&layer, exchange)));
        let calls = |label| by_label(&recorder, GRPC_SERVER_HANDLED_TOTAL, label);
        assert_eq!(calls("grpc_service"), counted(service, 1), "{path}");
        assert_eq!(calls("grpc_method"), counted(method, 1), "{path}");
    }
}
