//! What each query must answer, given the load. Worked out from the exchanges, by no query language.

use std::collections::{BTreeMap, BTreeSet};

use tower_passthrough::metrics::{
    BODY_BYTES_BUCKETS, DURATION_SECONDS_BUCKETS, HEAD_SECONDS_BUCKETS,
};

use super::load::{Exchange, ONE, Within, ZERO, amount};

pub(super) type Labels = BTreeMap<String, String>;
pub(super) type Series = BTreeMap<Labels, Within>;

pub(super) const SERVICE: &str = "demo";
/// The window of the rules, and what the test takes for Grafana's.
const WINDOW_SECONDS: f64 = 300.0;

/// A part of an exchange that is added up; `None` if it has none.
type Part = fn(&Exchange) -> Option<Within>;

const FAILURES: [&str; 3] = ["body_error", "service_error", "panicked"];
const ABORTS: [&str; 3] = ["disconnected", "cancelled", "body_error"];
const GRPC_FAILURES: [&str; 6] = [
    "Unknown",
    "DeadlineExceeded",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
];

const fn one_if(is: bool) -> Within {
    if is { ONE } else { ZERO }
}

const ALL: Part = |_| Some(ONE);
const ENDED: Part = |it| it.outcome.map(|_| ONE);
const FAILED: Part = |it| {
    let outcome = it.outcome?;
    Some(one_if(it.status >= 500 || FAILURES.contains(&outcome)))
};
const ABORTED: Part = |it| Some(one_if(ABORTS.contains(&it.outcome?)));
const ONLY_ABORTED: Part = |it| ABORTED(it).filter(|aborted| aborted.least > 0.0);
const OPEN: Part = |it| Some(one_if(it.outcome.is_none()));
const REQUEST_BYTES: Part = |it| Some(Within::exactly(it.request_bytes));
/// Recorded when an exchange is over, if it had a head.
const RESPONSE_BYTES: Part = |it| it.head.and(it.outcome).map(|_| it.response_bytes);
const HEAD: Part = |it| it.head;
const FIRST_BYTE: Part = |it| it.first_byte;
const DURATION: Part = |it| it.duration;
const HANDLED: Part = |it| it.grpc.map(|_| ONE);
const GRPC_FAILED: Part = |it| {
    let (_, code) = it.grpc?;
    Some(one_if(GRPC_FAILURES.contains(&code)))
};

fn label(exchange: &Exchange, name: &str) -> String {
    let (method, code) = exchange.grpc.unwrap_or_default();
    match name {
        "service" => SERVICE,
        "path" => exchange.path,
        "kind" => exchange.kind,
        "status" => return exchange.status.to_string(),
        "outcome" => exchange.outcome.unwrap_or_default(),
        "grpc_service" => "demo.Clock",
        "grpc_method" => method,
        "grpc_code" => code,
        other => panic!("no exchange has the label {other}"),
    }
    .to_owned()
}

fn labels(exchange: &Exchange, by: &[&str]) -> Labels {
    by.iter()
        .map(|name| ((*name).to_owned(), label(exchange, name)))
        .collect()
}

fn with(mut labels: Labels, name: &str, value: &str) -> Labels {
    labels.insert(name.to_owned(), value.to_owned());
    labels
}

/// Exactly the sums, as the raw series have them.
fn sums(load: &[Exchange], by: &[&str], part: Part) -> Series {
    let mut sums = Series::new();
    for exchange in load {
        if let Some(more) = part(exchange) {
            let sum = sums.entry(labels(exchange, by)).or_insert(ZERO);
            sum.least += more.least;
            sum.most += more.most;
        }
    }
    sums
}

/// What was added to the counters within a window.
pub(super) struct Increase<'a> {
    pub(super) load: &'a [Exchange],
    /// `rate` and `increase` extrapolate: what they say is up to this many times too much.
    pub(super) stretch: f64,
}

