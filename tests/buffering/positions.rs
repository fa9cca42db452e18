//! Among other layers, and in axum.

use std::convert::Infallible;

use axum::{
    Router,
    response::{Sse, sse::Event},
    routing::get,
};
use futures_util::stream;
use http::Request;
use tower::ServiceExt;
use tower_passthrough::buffering::{
    Buffering::{Auto, Off, On},
    BufferingControl, BufferingLayer,
};

use crate::values;

async fn events() -> Sse<stream::Empty<Result<Event, Infallible>>> {
    Sse::new(stream::empty())
}

async fn field(router: Router, path: &str) -> String {
    let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    values(response.headers()).concat()
}

/// What the documentation says of `nest`.
#[tokio::test]
async fn in_axum_the_outermost_router_has_the_whole_path() {
    let control = BufferingControl::new(Auto);
    control.set("/v1/chat", On).unwrap();
    control.set("/chat", Off).unwrap();
    let layer = || BufferingLayer::new(control.clone());
    let chat = || Router::new().route("/chat", get(events));

    let outside = Router::new().nest("/v1", chat()).layer(layer());
    assert_eq!(field(outside, "/v1/chat").await, "yes");
    let inside = Router::new().nest("/v1", chat().layer(layer()));
    assert_eq!(field(inside, "/v1/chat").await, "no");
    let of_the_route = Router::new().route("/v1/chat", get(events).layer(layer()));
    assert_eq!(field(of_the_route, "/v1/chat").await, "yes");
}

#[tokio::test]
async fn of_two_layers_the_inner_one_counts_unless_the_outer_one_overrides() {
    let layer = |policy| BufferingLayer::new(BufferingControl::new(policy));
    for (outer, expected) in [
        (On.into(), "no"),
        (crate::overriding(On), "yes"),
        (Auto.into(), "no"),
    ] {
        let router = Router::new().route("/", get(events));
        let router = router.layer(layer(Off.into())).layer(layer(outer));
        assert_eq!(field(router, "/").await, expected, "{outer:?}");
    }
}

#[cfg(feature = "headers")]
#[tokio::test]
async fn the_preset_for_events_overrules_from_outside_and_is_overridden_from_outside() {
    use tower_passthrough::headers::HeadersLayer;

    let layer = |policy| BufferingLayer::new(BufferingControl::new(policy));
    let router = || Router::new().route("/", get(events));
    for (policy, inside_of_it, outside_of_it) in [
        (On.into(), "no", "no"),
        (crate::overriding(On), "no", "yes"),
    ] {
        let inside = router().layer(layer(policy)).layer(HeadersLayer::sse());
        assert_eq!(field(inside, "/").await, inside_of_it, "{policy:?}");
        let outside = router().layer(HeadersLayer::sse()).layer(layer(policy));
        assert_eq!(field(outside, "/").await, outside_of_it, "{policy:?}");
    }
}

#[cfg(feature = "conformance")]
#[test]
fn it_is_streaming_safe_whatever_the_policy() {
    for buffering in [Off, On, Auto] {
        for policy in [buffering.into(), crate::overriding(buffering)] {
            let layer = BufferingLayer::new(BufferingControl::new(policy));
            tower_passthrough::conformance::check(layer).assert();
        }
    }
}
