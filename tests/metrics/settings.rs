//! What a builder refuses, and what its settings do.

use std::{borrow::Cow, time::Duration};

use http::StatusCode;
use metrics::with_local_recorder;
use tower_passthrough::{
    RequestHead, ResponseHead,
    metrics::{MetricsLayer, MetricsLayerBuilder},
};

use crate::{
    common::{End, Size, Step},
    drive::{Does, Until, answer, answering, drive, exchange, hinting},
    rows::rows,
    series::{Series, counted, exporter, recorder, rendered, requests_by},
};

fn plain<'a>(_: &RequestHead<'a>) -> Cow<'a, str> {
    "any".into()
}

fn of_response<'a>(_: &ResponseHead<'a>) -> Cow<'a, str> {
    "any".into()
}

fn refused(builder: MetricsLayerBuilder) -> String {
    builder.build().unwrap_err().to_string()
}

#[test]
fn what_is_not_a_host_is_refused() {
    for host in [
        "",
        "api.example:80",
        "user@api.example",
        "http://api.example",
        "api.example/",
        "a b",
        "2001:db8::1",
        "[2001:db8::1]:443",
        "caf\u{e9}.example",
    ] {
        let built = MetricsLayer::builder().hosts(["api.example", host]).build();
        assert_eq!(
            built.unwrap_err().to_string(),
            format!(
                "metrics: `{host}` is not a host: write a name or an address, without a port, \
                 an IPv6 address in brackets"
            )
        );
    }
}

#[test]
fn the_preset_needs_all_its_labels() {
    fn path<'a>(_: &RequestHead<'a>) -> Cow<'a, str> {
        "/".into()
    }
    let message = |setting: &str| {
        format!(
            "metrics: `only_requests_total` has the labels service, host, path and status, \
             but `{setting}` is not set"
        )
    };
    let builder = || MetricsLayer::builder().only_requests_total();
    for (builder, expected) in [
        (builder(), message("service")),
        (builder().hosts(["h"]).path(path), message("service")),
        (builder().service("s").path(path), message("hosts")),
        (builder().service("s"), message("hosts")),
        (builder().service("s").hosts(["h"]), message("path")),
    ] {
        assert_eq!(builder.build().unwrap_err().to_string(), expected);
    }
    assert!(
        builder()
            .service("s")
            .hosts(["h"])
            .path(path)
            .build()
            .is_ok()
    );
}

#[test]
fn a_label_has_a_name_of_its_own() {
    let plain_rule = "write letters, digits and `_`, not a digit first, nor two `_`";
    let dotted_rule = "write letters, digits and `_` and `.`, not a digit first, nor two `_`";
    let builder = MetricsLayer::builder;
    for (is_conventional, rule, names) in [
        (
            false,
            plain_rule,
            &["", "a-b", "1a", "__a", "a.b", "caf\u{e9}", "a b"][..],
        ),
        (true, dotted_rule, &["", "a-b", "1a", "__a", "caf\u{e9}"]),
    ] {
        for name in names {
            let builder = if is_conventional {
                builder().opentelemetry()
            } else {
                builder()
            };
            let expected = format!("metrics: `{name}` is not the name of a label: {rule}");
            assert_eq!(
                refused(builder.clone().request_label(*name, plain)),
                expected
            );
            let of_response = builder.response_label(*name, of_response);
            assert_eq!(refused(of_response), expected);
        }
    }
    for name in [
        "service",
        "host",
        "method",
        "path",
        "status",
        "outcome",
        "kind",
        "grpc_service",
        "grpc_method",
        "grpc_code",
        "le",
        "quantile",
    ] {
        let expected = format!("metrics: the label `{name}` has a meaning already");
        assert_eq!(refused(builder().request_label(name, plain)), expected);
        assert_eq!(
            refused(builder().response_label(name, of_response)),
            expected
        );
    }
    for name in [
        "service.name",
        "server.address",
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "url.scheme",
        "network.protocol.version",
        "error.type",
        "rpc.method",
    ] {
        let expected = format!("metrics: the label `{name}` has a meaning already");
        let builder = builder().opentelemetry();
        assert_eq!(refused(builder.request_label(name, plain)), expected);
    }
    // Where dots may be, exporters write `_` for them.
    let dotted = || builder().opentelemetry();
    assert_eq!(
        refused(dotted().request_label("http_route", plain)),
        "metrics: the label `http_route` has a meaning already"
    );
    assert_eq!(
        refused(
            dotted()
                .request_label("a.b", plain)
                .request_label("a_b", plain)
        ),
        "metrics: two labels are called `a_b`"
    );
    assert!(builder().request_label("http_route", plain).build().is_ok());

    let twice = "metrics: two labels are called `a`";
    let labelled = builder().request_label("a", plain);
    assert_eq!(refused(labelled.clone().request_label("a", plain)), twice);
    assert_eq!(
        refused(labelled.clone().response_label("a", of_response)),
        twice
    );
    let fine = labelled
        .request_label("_b2", plain)
        .response_label("A", of_response);
    assert!(fine.build().is_ok());
    let fine = builder().opentelemetry().request_label("app.plan_2", plain);
    assert!(fine.build().is_ok());
}

