//! The example `gateway`, run as a process, between a client and an upstream that the test drives.
//!
//! No clock decides what is right: whoever produces is gated by the test, so that what must have
//! arrived is read while nothing more can come. Timeouts only turn a hang into a failure.
//!
//! Some are about time or about memory, and leave ample room. In `timeouts`, and for the deadline of
//! gRPC, seconds must do for what comes before the time is over. `page` looks at a model that goes on by
//! itself, but slowly. `large` and `soak` measure.
//!
//! `cargo test --all-features` builds the example afresh. `--test gateway` alone does not: then
//! run `cargo build --example gateway --all-features` before it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]

mod admin;
mod clients;
mod connections;
mod failures;
mod fields;
mod forwarded;
#[path = "../common/gate.rs"]
mod gate;
mod heads;
mod http10;
mod large;
mod leaving;
mod options;
mod output;
mod page;
#[path = "../common/patience.rs"]
mod patience;
#[path = "../common/process.rs"]
mod process;
mod program;
#[path = "../common/random.rs"]
mod random;
mod raw;
mod shutdown;
mod smuggling;
mod smuggling_h2;
mod soak;
mod streams;
mod timeouts;
mod tls;
mod trailers;
mod tunnels;
mod upstream;
#[path = "../common/webdriver.rs"]
mod webdriver;
#[path = "../common/wire.rs"]
mod wire;

use std::{fmt, net::SocketAddr};

use http::{Method, Response, header::CONTENT_TYPE};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use tokio::net::TcpStream;

use crate::{
    patience::{PATIENCE, soon},
    process::{Process, url},
    upstream::{Gate, Upstream, full, gated},
    wire::{Body, Protocol, answer_of, ask, get, read, request, text},
};

struct Gateway {
    process: Process,
    url: String,
    admin: String,
}

const ANY_PORTS: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

/// What a test does not set does not decide it: neither ends a wait before [`PATIENCE`] does.
const PATIENT: [[&str; 2]; 2] = [["--connect-timeout", "3600"], ["--client-timeout", "3600"]];

impl Gateway {
    /// In front of the embedded demo.
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn in_front_of(upstream: SocketAddr) -> Self {
        Self::start_with(&["--upstream", &format!("http://{upstream}")]).await
    }

    /// What it speaks with the upstream is for it to say.
    async fn speaking(spoken: Protocol, upstream: SocketAddr) -> Self {
        let url = format!("http://{upstream}");
        match spoken {
            Protocol::Http1 => Self::start_with(&["--upstream", &url]).await,
            Protocol::Http2 => Self::start_with(&["--upstream", &url, "--upstream-h2"]).await,
        }
    }

    async fn start_with(arguments: &[&str]) -> Self {
        Self::start_in(&[], arguments).await
    }

    /// With variables of the environment.
    async fn start_in(environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let is_given = |option: &str| arguments.iter().any(|given| given.starts_with(option));
        let patient = PATIENT.iter().filter(|option| !is_given(option[0]));
        let patient: Vec<_> = patient.copied().flatten().collect();
        let arguments = [&ANY_PORTS, &patient[..], arguments].concat();
        let mut process = Process::start_with("gateway", &arguments, environment);
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

/// Asks for a chat that the test feeds. Its head has come.
async fn open_chat(
    client: &Client<HttpConnector, Body>,
    gateway: &Gateway,
    upstream: &mut Upstream,
) -> (Gate, Response<Incoming>) {
    let asked = ask(client, request(Method::POST, &gateway.chat(), full("{}")));
    let (gate, body) = gated();
    let mut at_upstream = upstream.arrival().await.answer(event_stream(body));
    // With a body that is not read, a server of hyper's may not notice that its client has gone.
    read(at_upstream.body_mut(), "{}").await;
    (gate, answer_of(asked).await)
}

fn event_stream(body: Body) -> Response<Body> {
    let response = Response::builder().header(CONTENT_TYPE, "text/event-stream; charset=utf-8");
    response.body(body).unwrap()
}

/// What a client speaks, and what is spoken with the upstream.
const WAYS: [(Protocol, Protocol); 4] = [
    (Protocol::Http1, Protocol::Http1),
    (Protocol::Http1, Protocol::Http2),
    (Protocol::Http2, Protocol::Http1),
    (Protocol::Http2, Protocol::Http2),
];

/// Labels of what is asked of [`Gateway::chat`].
const CHAT_LABELS: [&str; 2] = ["service=\"gateway\"", "path=\"/v1/chat/completions\""];
