//! Is this `Layer` streaming-safe? A test of one line, for any tower layer, yours or anyone's.
//!
//! ```
//! # let our_layer = || tower::layer::util::Identity::new();
//! tower_passthrough::conformance::check(our_layer()).assert();
//! ```
//!
//! [`check`] wraps a scripted service into the layer and drives it by hand, poll by poll, through
//! some hundred exchanges. Each check looks at one thing, inside and outside of the layer, and
//! compares.
//! There is no runtime, no server and no clock in it; it takes a few milliseconds and always gives
//! the same [`Report`]. What fails is told with what it does to a user:
//!
//! ```text
//! check             verdict   expected        observed
//! size_hint.before  FAILED    exactly 6144 B  unknown
//!     = a body of known size is sent chunked; clients lose the length
//! ```
//!
//! Enable the feature `conformance` for tests only:
//! `cargo add --dev tower-passthrough --features conformance`.
//!
//! # What streaming-safe means
//!
//! A response may be a stream: server-sent events, a gRPC call, a large file. A layer is safe for
//! it if the client gets what it would get without the layer, when it would get it, and if the
//! service learns at once that the client is gone. Each check stands for a way in which layers have
//! been seen to break that:
//!
//! | checks | why |
//! |---|---|
//! | `call.*`, `ready.*` | [`Service`] allows `call` only on the very value whose `poll_ready` said it was ready: a clone of it has reserved nothing. `poll_ready` is also how balancers and load shedding feel back-pressure. |
//! | `service.*`, `errors.*` | A stream that breaks must not look complete: HTTP/1.1 tells the two apart by the last chunk, HTTP/2 by `RST_STREAM` (RFC 9112 §8, RFC 9113 §5.4.2). hyper looks for the reset's code in the error's chain of sources. |
//! | `request.*` | Matched routes, peer addresses and hyper's `OnUpgrade` travel as extensions; they are lost if a request is rebuilt. |
//! | `request_body.*` | On HTTP/1, hyper sends `100 Continue` when the body is first polled (RFC 9110 §10.1.1): who polls early asks for an upload that the service may refuse. A gRPC call in both directions answers before its request ends. |
//! | `upgrade.*`, `connect.*` | The fields of an upgrade belong to the service (RFC 9110 §7.8). A 101, or a 2xx to CONNECT, has no content and no length (RFC 9110 §8.6, §9.3.6). |
//! | `head.*` | The head goes out when it is there, not when the body ends. Fields of the connection are malformed in HTTP/2 (RFC 9113 §8.2.2). Version and extensions (hyper's `ReasonPhrase`, `HeaderCaseMap`) are lost if a response is rebuilt. |
//! | `frames.*` | Servers write a frame when they get it: that is how an event reaches the client now. A frame held back until the next is the lump that users see. [`Bytes`](bytes::Bytes) costs nothing to pass on, and an allocation to rebuild. |
//! | `trailers.*` | gRPC's status is a trailer, checksums are (RFC 9110 §6.5). They may come without data, and after a body whose length was known. |
//! | `size_hint.*` | hyper makes an exact [`size_hint`](Body::size_hint) the `content-length`, to HEAD too, and an unknown one chunks. The default method says unknown. |
//! | `end_stream.*` | If [`is_end_stream`](Body::is_end_stream) is true, a server does not poll: on HTTP/2 it sets `END_STREAM` with the frame before. Said too early, the rest of the body is lost; the default method never says it. |
//! | `polls.*` | A [`Body`] promises nothing about polls after its end or its error. And what is read before the server asks is read without back-pressure. |
//! | `drop.*` | A server tells that the client has left by dropping the future or the body. There is no other sign. |
//! | `wakers.*` | [`Future::poll`]: the waker of the last poll is to be woken. A wake-up without reason is a loop. |
//!
//! # Layers that change something by design
//!
//! Name what they change, and the rest is still checked. An exception that is not needed fails the
//! test too.
//!
//! ```
//! # use tower_http::set_header::SetResponseHeaderLayer;
//! use tower_passthrough::conformance::{self, Capability};
//!
//! # use http::{HeaderValue, header::ETAG};
//! # fn our_layer() -> SetResponseHeaderLayer<HeaderValue> {
//! #     SetResponseHeaderLayer::overriding(ETAG, HeaderValue::from_static("\"2\""))
//! # }
//! conformance::check(our_layer())
//!     .except(Capability::ResponseHead) // it sets the entity tag
//!     .assert();
//! ```
//!
//! Layers that act on some exchanges only are checked on both sorts: [`Kit`] sets fields in the
//! heads, such as a content type.
//!
//! # Stacks, services, frameworks
//!
//! [`check_with`] takes a closure that wraps the scripted service in whatever way. That service
//! takes requests with any body, so layers may wrap or box it, and they may ask that it be
//! `Clone + Send + Sync + 'static` and its futures and bodies `Send + Sync + Unpin + 'static`. For
//! axum, whose services cannot fail, there is [`ScriptedService::infallible`]:
//!
//! ```
//! use axum::{Router, extract::Request, middleware::{Next, from_fn}, response::Response};
//! use tower_passthrough::conformance::{self, Capability, ScriptedService};
//!
//! async fn our_middleware(request: Request, next: Next) -> Response {
//!     next.run(request).await
//! }
//!
//! conformance::check_with(|service: ScriptedService| {
//!     Router::<()>::new().fallback_service(service.infallible()).layer(from_fn(our_middleware))
//! })
//! .except(Capability::Readiness) // a router is always ready, and waits when it is called
//! .assert();
//! ```
//!
//! Timers and semaphores may need the runtime they are made for. Enter it; no check waits:
//!
//! ```
//! # use std::time::Duration;
//! # use tower::timeout::TimeoutLayer;
//! use tower_passthrough::conformance;
//!
//! # fn main() -> std::io::Result<()> {
//! let runtime = tokio::runtime::Runtime::new()?;
//! let _entered = runtime.enter();
//! conformance::check(TimeoutLayer::new(Duration::from_secs(10))).assert();
//! # Ok(())
//! # }
//! ```
//!
//! An async test will do, too, but for one thing: after some 128 steps tokio makes a task yield, which
//! the kit does not. A layer that takes tokio's semaphores, locks or channels then looks as if it
//! hung. In an async test, check in `tokio::task::unconstrained(async { check(..) }).await`.
//!
//! # What it does not see
//!
//! - Whether a layer can be used with bodies that are not `Send` or not `'static`: that is for the
//!   compiler. The scripted ones are both.
//! - Layers whose work is done in another task (tower's `Buffer`): nothing runs that task, and the
//!   report says that the service was never called.
//! - A layer that blocks the thread for ever. One that polls for ever is stopped after 1,000 polls;
//!   one that panics, or waits for nothing, is a finding (panics are printed by the hook all the
//!   same).
//! - What happens after a time, such as a timeout that strikes; allocations; whether an upgraded
//!   connection really works. Those need a clock, an allocator, a server.