#[test]
fn a_style_has_only_its_own_settings() {
    type Set = fn(MetricsLayerBuilder) -> MetricsLayerBuilder;
    const NONE: StatusCode = StatusCode::IM_A_TEAPOT;
    let settings: [(&str, Set, [bool; 3]); 10] = [
        ("scheme", |it| it.scheme("https"), [false, true, false]),
        ("live_bytes", |it| it.live_bytes(), [true, false, false]),
        ("frame_gaps", |it| it.frame_gaps(), [true, false, false]),
        ("sse_events", |it| it.sse_events(), [true, false, false]),
        ("prefix", |it| it.prefix("p_"), [true, false, true]),
        (
            "status_if_cancelled",
            |it| it.status_if_cancelled(NONE),
            [true, false, true],
        ),
        (
            "status_if_failed",
            |it| it.status_if_failed(NONE),
            [true, false, true],
        ),
        ("raw_paths", |it| it.raw_paths(), [true, false, true]),
        (
            "request_label",
            |it| it.request_label("a", plain),
            [true, true, false],
        ),
        (
            "response_label",
            |it| it.response_label("a", of_response),
            [true, true, false],
        ),
    ];
    let styles: [(&str, Set); 3] = [
        ("the Prometheus style", |it| it),
        ("the OpenTelemetry style", |it| it.opentelemetry()),
        ("`only_requests_total`", |it| {
            let builder = it.service("s").hosts(["h"]).path(plain);
            builder.only_requests_total()
        }),
    ];
    for (name, set, is_known) in settings {
        for ((style, into), is_known) in styles.into_iter().zip(is_known) {
            let built = set(into(MetricsLayer::builder())).build();
            let expected = format!("metrics: `{name}` is set, but {style} does not have it");
            let refused = built.err().map(|error| error.to_string());
            assert_eq!(refused, (!is_known).then_some(expected));
        }
    }
}

#[test]
fn numbers_and_names_must_make_sense() {
    let builder = MetricsLayer::builder;
    for prefix in ["1", "a-", "a.b", "\u{e9}", " "] {
        assert_eq!(
            refused(builder().prefix(prefix)),
            format!(
                "metrics: `{prefix}` cannot begin the name of a metric: write letters, digits, \
                 `_` and `:`, not a digit first"
            )
        );
    }
    for scheme in ["", "HTTP", "ftp", "https:"] {
        assert_eq!(
            refused(builder().opentelemetry().scheme(scheme)),
            "metrics: the scheme is neither `http` nor `https`"
        );
    }
    for max in [0, 3] {
        assert_eq!(
            refused(builder().max_label_sets(max)),
            format!(
                "metrics: there is room for {max} label sets, but 3 are kept for what has none: \
                 at least 4 are needed"
            )
        );
    }
    assert_eq!(
        refused(builder().handle_ttl(Duration::ZERO)),
        "metrics: handles would be out of date at once: the TTL is zero"
    );
    let hosts = |count: usize| builder().hosts((0..count).map(|it| format!("h{it}")));
    assert_eq!(
        refused(hosts(65_535)),
        "metrics: 65535 hosts are more than can be told apart"
    );
    for fine in [
        builder().prefix("a:b_9"),
        builder().prefix(""),
        builder().max_label_sets(4),
        builder().handle_ttl(Duration::from_nanos(1)),
        builder().handle_ttl(Duration::MAX),
        hosts(65_534),
    ] {
        assert!(fine.build().is_ok());
    }
}

