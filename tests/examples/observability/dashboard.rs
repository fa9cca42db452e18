//! The dashboard and the rules as they are written. What they answer is asked of a Prometheus.

use std::collections::BTreeSet;

use serde_json::Value;
use tower_passthrough::metrics::{
    GRPC_SERVER_HANDLED_TOTAL, OVERFLOW_TOTAL, REQUEST_BODY_BYTES, REQUEST_DURATION_SECONDS,
    REQUESTS_IN_FLIGHT, REQUESTS_TOTAL, RESPONSE_BODY_BYTES, RESPONSE_FIRST_BYTE_SECONDS,
    RESPONSE_HEAD_SECONDS, RESPONSES_ENDED_TOTAL,
};

use super::{dashboard, items, queries, rules, string};

const NUMBERS: [&str; 5] = [
    REQUESTS_TOTAL,
    REQUESTS_IN_FLIGHT,
    RESPONSES_ENDED_TOTAL,
    GRPC_SERVER_HANDLED_TOTAL,
    OVERFLOW_TOTAL,
];
const HISTOGRAMS: [&str; 5] = [
    RESPONSE_HEAD_SECONDS,
    RESPONSE_FIRST_BYTE_SECONDS,
    REQUEST_DURATION_SECONDS,
    REQUEST_BODY_BYTES,
    RESPONSE_BODY_BYTES,
];

/// The metric that a query means by this name, if it is one of ours.
fn metric(name: &str) -> Option<&'static str> {
    let suffixes = ["_bucket", "_sum", "_count"];
    let histogram = suffixes.iter().find_map(|it| name.strip_suffix(it));
    let number = NUMBERS.into_iter().find(|it| *it == name);
    number.or_else(|| HISTOGRAMS.into_iter().find(|it| Some(*it) == histogram))
}

#[test]
fn queries_name_metrics_and_rules_that_exist_and_all_of_them() {
    let rules = rules();
    let records: BTreeSet<_> = rules.iter().map(|(record, _)| record.as_str()).collect();
    let queries = queries(&dashboard());
    let of_panels = queries.iter().map(|query| (&query.name, &query.expression));
    let of_rules = rules.iter().map(|(record, query)| (record, query));
    let mut used = BTreeSet::new();
    for (whose, query) in of_panels.chain(of_rules) {
        let names = names(query);
        assert!(!names.is_empty(), "{whose}: {query}");
        for name in names {
            let known = metric(name).or_else(|| records.get(name).copied());
            used.insert(known.unwrap_or_else(|| panic!("{whose}: what is {name}?")));
        }
    }
    let there_are: BTreeSet<_> = [&NUMBERS[..], &HISTOGRAMS].concat().into_iter().collect();
    assert_eq!(used, &there_are | &records);
}

/// The names of series in a query: what is left of it without functions, selectors, windows and
/// labels.
fn names(query: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_alphanumeric() || "_:.".contains(c);
    let mut names = Vec::new();
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        let after = |close| rest.find(close).map_or("", |at| &rest[at + 1..]);
        if let Some(close) = [('{', '}'), ('[', ']')].iter().find(|it| it.0 == first) {
            rest = after(close.1);
        } else if is_word(first) {
            let (word, others) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
            let next = others.trim_start();
            let is_function = next.starts_with('(') || next.starts_with("by ");
            match word {
                "by" => rest = after(')'),
                _ => rest = others,
            }
            if !is_function && word != "or" && !first.is_ascii_digit() {
                names.push(word);
            }
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    names
}

#[test]
fn names_are_found_in_queries() {
    for (query, wanted) in [
        (
            "sum by (path) (rate(a_total{b=\"c d\"}[5m]))",
            &["a_total"][..],
        ),
        (
            "histogram_quantile(0.99, a:b_bucket:rate5m)",
            &["a:b_bucket:rate5m"],
        ),
        ("(a or 0 * b) / (c > 0) or vector(0)", &["a", "b", "c"]),
        ("1", &[]),
    ] {
        assert_eq!(names(query), wanted, "{query}");
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_imports() {
    let dashboard = dashboard();
    assert_eq!(string(&dashboard, "uid"), "tower-passthrough-http");
    assert!(!string(&dashboard, "title").is_empty());
    // That of Grafana 10.0.
    assert_eq!(dashboard["schemaVersion"], 38);
    assert!(dashboard["id"].is_null(), "Grafana gives it one");

    let variables = items(&dashboard["templating"], "list");
    let [datasource, service] = variables else {
        panic!("{variables:?}")
    };
    assert_eq!(string(datasource, "name"), "datasource");
    assert_eq!(string(datasource, "type"), "datasource");
    assert_eq!(string(datasource, "query"), "prometheus");
    assert_eq!(string(service, "name"), "service");
    assert_eq!(string(service, "type"), "query");
    assert_is_of_the_datasource(service);
    let values = "label_values(http_requests_total, service)";
    assert_eq!(string(&service["query"], "query"), values);
    assert_eq!(string(service, "definition"), values);

    let panels = items(&dashboard, "panels");
    let numbers: BTreeSet<_> = panels.iter().map(|it| it["id"].as_u64().unwrap()).collect();
    assert_eq!(numbers.len(), panels.len());
    let titles: BTreeSet<_> = panels.iter().map(|it| string(it, "title")).collect();
    assert_eq!(titles.len(), panels.len());
    for (at, panel) in panels.iter().enumerate() {
        assert!(place(panel)[0].end <= 24, "{panel}");
        for other in &panels[..at] {
            assert!(!overlap(panel, other), "{panel}\n{other}");
        }
        if string(panel, "type") != "row" {
            assert_is_complete(panel);
        }
    }
}

fn assert_is_of_the_datasource(it: &Value) {
    let datasource = serde_json::json!({"type": "prometheus", "uid": "${datasource}"});
    assert_eq!(it["datasource"], datasource, "{it}");
}

fn assert_is_complete(panel: &Value) {
    let kind = string(panel, "type");
    assert!(["heatmap", "stat", "timeseries"].contains(&kind), "{kind}");
    assert!(!string(panel, "description").is_empty());
    let unit = string(&panel["fieldConfig"]["defaults"], "unit");
    let units = ["reqps", "percentunit", "short", "s", "Bps", "bytes"];
    assert!(units.contains(&unit), "{unit}");
    assert_is_of_the_datasource(panel);
    let targets = items(panel, "targets");
    assert!(!targets.is_empty(), "{panel}");
    let letters: BTreeSet<_> = targets.iter().map(|it| string(it, "refId")).collect();
    assert_eq!(letters.len(), targets.len(), "{panel}");
    for target in targets {
        assert_is_of_the_datasource(target);
        assert!(!string(target, "legendFormat").is_empty(), "{target}");
        let is_heatmap = string(target, "format") == "heatmap";
        assert_eq!(is_heatmap, kind == "heatmap", "{target}");
        let query = string(target, "expr");
        let chosen = query.matches("{service=~\"$service\"").count();
        assert_eq!(chosen, names(query).len(), "{query}");
    }
}

/// The columns and rows that a panel covers.
fn place(panel: &Value) -> [std::ops::Range<u64>; 2] {
    let at = |name| panel["gridPos"][name].as_u64().unwrap();
    [at("x")..at("x") + at("w"), at("y")..at("y") + at("h")]
}

fn overlap(one: &Value, other: &Value) -> bool {
    let sides = place(one).into_iter().zip(place(other));
    sides
        .into_iter()
        .all(|(one, other)| one.start < other.end && other.start < one.end)
}