// What is inside of the layer, and writes down what is done with it.
mod body;
mod log;
mod script;
mod service;

// What is outside of it, and drives it.
mod alarm;
mod open;
mod stage;
mod subject;

// What is expected.
mod checks;
mod report;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

pub use self::{
    body::{ScriptedBody, ScriptedError},
    report::{Capability, Finding, Report, Verdict},
    service::{InfallibleFuture, InfallibleService, ScriptedFuture, ScriptedService},
};
use self::{
    checks::{Check, Sight},
    script::{Answer, Script},
    stage::{Bench, Stop},
    subject::{Subject, Worn},
};
use crate::{error::BoxError, unwind::caught};

/// Checks a layer.
///
/// A layer is made anew from `layer` for each exchange, around a new service.
///
/// # Examples
///
/// ```
/// use tower_http::request_id::PropagateRequestIdLayer;
/// use tower_passthrough::conformance;
///
/// let report = conformance::check(PropagateRequestIdLayer::x_request_id());
/// assert!(report.passes(), "{report}");
/// ```
pub fn check<L, B>(layer: L) -> Report
where
    L: Layer<ScriptedService>,
    L::Service: Service<Request<ScriptedBody>, Response = Response<B>>,
    <L::Service as Service<Request<ScriptedBody>>>::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
{
    Kit::new().check(layer)
}

