//! Layers of other packages, and two that are often written by hand.

use axum::{
    body::Body,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
};
use axum_prometheus::BaseMetricLayer;
use opentelemetry_instrumentation_tower::http::server;
use tower::{layer::layer_fn, limit::ConcurrencyLimitLayer, timeout::TimeoutLayer};
use tower_http::map_request_body::MapRequestBodyLayer;
use tower_passthrough::conformance::{Kit, ScriptedService};

use super::{Audit, MINUTE, checked};
use crate::{
    bounds::asks,
    faults::{CollectLayer, DataOnlyLayer},
};

pub(super) fn audits() -> Vec<Audit> {
    let kit = Kit::new();
    [
        checked! { "tower", kit;
            "TimeoutLayer (tower)" => TimeoutLayer::new(MINUTE),
            "ConcurrencyLimitLayer (tower)" => ConcurrencyLimitLayer::new(1),
        },
        vec![axum_from_fn()],
        checked! { "axum-prometheus", kit;
            "BaseMetricLayer" => BaseMetricLayer::new(),
            "BaseMetricLayer (body size)" => BaseMetricLayer::with_response_body_size(),
        },
        checked! { "opentelemetry-instrumentation-tower", kit;
            "Layer (OpenTelemetry)" => server::Layer::new(),
        },
        checked! { "by hand", kit;
            "collect and rebuild" => CollectLayer,
            "wrap, forward data only" => DataOnlyLayer,
        },
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// It is for requests with axum's body, and for services that cannot fail.
fn axum_from_fn() -> Audit {
    async fn pass(request: Request, next: Next) -> Response {
        next.run(request).await
    }
    let middleware = || from_fn::<_, (Request,)>(pass);
    Audit {
        name: "from_fn",
        package: "axum",
        asks: asks!(middleware()),
        report: Kit::new().check((
            MapRequestBodyLayer::new(Body::new),
            middleware(),
            layer_fn(ScriptedService::infallible),
        )),
    }
}
