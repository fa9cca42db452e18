//! A load of which all is known: what it asked for, how each exchange ended, and between which
//! times.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, future::join_all, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use crate::{
    process::{Process, url},
    soon, until,
    wire::{Body, Protocol, ask, get, read, text},
};

/// What is not known exactly, but is no less and no more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Within {
    pub(super) least: f64,
    pub(super) most: f64,
}

pub(super) const ONE: Within = Within::exactly(1.0);
pub(super) const ZERO: Within = Within::exactly(0.0);

impl Within {
    pub(super) const fn exactly(value: f64) -> Self {
        Self {
            least: value,
            most: value,
        }
    }

    const fn seconds(least: f64, most: Duration) -> Self {
        let most = most.as_secs_f64();
        Self { least, most }
    }
}

/// An exchange as a client knows it.
///
/// What the service measures is no less than what its handler slept, and no more than what the
/// client waited.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    pub(super) path: &'static str,
    pub(super) kind: &'static str,
    pub(super) status: u16,
    /// `None` as long as it is not over.
    pub(super) outcome: Option<&'static str>,
    pub(super) request_bytes: f64,
    pub(super) response_bytes: Within,
    pub(super) head: Option<Within>,
    pub(super) first_byte: Option<Within>,
    pub(super) duration: Option<Within>,
    /// The method and the code.
    pub(super) grpc: Option<(&'static str, &'static str)>,
}

/// A sort of exchange whose answer the client reads as far as it goes.
struct Sort {
    target: &'static str,
    path: &'static str,
    kind: &'static str,
    status: u16,
    outcome: &'static str,
    request: String,
    response_bytes: usize,
    /// What the handler sleeps before the head, the first byte and the end.
    sleeps: [f64; 3],
    grpc: Option<(&'static str, &'static str)>,
    /// How often it is in one portion of the load.
    times: usize,
}

const SLOW: &str = "/slow/{millis}";
const EVENTS: &str = "/events/{count}";
const BROKEN: &str = "/broken/{count}";
/// What the example sleeps before each event.
const EVENT_SECONDS: f64 = 0.06;

#[rustfmt::skip]
fn sorts() -> Vec<Sort> {
    // A string is as long in the answer as it was in the request.
    let json = format!("\"{}\"", "x".repeat(2000));
    let unary = |target, path, status, response_bytes, slept, times| Sort {
        target, path, kind: "unary", status, outcome: "complete", request: String::new(),
        response_bytes, sleeps: [slept; 3], grpc: None, times,
    };
    let grpc = |target, response_bytes, method, code, times| Sort {
        kind: "grpc", grpc: Some((method, code)), ..unary(target, target, 200, response_bytes, 0.0, times)
    };
    vec![
        Sort { request: json, ..unary("/echo", "/echo", 200, 2002, 0.0, 15) },
        unary("/status/404", "/status/{code}", 404, 0, 0.0, 6),
        unary("/status/503", "/status/{code}", 503, 0, 0.0, 4),
        // The median, p90 and p99 are one of each of these.
        unary("/slow/30", SLOW, 200, 8, 0.03, 24),
        unary("/slow/300", SLOW, 200, 8, 0.3, 9),
        unary("/slow/1200", SLOW, 200, 8, 1.2, 1),
        // So many that other quantiles come out where kinds are mixed.
        Sort {
            kind: "stream",
            sleeps: [0.0, EVENT_SECONDS, 3.0 * EVENT_SECONDS],
            ..unary("/events/3", EVENTS, 200, "data: 1\n\n".len() * 3, 0.0, 35)
        },
        Sort {
            kind: "stream",
            outcome: "body_error",
            sleeps: [0.0, EVENT_SECONDS, EVENT_SECONDS],
            ..unary("/broken/1", BROKEN, 200, "data: 1\n\n".len(), 0.0, 20)
        },
        Sort { sleeps: [0.6; 3], ..grpc("/demo.Clock/Tick", 5, "Tick", "OK", 20) },
        grpc("/demo.Clock/Set", 0, "Set", "PermissionDenied", 3),
        grpc("/demo.Clock/Sync", 0, "Sync", "Internal", 2),
    ]
}

