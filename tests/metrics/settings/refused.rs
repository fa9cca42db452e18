//! What a builder refuses.

use std::{borrow::Cow, time::Duration};

use http::StatusCode;
use tower_passthrough::{
    RequestHead,
    metrics::{MetricsLayer, MetricsLayerBuilder},
};

use super::{of_response, plain};

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
