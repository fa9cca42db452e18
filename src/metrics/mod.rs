//! [`MetricsLayer`]: metrics of whole exchanges, through the `metrics` facade.
//!
//! A layer that looks at response heads only takes an hour-long stream for 3 ms, and a client that
//! hung up for a success. This one follows each exchange to its end.
//!
//! ```
//! use tower_passthrough::metrics::MetricsLayer;
//!
//! let layer = MetricsLayer::builder()
//!     .service("gateway")
//!     .hosts(["api.example", "chat.example"])
//!     .path(|request| match request.uri.path() {
//!         path if path.starts_with("/v1/") => "/v1/*".into(),
//!         _ => "_other".into(),
//!     })
//!     .build()?;
//! # let _ = layer;
//! # Ok::<(), tower_passthrough::BuildError>(())
//! ```
//!
//! # What is recorded
//!
//! | name | type | labels beside the base labels | when |
//! |---|---|---|---|
//! | [`http_requests_total`](REQUESTS_TOTAL) | counter | `status` | at the response head; without one at the end |
//! | [`http_requests_in_flight`](REQUESTS_IN_FLIGHT) | gauge | | from the call to the end of the exchange |
//! | [`http_response_head_seconds`](RESPONSE_HEAD_SECONDS) | histogram | `kind` | at the response head |
//! | [`http_request_duration_seconds`](REQUEST_DURATION_SECONDS) | histogram | `kind` | at the end |
//! | [`http_response_body_bytes`](RESPONSE_BODY_BYTES) | histogram | `kind` | at the end, if there was a head |
//! | [`http_responses_ended_total`](RESPONSES_ENDED_TOTAL) | counter | `status`, `outcome` | at the end |
//!
//! Base labels:
//! - `service`, `host`, `path`: if set on the builder
//! - `method`: the method; what no RFC defines is `_OTHER`. Not with
//!   [`only_requests_total`](MetricsLayerBuilder::only_requests_total)
//!
//! The others:
//! - `status`: the response's status. Without a response head `499` if the future was dropped
//!   (the client left, or a timeout struck), `500` if the service failed or panicked
//! - `outcome`: [how the exchange ended](crate::observe::Outcome)
//! - `kind`: `upgrade` for 101 and for 2xx to CONNECT; `grpc` for content type
//!   `application/grpc*`; `stream` for `text/event-stream`, `application/x-ndjson` and what has
//!   no length at the head, even if its status or HEAD allows it no content; else `unary`, also if
//!   there is no head
//!
//! Durations are in seconds, sizes in bytes. They tell what was handed to the server, and when:
//! how much of it reached the client, and when, is not known here. An upgraded exchange ends as
//! [`Tunnel`](crate::observe::Tunnel) says.
//!
//! # Recorders
//!
//! Metrics go to the recorder that is installed when they are recorded, or to that of the thread
//! (`metrics::with_local_recorder`). What is recorded before one is installed is lost.
//!
//! Exporters for Prometheus may render histograms as summaries unless they are given buckets, and
//! summaries cannot be aggregated over replicas. [`HEAD_SECONDS_BUCKETS`],
//! [`DURATION_SECONDS_BUCKETS`] and [`BODY_BYTES_BUCKETS`] fit what is recorded here:
//!
//! ```
//! use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
//! use tower_passthrough::metrics::{
//!     BODY_BYTES_BUCKETS, DURATION_SECONDS_BUCKETS, HEAD_SECONDS_BUCKETS, REQUEST_DURATION_SECONDS,
//!     RESPONSE_BODY_BYTES, RESPONSE_HEAD_SECONDS,
//! };
//!
//! let builder = PrometheusBuilder::new()
//!     .set_buckets_for_metric(Matcher::Full(RESPONSE_HEAD_SECONDS.into()), &HEAD_SECONDS_BUCKETS)?
//!     .set_buckets_for_metric(Matcher::Full(REQUEST_DURATION_SECONDS.into()), &DURATION_SECONDS_BUCKETS)?
//!     .set_buckets_for_metric(Matcher::Full(RESPONSE_BODY_BYTES.into()), &BODY_BYTES_BUCKETS)?;
//! # let _ = builder;
//! # Ok::<(), metrics_exporter_prometheus::BuildError>(())
//! ```

mod labels;
mod names;
mod observer;

use std::{borrow::Cow, fmt, sync::Arc};

use ::metrics::{Label, SharedString};
use http::uri::Authority;
use tower_layer::Layer;

pub use self::{
    names::{
        BODY_BYTES_BUCKETS, DURATION_SECONDS_BUCKETS, HEAD_SECONDS_BUCKETS,
        REQUEST_DURATION_SECONDS, REQUESTS_IN_FLIGHT, REQUESTS_TOTAL, RESPONSE_BODY_BYTES,
        RESPONSE_HEAD_SECONDS, RESPONSES_ENDED_TOTAL,
    },
    observer::MetricsObserver,
};
use crate::{
    BuildError, RequestHead,
    observe::{MakeObserver, Moment, Observe},
};

/// Records metrics of each exchange, from its request to its end.
///
/// See the [module docs](self) for what is recorded. Clones share their settings.
#[derive(Debug, Clone)]
pub struct MetricsLayer {
    config: Arc<Config>,
}

