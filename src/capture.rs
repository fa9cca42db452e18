//! [`CaptureLayer`]: one [`Summary`] per exchange, when it is over.
//!
//! The primitive under access logs and audits: what a handler answered, what became of the
//! answer, how long it took. The callback is called exactly once for each exchange, however it
//! ends, and sees the end of the body, not only the response head.
//!
//! ```
//! use tower_passthrough::capture::{CaptureLayer, Summary};
//!
//! let layer = CaptureLayer::new(|summary: &Summary| {
//!     println!("{} {:?} {}", summary.method, summary.status, summary.outcome);
//! });
//! # let _ = layer;
//! ```
//!
//! What the access log wants from the request besides its method, it takes along:
//!
//! ```
//! use tower_passthrough::{RequestHead, capture::{CaptureLayer, Summary}};
//!
//! let layer = CaptureLayer::with_context(
//!     |request: &RequestHead<'_>| request.uri.path().to_owned(),
//!     |summary: &Summary<String>| println!("{} {}", summary.context, summary.outcome),
//! );
//! # let _ = layer;
//! ```
//!
//! The callback runs where the exchange ends, perhaps within a drop, on the thread that polls or
//! drops it. It must not block. If it panics, [these rules](crate::observe#panics) hold.

use std::{
    fmt,
    num::NonZeroU64,
    time::{Duration, Instant},
};

use bytes::Buf;
use http::{HeaderMap, Method, StatusCode, Version};
use tower_layer::Layer;

use crate::{
    GrpcStatus, RequestHead, ResponseHead,
    observe::{MakeObserver, Moment, Observe, Observer, Outcome},
};

/// What there is to know of an exchange once it is over.
///
/// Bytes and frames are what the service handed to the server. How much of it reached the client
/// is not known here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary<C = ()> {
    /// The request's method.
    pub method: Method,
    /// The request's protocol version.
    pub version: Version,
    /// The response's status; `None` if the service produced no response head.
    pub status: Option<StatusCode>,
    /// How the exchange ended.
    pub outcome: Outcome,
    /// The gRPC status from the trailers, else from the header fields; `None` if neither has one
    /// that is a number.
    pub grpc_status: Option<GrpcStatus>,
    /// The sum of the lengths of all data frames, modulo 2^64.
    pub body_bytes: u64,
    /// The number of data frames, empty ones included.
    pub data_frames: u64,
    /// Whether trailers came.
    pub trailers: bool,
    /// From the call of the service to its response head; `None` if there was none.
    pub time_to_head: Option<Duration>,
    /// From the call of the service to the first data frame that is not empty; `None` if there
    /// was none.
    pub time_to_first_byte: Option<Duration>,
    /// From the call of the service to the last thing that happened in the exchange. A server
    /// that keeps a finished body for a while does not lengthen it.
    pub duration: Duration,
    /// What was taken along from the request.
    pub context: C,
}

impl<C> Summary<C> {
    /// A summary to test a callback with: `GET` over HTTP/1.1 was answered with 200 and an empty
    /// body, and none of it took any time. The test sets what it is about.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_passthrough::{capture::Summary, observe::Outcome};
    ///
    /// fn log_line(summary: &Summary<String>) -> String {
    ///     let status = summary.status.map_or("-".to_owned(), |status| status.as_u16().to_string());
    ///     let Summary { method, context: path, outcome, duration, .. } = summary;
    ///     format!("{method} {path} {status} {outcome} {duration:?}")
    /// }
    ///
    /// let mut summary = Summary::for_test("/chat".to_owned());
    /// summary.outcome = Outcome::Disconnected;
    /// summary.duration = Duration::from_millis(1_500);
    /// assert_eq!(log_line(&summary), "GET /chat 200 disconnected 1.5s");
    /// ```
    #[must_use]
    pub fn for_test(context: C) -> Self {
        Self {
            method: Method::GET,
            version: Version::HTTP_11,
            status: Some(StatusCode::OK),
            outcome: Outcome::Complete,
            grpc_status: None,
            body_bytes: 0,
            data_frames: 0,
            trailers: false,
            time_to_head: Some(Duration::ZERO),
            time_to_first_byte: None,
            duration: Duration::ZERO,
            context,
        }
    }
}

/// Calls back with one [`Summary`] per exchange.
///
/// See the [module docs](self) for examples. The layer and its services are `Clone`, `Send` and
/// `Sync` if the callbacks are; the callback is cloned for each exchange.
#[derive(Clone)]
pub struct CaptureLayer<F, X = fn(&RequestHead<'_>)> {
    callback: F,
    context: X,
}

impl<F: Fn(&Summary)> CaptureLayer<F> {
    /// Calls `callback` once for each exchange, when it is over.
    pub const fn new(callback: F) -> Self {
        Self {
            callback,
            context: |_| (),
        }
    }
}

