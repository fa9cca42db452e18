//! Labels: what they are made of, and what they never become.

mod of_responses;

use std::borrow::Cow;

use http::HeaderValue;
use metrics::with_local_recorder;
use tower_passthrough::{
    RequestHead, ResponseHead,
    metrics::{
        MetricsLayer, MetricsLayerBuilder, REQUEST_BODY_BYTES, REQUEST_DURATION_SECONDS,
        REQUESTS_IN_FLIGHT, REQUESTS_TOTAL, RESPONSE_BODY_BYTES, RESPONSE_HEAD_SECONDS,
        RESPONSES_ENDED_TOTAL, semconv,
    },
    observe::Outcome,
};

use crate::{
    common::{End, Size, Step},
    drive::{Does, Exchange, answer, answering, drive, exchange, hinting},
    random::Random,
    rows::Row,
    series::{Expected, Series, by_label, counted, recorder, rendered, requests_by, with},
};

#[test]
fn the_host_is_one_of_the_list_or_other() {
    let hosts = ["api.example", "Chat.Example", "192.0.2.1", "[2001:db8::1]"];
    let layer = MetricsLayer::builder().hosts(hosts).build().unwrap();
    for (target, field, label) in [
        ("/", Some("api.example"), "api.example"),
        ("/", Some("API.EXAMPLE:8080"), "api.example"),
        ("/", Some("chat.example"), "Chat.Example"),
        ("/", Some("192.0.2.1:80"), "192.0.2.1"),
        ("/", Some("[2001:DB8::1]:443"), "[2001:db8::1]"),
        ("http://api.example/", None, "api.example"),
        ("http://api.example:81/", Some("x.example"), "api.example"),
        ("http://x.example/", Some("api.example"), "_other"),
        ("/", Some("x.example"), "_other"),
        ("/", Some("www.api.example"), "_other"),
        ("/", Some("api.example."), "_other"),
        ("/", Some("api.example, x.example"), "_other"),
        ("/", Some(""), "_other"),
        ("/", Some("caf\u{e9}"), "_other"),
        ("/", None, "_other"),
    ] {
        let recorder = recorder();
        let mut exchange = answering(answer(200, &[], []));
        *exchange.request.uri_mut() = target.parse().unwrap();
        if let Some(host) = field {
            let host = HeaderValue::from_bytes(host.as_bytes()).unwrap();
            exchange.request.headers_mut().insert("host", host);
        }
        with_local_recorder(&recorder, || drop(drive(&layer, exchange)));
        let context = format!("{target} {field:?}");
        assert_eq!(
            requests_by(&recorder, "host"),
            counted(label, 1),
            "{context}"
        );
    }
}

#[test]
fn the_path_is_what_the_callback_makes_of_the_request() {
    #[derive(Clone)]
    struct Route(&'static str);

    let layer = MetricsLayer::builder()
        .path(|request: &RequestHead<'_>| match request.extensions.get() {
            Some(Route(route)) => Cow::Borrowed(*route),
            None => format!("{} unmatched", request.method).into(),
        })
        .build()
        .unwrap();
    let recorder = recorder();
    with_local_recorder(&recorder, || {
        for path in ["/users/1", "/users/2", "/robots.txt"] {
            let mut exchange = answering(answer(200, &[], []));
            *exchange.request.uri_mut() = path.parse().unwrap();
            if path.starts_with("/users/") {
                let extensions = exchange.request.extensions_mut();
                extensions.insert(Route("/users/{id}"));
            }
            drop(drive(&layer, exchange));
        }
    });
    assert_eq!(
        requests_by(&recorder, "path"),
        [counted("/users/{id}", 2), counted("GET unmatched", 1)].concat()
    );
}

#[test]
fn a_path_callback_that_panics_leaves_nothing_in_flight() {
    let layer = MetricsLayer::builder()
        .path(|_| panic!("path"))
        .build()
        .unwrap();
    let recorder = recorder();
    with_local_recorder(&recorder, || {
        assert!(drive(&layer, answering(answer(200, &[], []))).is_none());
    });
    assert_eq!(rendered(&recorder), Series::new());
}

