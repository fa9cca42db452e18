//! The label `path` through axum's router.

use axum::{Router, body::Body, routing::get};
use futures_util::FutureExt;
use http::Request;
use metrics::with_local_recorder;
use tower::ServiceExt;
use tower_passthrough::metrics::{MetricsLayer, MetricsLayerBuilder};

use crate::series::{Series, by_label, recorder, rendered, requests_by};

fn ask(app: &Router, path: &str) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).now_or_never().unwrap();
    drop(response.unwrap());
}

fn app(builder: MetricsLayerBuilder) -> Router {
    let users = Router::new().route("/users/{id}", get(async || "user"));
    Router::new()
        .route("/files/{*path}", get(async || "file"))
        .route("/", get(async || "root"))
        .nest("/api", users)
        .layer(builder.build().unwrap())
}

const PATHS: [&str; 6] = [
    "/",
    "/files/a/b?q=1",
    "/api/users/1",
    "/api/users/2",
    "/api/none",
    "/none",
];

fn owned<const N: usize>(counts: [(&str, u64); N]) -> Vec<(String, u64)> {
    counts
        .map(|(label, count)| (label.to_owned(), count))
        .into()
}

#[test]
fn the_path_is_the_route_that_axum_matched() {
    let app = app(MetricsLayer::builder());
    let recorder = recorder();
    with_local_recorder(&recorder, || PATHS.iter().for_each(|path| ask(&app, path)));
    assert_eq!(
        requests_by(&recorder, "path"),
        owned([("/", 1), ("/api/users/{id}", 2), ("/files/{*path}", 1)])
    );
    // What matched none has no such label.
    let all = rendered(&recorder);
    let rest: Series = all
        .into_iter()
        .filter(|(series, _)| series.starts_with("http_requests_total{"))
        .filter(|(series, _)| !series.contains("path="))
        .collect();
    let unmatched = "http_requests_total{method=\"GET\",status=\"404\"}";
    assert_eq!(rest, [(unmatched.to_owned(), "2".to_owned())].into());
}

#[test]
fn the_route_is_the_conventional_one_too() {
    let app = app(MetricsLayer::builder().opentelemetry());
    let recorder = recorder();
    with_local_recorder(&recorder, || PATHS.iter().for_each(|path| ask(&app, path)));
    assert_eq!(
        by_label(
            &recorder,
            "http_server_request_duration_count",
            "http_route"
        ),
        owned([("/", 1), ("/api/users/{id}", 2), ("/files/{*path}", 1)])
    );
}

#[test]
fn a_path_that_is_set_goes_before_the_matched_one() {
    let app = app(MetricsLayer::builder().path(|_| "mine".into()));
    let recorder = recorder();
    with_local_recorder(&recorder, || PATHS.iter().for_each(|path| ask(&app, path)));
    assert_eq!(
        requests_by(&recorder, "path"),
        owned([("mine", 4), ("mine", 2)])
    );
}

#[test]
fn a_raw_path_is_what_the_client_wrote() {
    let app = app(MetricsLayer::builder().raw_paths());
    let recorder = recorder();
    with_local_recorder(&recorder, || PATHS.iter().for_each(|path| ask(&app, path)));
    assert_eq!(
        requests_by(&recorder, "path"),
        owned([
            ("/", 1),
            ("/api/none", 1),
            ("/api/users/1", 1),
            ("/api/users/2", 1),
            ("/files/a/b", 1),
            ("/none", 1),
        ])
    );
}