const CANCELLED: usize = 2;
const HUNG_UP: [(&str, usize); 2] = [(EVENTS, 15), (BROKEN, 5)];

/// A process of the example.
pub(super) struct Replica {
    _process: Process,
    pub(super) url: String,
}

impl Replica {
    pub(super) async fn start(service: &str) -> Self {
        let options = ["--listen", "127.0.0.1:0", "--service", service];
        let mut process = Process::start("observability", &options);
        let url = url(&process.line(&["metrics", "/metrics"]).await);
        Self {
            _process: process,
            url,
        }
    }

    /// Exactly one exchange of each sort.
    pub(super) async fn one_of_each(&self) -> Vec<Exchange> {
        let whole = sorts().into_iter().map(|sort| Sort { times: 1, ..sort });
        let mut load = self.read_all(whole.collect()).await;
        load.extend(self.cancel(1).await);
        load.extend(self.hang_up(HUNG_UP.map(|(path, _)| (path, 1))).await);
        load
    }

    /// The load, this many times, and of either stream as many as stay open with what is
    /// returned.
    pub(super) async fn load(
        &self,
        portions: usize,
        open: usize,
    ) -> (Vec<Exchange>, Vec<Response<Incoming>>) {
        let whole = sorts().into_iter().map(|sort| Sort {
            times: sort.times * portions,
            ..sort
        });
        let mut load = self.read_all(whole.collect()).await;
        load.extend(self.cancel(CANCELLED * portions).await);
        let hung_up = HUNG_UP.map(|(path, times)| (path, times * portions));
        load.extend(self.hang_up(hung_up).await);
        // Some of those that will break: what is open has not failed.
        let paths = [EVENTS, BROKEN]
            .into_iter()
            .flat_map(|it| [it].repeat(open));
        let streams = join_all(paths.map(|path| self.stream(path, "data: 1\n\n"))).await;
        let (still_open, responses): (Vec<_>, _) = streams.into_iter().unzip();
        load.extend(still_open);
        (load, responses)
    }

    async fn read_all(&self, sorts: Vec<Sort>) -> Vec<Exchange> {
        let exchanges = sorts
            .iter()
            .flat_map(|sort| (0..sort.times).map(|_| self.read_whole(sort)));
        stream::iter(exchanges)
            .buffer_unordered(16)
            .collect::<Vec<_>>()
            .await
    }

    fn request(&self, sort: &Sort) -> Request<Body> {
        let uri = format!("{}{}", self.url, sort.target);
        let request = match (sort.grpc, sort.request.len()) {
            (Some(_), _) => Request::post(uri).header("content-type", "application/grpc"),
            (None, 0) => Request::get(uri),
            (None, _) => Request::post(uri).header("content-type", "application/json"),
        };
        let body = Full::from(sort.request.clone()).map_err(|never| match never {});
        request.body(body.boxed()).unwrap()
    }

    async fn read_whole(&self, sort: &Sort) -> Exchange {
        let client = match sort.grpc {
            Some(_) => Protocol::Http2.client(),
            None => Protocol::Http1.client(),
        };

        let start = Instant::now();
        let asked = client.request(self.request(sort));
        let response = soon(sort.target, asked).await;
        let head = start.elapsed();
        let mut first_byte = None;
        let mut bytes = 0;
        let mut is_whole = response.is_ok();
        if let Ok(mut response) = response {
            assert_eq!(response.status(), sort.status, "{}", sort.target);
            while let Some(frame) = soon(sort.target, response.body_mut().frame()).await {
                first_byte.get_or_insert_with(|| start.elapsed());
                is_whole &= frame.is_ok();
                let data = frame.ok().and_then(|frame| frame.into_data().ok());
                bytes += data.map_or(0, |data| data.len());
            }
        }
        let end = start.elapsed();
        assert_eq!(is_whole, sort.outcome == "complete", "{}", sort.target);
        assert!(!is_whole || bytes == sort.response_bytes, "{}", sort.target);

        let is_timed = sort.kind != "unary" && sort.response_bytes > 0;
        let [before_head, before_first, before_end] = sort.sleeps;
        Exchange {
            path: sort.path,
            kind: sort.kind,
            status: sort.status,
            outcome: Some(sort.outcome),
            request_bytes: amount(sort.request.len()),
            response_bytes: Within::exactly(amount(sort.response_bytes)),
            head: Some(Within::seconds(before_head, head)),
            first_byte: is_timed.then(|| Within::seconds(before_first, first_byte.unwrap_or(end))),
            duration: Some(Within::seconds(before_end, end)),
            grpc: sort.grpc,
        }
    }