#[derive(Debug, Clone, Default)]
struct Config {
    service: Option<Arc<str>>,
    hosts: Option<Vec<Arc<str>>>,
    path: Option<PathLabel>,
    only_requests_total: bool,
}

type Path = dyn for<'a> Fn(&RequestHead<'a>) -> Cow<'a, str> + Send + Sync;

#[derive(Clone)]
struct PathLabel(Arc<Path>);

impl fmt::Debug for PathLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fn(&RequestHead) -> Cow<str>")
    }
}

impl MetricsLayer {
    /// A builder for a layer that records all metrics, with the one label that needs no choice:
    /// `method`.
    #[must_use]
    pub fn builder() -> MetricsLayerBuilder {
        MetricsLayerBuilder {
            config: Config::default(),
        }
    }
}

/// Settings of a [`MetricsLayer`].
#[derive(Debug, Clone)]
pub struct MetricsLayerBuilder {
    config: Config,
}

impl MetricsLayerBuilder {
    /// Adds the label `service` with this value.
    #[must_use]
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.config.service = Some(name.into().into());
        self
    }

    /// Adds the label `host`: the one of these hosts that the request is for, whatever its case
    /// and port; `_other` for every other, since clients may ask for any.
    ///
    /// Hosts are written without a port, IPv6 addresses in brackets. A second call replaces the
    /// first.
    #[must_use]
    pub fn hosts<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        self.config.hosts = Some(hosts.into_iter().map(|host| host.into().into()).collect());
        self
    }

    /// Adds the label `path` with what `path` makes of each request.
    ///
    /// Each value is a series of its own, and lives as long as the recorder keeps it: return the
    /// matched route, not the path that a client wrote. With axum that is
    /// `request.extensions.get::<MatchedPath>()`. A second call replaces the first.
    ///
    /// A closure is to be written in place: bound to a variable before, it is taken for one that
    /// borrows for one lifetime only. A function works anyhow.
    #[must_use]
    pub fn path<F>(mut self, path: F) -> Self
    where
        F: for<'a> Fn(&RequestHead<'a>) -> Cow<'a, str> + Send + Sync + 'static,
    {
        self.config.path = Some(PathLabel(Arc::new(path)));
        self
    }

    /// Records nothing but [`http_requests_total`](REQUESTS_TOTAL), with exactly the labels
    /// `service`, `host`, `path` and `status`.
    ///
    /// ```
    /// use tower_passthrough::metrics::MetricsLayer;
    ///
    /// let layer = MetricsLayer::builder()
    ///     .only_requests_total()
    ///     .service("gateway")
    ///     .hosts(["api.example"])
    ///     .path(|_| "/".into())
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), tower_passthrough::BuildError>(())
    /// ```
    #[must_use]
    pub fn only_requests_total(mut self) -> Self {
        self.config.only_requests_total = true;
        self
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// - One of the hosts is not a host.
    /// - [`only_requests_total`](Self::only_requests_total) is set, and
    ///   [`service`](Self::service), [`hosts`](Self::hosts) or [`path`](Self::path) is not.
    pub fn build(self) -> Result<MetricsLayer, BuildError> {
        let Self { config } = self;
        for host in config.hosts.iter().flatten() {
            if !host
                .parse::<Authority>()
                .is_ok_and(|authority| authority.host() == &**host)
            {
                return Err(BuildError::new(format_args!(
                    "metrics: `{host}` is not a host: write a name or an address, without a port, \
                     an IPv6 address in brackets"
                )));
            }
        }
        if config.only_requests_total {
            for (is_set, setting) in [
                (config.service.is_some(), "service"),
                (config.hosts.is_some(), "hosts"),
                (config.path.is_some(), "path"),
            ] {
                if !is_set {
                    return Err(BuildError::new(format_args!(
                        "metrics: `only_requests_total` has the labels service, host, path and \
                         status, but `{setting}` is not set"
                    )));
                }
            }
        }
        Ok(MetricsLayer {
            config: Arc::new(config),
        })
    }
}

impl<S> Layer<S> for MetricsLayer {
    type Service = Observe<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Observe::new(inner, self.clone())
    }
}

impl MakeObserver for MetricsLayer {
    type Observer = MetricsObserver;

    fn observe(&self, request: &RequestHead<'_>, at: &Moment) -> Option<MetricsObserver> {
        let labels = self.config.base_labels(request);
        Some(if self.config.only_requests_total {
            MetricsObserver::counting(labels)
        } else {
            MetricsObserver::timing(labels, at)
        })
    }
}

impl Config {
    fn base_labels(&self, request: &RequestHead<'_>) -> Vec<Label> {
        let mut base = Vec::with_capacity(4);
        if let Some(service) = &self.service {
            base.push(Label::new(
                "service",
                SharedString::from_shared(Arc::clone(service)),
            ));
        }
        if let Some(hosts) = &self.hosts {
            base.push(Label::new("host", labels::host(request, hosts)));
        }
        if !self.only_requests_total {
            base.push(Label::from_static_parts(
                "method",
                labels::method(request.method),
            ));
        }
        if let Some(path) = &self.path {
            base.push(Label::new("path", path.0(request).into_owned()));
        }
        base
    }
}