#[test]
fn methods_that_nobody_defined_are_one_series() {
    let layer = MetricsLayer::builder().build().unwrap();
    for (method, label) in [
        ("GET", "GET"),
        ("PATCH", "PATCH"),
        ("QUERY", "QUERY"),
        ("get", "_OTHER"),
        ("PROPFIND", "_OTHER"),
        ("_OTHER", "_OTHER"),
        ("A-METHOD-THAT-IS-LONGER-THAN-15-BYTES", "_OTHER"),
    ] {
        let recorder = recorder();
        let exchange = answering(answer(200, &[], [])).method(method.parse().unwrap());
        with_local_recorder(&recorder, || drop(drive(&layer, exchange)));
        let labels = requests_by(&recorder, "method");
        assert_eq!(labels, counted(label, 1), "{method}");
    }
}

/// Names that differ, without any system to them.
fn names(of: fn(u8) -> char) -> impl Iterator<Item = String> {
    let mut random = Random::new(0);
    let mut letter = move || of(random.next().to_le_bytes()[3] % 26);
    std::iter::from_fn(move || Some((0..12).map(|_| letter()).collect()))
}

#[test]
fn a_thousand_hosts_and_methods_are_one_series_each() {
    let layer = MetricsLayer::builder()
        .hosts(["api.example"])
        .build()
        .unwrap();
    let recorder = recorder();
    let hosts = names(|letter| char::from(b'a' + letter));
    let methods = names(|letter| char::from(b'A' + letter));
    let mut exchanges: Vec<_> = hosts
        .zip(methods)
        .take(1000)
        .map(|(host, method)| {
            let does = answering(hinting(answer(200, &[], []), Size::Exact, End::Shown));
            let mut exchange = does.method(method.parse().unwrap());
            let fields = exchange.request.headers_mut();
            fields.insert("host", format!("{host}.example").parse().unwrap());
            exchange
        })
        .collect();
    exchanges.push(exchange(Does::Fail).method("OTHER".parse().unwrap()));
    with_local_recorder(&recorder, || {
        for exchange in exchanges {
            drop(drive(&layer, exchange));
        }
    });

    let base = vec![("host", "_other"), ("method", "_OTHER")];
    let by_kind = with(&base, [("kind", "unary")]);
    let ok = with(&base, [("status", "200")]);
    let failed = with(&base, [("status", "500")]);
    let complete = with(&ok, [("outcome", "complete")]);
    let service_error = with(&failed, [("outcome", "service_error")]);
    let expected = Expected::default()
        .value(REQUESTS_TOTAL, &ok, 1000)
        .value(REQUESTS_TOTAL, &failed, 1)
        .value(REQUESTS_IN_FLIGHT, &base, 0)
        .seconds(RESPONSE_HEAD_SECONDS, &by_kind, 1000)
        .seconds(REQUEST_DURATION_SECONDS, &by_kind, 1001)
        .bytes(REQUEST_BODY_BYTES, &base, &[0; 1001])
        .bytes(RESPONSE_BODY_BYTES, &by_kind, &[0; 1000])
        .value(RESPONSES_ENDED_TOTAL, &complete, 1000)
        .value(RESPONSES_ENDED_TOTAL, &service_error, 1);
    assert_eq!(rendered(&recorder), expected.0);
}

#[test]
fn a_label_of_the_request_is_on_all_series() {
    let layer = MetricsLayer::builder()
        .request_label("plan", |request| match request.headers.get("x-plan") {
            Some(plan) => plan.to_str().unwrap_or_default().into(),
            None => "".into(),
        })
        .request_label("size", |request| {
            let size = request.body_size.exact().unwrap_or_default();
            size.to_string().into()
        })
        .build()
        .unwrap();
    for plan in ["paid", "", "\u{fc}", &"x".repeat(256), &"x".repeat(257)] {
        let recorder = recorder();
        let mut row = Row::of(
            "any",
            answering(answer(200, &[], [Step::Data(5)])),
            ("200", "stream"),
            Outcome::Complete,
            5,
        );
        let value = HeaderValue::from_str(plan).unwrap_or(HeaderValue::from_static(""));
        row.exchange.request.headers_mut().insert("x-plan", value);
        with_local_recorder(&recorder, || drop(drive(&layer, row.exchange.clone())));
        let label = match plan.len() {
            257 => "_other",
            _ if plan.is_ascii() => plan,
            _ => "",
        };
        let base = vec![("method", "GET"), ("plan", label), ("size", "0")];
        assert_eq!(rendered(&recorder), row.expected(&base, true), "{plan}");
    }
}

