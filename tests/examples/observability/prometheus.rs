//! A real Prometheus that scrapes two real replicas.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command as Program,
};

use serde_json::Value;
use tokio::process::Command;

use super::{
    Query, dashboard,
    expected::{self, Increase, Labels, SERVICE, Series, disagreements},
    file, items,
    load::{Exchange, Replica},
    queries, string,
};
use crate::{
    process::Process,
    until,
    wire::{get, text},
};

/// How often each series must have been scraped before rates of it are judged. They extrapolate by
/// up to 1.1 intervals at either end of what was scraped, so by less the more there is of it.
const SCRAPES: u32 = 31;
const STRETCH: f64 = 1.0 + 2.0 * 1.1 / (SCRAPES as f64 - 1.0);

#[tokio::test]
#[ignore = "needs prometheus"]
async fn every_rule_and_every_query_of_the_dashboard_agrees_with_the_load() {
    let (a, b) = tokio::join!(Replica::start(SERVICE), Replica::start(SERVICE));
    // A rate does not see what a counter had when it was scraped first, so all series are there
    // before Prometheus is.
    let (first, second) = tokio::join!(a.one_of_each(), b.one_of_each());
    let before = [first, second].concat();
    let prometheus = Prometheus::start(&[&a.url, &b.url]).await;
    prometheus.has_scraped(&before).await;

    // The replicas have different loads, so that one cannot pass for the other, nor for half.
    let ((first, _open), (second, _open_too)) = tokio::join!(a.load(1, 8), b.load(2, 12));
    let load = [first, second].concat();
    prometheus
        .has_scraped(&[before, load.clone()].concat())
        .await;
    prometheus.has_scraped_often().await;
    let time = prometheus.has_evaluated_all_rules().await;

    let of = Increase {
        load: &load,
        stretch: STRETCH,
    };
    let (rules, panels) = (expected::rules(&of), expected::panels(&of));
    let mut wrong = prometheus.check_rules(&rules, &time).await;
    wrong.extend(prometheus.check_panels(&panels, &time).await);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let series: usize = rules.values().chain(panels.values()).map(Series::len).sum();
    println!(
        "{} exchanges; {} rules' names and {} queries agree, {series} series",
        load.len(),
        rules.len(),
        panels.len()
    );
    prometheus.end().await;
}

#[test]
#[ignore = "needs prometheus"]
fn promtool_has_nothing_to_say_against_the_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/observability");
    for (what, options, name) in [
        ("config", &[][..], "prometheus.yml"),
        ("rules", &["--lint=all", "--lint-fatal"], "rules.yml"),
    ] {
        let mut promtool = Program::new("promtool");
        promtool.args(["check", what]).args(options);
        let said = promtool.arg(folder.join(name)).output();
        let said = said.expect("promtool is in the PATH");
        assert!(said.status.success(), "{name}: {said:?}");
    }
}

struct Prometheus {
    process: Process,
    url: String,
    folder: PathBuf,
}

/// The committed one, but for the targets and for how often they are scraped.
fn config(replicas: &[&str]) -> String {
    let mut config = file("prometheus.yml");
    for (from, to) in [
        ("scrape_interval: 15s", "scrape_interval: 400ms"),
        ("evaluation_interval: 15s", "evaluation_interval: 400ms"),
        (
            "127.0.0.1:3001",
            replicas[0].strip_prefix("http://").unwrap(),
        ),
        (
            "127.0.0.1:3002",
            replicas[1].strip_prefix("http://").unwrap(),
        ),
    ] {
        assert_eq!(config.matches(from).count(), 1, "{from}");
        config = config.replace(from, to);
    }
    config
}

impl Prometheus {
    /// With the committed rules.
    async fn start(replicas: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("observability");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("prometheus.yml"), config(replicas)).unwrap();
        fs::write(folder.join("rules.yml"), file("rules.yml")).unwrap();