impl Increase<'_> {
    fn stretched(&self, count: Within, by: f64) -> Within {
        Within {
            least: count.least * by,
            most: count.most * by * self.stretch,
        }
    }

    fn rates(&self, by: &[&str], part: Part) -> Series {
        let sums = sums(self.load, by, part).into_iter();
        sums.map(|(labels, sum)| (labels, self.stretched(sum, 1.0 / WINDOW_SECONDS)))
            .collect()
    }

    /// The mean of a part: the share of exchanges in which it is one.
    fn ratios(&self, by: &[&str], part: Part) -> Series {
        let mut ratios = sums(self.load, by, part);
        for (labels, ratio) in &mut ratios {
            let of = self.parts(by, labels, part).len();
            // Either side of the division may be stretched.
            ratio.least /= amount(of) * self.stretch;
            ratio.most *= self.stretch / amount(of);
        }
        ratios
    }

    fn parts(&self, by: &[&str], of: &Labels, part: Part) -> Vec<Within> {
        let is_of = |exchange: &&Exchange| labels(exchange, by) == *of;
        self.load.iter().filter(is_of).filter_map(part).collect()
    }

    /// Counts of what is no more than each of the bounds.
    fn buckets(&self, by: &[&str], part: Part, bounds: &[f64], scale: f64) -> Series {
        let mut buckets = Series::new();
        for (labels, _) in sums(self.load, by, part) {
            let parts = self.parts(by, &labels, part);
            let count =
                |is: &dyn Fn(&Within) -> bool| amount(parts.iter().filter(|it| is(it)).count());
            for bound in bounds {
                let count = Within {
                    least: count(&|it| it.most <= *bound),
                    most: count(&|it| it.least <= *bound),
                };
                let labels = with(labels.clone(), "le", &bound.to_string());
                buckets.insert(labels, self.stretched(count, scale));
            }
            let all = self.stretched(Within::exactly(amount(parts.len())), scale);
            buckets.insert(with(labels, "le", "+Inf"), all);
        }
        buckets
    }

    /// The edges of the bucket in which the quantile lies: its lower edge by what an exchange
    /// took at least, its upper one by what it took at most.
    fn quantiles(&self, q: f64, by: &[&str], part: Part, bounds: &[f64]) -> Series {
        let mut quantiles = Series::new();
        for (labels, _) in sums(self.load, by, part) {
            let parts = self.parts(by, &labels, part);
            // Replicas are not stretched alike, which shifts the ranks of what they counted.
            let shift = (self.stretch - 1.0) * q * (1.0 - q);
            let rank = |q: f64| (q * amount(parts.len())).ceil().max(1.0);
            let edges = Within {
                least: edge_below(nth(&parts, rank(q - shift), |it| it.least), bounds),
                most: edge_above(nth(&parts, rank(q + shift), |it| it.most), bounds),
            };
            quantiles.insert(labels, edges);
        }
        quantiles
    }

    fn labelled_quantiles(
        &self,
        (q, label): (f64, &str),
        by: &[&str],
        part: Part,
        bounds: &[f64],
    ) -> Series {
        let quantiles = self.quantiles(q, by, part, bounds).into_iter();
        quantiles
            .map(|(labels, edges)| (with(labels, "quantile", label), edges))
            .collect()
    }
}

fn nth(parts: &[Within], rank: f64, value: fn(&Within) -> f64) -> f64 {
    let mut values: Vec<_> = parts.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    let at = (1..=values.len()).position(|it| amount(it) >= rank);
    values[at.unwrap_or(values.len() - 1)]
}

/// A value that is an edge itself belongs to the bucket below it.
fn edge_below(value: f64, bounds: &[f64]) -> f64 {
    let below = bounds.iter().rev().find(|bound| **bound < value);
    below.copied().unwrap_or(0.0)
}

fn edge_above(value: f64, bounds: &[f64]) -> f64 {
    let above = bounds.iter().find(|bound| **bound >= value);
    *above.expect("no time so long that it has no bucket")
}