/// Checks whatever a closure makes of a service: stacks, and frameworks with bodies of their own.
///
/// # Examples
///
/// A layer that wants a boxed request body:
///
/// ```
/// use http::Request;
/// use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
/// use tower::{ServiceBuilder, layer::util::Identity};
/// use tower_passthrough::conformance::{self, ScriptedBody, ScriptedError, ScriptedService};
///
/// type BoxBody = UnsyncBoxBody<bytes::Bytes, ScriptedError>;
/// # let our_layer = || Identity::new();
///
/// conformance::check_with(|service: ScriptedService| {
///     ServiceBuilder::new()
///         .map_request(|request: Request<ScriptedBody>| request.map(BoxBody::new))
///         .layer(our_layer())
///         .service(service)
/// })
/// .assert();
/// ```
pub fn check_with<S, B>(wrap: impl Fn(ScriptedService) -> S) -> Report
where
    S: Service<Request<ScriptedBody>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
{
    Kit::new().check_with(wrap)
}

/// The checks, with fields of your own in the heads: for layers that look at them.
///
/// # Examples
///
/// What a compressing layer does with events, and what it does with other streams:
///
/// ```
/// use http::{HeaderValue, header::{ACCEPT_ENCODING, CONTENT_TYPE}};
/// use tower_http::compression::CompressionLayer;
/// use tower_passthrough::conformance::{Capability, Kit};
///
/// let kit = |content_type| {
///     Kit::new()
///         .request_field(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))
///         .response_field(CONTENT_TYPE, HeaderValue::from_static(content_type))
/// };
/// kit("text/event-stream").check(CompressionLayer::new()).assert();
/// kit("application/x-ndjson")
///     .check(CompressionLayer::new())
///     .except(Capability::Frames)
///     .except(Capability::Content)
///     .except(Capability::Memory)
///     .except(Capability::SizeHint)
///     .except(Capability::EndStream)
///     .except(Capability::Polls) // it reads ahead
///     .except(Capability::Errors) // an error overtakes what it has not sent yet
///     .assert();
/// ```
#[derive(Debug, Clone, Default)]
pub struct Kit {
    request: HeaderMap,
    response: HeaderMap,
}

impl Kit {
    /// The plain kit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives each request this field, instead of those of that name that it would have. Once more
    /// with the same name adds a value.
    #[must_use]
    pub fn request_field(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.request.append(name, value);
        self
    }

    /// Gives each response of the service this field, instead of those of that name that it would
    /// have. Once more with the same name adds a value.
    #[must_use]
    pub fn response_field(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.response.append(name, value);
        self
    }

    /// Checks a layer.
    pub fn check<L, B>(&self, layer: L) -> Report
    where
        L: Layer<ScriptedService>,
        L::Service: Service<Request<ScriptedBody>, Response = Response<B>>,
        <L::Service as Service<Request<ScriptedBody>>>::Error: Into<BoxError>,
        B: Body,
        B::Error: Into<BoxError>,
    {
        self.check_with(|service| layer.layer(service))
    }

    /// Checks whatever this makes of a service.
    pub fn check_with<S, B>(&self, wrap: impl Fn(ScriptedService) -> S) -> Report
    where
        S: Service<Request<ScriptedBody>, Response = Response<B>>,
        S::Error: Into<BoxError>,
        B: Body,
        B::Error: Into<BoxError>,
    {
        let wrap = |service| -> Box<dyn Subject<'_> + '_> { Box::new(Worn(wrap(service))) };
        let bench = Bench {
            wrap: &wrap,
            kit: self,
        };
        Report::new(checks::all().map(|check| check.run(&bench)).collect())
    }

    /// Puts the kit's fields into a script.
    fn dress(&self, script: &mut Script) {
        script.request_fields.extend(self.request.clone());
        if let Answer::Response { fields, .. } = &mut script.answer {
            fields.extend(self.response.clone());
        }
    }
}

impl Check {
    fn run(&self, bench: &Bench<'_>) -> Finding {
        // Each step that may panic is watched by itself; what is left is the drop of a service.
        let looked = caught(|| (self.look)(bench))
            .unwrap_or_else(|panic| Err(Stop::Unseen(format!("the layer panicked: {panic}"))));
        let (verdict, expected, observed) = match looked {
            Ok(Sight { expected, observed }) if expected == observed => {
                (Verdict::Passed, expected, observed)
            }
            Ok(Sight { expected, observed }) => (Verdict::Failed, expected, observed),
            Err(Stop::Unseen(why)) => (Verdict::Unseen, String::new(), why),
            Err(Stop::NotApplicable(why)) => {
                (Verdict::NotApplicable, String::new(), why.to_owned())
            }
        };
        Finding {
            check: self.name,
            capability: self.capability,
            verdict,
            expected,
            observed,
            consequence: self.consequence,
        }
    }
}