#[test]
fn as_many_hosts_as_there_can_be_are_told_apart() {
    let layer = MetricsLayer::builder()
        .hosts((0..65_534).map(|it| format!("h{it}")))
        .build()
        .unwrap();
    for (host, label) in [("h0", "h0"), ("h65533", "h65533"), ("h65534", "_other")] {
        let recorder = recorder();
        let mut exchange = answering(answer(200, &[], []));
        let fields = exchange.request.headers_mut();
        fields.insert("host", host.parse().unwrap());
        with_local_recorder(&recorder, || drop(drive(&layer, exchange)));
        assert_eq!(requests_by(&recorder, "host"), counted(label, 1));
    }
}

#[test]
fn what_is_skipped_is_not_recorded_at_all() {
    for style in [MetricsLayerBuilder::opentelemetry, |builder| builder] {
        let layer = style(MetricsLayer::builder())
            .skip(|request| request.uri.path() == "/healthz")
            .build()
            .unwrap();
        let recorder = recorder();
        let ask = |path: &str| {
            let mut exchange = answering(answer(200, &[], [Step::Data(5)]));
            *exchange.request.uri_mut() = path.parse().unwrap();
            with_local_recorder(&recorder, || drop(drive(&layer, exchange)));
        };
        ask("/healthz");
        assert_eq!(rendered(&recorder), Series::new());
        ask("/");
        let with_one = rendered(&recorder);
        assert_ne!(with_one, Series::new());
        ask("/healthz?deep");
        assert_eq!(rendered(&recorder), with_one);
    }
}

#[test]
fn the_prefix_is_before_each_name() {
    for row in rows() {
        let layer = MetricsLayer::builder().prefix("app_").build().unwrap();
        let recorder = recorder();
        with_local_recorder(&recorder, || drop(drive(&layer, row.exchange.clone())));
        let expected: Series = row
            .expected(&vec![("method", row.method)], true)
            .into_iter()
            .map(|(series, value)| (format!("app_{series}"), value))
            .collect();
        assert_eq!(rendered(&recorder), expected, "{}", row.name);
    }
}

#[test]
fn the_status_without_a_head_is_the_one_that_was_set() {
    let both = MetricsLayer::builder()
        .status_if_cancelled(StatusCode::REQUEST_TIMEOUT)
        .status_if_failed(StatusCode::BAD_GATEWAY);
    for (builder, cancelled, failed) in [
        (MetricsLayer::builder(), "499", "500"),
        (both.clone(), "408", "502"),
        (
            both.service("s")
                .hosts(["h"])
                .path(plain)
                .only_requests_total(),
            "408",
            "502",
        ),
    ] {
        let layer = builder.build().unwrap();
        for (does, status) in [
            (Does::NeverAnswer, cancelled),
            (Does::Fail, failed),
            (Does::PanicInCall, failed),
            (Does::PanicInFuture, failed),
            (Does::Answer(Box::new(answer(204, &[], []))), "204"),
        ] {
            let recorder = recorder();
            with_local_recorder(&recorder, || drop(drive(&layer, exchange(does))));
            assert_eq!(requests_by(&recorder, "status"), counted(status, 1));
        }
    }
}

/// The lines that say what metrics are, and of which type, in alphabetical order.
fn described(builder: MetricsLayerBuilder, sets: usize) -> Vec<String> {
    let recorder = exporter().with_recommended_naming(true).build_recorder();
    let layer = builder.max_label_sets(sets).build().unwrap();
    let steps = [Step::Data(5), Step::Data(5), Step::Trailers];
    let response = answer(200, &[("content-type", "application/grpc")], steps);
    let mut call = answering(hinting(response, Size::Unknown, End::Hidden)).until(Until::End);
    *call.request.method_mut() = "POST".parse().unwrap();
    let fields = call.request.headers_mut();
    fields.insert("content-type", "application/grpc".parse().unwrap());
    let events = answer(
        200,
        &[("content-type", "text/event-stream")],
        [Step::Text("data\n\ndata\n\n")],
    );
    with_local_recorder(&recorder, || {
        drop(drive(&layer, call));
        drop(drive(&layer, answering(events)));
    });
    let rendered = recorder.handle().render();
    let mut lines: Vec<_> = rendered
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .map(str::to_owned)
        .collect();
    lines.sort_unstable();
    lines
}

