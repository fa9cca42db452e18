//! What is rendered, and what should be.

use std::collections::BTreeMap;

use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tower_passthrough::metrics::{REQUESTS_IN_FLIGHT, REQUESTS_TOTAL};

/// All that is rendered, each value by its series, the labels of a series in alphabetical order.
pub(crate) type Series = BTreeMap<String, String>;

pub(crate) type Labels<'a> = Vec<(&'a str, &'a str)>;

/// One bucket for all times, two for bytes.
pub(crate) fn exporter() -> PrometheusBuilder {
    let sort = [
        ("seconds", &[3600.0][..]),
        ("duration", &[3600.0]),
        ("bytes", &[4.0, 16.0]),
        ("size", &[4.0, 16.0]),
    ];
    sort.into_iter()
        .fold(PrometheusBuilder::new(), |builder, (suffix, buckets)| {
            let matcher = Matcher::Suffix(suffix.into());
            builder.set_buckets_for_metric(matcher, buckets).unwrap()
        })
}

pub(crate) fn recorder() -> PrometheusRecorder {
    exporter().build_recorder()
}

/// A series as it is rendered: without dots in its name.
pub(crate) fn series(name: &str, labels: &[(&str, &str)]) -> String {
    let mut labels: Vec<_> = labels
        .iter()
        .map(|(name, value)| format!("{}={value:?}", name.replace('.', "_")))
        .collect();
    labels.sort_unstable();
    format!("{}{{{}}}", name.replace('.', "_"), labels.join(","))
}

/// All that is rendered, with nothing left out. No label may have a comma in its value.
pub(crate) fn everything(handle: &PrometheusHandle) -> Series {
    let parsed = |line: &str| {
        let (key, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = key.split_once('{').unwrap_or((key, "}"));
        let labels = labels.strip_suffix('}').unwrap();
        let labels: Vec<_> = labels
            .split(',')
            .filter(|label| !label.is_empty())
            .map(|label| label.split_once('=').unwrap())
            .map(|(name, value)| (name, value.trim_matches('"')))
            .collect();
        (series(name, &labels), value.to_owned())
    };
    let rendered = handle.render();
    let lines = rendered
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut all = Series::new();
    for (series, value) in lines.map(parsed) {
        assert_eq!(all.insert(series.clone(), value), None, "{series} twice");
    }
    all
}

/// All but the sums of seconds: no two runs agree on them.
pub(crate) fn shown(handle: &PrometheusHandle) -> Series {
    let mut all = everything(handle);
    all.retain(|series, _| {
        !["seconds_sum{", "duration_sum{"]
            .iter()
            .any(|it| series.contains(it))
    });
    all
}

pub(crate) fn rendered(recorder: &PrometheusRecorder) -> Series {
    shown(&recorder.handle())
}

/// The seconds that this histogram has summed up.
pub(crate) fn seconds(recorder: &PrometheusRecorder, name: &str, labels: &[(&str, &str)]) -> f64 {
    let all = everything(&recorder.handle());
    all[&series(&format!("{name}_sum"), labels)]
        .parse()
        .unwrap()
}

pub(crate) fn in_flight(recorder: &PrometheusRecorder, base: &[(&str, &str)]) -> String {
    rendered(recorder)[&series(REQUESTS_IN_FLIGHT, base)].clone()
}

/// The values of this label in the series of a counter, and what was counted of each.
pub(crate) fn by_label(
    recorder: &PrometheusRecorder,
    name: &str,
    label: &str,
) -> Vec<(String, u64)> {
    let of = |series: &str| {
        let labels = series.strip_prefix(name)?.strip_prefix('{')?;
        let rest = labels.split_once(&format!("{label}=\""))?.1;
        Some(rest.split_once('"')?.0.to_owned())
    };
    rendered(recorder)
        .into_iter()
        .filter_map(|(series, count)| Some((of(&series)?, count.parse().unwrap())))
        .collect()
}

pub(crate) fn requests_by(recorder: &PrometheusRecorder, label: &str) -> Vec<(String, u64)> {
    by_label(recorder, REQUESTS_TOTAL, label)
}

pub(crate) fn counted(label: &str, count: u64) -> Vec<(String, u64)> {
    vec![(label.to_owned(), count)]
}

pub(crate) fn with<'a, const N: usize>(
    base: &[(&'a str, &'a str)],
    more: [(&'a str, &'a str); N],
) -> Labels<'a> {
    base.iter().copied().chain(more).collect()
}

/// What should be rendered.
#[derive(Default)]
pub(crate) struct Expected(pub(crate) Series);

impl Expected {
    pub(crate) fn value(mut self, name: &str, labels: &[(&str, &str)], value: usize) -> Self {
        let twice = self.0.insert(series(name, labels), value.to_string());
        assert_eq!(twice, None, "{name} {labels:?}");
        self
    }

    fn bucket(self, name: &str, labels: &[(&str, &str)], le: &str, value: usize) -> Self {
        let labels = with(labels, [("le", le)]);
        self.value(&format!("{name}_bucket"), &labels, value)
    }

    pub(crate) fn seconds(self, name: &str, labels: &[(&str, &str)], count: usize) -> Self {
        self.bucket(name, labels, "3600", count)
            .bucket(name, labels, "+Inf", count)
            .value(&format!("{name}_count"), labels, count)
    }

    /// The sizes of bodies.
    pub(crate) fn bytes(self, name: &str, labels: &[(&str, &str)], bodies: &[usize]) -> Self {
        let up_to = |limit| bodies.iter().filter(|bytes| **bytes <= limit).count();
        self.bucket(name, labels, "4", up_to(4))
            .bucket(name, labels, "16", up_to(16))
            .bucket(name, labels, "+Inf", bodies.len())
            .value(&format!("{name}_count"), labels, bodies.len())
            .value(&format!("{name}_sum"), labels, bodies.iter().sum())
    }
}
