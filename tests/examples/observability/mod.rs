//! The example `observability`, and what Prometheus and Grafana are told to ask of it.

mod counts;
mod dashboard;
mod expected;
mod load;
mod prometheus;

use std::{fs, path::Path};

use serde_json::Value;

/// A file that lies beside the example.
fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/observability");
    fs::read_to_string(path.join(name)).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&file("dashboard.json")).unwrap()
}

fn items<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of[name].as_array().expect(name)
}

fn string<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().expect(name)
}

/// A query of the dashboard.
struct Query {
    /// The title of its panel, and its letter there.
    name: String,
    expression: String,
    legend: String,
}

fn queries(dashboard: &Value) -> Vec<Query> {
    let mut queries = Vec::new();
    for panel in items(dashboard, "panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push(Query {
                name: format!("{} {}", string(panel, "title"), string(target, "refId")),
                expression: string(target, "expr").to_owned(),
                legend: string(target, "legendFormat").to_owned(),
            });
        }
    }
    queries
}

/// The rules: the name under which each records, and its query.
fn rules() -> Vec<(String, String)> {
    let mut rules: Vec<(String, String)> = Vec::new();
    let mut is_query = false;
    for line in file("rules.yml").lines().map(str::trim) {
        let key = line.strip_prefix("- ").unwrap_or(line);
        if let Some(record) = key.strip_prefix("record: ") {
            rules.push((record.to_owned(), String::new()));
        }
        let query = key.strip_prefix("expr:");
        let is_other_key = line.ends_with(':') || line.starts_with("- ") || line.starts_with('#');
        is_query = query.is_some() || is_query && !is_other_key;
        if is_query {
            let (_, so_far) = rules.last_mut().expect("a record before its query");
            so_far.push_str(query.unwrap_or(line));
            so_far.push('\n');
        }
    }
    rules
}