#[test]
fn each_metric_says_what_it_is_and_has_its_unit() {
    // Room for one set only, so that the call has none.
    let builder = MetricsLayer::builder()
        .live_bytes()
        .frame_gaps()
        .sse_events();
    let lines = described(builder, 4);
    assert_eq!(
        lines,
        [
            "HELP grpc_server_handled_total gRPC calls that are over, by status code",
            "HELP http_metrics_overflow_total Exchanges recorded under _other for want of room",
            "HELP http_request_body_bytes Announced size of request bodies",
            "HELP http_request_duration_seconds Time to the end of the exchange",
            "HELP http_requests_in_flight Exchanges that are not over",
            "HELP http_requests_total Requests by response status, counted at the response head",
            "HELP http_response_body_bytes Response body bytes handed to the server",
            "HELP http_response_bytes_total Response body bytes handed to the server, as they pass",
            "HELP http_response_first_byte_seconds Time to the first byte of a streamed response body",
            "HELP http_response_frame_gap_seconds Time between two data frames of a response",
            "HELP http_response_head_seconds Time to the response head",
            "HELP http_responses_ended_total Exchanges that are over, by how they ended",
            "HELP http_sse_event_gap_seconds Time between two events of an event stream",
            "HELP http_sse_events_total Server-sent events handed to the server, as they pass",
            "HELP http_sse_first_event_seconds Time to the first event of an event stream",
            "TYPE grpc_server_handled_total counter",
            "TYPE http_metrics_overflow_total counter",
            "TYPE http_request_body_bytes histogram",
            "TYPE http_request_duration_seconds histogram",
            "TYPE http_requests_in_flight gauge",
            "TYPE http_requests_total counter",
            "TYPE http_response_body_bytes histogram",
            "TYPE http_response_bytes_total counter",
            "TYPE http_response_first_byte_seconds histogram",
            "TYPE http_response_frame_gap_seconds histogram",
            "TYPE http_response_head_seconds histogram",
            "TYPE http_responses_ended_total counter",
            "TYPE http_sse_event_gap_seconds histogram",
            "TYPE http_sse_events_total counter",
            "TYPE http_sse_first_event_seconds histogram",
        ]
    );
}

#[test]
fn each_conventional_metric_says_what_it_is_and_has_its_unit() {
    let lines = described(MetricsLayer::builder().opentelemetry(), 4);
    assert_eq!(
        lines,
        [
            "HELP http_metrics_overflow_total Exchanges recorded under _other for want of room",
            "HELP http_server_active_requests Number of active HTTP server requests",
            "HELP http_server_request_body_size_bytes Size of HTTP server request bodies",
            "HELP http_server_request_duration_seconds Duration of HTTP server requests, to the end of the response body",
            "HELP http_server_response_body_size_bytes Size of HTTP server response bodies",
            "HELP rpc_server_call_duration_seconds Duration of incoming remote procedure calls",
            "TYPE http_metrics_overflow_total counter",
            "TYPE http_server_active_requests gauge",
            "TYPE http_server_request_body_size_bytes histogram",
            "TYPE http_server_request_duration_seconds histogram",
            "TYPE http_server_response_body_size_bytes histogram",
            "TYPE rpc_server_call_duration_seconds histogram",
        ]
    );
}

#[test]
fn the_preset_describes_its_one_metric() {
    let builder = MetricsLayer::builder()
        .service("s")
        .hosts(["h"])
        .path(plain)
        .only_requests_total()
        .prefix("app_");
    assert_eq!(
        described(builder, 100),
        [
            "HELP app_http_requests_total Requests by response status, counted at the response head",
            "TYPE app_http_requests_total counter",
        ]
    );
}
