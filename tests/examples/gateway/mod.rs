//! The gateway example, between a client and an upstream that the test drives.

mod heads;
mod program;
mod streams;

use std::{fmt, net::SocketAddr};

use http::{Response, header::CONTENT_TYPE};
use tokio::net::TcpStream;

use crate::{
    process::{Process, url},
    soon,
    wire::{Body, get, text},
};

struct Gateway {
    process: Process,
    url: String,
    admin: String,
}

const ANY_PORTS: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

impl Gateway {
    /// In front of the embedded demo.
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn in_front_of(upstream: SocketAddr) -> Self {
        Self::start_with(&["--upstream", &format!("http://{upstream}")]).await
    }

    async fn start_with(arguments: &[&str]) -> Self {
        let mut process = Process::start("gateway", &[&ANY_PORTS, arguments].concat());
        let gateway = url(&process.line(&["gateway ", "http://"]).await);
        let admin = url(&process.line(&["metrics ", "/metrics"]).await);
        Self {
            process,
            url: gateway,
            admin,
        }
    }

    fn chat(&self) -> String {
        format!("{}/v1/chat/completions", self.url)
    }

    /// For what no client of good manners sends.
    async fn tcp(&self) -> TcpStream {
        let authority = self.url.strip_prefix("http://").unwrap();
        let connected = soon("a connection", TcpStream::connect(authority)).await;
        connected.unwrap()
    }

    /// Waits for the access log's line of an exchange that has ended; then it is counted, too.
    async fn logs(&mut self, parts: &[&str]) {
        self.process
            .line(&[parts, &["INFO", "duration="]].concat())
            .await;
    }

    async fn metrics(&self) -> Metrics {
        Metrics(text(get(&format!("{}/metrics", self.admin)).await).await)
    }
}

/// In the text format of Prometheus.
struct Metrics(String);

impl Metrics {
    fn samples(&self, name: &str) -> Vec<&str> {
        let is_of = |line: &&str| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('{'))
        };
        self.0.lines().filter(is_of).collect()
    }

    /// Asserts that this metric has these series and no others.
    fn assert(&self, name: &str, series: &[(&[&str], u64)]) {
        for (labels, value) in series {
            self.assert_has(name, labels, *value);
        }
        assert_eq!(
            self.samples(name).len(),
            series.len(),
            "more series of {name}: {self}"
        );
    }

    fn assert_has(&self, name: &str, labels: &[&str], value: u64) {
        let end = format!("}} {value}");
        let is_it =
            |line: &&str| line.ends_with(&end) && labels.iter().all(|label| line.contains(label));
        let found = self.samples(name).into_iter().filter(is_it).count();
        assert_eq!(found, 1, "{name} {labels:?} {value}: {self}");
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn event_stream(body: Body) -> Response<Body> {
    let response = Response::builder().header(CONTENT_TYPE, "text/event-stream; charset=utf-8");
    response.body(body).unwrap()
}

/// Labels of what is asked of [`Gateway::chat`].
const CHAT_LABELS: [&str; 2] = ["service=\"gateway\"", "path=\"/v1/chat/completions\""];
