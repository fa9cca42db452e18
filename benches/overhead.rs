//! What each layer costs over the bare service: `cargo bench --all-features --bench overhead`.
//!
//! Time is the least of many rounds, all in one run; instructions are counted under valgrind, if
//! it is there. Per request: one frame of 64 bytes, of known size. Per frame: the difference that
//! 10,000 more frames make.
#![allow(clippy::print_stdout, reason = "it is a report")]
#![allow(clippy::expect_used, reason = "it fails by a panic")]

use std::{
    convert::Infallible,
    env,
    future::{Future, Ready, ready},
    hint::black_box,
    pin::{Pin, pin},
    process::Command,
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::{Buf, Bytes};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Empty;
use metrics_exporter_prometheus::PrometheusBuilder;
use tower::{Layer, Service, layer::util::Identity, util::MapResponseLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_passthrough::{
    RequestHead,
    capture::{CaptureLayer, Summary},
    headers::{HeadersLayer, ResponseRule},
    metrics::MetricsLayer,
    observe::{MakeObserver, Moment, ObserveLayer, Observer, Outcome},
};

type Drive = fn(Load);

const LAYERS: [(&str, Drive); 12] = [
    ("bare", |load| load.drive(&Identity::new())),
    ("unwatched", |load| load.drive(&ObserveLayer::new(Nothing))),
    ("observer that counts", |load| {
        load.drive(&ObserveLayer::new(Count(0)));
    }),
    ("capture", |load| load.drive(&capture())),
    ("headers, three", |load| load.drive(&three_headers())),
    ("map_response, three headers", |load| {
        load.drive(&MapResponseLayer::new(|mut response: Response<Frames>| {
            for name in ["x-a", "x-b", "x-c"].map(HeaderName::from_static) {
                response
                    .headers_mut()
                    .insert(name, HeaderValue::from_static("1"));
            }
            response
        }));
    }),
    ("tower-http, one header", |load| {
        load.drive(&their_header("x-a"));
    }),
    ("tower-http, three headers", |load| {
        load.drive(&(
            their_header("x-a"),
            their_header("x-b"),
            their_header("x-c"),
        ));
    }),
    ("headers, sse, skipped", |load| {
        load.drive(&HeadersLayer::sse());
    }),
    ("metrics", |load| load.drive(&metrics())),
    ("metrics and capture", |load| {
        load.drive(&ObserveLayer::new((metrics(), capture())));
    }),
    ("all", |load| {
        load.drive(&(three_headers(), (metrics(), capture())));
    }),
];

fn capture() -> CaptureLayer<impl Fn(&Summary) + Copy + Send + 'static> {
    CaptureLayer::new(|summary: &Summary| {
        black_box(summary);
    })
}

fn metrics() -> MetricsLayer {
    MetricsLayer::builder()
        .service("bench")
        .hosts(["api.example"])
        .path(|_| "/".into())
        .build()
        .expect("valid settings")
}

fn three_headers() -> HeadersLayer {
    HeadersLayer::builder()
        .response(ResponseRule::insert("x-a", HeaderValue::from_static("1")))
        .response(ResponseRule::insert("x-b", "2"))
        .response(ResponseRule::insert("x-c", "3"))
        .build()
        .expect("valid rules")
}

fn their_header(name: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(HeaderName::from_static(name), HeaderValue::from_static("1"))
}

/// How much to do.
#[derive(Clone, Copy)]
struct Load {
    requests: usize,
    frames: usize,
}

impl Load {
    fn drive<L, B>(self, layer: &L)
    where
        L: Layer<Answer>,
        L::Service: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible>,
        B: Body<Error = Infallible>,
    {
        let mut service = layer.layer(Answer(self.frames));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..self.requests {
            let request = black_box(Request::new(Empty::new()));
            let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut cx) else {
                return;
            };
            let mut body = pin!(black_box(response).into_body());
            while !body.is_end_stream() {
                let _ = black_box(body.as_mut().poll_frame(&mut cx));
            }
        }
    }
}

#[derive(Clone)]
struct Answer(usize);

impl Service<Request<Empty<Bytes>>> for Answer {
    type Response = Response<Frames>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Frames>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        ready(Ok(Response::new(Frames(self.0))))
    }
}

