//! What the kit finds in each layer of the audit. An update of a peer that changes it fails here.

use crate::process::Process;

/// Layer; what it asks of the response's body; checks that fail, with a `?` those left unseen.
const FOUND: [(&str, &str, &str); 45] = [
    ("CompressionLayer (SSE)", "-", ""),
    ("CompressionLayer (gRPC)", "-", ""),
    (
        "CompressionLayer (NDJSON)",
        "-",
        "frames.boundaries frames.empty frames.large frames.many frames.of_failures frames.content \
         frames.no_copy errors.order errors.once polls.read_ahead polls.after_end head.content_length size_hint.before \
         size_hint.during size_hint.after size_hint.bounds size_hint.to_head end_stream.empty \
         end_stream.last_frame? end_stream.before_error? end_stream.after",
    ),
    (
        "DecompressionLayer",
        "-",
        "end_stream.empty end_stream.last_frame end_stream.after",
    ),
    (
        "RequestDecompressionLayer",
        "Send",
        "request_body.end_stream",
    ),
    ("TraceLayer", "-", ""),
    ("TimeoutLayer", "-", ""),
    (
        "RequestBodyTimeoutLayer",
        "-",
        "request_body.size_hint request_body.end_stream",
    ),
    (
        "ResponseBodyTimeoutLayer",
        "-",
        "size_hint.before size_hint.during size_hint.after size_hint.bounds size_hint.empty \
         size_hint.to_head end_stream.empty end_stream.last_frame end_stream.after",
    ),
    ("RequestBodyDeadlineLayer", "-", ""),
    ("ResponseBodyDeadlineLayer", "-", ""),
    ("RequestBodyLimitLayer", "-", ""),
    ("CatchPanicLayer", "Send", ""),
    ("MapRequestBodyLayer", "-", ""),
    ("MapResponseBodyLayer", "-", ""),
    ("InFlightRequestsLayer", "-", ""),
    ("OnEarlyDropLayer", "-", ""),
    ("SetRequestHeaderLayer", "-", ""),
    ("SetResponseHeaderLayer", "-", ""),
    ("SetRequestIdLayer", "-", ""),
    ("PropagateRequestIdLayer", "-", ""),
    ("NormalizePathLayer", "-", ""),
    ("TimeoutLayer (tower)", "-", ""),
    ("ConcurrencyLimitLayer (tower)", "-", ""),
    ("from_fn", "Send", ""),
    ("BaseMetricLayer", "-", ""),
    ("BaseMetricLayer (body size)", "-", ""),
    ("Layer (OpenTelemetry)", "Send", ""),
    (
        "collect and rebuild",
        "Send",
        "head.at_once frames.boundaries frames.empty frames.many frames.of_failures frames.at_once? \
         frames.pending? frames.no_copy trailers.after_data trailers.alone \
         trailers.after_exact_size errors.arrive? errors.order? errors.once? errors.source? \
         polls.before_asked polls.after_error? size_hint.during size_hint.bounds \
         size_hint.unknown end_stream.during end_stream.last_frame? end_stream.before_trailers \
         end_stream.before_error? end_stream.hidden drop.body_unpolled? drop.body? \
         drop.body_pending? wakers.body? wakers.body_new? wakers.body_idle?",
    ),
    (
        "wrap, forward data only",
        "Send",
        "trailers.after_data trailers.alone trailers.after_exact_size size_hint.before \
         size_hint.during size_hint.after size_hint.bounds size_hint.empty size_hint.to_head \
         end_stream.empty end_stream.last_frame end_stream.after",
    ),
    ("ObserveLayer", "-", ""),
    ("HeadersLayer", "-", ""),
    ("MetricsLayer", "-", ""),
    ("CaptureLayer", "-", ""),
    ("TapLayer", "-", ""),
    ("BufferingLayer", "-", ""),
    ("ConcurrencyLimitLayer", "-", ""),
    ("these seven, stacked", "-", ""),
    ("KeepAliveLayer", "-", ""),
    ("DrainLayer", "-", ""),
    ("IdleTimeoutLayer", "-", ""),
    ("these three, stacked", "-", ""),
    ("KeepAliveLayer (SSE)", "-", "size_hint.bounds"),
    ("DrainLayer (SSE)", "-", "size_hint.bounds"),
    ("IdleTimeoutLayer (SSE)", "-", ""),
];

#[tokio::test]
async fn audit_finds_in_each_layer_just_what_is_known_of_it() {
    let printed = audit(&[]).await;
    let mut found: Vec<(&str, &str, String)> = Vec::new();
    for line in printed.lines().skip(1).take_while(|line| !line.is_empty()) {
        if let Some(failures) = line.strip_prefix("    ") {
            let (_, _, checks) = found.last_mut().unwrap();
            let names = failures.split_whitespace().filter(|it| it.contains('.'));
            checks.extend(names.flat_map(|name| [name, " "]));
        } else {
            let mut cells = line.split("  ").map(str::trim).filter(|it| !it.is_empty());
            let layer = cells.next().unwrap();
            found.push((layer, cells.nth(1).unwrap(), String::new()));
        }
    }
    for ((layer, asks, checks), expected) in found.iter().zip(&FOUND) {
        assert_eq!((*layer, *asks, checks.trim()), *expected);
    }
    assert_eq!(found.len(), FOUND.len());
}

#[tokio::test]
async fn audit_shows_the_report_on_one_layer() {
    let report = audit(&["--layer", "ResponseBodyTimeoutLayer"]).await;
    assert!(report.contains("size_hint.before"), "{report}");
    assert!(report.ends_with(" 0 not applicable\n"), "{report}");
}

#[tokio::test]
async fn audit_refuses_a_layer_that_it_does_not_have() {
    let (status, _) = Process::start("audit", &["--layer", "Nonsense"])
        .end()
        .await;
    assert_eq!(status.code(), Some(2));
}

#[tokio::test]
async fn the_readme_has_the_audit_of_today() {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("<!-- audit -->\n").unwrap();
    let (table, _) = rest.split_once("<!-- /audit -->\n").unwrap();
    // cargo run --example audit --features full -- --markdown
    assert_eq!(table, audit(&["--markdown"]).await);
}

async fn audit(arguments: &[&str]) -> String {
    let (status, printed) = Process::start("audit", arguments).end().await;
    assert!(status.success(), "{status}: {printed}");
    printed
}
