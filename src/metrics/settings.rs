//! What a layer was told to record.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use http::StatusCode;
use metrics::{KeyName, Label, SharedString};

use super::{
    names::{self, Instrument},
    set::End,
    source::Source,
};
use crate::{RequestHead, ResponseHead, observe::Outcome};

pub(super) type RequestValue = dyn for<'a> Fn(&RequestHead<'a>) -> Cow<'a, str> + Send + Sync;
pub(super) type ResponseValue = dyn for<'a> Fn(&ResponseHead<'a>) -> Cow<'a, str> + Send + Sync;
pub(super) type Skip = dyn Fn(&RequestHead<'_>) -> bool + Send + Sync;

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) style: Style,
    pub(super) service: Option<SharedString>,
    pub(super) hosts: Option<Vec<Arc<str>>>,
    pub(super) path: Path,
    pub(super) request_labels: Vec<(SharedString, Arc<RequestValue>)>,
    pub(super) response_labels: Vec<(SharedString, Arc<ResponseValue>)>,
    pub(super) skip: Option<Arc<Skip>>,
    pub(super) prefix: String,
    /// Its place in [`labels::SCHEMES`].
    pub(super) scheme: Option<u8>,
    pub(super) cancelled: Option<StatusCode>,
    pub(super) failed: Option<StatusCode>,
    pub(super) live_bytes: bool,
    pub(super) frame_gaps: bool,
    pub(super) sse_events: bool,
    pub(super) max_label_sets: usize,
    pub(super) handle_ttl: Duration,
    pub(super) source: Source,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            style: Style::Prometheus,
            service: None,
            hosts: None,
            path: Path::Matched,
            request_labels: Vec::new(),
            response_labels: Vec::new(),
            skip: None,
            prefix: String::new(),
            scheme: None,
            cancelled: None,
            failed: None,
            live_bytes: false,
            frame_gaps: false,
            sse_events: false,
            max_label_sets: 2_000,
            handle_ttl: Duration::from_secs(10),
            source: Source::Current,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Prometheus,
    OpenTelemetry,
    OnlyRequests,
}

#[derive(Clone)]
pub(super) enum Path {
    /// The route that a router matched, if one did.
    Matched,
    Raw,
    By(Arc<RequestValue>),
}

impl Path {
    pub(super) fn of<'a>(&self, request: &RequestHead<'a>) -> Option<Cow<'a, str>> {
        match self {
            Self::Matched => matched(request).map(Cow::Borrowed),
            Self::Raw => Some(request.uri.path().into()),
            Self::By(path) => Some(path(request)),
        }
    }

    pub(super) fn is_told(&self) -> bool {
        cfg!(feature = "axum") || !matches!(self, Self::Matched)
    }
}

#[cfg(feature = "axum")]
fn matched<'a>(request: &RequestHead<'a>) -> Option<&'a str> {
    let path = request.extensions.get::<axum::extract::MatchedPath>();
    path.map(axum::extract::MatchedPath::as_str)
}

#[cfg(not(feature = "axum"))]
fn matched<'a>(_: &RequestHead<'a>) -> Option<&'a str> {
    None
}

impl Settings {
    pub(super) fn name_of(
        &self,
        prometheus: &'static str,
        opentelemetry: &'static str,
    ) -> SharedString {
        SharedString::const_str(match self.style {
            Style::Prometheus | Style::OnlyRequests => prometheus,
            Style::OpenTelemetry => opentelemetry,
        })
    }

    /// The label that all series have, if it is set.
    pub(super) fn service_label(&self) -> impl Iterator<Item = Label> {
        let service = self.service.iter();
        service.map(|service| Label::new(self.name_of("service", "service.name"), service.clone()))
    }

    /// The name under which this metric is recorded.
    pub(super) fn name(&self, name: &'static str) -> KeyName {
        if self.prefix.is_empty() {
            KeyName::from_const_str(name)
        } else {
            KeyName::from(format!("{}{name}", self.prefix))
        }
    }

    /// The status of an exchange that is over, whether it had a head or not.
    pub(super) fn status_of(&self, end: &End) -> StatusCode {
        let failed = || self.failed.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        end.status.unwrap_or_else(|| match end.outcome {
            // Not a number of RFC 9110, and therefore not a constant of `http` either.
            Outcome::Cancelled => (self.cancelled)
                .or_else(|| StatusCode::from_u16(499).ok())
                .unwrap_or_else(failed),
            _ => failed(),
        })
    }

    /// Tells the recorder what the metrics mean.
    pub(super) fn describe(&self) {
        let metrics = match self.style {
            Style::Prometheus => names::PROMETHEUS,
            Style::OpenTelemetry => names::OPENTELEMETRY,
            Style::OnlyRequests => &names::PROMETHEUS[..2],
        };
        self.source.with(|recorder| {
            for (name, instrument, unit, description) in metrics {
                let (name, unit) = (self.name(name), Some(*unit));
                let description = SharedString::const_str(description);
                match instrument {
                    Instrument::Counter => recorder.describe_counter(name, unit, description),
                    Instrument::Gauge => recorder.describe_gauge(name, unit, description),
                    Instrument::Histogram => recorder.describe_histogram(name, unit, description),
                }
            }
        });
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("style", &self.style)
            .field("service", &self.service)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}
