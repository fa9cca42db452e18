//! What shares a limit, and what does not.

use std::{convert::Infallible, future::pending};

use axum::{
    Router,
    body::Body,
    response::IntoResponse,
    routing::{Route, get},
};
use futures_util::FutureExt;
use http::Request;
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimitLayer as LayerOfTower};

use crate::{Stream, in_flight, is_ready, limit};

#[test]
fn all_services_of_a_layer_and_its_clones_share_one_limit() {
    let layer = limit(1);
    let of_it = layer.layer(Stream);
    let of_a_clone = layer.clone().layer(Stream);
    let exchange = in_flight(&layer.clone());
    let clones = [of_it.clone(), of_a_clone.clone()];
    for mut service in [of_it, of_a_clone].into_iter().chain(clones) {
        assert!(!is_ready(&mut service));
    }
    drop(exchange);
    assert!(is_ready(&mut layer.layer(Stream)));
}

#[test]
fn layers_that_were_made_apart_have_limits_apart() {
    let (one, other) = (limit(1), limit(1));
    let _exchange = in_flight(&one);
    assert!(is_ready(&mut other.layer(Stream)));
}

/// Whether a route is served while another one is, under a layer that lets one in at once.
fn routes_have_limits_apart<L>(layer: L) -> bool
where
    L: Layer<Route> + Clone + Send + Sync + 'static,
    L::Service: Service<Request<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    <L::Service as Service<Request<Body>>>::Response: IntoResponse,
    <L::Service as Service<Request<Body>>>::Future: Send,
{
    let app: Router = Router::new()
        .route("/never", get(pending::<()>))
        .route("/now", get(async || "now"))
        .layer(layer);
    let ask = |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        Box::pin(app.clone().oneshot(request))
    };
    let mut never = ask("/never");
    assert!((&mut never).now_or_never().is_none());
    let answer = ask("/now").now_or_never();
    drop(never);
    assert!(ask("/now").now_or_never().is_some());
    answer.is_some()
}

#[test]
fn all_routes_of_a_router_share_one_limit_unlike_under_the_layer_of_tower() {
    assert!(!routes_have_limits_apart(limit(1)));
    assert!(routes_have_limits_apart(LayerOfTower::new(1)));
}
