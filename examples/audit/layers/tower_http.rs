//! What there is in tower-http that touches bodies or heads.

use std::convert::identity;

use http::{
    HeaderValue, StatusCode,
    header::{SERVER, USER_AGENT},
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    decompression::{DecompressionLayer, RequestDecompressionLayer},
    limit::RequestBodyLimitLayer,
    map_request_body::MapRequestBodyLayer,
    map_response_body::MapResponseBodyLayer,
    metrics::InFlightRequestsLayer,
    normalize_path::NormalizePathLayer,
    on_early_drop::{EarlyDropsAsFailures, OnEarlyDropLayer},
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    set_header::{SetRequestHeaderLayer, SetResponseHeaderLayer},
    timeout::{
        RequestBodyDeadlineLayer, RequestBodyTimeoutLayer, ResponseBodyDeadlineLayer,
        ResponseBodyTimeoutLayer, TimeoutLayer,
    },
    trace::{DefaultOnFailure, TraceLayer},
};
use tower_passthrough::conformance::Kit;

use super::{Audit, MINUTE, checked, stream_of};

pub(super) fn audits() -> Vec<Audit> {
    let sse = stream_of("text/event-stream");
    let grpc = stream_of("application/grpc");
    let ndjson = stream_of("application/x-ndjson");
    [
        checked!("tower-http", sse; "CompressionLayer (SSE)" => CompressionLayer::new(),),
        checked!("tower-http", grpc; "CompressionLayer (gRPC)" => CompressionLayer::new(),),
        checked!("tower-http", ndjson; "CompressionLayer (NDJSON)" => CompressionLayer::new(),),
        plain(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn plain() -> Vec<Audit> {
    let late = StatusCode::GATEWAY_TIMEOUT;
    let value = HeaderValue::from_static("audit");
    let early_drop = EarlyDropsAsFailures::new(DefaultOnFailure::new());
    checked! { "tower-http", Kit::new();
        "DecompressionLayer" => DecompressionLayer::new(),
        "RequestDecompressionLayer" => RequestDecompressionLayer::new(),
        "TraceLayer" => TraceLayer::new_for_http(),
        "TimeoutLayer" => TimeoutLayer::with_status_code(late, MINUTE),
        "RequestBodyTimeoutLayer" => RequestBodyTimeoutLayer::new(MINUTE),
        "ResponseBodyTimeoutLayer" => ResponseBodyTimeoutLayer::new(MINUTE),
        "RequestBodyDeadlineLayer" => RequestBodyDeadlineLayer::new(MINUTE),
        "ResponseBodyDeadlineLayer" => ResponseBodyDeadlineLayer::new(MINUTE),
        "RequestBodyLimitLayer" => RequestBodyLimitLayer::new(1 << 20),
        "CatchPanicLayer" => CatchPanicLayer::new(),
        "MapRequestBodyLayer" => MapRequestBodyLayer::new(identity),
        "MapResponseBodyLayer" => MapResponseBodyLayer::new(identity),
        "InFlightRequestsLayer" => InFlightRequestsLayer::pair().0,
        "OnEarlyDropLayer" => OnEarlyDropLayer::new(early_drop.clone()),
        "SetRequestHeaderLayer" => SetRequestHeaderLayer::overriding(USER_AGENT, value.clone()),
        "SetResponseHeaderLayer" => SetResponseHeaderLayer::overriding(SERVER, value.clone()),
        "SetRequestIdLayer" => SetRequestIdLayer::x_request_id(MakeRequestUuid),
        "PropagateRequestIdLayer" => PropagateRequestIdLayer::x_request_id(),
        "NormalizePathLayer" => NormalizePathLayer::trim_trailing_slash(),
    }
}
