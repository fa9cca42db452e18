//! One label set, and the handles of all that is recorded under it.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Instant,
};

use http::StatusCode;
use metrics::{Counter, Gauge, Histogram, Label, Level, Metadata};

use super::{
    key::Key,
    labels::{GrpcCode, Kind},
    names::{OVERFLOW_TOTAL, REQUESTS_TOTAL},
    opentelemetry::OpenTelemetry,
    prometheus::Prometheus,
    settings::{Settings, Style},
    table::Table,
};
use crate::observe::Outcome;

/// A label set, for one recorder and for some time.
///
/// Handles are taken when they are first needed. They go out of date: the recorder may change, and
/// an exporter may forget a series that was idle for long, and then looks at its handle no longer.
#[derive(Debug)]
pub(super) struct Set {
    key: Key,
    recorder: usize,
    expires: Option<Instant>,
    is_held: bool,
    table: Weak<Table>,
    registry: Registry,
    series: Series,
    overflow: OnceLock<Counter>,
}

#[derive(Debug)]
enum Series {
    Prometheus(Box<Prometheus>),
    OpenTelemetry(Box<OpenTelemetry>),
    OnlyRequests(ByStatus<OnceLock<Counter>>),
}

/// What is known of an exchange that is over.
#[derive(Debug)]
pub(super) struct End {
    /// `None` if there was no head.
    pub(super) status: Option<StatusCode>,
    pub(super) kind: Kind,
    pub(super) outcome: Outcome,
    pub(super) seconds: f64,
    pub(super) request_bytes: Option<u64>,
    pub(super) response_bytes: u64,
}

impl Set {
    pub(super) fn new(
        settings: &Arc<Settings>,
        table: Weak<Table>,
        key: Key,
        recorder: usize,
        expires: Option<Instant>,
    ) -> Self {
        Self {
            recorder,
            expires,
            is_held: true,
            table,
            registry: Registry {
                base: settings.labels(&key),
                settings: Arc::clone(settings),
            },
            series: match settings.style {
                Style::Prometheus => Series::Prometheus(Box::default()),
                Style::OpenTelemetry => Series::OpenTelemetry(Box::default()),
                Style::OnlyRequests => Series::OnlyRequests(ByStatus::default()),
            },
            overflow: OnceLock::new(),
            key,
        }
    }

    /// The same, but not held by its table.
    pub(super) fn lent(mut self) -> Self {
        self.is_held = false;
        self
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.registry.settings
    }

    /// The set of the key that `write` writes, from the same table. That is gone if the layer and
    /// its services are, as they are once `oneshot` has called: then it is one of its own.
    pub(super) fn other(&self, at: Instant, write: impl FnOnce(&Settings, &mut Key)) -> Arc<Self> {
        if let Some(table) = self.table.upgrade() {
            return table.find(at, write);
        }
        let settings = &self.registry.settings;
        let mut key = Key::default();
        write(settings, &mut key);
        let recorder = settings.source.id();
        Arc::new(Self::new(settings, Weak::new(), key, recorder, Some(at)))
    }

    /// What stands in its table now, under its key.
    #[cold]
    pub(super) fn renewed(&self, at: Instant) -> Arc<Self> {
        self.other(at, |_, key| key.clone_from(&self.key))
    }

    /// Whether its table holds it, or did. If not, nothing is to be recorded under it.
    pub(super) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Whether its handles are those that the recorder of now would give.
    #[inline]
    pub(super) fn is_current(&self, at: Instant) -> bool {
        self.is_of(self.settings().source.id(), at)
    }

    /// Whether its handles are those that this recorder would give.
    #[inline]
    pub(super) fn is_of(&self, recorder: usize, at: Instant) -> bool {
        self.recorder == recorder && self.expires.is_none_or(|expires| at < expires)
    }

    pub(super) fn in_flight(&self) -> Option<&Gauge> {
        match &self.series {
            Series::Prometheus(series) => Some(series.in_flight(&self.registry)),
            Series::OpenTelemetry(series) => Some(series.in_flight(&self.registry)),
            Series::OnlyRequests(_) => None,
        }
    }

    pub(super) fn on_request(&self, bytes: Option<u64>) {
        if let (Series::Prometheus(series), Some(bytes)) = (&self.series, bytes) {
            series.on_request(&self.registry, bytes);
        }
    }

    /// One more exchange that has no room of its own.
    pub(super) fn on_overflow(&self) {
        let counter = || self.registry.service_counter(OVERFLOW_TOTAL);
        self.overflow.get_or_init(counter).increment(1);
    }

    pub(super) fn on_response(&self, status: StatusCode, kind: Kind, seconds: f64) {
        match &self.series {
            Series::Prometheus(series) => series.on_response(&self.registry, status, kind, seconds),
            Series::OpenTelemetry(_) => {}
            Series::OnlyRequests(series) => self.count(series, status),
        }
    }

    pub(super) fn on_first_byte(&self, kind: Kind, seconds: f64) {
        if let Series::Prometheus(series) = &self.series {
            series.on_first_byte(&self.registry, kind, seconds);
        }
    }