    /// Exchanges that the client gives up before there is a head.
    async fn cancel(&self, times: usize) -> Vec<Exchange> {
        let start = Instant::now();
        let client = Protocol::Http1.client();
        let asked: Vec<_> = (0..times)
            .map(|_| {
                let uri = format!("{}/slow/600000", self.url);
                ask(
                    &client,
                    Request::get(uri).body(crate::wire::empty()).unwrap(),
                )
            })
            .collect();
        self.in_flight(SLOW, times).await;
        for asked in asked {
            asked.abort();
        }
        self.in_flight(SLOW, 0).await;
        let exchange = Exchange {
            path: SLOW,
            kind: "unary",
            status: 499,
            outcome: Some("cancelled"),
            request_bytes: 0.0,
            response_bytes: ZERO,
            head: None,
            first_byte: None,
            duration: Some(Within::seconds(0.0, start.elapsed())),
            grpc: None,
        };
        vec![exchange; times]
    }

    /// Streams that the client leaves after the second event.
    async fn hang_up(&self, times: [(&'static str, usize); 2]) -> Vec<Exchange> {
        let start = Instant::now();
        let read = "data: 1\n\ndata: 2\n\n";
        let paths = times
            .iter()
            .flat_map(|(path, times)| [*path].repeat(*times));
        let streams = join_all(paths.map(|path| self.stream(path, read))).await;
        let (mut exchanges, responses): (Vec<_>, Vec<_>) = streams.into_iter().unzip();
        drop(responses);
        for (path, _) in times {
            self.in_flight(path, 0).await;
        }
        let took = start.elapsed();
        for exchange in &mut exchanges {
            exchange.outcome = Some("disconnected");
            exchange.duration = Some(Within::seconds(2.0 * EVENT_SECONDS, took));
            // The service may have made more events before it noticed.
            let events = took.as_secs_f64() / EVENT_SECONDS;
            exchange.response_bytes = Within {
                least: amount(read.len()),
                most: events * amount("data: 10\n\n".len()),
            };
        }
        exchanges
    }

    /// An endless stream, of which this much is read.
    async fn stream(&self, path: &'static str, wanted: &str) -> (Exchange, Response<Incoming>) {
        let start = Instant::now();
        let target = path.replace("{count}", "1000000");
        let mut response = get(&format!("{}{target}", self.url)).await;
        let head = start.elapsed();
        read(response.body_mut(), wanted).await;
        let exchange = Exchange {
            path,
            kind: "stream",
            status: 200,
            outcome: None,
            request_bytes: 0.0,
            response_bytes: ZERO,
            head: Some(Within::seconds(0.0, head)),
            first_byte: Some(Within::seconds(EVENT_SECONDS, start.elapsed())),
            duration: None,
            grpc: None,
        };
        (exchange, response)
    }

    /// Waits until the service says that so many exchanges of this path are not over.
    async fn in_flight(&self, path: &str, wanted: usize) {
        let path = format!("path=\"{path}\"");
        let wanted = wanted.to_string();
        until("the exchanges in flight", async || {
            let metrics = text(get(&format!("{}/metrics", self.url)).await).await;
            let is_it =
                |line: &&str| line.starts_with("http_requests_in_flight{") && line.contains(&path);
            let line = metrics.lines().find(is_it).unwrap_or_default();
            match line.rsplit(' ').next() {
                Some(number) if number == wanted => Ok(()),
                _ => Err(format!("not {wanted}: {line}")),
            }
        })
        .await;
    }
}

/// A count as Prometheus has it.
pub(super) fn amount(count: usize) -> f64 {
    u32::try_from(count).unwrap().into()
}