/// A layer with a label that says how the response is cached.
fn cached(builder: MetricsLayerBuilder) -> MetricsLayer {
    fn cache<'a>(head: &ResponseHead<'a>) -> Cow<'a, str> {
        let value = head.headers.get("x-cache");
        value.map_or("none".into(), |value| value.to_str().unwrap().into())
    }
    builder.response_label("cache", cache).build().unwrap()
}

fn cache_hit() -> Exchange {
    let fields = [("x-cache", "hit")];
    let response = answer(200, &fields, [Step::Data(5)]);
    answering(hinting(response, Size::Exact, End::Shown))
}

#[test]
fn conventional_attributes_are_those_that_were_asked_for() {
    let layer = MetricsLayer::builder()
        .opentelemetry()
        .service("gateway")
        .hosts(["api.example"])
        .path(|_| "/v1/*".into())
        .request_label("app.plan", |_| "free".into())
        .build()
        .unwrap();
    let recorder = recorder();
    let mut exchange = cache_hit();
    *exchange.request.uri_mut() = "https://api.example/v1/x".parse().unwrap();
    *exchange.request.version_mut() = http::Version::HTTP_2;
    with_local_recorder(&recorder, || drop(drive(&layer, exchange)));
    let active = [
        ("service.name", "gateway"),
        ("server.address", "api.example"),
        ("http.request.method", "GET"),
        ("url.scheme", "https"),
        ("app.plan", "free"),
    ];
    let labels = with(
        &active,
        [
            ("http.route", "/v1/*"),
            ("network.protocol.version", "2"),
            ("http.response.status_code", "200"),
        ],
    );
    let expected = Expected::default()
        .value(semconv::ACTIVE_REQUESTS, &active, 0)
        .seconds(semconv::REQUEST_DURATION, &labels, 1)
        .bytes(semconv::REQUEST_BODY_SIZE, &labels, &[0])
        .bytes(semconv::RESPONSE_BODY_SIZE, &labels, &[5]);
    assert_eq!(rendered(&recorder), expected.0);
}

#[test]
fn schemes_and_versions_are_of_a_list() {
    use http::Version;
    for (set, target, version, scheme, told) in [
        (None, "/", Version::HTTP_09, "http", "0.9"),
        (None, "/", Version::HTTP_10, "http", "1.0"),
        (Some("https"), "/", Version::HTTP_11, "https", "1.1"),
        (Some("https"), "http://h/", Version::HTTP_2, "http", "2"),
        (Some("http"), "HTTPS://h/", Version::HTTP_3, "https", "3"),
        (None, "gopher://h/", Version::HTTP_11, "_other", "1.1"),
    ] {
        let builder = MetricsLayer::builder().opentelemetry();
        let builder = match set {
            Some(scheme) => builder.scheme(scheme),
            None => builder,
        };
        let layer = builder.build().unwrap();
        let recorder = recorder();
        let mut exchange = cache_hit();
        *exchange.request.uri_mut() = target.parse().unwrap();
        *exchange.request.version_mut() = version;
        with_local_recorder(&recorder, || drop(drive(&layer, exchange)));
        let name = "http_server_request_duration_count";
        let schemes = by_label(&recorder, name, "url_scheme");
        assert_eq!(schemes, counted(scheme, 1), "{target}");
        let versions = by_label(&recorder, name, "network_protocol_version");
        assert_eq!(versions, counted(told, 1), "{target}");
    }
}