        let mut command = Command::new("prometheus");
        command
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg("--web.listen-address=127.0.0.1:0")
            .current_dir(&folder);
        let mut process = Process::spawn(command);
        let line = process.line(&["Listening on", "address=127.0.0.1:"]).await;
        let (_, address) = line.rsplit_once("address=").unwrap();
        let url = format!("http://{}", address.trim());
        // It prints that it is ready before or after that it listens, so it is asked.
        until("Prometheus to be ready", async || {
            let response = get(&format!("{url}/-/ready")).await;
            if response.status() == 200 {
                Ok(())
            } else {
                Err(text(response).await)
            }
        })
        .await;
        Self {
            process,
            url,
            folder,
        }
    }

    async fn end(mut self) {
        self.process.child.kill().await.unwrap();
        fs::remove_dir_all(self.folder).unwrap();
    }

    async fn api(&self, path: &str) -> Value {
        let answer = text(get(&format!("{}/api/v1/{path}", self.url)).await).await;
        let answer: Value = serde_json::from_str(&answer).expect(&answer);
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// The answer to a query as of this time, or as of now.
    async fn ask(&self, query: &str, time: Option<&str>) -> Vec<(Labels, f64)> {
        let time = time.map_or(String::new(), |time| format!("&time={time}"));
        let data = self
            .api(&format!("query?query={}{time}", encoded(query)))
            .await;
        match string(&data, "resultType") {
            "vector" => items(&data, "result")
                .iter()
                .map(|it| (labels(&it["metric"]), value(&it["value"])))
                .collect(),
            "scalar" => vec![(Labels::new(), value(&data["result"]))],
            other => panic!("{query}: {other}"),
        }
    }

    /// What is wrong with the answers to these queries.
    async fn check(&self, wanted: &BTreeMap<String, Series>, time: Option<&str>) -> Vec<String> {
        let mut wrong = Vec::new();
        for (query, wanted) in wanted {
            let got = self.ask(query, time).await;
            wrong.extend(disagreements(query, wanted, &got));
        }
        wrong
    }

    /// Waits until the raw series are exactly those of this load.
    async fn has_scraped(&self, load: &[Exchange]) {
        let wanted = expected::raw(load);
        until("the raw series", async || {
            let wrong = self.check(&wanted, None).await;
            if wrong.is_empty() {
                Ok(())
            } else {
                Err(wrong.join("\n"))
            }
        })
        .await;
    }

    async fn has_scraped_often(&self) {
        until("the scrapes", async || {
            let query = "min(count_over_time(http_requests_in_flight[5m]))";
            match self.ask(query, None).await[..] {
                [(_, scrapes)] if scrapes >= f64::from(SCRAPES) => Ok(()),
                ref other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// Waits until each rule has been evaluated on what there is now. Returns the time.
    async fn has_evaluated_all_rules(&self) -> String {
        let now = self.ask("time()", None).await[0].1;
        for (record, _) in super::rules() {
            until(&record, async || {
                let evaluated = format!("min(timestamp({record}))");
                match self.ask(&evaluated, None).await[..] {
                    [(_, time)] if time >= now => Ok(()),
                    ref other => Err(format!("{other:?} is not after {now}")),
                }
            })
            .await;
        }
        self.ask("time()", None).await[0].1.to_string()
    }

    async fn check_rules(&self, wanted: &BTreeMap<String, Series>, time: &str) -> Vec<String> {
        let groups = self.api("rules").await;
        let rules: Vec<_> = items(&groups, "groups")
            .iter()
            .flat_map(|group| items(group, "rules"))
            .collect();
        assert_eq!(rules.len(), super::rules().len());
        for rule in &rules {
            assert_eq!(rule["health"], "ok", "{rule}");
        }
        let names: BTreeSet<_> = rules.iter().map(|rule| string(rule, "name")).collect();
        assert_eq!(names, wanted.keys().map(String::as_str).collect());
        self.check(wanted, Some(time)).await
    }

    async fn check_panels(&self, wanted: &BTreeMap<String, Series>, time: &str) -> Vec<String> {
        let queries = queries(&dashboard());
        let names: BTreeSet<_> = queries.iter().map(|query| &query.name).collect();
        assert_eq!(names, wanted.keys().collect());
        let mut wrong = Vec::new();
        for Query {
            name,
            expression,
            legend,
        } in &queries
        {
            let expression = expression.replace("$__rate_interval", "5m");
            let query = expression.replace("$service", SERVICE);
            let series = self.ask(&query, Some(time)).await;
            wrong.extend(disagreements(name, &wanted[name], &series));
            let legends: BTreeSet<_> = series.iter().map(|it| filled(legend, &it.0)).collect();
            if legends.len() != series.len() || legends.iter().any(|it| it.contains("{{")) {
                wrong.push(format!("{name}: {legend} does not tell {legends:?} apart"));
            }
            // The variable selects: of a service that nobody has there is nothing.
            let query = expression.replace("$service", "nobody");
            let nobodys = self.ask(&query, Some(time)).await;
            if nobodys.iter().any(|(_, value)| *value != 0.0) {
                wrong.push(format!("{name} of nobody: {nobodys:?}"));
            }
        }
        let selector = encoded("http_requests_total");
        let services = self
            .api(&format!("label/service/values?match[]={selector}"))
            .await;
        assert_eq!(services, serde_json::json!([SERVICE]));
        wrong
    }
}

/// The legend of a series.
fn filled(legend: &str, labels: &Labels) -> String {
    labels
        .iter()
        .fold(legend.to_owned(), |legend, (name, value)| {
            legend.replace(&format!("{{{{{name}}}}}"), value)
        })
}

fn encoded(query: &str) -> String {
    query.bytes().fold(String::new(), |mut encoded, byte| {
        let _ = write!(encoded, "%{byte:02X}");
        encoded
    })
}

/// All but the name.
fn labels(metric: &Value) -> Labels {
    let labels = metric.as_object().unwrap().iter();
    labels
        .filter(|(name, _)| *name != "__name__")
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

/// Of `[time, "value"]`.
fn value(sample: &Value) -> f64 {
    sample[1].as_str().unwrap().parse().unwrap()
}