const SERVICE_PATH: &[&str] = &["service", "path"];
const PATH_KIND: &[&str] = &["path", "kind"];
const SERVICE_PATH_KIND: &[&str] = &["service", "path", "kind"];
const PATH_OUTCOME: &[&str] = &["path", "outcome"];
const SERVICE_PATH_OUTCOME: &[&str] = &["service", "path", "outcome"];
const GRPC_METHOD: &[&str] = &["service", "grpc_service", "grpc_method"];
const GRPC_CODE: &[&str] = &["grpc_service", "grpc_method", "grpc_code"];
const SERVICE_GRPC_CODE: &[&str] = &["service", "grpc_service", "grpc_method", "grpc_code"];

const QUANTILES: [(f64, &str); 3] = [(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99")];

/// The raw series, by the query that adds them up over replicas and methods.
#[rustfmt::skip]
pub(super) fn raw(load: &[Exchange]) -> BTreeMap<String, Series> {
    let raw: [(&str, &[&str], Part); 11] = [
        ("http_requests_total", &["service", "path", "status"], ALL),
        ("http_requests_in_flight", SERVICE_PATH, OPEN),
        ("http_responses_ended_total", &["path", "status", "outcome"], ENDED),
        ("http_request_body_bytes_count", &["path"], ALL),
        ("http_request_body_bytes_sum", &["path"], REQUEST_BYTES),
        ("http_response_body_bytes_count", PATH_KIND, |it| RESPONSE_BYTES(it).map(|_| ONE)),
        ("http_response_body_bytes_sum", PATH_KIND, RESPONSE_BYTES),
        ("http_response_head_seconds_count", PATH_KIND, |it| it.head.map(|_| ONE)),
        ("http_response_first_byte_seconds_count", PATH_KIND, |it| it.first_byte.map(|_| ONE)),
        ("http_request_duration_seconds_count", PATH_KIND, |it| it.duration.map(|_| ONE)),
        ("grpc_server_handled_total", SERVICE_GRPC_CODE, HANDLED),
    ];
    let query = |metric, by: &[&str]| format!("sum by ({}) ({metric})", by.join(", "));
    raw.into_iter()
        .map(|(metric, by, part)| (query(metric, by), sums(load, by, part)))
        .collect()
}

/// By the name under which a rule records.
#[rustfmt::skip]
pub(super) fn rules(of: &Increase) -> BTreeMap<String, Series> {
    let (by, aborts) = (SERVICE_PATH, SERVICE_PATH_OUTCOME);
    let mut rules = named([
        ("service_path:http_requests:rate5m", of.rates(by, ALL)),
        ("service_path:http_responses_ended:rate5m", of.rates(by, ENDED)),
        ("service_path:http_responses_failed:rate5m", of.rates(by, FAILED)),
        ("service_path:http_responses_failed:ratio_rate5m", of.ratios(by, FAILED)),
        ("service_path_outcome:http_responses_aborted:rate5m", of.rates(aborts, ONLY_ABORTED)),
        ("service_path:http_responses_aborted:ratio_rate5m", of.ratios(by, ABORTED)),
        ("service_path:http_requests_in_flight:sum", sums(of.load, by, OPEN)),
        ("service_path:http_request_body_bytes:rate5m", of.rates(by, REQUEST_BYTES)),
        ("service_path:http_response_body_bytes:rate5m", of.rates(by, RESPONSE_BYTES)),
        ("service_grpc:grpc_server_handled:rate5m", of.rates(SERVICE_GRPC_CODE, HANDLED)),
        ("service_grpc_method:grpc_server_failed:ratio_rate5m", of.ratios(GRPC_METHOD, GRPC_FAILED)),
    ]);
    for (name, part, bounds) in [
        ("http_response_head_seconds", HEAD, HEAD_SECONDS_BUCKETS),
        ("http_response_first_byte_seconds", FIRST_BYTE, HEAD_SECONDS_BUCKETS),
        ("http_request_duration_seconds", DURATION, DURATION_SECONDS_BUCKETS),
    ] {
        let by = SERVICE_PATH_KIND;
        let buckets = of.buckets(by, part, bounds, 1.0 / WINDOW_SECONDS);
        let quantiles = QUANTILES.iter().flat_map(|q| of.labelled_quantiles(*q, by, part, bounds));
        rules.insert(format!("service_path_kind:{name}:quantile_rate5m"), quantiles.collect());
        rules.insert(format!("service_path_kind_le:{name}_bucket:rate5m"), buckets);
    }
    rules
}

/// By the title of a panel and the letter of its query.
#[rustfmt::skip]
pub(super) fn panels(of: &Increase) -> BTreeMap<String, Series> {
    let (head, ended) = (HEAD_SECONDS_BUCKETS, DURATION_SECONDS_BUCKETS);
    let p99 = |part, bounds| of.labelled_quantiles((0.99, "0.99"), SERVICE_PATH_KIND, part, bounds);
    let mut panels = named([
        ("Requests A", of.rates(&[], ALL)),
        ("Failed A", of.ratios(&[], FAILED)),
        ("Aborted A", of.ratios(&[], ABORTED)),
        ("In flight A", sums(of.load, &[], OPEN)),
        ("Requests by path A", of.rates(&["path"], ALL)),
        ("Requests by status A", of.rates(&["status"], ALL)),
        ("Failed by path A", of.ratios(SERVICE_PATH, FAILED)),
        ("How exchanges end A", of.rates(&["outcome"], ENDED)),
        ("Aborts by path A", of.rates(PATH_OUTCOME, ONLY_ABORTED)),
        ("Aborted by path A", of.ratios(SERVICE_PATH, ABORTED)),
        ("Head by path, p99 A", p99(HEAD, head)),
        ("First byte by path, p99 A", p99(FIRST_BYTE, head)),
        ("Duration by path, p99 A", p99(DURATION, ended)),
        ("In flight by path A", sums(of.load, &["path"], OPEN)),
        ("Bytes A", of.rates(&[], REQUEST_BYTES)),
        ("Bytes B", of.rates(&[], RESPONSE_BYTES)),
        ("Response sizes A", of.buckets(&[], RESPONSE_BYTES, BODY_BYTES_BUCKETS, 1.0)),
        ("Calls by method and code A", of.rates(GRPC_CODE, HANDLED)),
        ("Failed calls by method A", of.ratios(GRPC_METHOD, GRPC_FAILED)),
        ("Without room for their labels A", [(Labels::new(), ZERO)].into()),
    ]);
    for (title, kind, part, bounds) in [
        ("Plain answers: time to the head", "unary", HEAD, head),
        ("Plain answers: time to the end", "unary", DURATION, ended),
        ("Streams: time to the head", "stream", HEAD, head),
        ("Streams: time to the first byte", "stream", FIRST_BYTE, head),
        ("Streams: how long they last", "stream", DURATION, ended),
    ] {
        let load: Vec<_> = of.load.iter().filter(|it| it.kind == kind).cloned().collect();
        let of = Increase { load: &load, ..*of };
        for ((q, _), letter) in QUANTILES.into_iter().zip(["A", "B", "C"]) {
            panels.insert(format!("{title} {letter}"), of.quantiles(q, &[], part, bounds));
        }
    }
    panels
}

fn named<const N: usize>(series: [(&str, Series); N]) -> BTreeMap<String, Series> {
    series
        .map(|(name, series)| (name.to_owned(), series))
        .into()
}

/// Where what was answered is not what was wanted.
pub(super) fn disagreements(name: &str, wanted: &Series, got: &[(Labels, f64)]) -> Vec<String> {
    let mut missing: BTreeSet<_> = wanted.keys().collect();
    let mut found = Vec::new();
    for (labels, value) in got {
        match wanted.get(labels) {
            None => found.push(format!("{name}: {labels:?} is not wanted: {value}")),
            Some(within) => {
                missing.remove(labels);
                // Floating point: sums of shares of a second are not exact.
                let (least, most) = (within.least * (1.0 - 1e-9), within.most * (1.0 + 1e-9));
                if !(least..=most).contains(value) {
                    found.push(format!(
                        "{name}: {labels:?} is {value}, wanted is {within:?}"
                    ));
                }
            }
        }
    }
    found.extend(
        missing
            .iter()
            .map(|it| format!("{name}: {it:?} is missing")),
    );
    found
}
