//! All our layers that pass a body through, as a user would wear them, with witnesses at both ends.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body::Body;
use tower::{Service, ServiceBuilder};
use tower_passthrough::{
    capture::{CaptureLayer, Summary},
    headers::HeadersLayer,
    limit::ConcurrencyLimitLayer,
    metrics::MetricsLayer,
    observe::{ObserveLayer, Outcome},
};

use crate::common::{Told, Watch};

/// What was told at both ends of a [`stack`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Witness {
    outermost: Watch,
    innermost: Watch,
    captured: Arc<Mutex<Vec<Outcome>>>,
}

impl Witness {
    pub(crate) fn is_over(&self) -> bool {
        !self.outermost.outcomes().is_empty()
    }

    /// All that was told, in words. All witnesses must agree.
    pub(crate) fn story(&self) -> String {
        let told = self.innermost.told();
        assert_eq!(
            self.outermost.told(),
            told,
            "the ends of the stack disagree"
        );
        assert_eq!(
            *self.captured.lock().unwrap(),
            self.innermost.outcomes(),
            "the summaries disagree"
        );
        told.iter()
            .map(|told| match told {
                Told::Response(status) => status.as_str().to_owned(),
                Told::Data(length) => length.to_string(),
                Told::Trailers => "trailers".to_owned(),
                Told::End(outcome) => outcome.to_string(),
            })
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Wraps `service` into all our layers.
pub(crate) fn stack<S, Q, B>(
    witness: &Witness,
    service: S,
) -> impl Service<
    Request<Q>,
    Response = Response<impl Body<Data = B::Data, Error = B::Error> + Send + use<S, Q, B>>,
    Error = S::Error,
    Future: Send,
> + Clone
+ Send
+ use<S, Q, B>
where
    S: Service<Request<Q>, Response = Response<B>, Future: Send> + Clone + Send,
    Q: Body,
    B: Body + Send,
{
    let captured = witness.captured.clone();
    ServiceBuilder::new()
        .layer(ObserveLayer::new(witness.outermost.clone()))
        .layer(HeadersLayer::sse())
        .layer(ConcurrencyLimitLayer::new(1_000).unwrap())
        .layer(MetricsLayer::builder().service("test").build().unwrap())
        .layer(CaptureLayer::new(move |summary: &Summary| {
            captured.lock().unwrap().push(summary.outcome);
        }))
        .layer(ObserveLayer::new(witness.innermost.clone()))
        .service(service)
}
