//! What the exporter renders, and what it should.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tower_passthrough::{
    metrics::{
        GRPC_SERVER_HANDLED_TOTAL, MetricsLayer, MetricsLayerBuilder, REQUEST_BODY_BYTES,
        REQUEST_DURATION_SECONDS, REQUESTS_IN_FLIGHT, REQUESTS_TOTAL, RESPONSE_BODY_BYTES,
        RESPONSE_FIRST_BYTE_SECONDS, RESPONSE_HEAD_SECONDS, RESPONSES_ENDED_TOTAL,
    },
    observe::Outcome,
};

/// Each value by its series, the labels of a series in alphabetical order.
pub(crate) type Series = BTreeMap<String, u64>;

const SECONDS_BUCKET: &str = "3600";
const BYTES_BUCKETS: [u64; 2] = [16, 1024];

/// A layer's builder that records to an exporter of its own, from any thread.
pub(crate) fn books() -> (MetricsLayerBuilder, Exporter) {
    let buckets = BYTES_BUCKETS.map(|bytes| f64::from(u32::try_from(bytes).unwrap()));
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &[3600.0])
        .unwrap()
        .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &buckets)
        .unwrap()
        .build_recorder();
    let exporter = Exporter(recorder.handle());
    (
        MetricsLayer::builder().recorder(Arc::new(recorder)),
        exporter,
    )
}

pub(crate) struct Exporter(PrometheusHandle);

impl Exporter {
    /// All that is rendered but sums of seconds, on which no two runs agree.
    pub(crate) fn series(&self) -> Series {
        let mut all = Series::new();
        for (series, value) in self.rendered() {
            if !series.contains("_seconds_sum") {
                let value = value.parse().unwrap();
                assert_eq!(all.insert(series.clone(), value), None, "{series} twice");
            }
        }
        all
    }

    /// The seconds that all histograms of this name have summed up.
    pub(crate) fn seconds(&self, name: &str) -> f64 {
        let rendered = self.rendered().into_iter();
        let of_name = rendered.filter(|(series, _)| series.starts_with(&format!("{name}_sum")));
        of_name.map(|(_, sum)| sum.parse::<f64>().unwrap()).sum()
    }

    fn rendered(&self) -> Vec<(String, String)> {
        let parsed = |line: &str| {
            let (key, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = key.split_once('{').unwrap_or((key, "}"));
            let labels = labels.strip_suffix('}').unwrap().split(',');
            let labels = labels.filter(|label| !label.is_empty()).map(|label| {
                let (name, value) = label.split_once('=').unwrap();
                (name, value.trim_matches('"'))
            });
            (series(name, &labels.collect::<Vec<_>>()), value.to_owned())
        };
        let rendered = self.0.render();
        let lines = rendered.lines();
        lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(parsed)
            .collect()
    }
}

pub(crate) fn series(name: &str, labels: &[(&str, &str)]) -> String {
    let mut labels = labels.to_vec();
    labels.sort_unstable();
    let mut series = name.to_owned();
    for (index, (name, value)) in labels.iter().enumerate() {
        let comma = if index == 0 { '{' } else { ',' };
        write!(series, "{comma}{name}={value:?}").unwrap();
    }
    series + if labels.is_empty() { "" } else { "}" }
}

/// What is to be recorded of one exchange.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) base: Vec<(&'static str, &'static str)>,
    pub(crate) status: u16,
    pub(crate) has_head: bool,
    pub(crate) kind: &'static str,
    /// `None` if it is still under way.
    pub(crate) outcome: Option<Outcome>,
    pub(crate) request_bytes: Option<u64>,
    pub(crate) response_bytes: u64,
    pub(crate) has_first_byte: bool,
    pub(crate) call: Option<Call>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) service: &'static str,
    pub(crate) method: &'static str,
    pub(crate) code: &'static str,
}

/// What should be rendered after these exchanges.
#[derive(Debug, Default)]
pub(crate) struct Expected(Series);

impl Expected {
    pub(crate) fn of(entries: impl IntoIterator<Item = Entry>) -> Series {
        let mut expected = Self::default();
        for entry in entries {
            expected.add(&entry);
        }
        expected.0
    }

    pub(crate) fn series(&self) -> &Series {
        &self.0
    }

    pub(crate) fn add(&mut self, entry: &Entry) {
        let base = &entry.base[..];
        let status = entry.status.to_string();
        let of_status = [base, &[("status", &status)]].concat();
        let of_kind = [base, &[("kind", entry.kind)]].concat();
        let is_over = entry.outcome.is_some();

        self.count(REQUESTS_IN_FLIGHT, base, u64::from(!is_over));
        if let Some(bytes) = entry.request_bytes {
            self.bytes(REQUEST_BODY_BYTES, base, bytes);
        }
        if entry.has_head {
            self.seconds(RESPONSE_HEAD_SECONDS, &of_kind);
        }
        if entry.has_head || is_over {
            self.count(REQUESTS_TOTAL, &of_status, 1);
        }
        if entry.has_first_byte {
            self.seconds(RESPONSE_FIRST_BYTE_SECONDS, &of_kind);
        }
        if let Some(outcome) = entry.outcome {
            let ended = [&of_status[..], &[("outcome", outcome.as_str())]].concat();
            self.count(RESPONSES_ENDED_TOTAL, &ended, 1);
            self.seconds(REQUEST_DURATION_SECONDS, &of_kind);
            if entry.has_head {
                self.bytes(RESPONSE_BODY_BYTES, &of_kind, entry.response_bytes);
            }
        }
        if let (Some(call), true) = (entry.call, is_over) {
            let labels = [
                ("grpc_service", call.service),
                ("grpc_method", call.method),
                ("grpc_code", call.code),
            ];
            let labels = [base, &labels].concat();
            self.count(GRPC_SERVER_HANDLED_TOTAL, &labels, 1);
        }
    }

    fn count(&mut self, name: &str, labels: &[(&str, &str)], by: u64) {
        *self.0.entry(series(name, labels)).or_default() += by;
    }

    fn bucket(&mut self, name: &str, labels: &[(&str, &str)], le: &str, by: bool) {
        let labels = [labels, &[("le", le)]].concat();
        self.count(&format!("{name}_bucket"), &labels, u64::from(by));
    }

    fn seconds(&mut self, name: &str, labels: &[(&str, &str)]) {
        self.bucket(name, labels, SECONDS_BUCKET, true);
        self.bucket(name, labels, "+Inf", true);
        self.count(&format!("{name}_count"), labels, 1);
    }

    fn bytes(&mut self, name: &str, labels: &[(&str, &str)], bytes: u64) {
        for limit in BYTES_BUCKETS {
            self.bucket(name, labels, &limit.to_string(), bytes <= limit);
        }
        self.bucket(name, labels, "+Inf", true);
        self.count(&format!("{name}_count"), labels, 1);
        self.count(&format!("{name}_sum"), labels, bytes);
    }
}

/// What differs, one line each: whole books are too long to be read.
pub(crate) fn assert_agree(rendered: &Series, expected: &Series, context: &str) {
    let mut differences = String::new();
    for series in rendered.keys().chain(expected.keys()) {
        let (is, should) = (rendered.get(series), expected.get(series));
        if is != should && !differences.contains(&format!("{series}:")) {
            writeln!(differences, "{series}: {is:?} instead of {should:?}").unwrap();
        }
    }
    assert!(differences.is_empty(), "{context}:\n{differences}");
}
