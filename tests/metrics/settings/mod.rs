//! What a builder refuses, and what its settings do.

mod refused;

use std::borrow::Cow;

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
