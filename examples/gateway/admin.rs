//! What operators ask of the gateway, on a port of its own.

use std::{collections::BTreeMap, future::ready, net::SocketAddr, time::Duration};

use axum::{
    Json, Router,
    extract::{Request, State, rejection::JsonRejection},
    http::{
        HeaderValue, Method, StatusCode, Uri,
        header::{CONTENT_TYPE, InvalidHeaderValue, ORIGIN},
    },
    middleware::map_request,
    response::IntoResponse,
    routing::{get, put},
};
use metrics_exporter_prometheus::{
    self as exporter,
    Matcher::{Full, Suffix},
    PrometheusBuilder, PrometheusHandle,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower_http::cors::CorsLayer;
use tower_passthrough::{
    BuildError,
    buffering::{BufferingControl, Policy},
    metrics::{
        BODY_BYTES_BUCKETS, DURATION_SECONDS_BUCKETS, HEAD_SECONDS_BUCKETS,
        REQUEST_DURATION_SECONDS,
    },
};

/// Installs the recorder, with buckets: they add up over replicas, summaries do not.
pub(crate) fn prometheus() -> Result<PrometheusHandle, exporter::BuildError> {
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Suffix("_seconds".into()), HEAD_SECONDS_BUCKETS)?
        .set_buckets_for_metric(
            Full(REQUEST_DURATION_SECONDS.into()),
            DURATION_SECONDS_BUCKETS,
        )?
        .set_buckets_for_metric(Suffix("_body_bytes".into()), BODY_BYTES_BUCKETS)?
        .install_recorder()?;
    tokio::spawn(upkeep(prometheus.clone()));
    Ok(prometheus)
}

/// Takes in what the histograms have gathered, which otherwise only a scrape does.
async fn upkeep(prometheus: PrometheusHandle) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        prometheus.run_upkeep();
    }
}

/// What operators may ask; and, of all that browsers have loaded, the demo's page, if there is one.
pub(crate) fn routes(
    prometheus: PrometheusHandle,
    buffering: BufferingControl,
    shutdown: CancellationToken,
    demo: Option<SocketAddr>,
) -> Result<Router, InvalidHeaderValue> {
    let origins = demo.map_or(Ok(Vec::new()), origins)?;
    let cors = CorsLayer::new()
        .allow_origin(origins.clone())
        .allow_methods([Method::GET, Method::PUT, Method::DELETE])
        .allow_headers([CONTENT_TYPE]);
    let health = move || ready(health(&shutdown));
    let policy = put(set_policy).delete(remove_policy);
    Ok(Router::new()
        .route("/buffering", get(policies))
        .route("/buffering/", policy.clone())
        .route("/buffering/{*route}", policy)
        .with_state(buffering)
        .route("/metrics", get(move || ready(text_format(&prometheus))))
        .route("/healthz", get(health))
        .layer(map_request(move |request| {
            ready(not_of_a_page(request, &origins))
        }))
        .layer(cors))
}

/// The page's, as browsers write it.
fn origins(gateway: SocketAddr) -> Result<Vec<HeaderValue>, InvalidHeaderValue> {
    let port = match gateway.port() {
        80 => String::new(),
        port => format!(":{port}"),
    };
    let host = match gateway {
        SocketAddr::V4(it) => it.ip().to_string(),
        SocketAddr::V6(it) => format!("[{}]", it.ip()),
    };
    let hosts = [host.as_str(), "localhost", "127.0.0.1", "[::1]"].into_iter();
    hosts
        .map(|host| format!("http://{host}{port}").parse())
        .collect()
}

/// Refuses pages that a browser has loaded from elsewhere, also those whose name was made to lead here
/// (DNS rebinding): to change something they have to tell their origin.
fn not_of_a_page(
    request: Request,
    origins: &[HeaderValue],
) -> Result<Request, (StatusCode, &'static str)> {
    let origin = request.headers().get(ORIGIN);
    if origin.is_some_and(|origin| !origins.contains(origin)) {
        return Err((StatusCode::FORBIDDEN, "not for pages\n"));
    }
    Ok(request)
}

fn text_format(prometheus: &PrometheusHandle) -> impl IntoResponse + use<> {
    let version = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (version, prometheus.render())
}

/// Tells balancers to send no more when the gateway is about to end.
fn health(shutdown: &CancellationToken) -> (StatusCode, &'static str) {
    if shutdown.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn policies(State(control): State<BufferingControl>) -> Json<Value> {
    let routes: BTreeMap<_, _> = control
        .routes()
        .into_iter()
        .map(|(route, policy)| (route, written(policy)))
        .collect();
    Json(json!({ "default": written(control.default_policy()), "routes": routes }))
}

fn written(policy: Policy) -> &'static str {
    policy.buffering().as_str()
}

/// As clients write it, with its percent-encoding.
fn route(uri: &Uri) -> &str {
    uri.path().strip_prefix("/buffering").unwrap_or_default()
}

/// `PUT /buffering/v1/files/*` with `{"buffering": "on"}`: `on`, `off` or `auto`.
async fn set_policy(
    State(control): State<BufferingControl>,
    uri: Uri,
    policy: Result<Json<Value>, JsonRejection>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let route = route(&uri);
    let refuse = |error: String| (StatusCode::BAD_REQUEST, format!("{error}\n"));
    let Json(policy) = policy.map_err(|error| refuse(error.body_text()))?;
    let buffering = policy["buffering"]
        .as_str()
        .ok_or_else(|| refuse(r#"give it as {"buffering": "on"}"#.to_owned()))?
        .parse()
        .map_err(|error: BuildError| refuse(error.to_string()))?;
    // What the operator says counts more than what the upstream says.
    let policy = Policy::new(buffering).overriding();
    let before = control.set(route, policy);
    let before = before.map_err(|error| refuse(error.to_string()))?;
    Ok(Json(json!({
        "route": route,
        "buffering": written(policy),
        "before": before.map(written),
    })))
}

async fn remove_policy(
    State(control): State<BufferingControl>,
    uri: Uri,
) -> Result<Json<Value>, (StatusCode, String)> {
    let route = route(&uri);
    match control.remove(route) {
        Some(before) => Ok(Json(json!({ "route": route, "before": written(before) }))),
        None => Err((
            StatusCode::NOT_FOUND,
            format!("there is no route {route}\n"),
        )),
    }
}