impl<F, X> CaptureLayer<F, X> {
    /// Calls `context` when a request comes, before the service sees it, and `callback` when the
    /// exchange is over. What `context` returns is the summary's [`context`](Summary::context).
    pub const fn with_context<C>(context: X, callback: F) -> Self
    where
        X: Fn(&RequestHead<'_>) -> C,
        F: Fn(&Summary<C>),
    {
        Self { callback, context }
    }
}

impl<S, F: Clone, X: Clone> Layer<S> for CaptureLayer<F, X> {
    type Service = Observe<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Observe::new(inner, self.clone())
    }
}

impl<F, X, C> MakeObserver for CaptureLayer<F, X>
where
    F: Fn(&Summary<C>) + Clone + Send + 'static,
    X: Fn(&RequestHead<'_>) -> C,
    C: Send + 'static,
{
    type Observer = CaptureObserver<F, C>;

    #[inline]
    fn observe(&self, request: &RequestHead<'_>, at: &Moment) -> Option<Self::Observer> {
        Some(CaptureObserver {
            start: at.instant(),
            head_after: None,
            first_byte_after: None,
            body_bytes: 0,
            data_frames: 0,
            method: request.method.clone(),
            grpc_status: None,
            status: None,
            version: request.version,
            trailers: false,
            callback: self.callback.clone(),
            context: (self.context)(request),
        })
    }
}

impl<F, X> fmt::Debug for CaptureLayer<F, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureLayer").finish_non_exhaustive()
    }
}

/// The observer of [`CaptureLayer`].
///
/// It is carried by each response body, and therefore kept small.
pub struct CaptureObserver<F, C> {
    start: Instant,
    head_after: Option<Nanos>,
    first_byte_after: Option<Nanos>,
    body_bytes: u64,
    data_frames: u64,
    method: Method,
    grpc_status: Option<GrpcStatus>,
    status: Option<StatusCode>,
    version: Version,
    trailers: bool,
    callback: F,
    context: C,
}

/// A duration in half the space: up to 584 years.
#[derive(Clone, Copy)]
struct Nanos(
    /// The nanoseconds plus one: an `Option` of it is no larger.
    NonZeroU64,
);

impl From<Duration> for Nanos {
    fn from(duration: Duration) -> Self {
        let seconds = duration.as_secs().saturating_mul(1_000_000_000);
        let nanos = seconds.saturating_add(duration.subsec_nanos().into());
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }
}

impl From<Nanos> for Duration {
    fn from(nanos: Nanos) -> Self {
        Self::from_nanos(nanos.0.get() - 1)
    }
}

impl<F, C> CaptureObserver<F, C> {
    /// How long after the call of the service.
    fn after(&self, at: &Moment) -> Duration {
        at.instant().saturating_duration_since(self.start)
    }
}

impl<F, C> Observer for CaptureObserver<F, C>
where
    F: Fn(&Summary<C>) + Send + 'static,
    C: Send + 'static,
{
    fn on_response(&mut self, head: &ResponseHead<'_>, at: &Moment) {
        self.status = Some(head.status);
        self.head_after = Some(self.after(at).into());
        self.grpc_status = GrpcStatus::from_fields(head.headers);
    }

    #[inline]
    fn on_data<D: Buf>(&mut self, data: &D, at: &Moment) {
        let len = data.remaining() as u64;
        if self.first_byte_after.is_none() && len > 0 {
            self.first_byte_after = Some(self.after(at).into());
        }
        self.body_bytes = self.body_bytes.wrapping_add(len);
        self.data_frames += 1;
    }

    fn on_trailers(&mut self, trailers: &HeaderMap, _: &Moment) {
        self.trailers = true;
        self.grpc_status = GrpcStatus::from_fields(trailers).or(self.grpc_status);
    }

    #[inline]
    fn on_end(self, outcome: Outcome, at: &Moment) {
        let summary = Summary {
            duration: self.after(at),
            method: self.method,
            version: self.version,
            status: self.status,
            outcome,
            grpc_status: self.grpc_status,
            body_bytes: self.body_bytes,
            data_frames: self.data_frames,
            trailers: self.trailers,
            time_to_head: self.head_after.map(Duration::from),
            time_to_first_byte: self.first_byte_after.map(Duration::from),
            context: self.context,
        };
        (self.callback)(&summary);
    }
}

impl<F, C> fmt::Debug for CaptureObserver<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureObserver")
            .field("method", &self.method)
            .field("status", &self.status)
            .field("body_bytes", &self.body_bytes)
            .field("data_frames", &self.data_frames)
            .finish_non_exhaustive()
    }
}