struct Frames(usize);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.checked_sub(1).map(|left| {
            self.0 = left;
            Ok(Frame::data(Bytes::from_static(&[b'x'; 64])))
        }))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0 as u64 * 64)
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }
}

#[derive(Clone)]
struct Nothing;

impl MakeObserver for Nothing {
    type Observer = Count;

    fn observe(&self, _: &RequestHead<'_>, _: &Moment) -> Option<Count> {
        black_box(None)
    }
}

#[derive(Clone)]
struct Count(u64);

impl MakeObserver for Count {
    type Observer = Self;

    fn observe(&self, _: &RequestHead<'_>, _: &Moment) -> Option<Self> {
        Some(self.clone())
    }
}

impl Observer for Count {
    fn on_data<D: Buf>(&mut self, data: &D, _: &Moment) {
        self.0 += data.remaining() as u64;
    }

    fn on_end(self, _: Outcome, _: &Moment) {
        black_box(self.0);
    }
}

const REQUESTS: usize = 1_000;
const FRAMES: usize = 10_000;

/// Nanoseconds of this load: the least of many rounds.
fn nanos(drive: Drive, load: Load) -> f64 {
    let round = || {
        let start = Instant::now();
        drive(load);
        start.elapsed().as_secs_f64() * 1e9
    };
    (0..200).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// Instructions of this load, as valgrind counts them; `None` if it cannot be run.
fn instructions(name: &str, load: Load) -> Option<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        // Setting up is left out: the recorder's clock calibrates itself against real time.
        .args(["--collect-atstart=no", "--toggle-collect=*counted*"])
        .arg(env::current_exe().ok()?)
        .args([
            "--drive",
            name,
            &load.requests.to_string(),
            &load.frames.to_string(),
        ])
        .output()
        .ok()?;
    let report = String::from_utf8(output.stderr).ok()?;
    report
        .lines()
        .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

/// What valgrind looks at.
#[inline(never)]
fn counted(drive: Drive, load: Load) {
    drive(load);
}

/// What one request and one frame cost, given what a load costs.
#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn costs(mut of: impl FnMut(Load) -> Option<f64>) -> Option<(f64, f64)> {
    let one = of(Load {
        requests: REQUESTS,
        frames: 1,
    })?;
    let two = of(Load {
        requests: 2 * REQUESTS,
        frames: 1,
    })?;
    let long = of(Load {
        requests: 1,
        frames: FRAMES,
    })?;
    let longer = of(Load {
        requests: 1,
        frames: 2 * FRAMES,
    })?;
    Some((
        (two - one) / REQUESTS as f64,
        (longer - long) / FRAMES as f64,
    ))
}

fn main() {
    let recorder = PrometheusBuilder::new()
        .set_buckets(&[0.001, 0.01, 0.1, 1.0, 10.0])
        .expect("there are buckets")
        .install_recorder()
        .expect("the first recorder");
    let arguments: Vec<_> = env::args().collect();
    if let [_, flag, name, requests, frames] = &arguments[..] {
        if flag == "--drive" {
            let load = Load {
                requests: requests.parse().expect("a number of requests"),
                frames: frames.parse().expect("a number of frames"),
            };
            let (_, drive) = LAYERS.iter().find(|(it, _)| it == name).expect("a layer");
            return counted(*drive, load);
        }
    }

    println!("| over the bare service | ns/request | ns/frame | instr/request | instr/frame |");
    println!("|---|---|---|---|---|");
    let mut bare = None;
    for (name, drive) in LAYERS {
        let time = costs(|load| {
            recorder.run_upkeep();
            Some(nanos(drive, load))
        });
        let count = costs(|load| instructions(name, load));
        let (bare_time, bare_count) = *bare.get_or_insert((time, count));
        let over = |costs: Option<(f64, f64)>, bare: Option<(f64, f64)>| match (costs, bare) {
            (Some(costs), Some(bare)) => (
                format!("{:.1}", costs.0 - bare.0),
                format!("{:.2}", costs.1 - bare.1),
            ),
            _ => ("no valgrind".to_owned(), "no valgrind".to_owned()),
        };
        let (time, count) = (over(time, bare_time), over(count, bare_count));
        println!(
            "| {name} | {} | {} | {} | {} |",
            time.0, time.1, count.0, count.1
        );
    }
}
