//! The settings, before they are checked.

use std::{borrow::Cow, sync::Arc, time::Duration};

use ::metrics::{Recorder, SharedString};
use http::StatusCode;

use super::{
    MetricsLayer, labels,
    settings::{Path, Settings, Style},
    source::Source,
    table::Table,
};
use crate::{BuildError, RequestHead, ResponseHead};

/// Settings of a [`MetricsLayer`].
///
/// Write closures in place, or give functions: the compiler takes a closure that is bound to a variable
/// first for one that borrows for a single lifetime, and refuses it.
///
/// They run within the call, those for responses within the poll that gives the head. If one of the
/// first panics, nothing is recorded of the exchange, and the service is not called; if one of the
/// others does, the head is lost and the exchange ends as
/// [`panicked`](crate::observe::Outcome::Panicked) without one.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct MetricsLayerBuilder {
    settings: Settings,
}

impl MetricsLayerBuilder {
    pub(super) fn new() -> Self {
        Self {
            settings: Settings::default(),
        }
    }

    /// Adds the label `service` with this value; in OpenTelemetry style `service.name`.
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.settings.service = Some(SharedString::from_shared(name.into().into()));
        self
    }

    /// Adds the label `host`, in OpenTelemetry style `server.address`: the one of these hosts that
    /// the request is for, whatever its case and port; `_other` for every other, since clients may
    /// ask for any.
    ///
    /// Hosts are written without a port, IPv6 addresses in brackets. If there are none, all are `_other`.
    /// A second call replaces the first.
    pub fn hosts<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        self.settings.hosts = Some(hosts.into_iter().map(|host| host.into().into()).collect());
        self
    }

    /// Adds the label `path`, in OpenTelemetry style `http.route`, with what `path` makes of each
    /// request.
    ///
    /// Each value is a series of its own, and lives as long as the recorder keeps it: return the
    /// matched route, not the path that a client wrote. Values of more than 256 bytes become
    /// `_other`. With the feature `axum` and no call of this, the label is axum's `MatchedPath`,
    /// and is left out of requests that have none. Those of a layer that was added by
    /// `Router::layer` have one, if they matched a route; around the router none has.
    ///
    /// A second call replaces the first.
    pub fn path<F>(mut self, path: F) -> Self
    where
        F: for<'a> Fn(&RequestHead<'a>) -> Cow<'a, str> + Send + Sync + 'static,
    {
        self.settings.path = Path::By(Arc::new(path));
        self
    }

    /// Adds the label `path` with the request's path as the client wrote it, without its query.
    ///
    /// Clients then choose the label sets: [`max_label_sets`](Self::max_label_sets) bounds them,
    /// and once there are so many, new paths become `_other`. Only for a service whose paths are
    /// few, and not in OpenTelemetry style: a path is no route.
    pub fn raw_paths(mut self) -> Self {
        self.settings.path = Path::Raw;
        self
    }

    /// Requests for which this is true are not recorded at all: health checks, the metrics
    /// endpoint itself. A second call replaces the first.
    ///
    /// ```
    /// use tower_passthrough::metrics::MetricsLayer;
    ///
    /// let layer = MetricsLayer::builder()
    ///     .skip(|request| matches!(request.uri.path(), "/healthz" | "/metrics"))
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), tower_passthrough::BuildError>(())
    /// ```
    pub fn skip<F>(mut self, skip: F) -> Self
    where
        F: Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static,
    {
        self.settings.skip = Some(Arc::new(skip));
        self
    }

    /// Adds a base label with what `value` makes of each request. An empty value stands for none.
    ///
    /// What holds for [`path`](Self::path) holds for its values.
    ///
    /// ```
    /// use tower_passthrough::metrics::MetricsLayer;
    ///
    /// let layer = MetricsLayer::builder()
    ///     .request_label("plan", |request| match request.headers.get("x-plan") {
    ///         Some(plan) if plan == "paid" => "paid".into(),
    ///         _ => "free".into(),
    ///     })
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), tower_passthrough::BuildError>(())
    /// ```
    pub fn request_label<F>(mut self, name: impl Into<String>, value: F) -> Self
    where
        F: for<'a> Fn(&RequestHead<'a>) -> Cow<'a, str> + Send + Sync + 'static,
    {
        let name = SharedString::from_shared(name.into().into());
        self.settings.request_labels.push((name, Arc::new(value)));
        self
    }

    /// Adds a label with what `value` makes of each response head, to all that is recorded from
    /// the head on. It is empty if there was no head. What is recorded at the call and of gRPC calls
    /// does not have it.
    ///
    /// What holds for [`path`](Self::path) holds for its values.
    pub fn response_label<F>(mut self, name: impl Into<String>, value: F) -> Self
    where
        F: for<'a> Fn(&ResponseHead<'a>) -> Cow<'a, str> + Send + Sync + 'static,
    {
        let name = SharedString::from_shared(name.into().into());
        self.settings.response_labels.push((name, Arc::new(value)));
        self
    }

    /// Puts this in front of the name of each metric. Not in OpenTelemetry style.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.settings.prefix = prefix.into();
        self
    }

    /// The `status` of exchanges whose response future was dropped before there was a head. 499
    /// if not set. Not in OpenTelemetry style, where such exchanges have none.
    pub fn status_if_cancelled(mut self, status: StatusCode) -> Self {
        self.settings.cancelled = Some(status);
        self
    }

    /// The `status` of exchanges whose service failed or panicked before there was a head. 500 if
    /// not set. Not in OpenTelemetry style, where such exchanges have none.
    pub fn status_if_failed(mut self, status: StatusCode) -> Self {
        self.settings.failed = Some(status);
        self
    }

    /// Also records [`http_response_bytes_total`](super::RESPONSE_BYTES_TOTAL), at each data
    /// frame. Costs a reading of the clock per frame. Only in Prometheus style.
    pub fn live_bytes(mut self) -> Self {
        self.settings.live_bytes = true;
        self
    }

    /// Also records [`http_response_frame_gap_seconds`](super::RESPONSE_FRAME_GAP_SECONDS), at
    /// each data frame but the first. Costs a reading of the clock per frame. Only in Prometheus
    /// style.
    pub fn frame_gaps(mut self) -> Self {
        self.settings.frame_gaps = true;
        self
    }

    /// Also records [`http_sse_events_total`](super::SSE_EVENTS_TOTAL),
    /// [`http_sse_first_event_seconds`](super::SSE_FIRST_EVENT_SECONDS) and
    /// [`http_sse_event_gap_seconds`](super::SSE_EVENT_GAP_SECONDS): of responses with a 2xx status and
    /// content type `text/event-stream`, unless they are encoded or to HEAD.
    ///
    /// Their data is [read through](crate::sse::Scanner), and the clock is read for each frame. Of a
    /// stream with a frame in several chunks, which [`Bytes`](bytes::Bytes) never is, nothing is
    /// recorded from there on. Only in Prometheus style.
    pub fn sse_events(mut self) -> Self {
        self.settings.sse_events = true;
        self
    }

    /// Holds at most this many label sets: combinations of values of the base labels, with labels
    /// from responses and gRPC methods where there are such. 2,000 if not set.
    ///
    /// Three of them are kept for [what has no room](super#bounds). What is held once is held for
    /// good.
    pub fn max_label_sets(mut self, max: usize) -> Self {
        self.settings.max_label_sets = max;
        self
    }

    /// Asks the recorder for its handles anew after this time. 10 seconds if not set.
    ///
    /// An exporter with an idle timeout forgets a series that was not written to for so long, and
    /// then does not see what is written to a handle of it. So this must not be longer than that
    /// timeout.
    pub fn handle_ttl(mut self, ttl: Duration) -> Self {
        self.settings.handle_ttl = ttl;
        self
    }

    /// Records to this recorder, instead of [the current one](super#recorders). It must not itself
    /// use a service that records to it.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use metrics_exporter_prometheus::PrometheusBuilder;
    /// use tower_passthrough::metrics::MetricsLayer;
    ///
    /// let recorder = PrometheusBuilder::new().build_recorder();
    /// let handle = recorder.handle();
    /// let layer = MetricsLayer::builder().recorder(Arc::new(recorder)).build()?;
    /// # let _ = (layer, handle);
    /// # Ok::<(), tower_passthrough::BuildError>(())
    /// ```
    pub fn recorder(mut self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.settings.source = Source::Given(recorder);
        self
    }

    /// Records the metrics of the OpenTelemetry semantic conventions:
    /// [these](super#opentelemetry-style).
    pub fn opentelemetry(mut self) -> Self {
        self.settings.style = Style::OpenTelemetry;
        self
    }

    /// The `url.scheme` of requests that do not say theirs, as none does in HTTP/1.1: `http` if
    /// not set. Only in OpenTelemetry style.
    pub fn scheme(mut self, scheme: impl AsRef<str>) -> Self {
        self.settings.scheme = Some(labels::scheme(scheme.as_ref()));
        self
    }

    /// Records nothing but [`http_requests_total`](super::REQUESTS_TOTAL), with exactly the labels
    /// `service`, `host`, `path` and `status`; and [`http_metrics_overflow_total`](super::OVERFLOW_TOTAL),
    /// should there be no room.
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
    pub fn only_requests_total(mut self) -> Self {
        self.settings.style = Style::OnlyRequests;
        self
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// - One of the hosts is not a host, or there are 65,535 of them or more.
    /// - A label has a name that is not one, that is taken, or that two labels have.
    /// - The prefix cannot begin a metric's name.
    /// - There is room for fewer than four label sets, or [`handle_ttl`](Self::handle_ttl) is zero.
    /// - The scheme is neither `http` nor `https`.
    /// - Something is set that the style does not have, as each setting says; labels of one's own
    ///   with [`only_requests_total`](Self::only_requests_total).
    /// - [`only_requests_total`](Self::only_requests_total) is set, and
    ///   [`service`](Self::service), [`hosts`](Self::hosts) or [`path`](Self::path) is not.
    pub fn build(self) -> Result<MetricsLayer, BuildError> {
        let Self { settings } = self;
        settings.check()?;
        Ok(MetricsLayer {
            table: Arc::new(Table::new(settings)),
        })
    }
}