    pub(super) fn on_frame_gap(&self, kind: Kind, seconds: f64) {
        if let Series::Prometheus(series) = &self.series {
            series.on_frame_gap(&self.registry, kind, seconds);
        }
    }

    pub(super) fn on_live_bytes(&self, bytes: u64) {
        if let Series::Prometheus(series) = &self.series {
            series.on_live_bytes(&self.registry, bytes);
        }
    }

    /// So many events are complete with one frame. `gap` is the time since the one before them, if
    /// there was one; else they are the first.
    pub(super) fn on_events(&self, events: u64, seconds: f64, gap: Option<f64>) {
        let Series::Prometheus(series) = &self.series else {
            return;
        };
        series.on_events(&self.registry, events);
        match gap {
            None => series.on_first_event(&self.registry, seconds),
            Some(gap) => series.on_event_gaps(&self.registry, gap, 1),
        }
        if let Ok(at_once @ 1..) = usize::try_from(events - 1) {
            series.on_event_gaps(&self.registry, 0.0, at_once);
        }
    }

    pub(super) fn on_end(&self, end: &End) {
        match &self.series {
            Series::Prometheus(series) => series.on_end(&self.registry, end),
            Series::OpenTelemetry(series) => series.on_end(&self.registry, end),
            Series::OnlyRequests(series) => {
                if end.status.is_none() {
                    self.count(series, self.settings().status_of(end));
                }
            }
        }
    }

    pub(super) fn on_call(&self, code: GrpcCode, seconds: f64) {
        match &self.series {
            Series::Prometheus(series) => series.on_call(&self.registry, code),
            Series::OpenTelemetry(series) => series.on_call(&self.registry, code, seconds),
            Series::OnlyRequests(_) => {}
        }
    }

    fn count(&self, series: &ByStatus<OnceLock<Counter>>, status: StatusCode) {
        let counter = || {
            self.registry
                .counter(REQUESTS_TOTAL, [status_label(status)])
        };
        let series = series.of(Some(status));
        series.get_or_init(counter).increment(1);
    }
}

pub(super) fn status_label(status: StatusCode) -> Label {
    Label::new("status", status.as_str().to_owned())
}

/// What there is for each status, made when it is first asked for. Nearly always the first one or
/// two are all.
#[derive(Debug)]
pub(super) struct ByStatus<T>(OnceLock<Box<Entry<T>>>);

#[derive(Debug)]
struct Entry<T> {
    status: Option<StatusCode>,
    of: T,
    next: ByStatus<T>,
}

impl<T: Default> ByStatus<T> {
    pub(super) fn of(&self, status: Option<StatusCode>) -> &T {
        let mut place = self;
        loop {
            let entry = place.0.get_or_init(|| {
                Box::new(Entry {
                    status,
                    of: T::default(),
                    next: Self::default(),
                })
            });
            if entry.status == status {
                return &entry.of;
            }
            place = &entry.next;
        }
    }
}

impl<T> Default for ByStatus<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

/// Gets handles from the recorder, for metrics with the labels of a set and more.
#[derive(Debug)]
pub(super) struct Registry {
    settings: Arc<Settings>,
    base: Vec<Label>,
}

const METADATA: Metadata<'static> =
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

impl Registry {
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    #[cold]
    pub(super) fn counter(
        &self,
        name: &'static str,
        more: impl IntoIterator<Item = Label>,
    ) -> Counter {
        let key = self.key(name, self.base.iter().cloned().chain(more));
        let source = &self.settings.source;
        source.with(|recorder| recorder.register_counter(&key, &METADATA))
    }

    #[cold]
    pub(super) fn histogram(
        &self,
        name: &'static str,
        more: impl IntoIterator<Item = Label>,
    ) -> Histogram {
        let key = self.key(name, self.base.iter().cloned().chain(more));
        let source = &self.settings.source;
        source.with(|recorder| recorder.register_histogram(&key, &METADATA))
    }

    /// A gauge with those of the labels that `is_wanted`.
    #[cold]
    pub(super) fn gauge(&self, name: &'static str, is_wanted: fn(&Label) -> bool) -> Gauge {
        let labels = self.base.iter().filter(|label| is_wanted(label));
        let key = self.key(name, labels.cloned());
        let source = &self.settings.source;
        source.with(|recorder| recorder.register_gauge(&key, &METADATA))
    }

    /// A counter with no label but that of the service.
    #[cold]
    fn service_counter(&self, name: &'static str) -> Counter {
        let key = self.key(name, self.settings.service_label());
        let source = &self.settings.source;
        source.with(|recorder| recorder.register_counter(&key, &METADATA))
    }

    fn key(&self, name: &'static str, labels: impl IntoIterator<Item = Label>) -> metrics::Key {
        let labels: Vec<_> = labels.into_iter().collect();
        metrics::Key::from_parts(self.settings.name(name), labels)
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "the facade's histograms take `f64`"
)]
pub(super) fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}
