//! What ten thousand quiet event streams take: `cargo bench --all-features --bench soak`.
//!
//! Each stream is a task that reads its body: one event, then nothing for several intervals, until
//! all end. tokio's clock is paused, and skips what nobody does anything in: what happens is the
//! same as in so many minutes, and the number of keep-alives is exact. CPU time is that of the one
//! thread that all run on, as Linux tells it, from the first quiet to the end of the last interval.
//!
//! Memory is all that is allocated while the streams are open, the task of each included, which
//! tokio rounds up to 128 bytes; nothing of it may be left in the end.
#![allow(clippy::print_stdout, reason = "it is a report")]
#![allow(clippy::expect_used, reason = "it fails by a panic")]
#![allow(clippy::cast_precision_loss, reason = "far fewer than 2^53")]

mod common;

use std::{
    convert::Infallible,
    fs,
    future::{Future, Ready, poll_fn, ready},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use allocation_counter::measure;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body::{Body, Frame};
use tokio::{
    runtime::{Builder, Runtime},
    task::yield_now,
    time::sleep,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::{Layer, Service, ServiceBuilder, layer::util::Identity};
use tower_passthrough::{
    sse::{DrainLayer, KeepAliveLayer},
    timeout::IdleTimeoutLayer,
};

use crate::common::table::{publish, table};

const STREAMS: usize = 10_000;
const INTERVAL: Duration = Duration::from_secs(15);
const INTERVALS: u32 = 20;
const ROUNDS: usize = 5;

fn main() {
    let keep_alive = KeepAliveLayer::new(INTERVAL).expect("an interval");
    let idle = IdleTimeoutLayer::new(Duration::from_secs(3_600)).expect("a limit");
    let signal = CancellationToken::new();
    let drain = DrainLayer::new(move || signal.clone().cancelled_owned(), INTERVAL);
    let drain = drain.expect("a grace period");
    let all = ServiceBuilder::new()
        .layer(drain.clone())
        .layer(keep_alive.clone())
        .layer(idle.clone());

    let bare = soak(&Identity::new(), 0);
    let layers = [
        ("keep-alive", soak(&keep_alive, INTERVALS)),
        ("idle timeout", soak(&idle, 0)),
        ("drain", soak(&drain, 0)),
        ("all three", soak(&all, INTERVALS)),
    ];
    let bytes = |it: &Figures| it.bytes as f64 / STREAMS as f64;
    let row = |name: &str, bytes: String, it: &Figures| {
        let cpu = it.cpu.as_nanos() as f64 / it.keep_alives as f64;
        vec![
            name.to_owned(),
            bytes,
            it.keep_alives.to_string(),
            Some(format!("{cpu:.0}"))
                .filter(|_| it.keep_alives > 0)
                .unwrap_or_default(),
            it.left.to_string(),
        ]
    };
    let mut rows = vec![row("bare", format!("{:.0}", bytes(&bare)), &bare)];
    for (name, it) in &layers {
        let more = bytes(it) - bytes(&bare);
        rows.push(row(name, format!("{more:+.0}"), it));
    }
    let header = [
        "layer",
        "bytes per stream",
        "keep-alives",
        "ns of CPU per keep-alive",
        "bytes left at the end",
    ];
    publish("soak", &table(&header, rows));
}

struct Figures {
    bytes: i64,
    keep_alives: usize,
    cpu: Duration,
    left: i64,
}

/// Of several rounds, the one that took the least time. In each of them, each stream must have so
/// many keep-alives, and nothing may be left.
fn soak<L, B>(layer: &L, keep_alives: u32) -> Figures
where
    L: Layer<Source>,
    L::Service: Service<Request<()>, Response = Response<B>, Future: Send>,
    B: Body<Data = Bytes> + Send + 'static,
{
    // What is allocated once per thread is no part of it.
    let _ = round(layer);
    let rounds = (0..ROUNDS).map(|_| round(layer)).inspect(|round| {
        assert_eq!(round.keep_alives, STREAMS * keep_alives as usize);
        assert_eq!(round.left, 0);
    });
    rounds.min_by_key(|round| round.cpu).expect("a round")
}

fn round<L, B>(layer: &L) -> Figures
where
    L: Layer<Source>,
    L::Service: Service<Request<()>, Response = Response<B>, Future: Send>,
    B: Body<Data = Bytes> + Send + 'static,
{
    let mut figures = Figures {
        bytes: 0,
        keep_alives: 0,
        cpu: Duration::ZERO,
        left: 0,
    };
    let whole = measure(|| {
        let end = CancellationToken::new();
        let counts = Arc::new(Counts::default());
        let runtime = runtime();
        let open = measure(|| {
            let mut service = layer.layer(Source(end.clone()));
            runtime.block_on(open(&mut service, &counts));
        });
        figures.bytes = open.bytes_current;
        let before = cpu();
        runtime.block_on(async { sleep(INTERVAL * INTERVALS + INTERVAL / 2).await });
        figures.cpu = cpu().saturating_sub(before);
        figures.keep_alives = counts.keep_alives.load(Relaxed);
        end.cancel();
        runtime.block_on(async {
            while counts.ended.load(Relaxed) < STREAMS {
                yield_now().await;
            }
        });
    });
    figures.left = whole.bytes_current;
    figures
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

/// For how long this thread has run.
fn cpu() -> Duration {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanos = schedstat.split(' ').next().and_then(|it| it.parse().ok());
    Duration::from_nanos(nanos.expect("nanoseconds"))
}

#[derive(Default)]
struct Counts {
    opened: AtomicUsize,
    keep_alives: AtomicUsize,
    ended: AtomicUsize,
}

/// Opens all streams, and waits until each has had its event and waits for more.
async fn open<S, B>(service: &mut S, counts: &Arc<Counts>)
where
    S: Service<Request<()>, Response = Response<B>, Future: Send>,
    B: Body<Data = Bytes> + Send + 'static,
{
    for _ in 0..STREAMS {
        let Ok(response) = service.call(Request::new(())).await else {
            panic!("no answer");
        };
        tokio::spawn(read(response.into_body(), Arc::clone(counts)));
    }
    while counts.opened.load(Relaxed) < STREAMS {
        yield_now().await;
    }
}

async fn read<B: Body<Data = Bytes>>(body: B, counts: Arc<Counts>) {
    let mut body = pin!(body);
    while let Some(Ok(frame)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let data = frame.into_data().unwrap_or_default();
        let count = if data.starts_with(b":") {
            &counts.keep_alives
        } else {
            &counts.opened
        };
        count.fetch_add(1, Relaxed);
    }
    counts.ended.fetch_add(1, Relaxed);
}

/// The service: event streams that end when they are told to.
#[derive(Clone)]
struct Source(CancellationToken);

impl Service<Request<()>> for Source {
    type Response = Response<Quiet>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Quiet>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let mut response = Response::new(Quiet {
            event: Some(Bytes::from_static(b"data: hello\n\n")),
            end: Box::pin(self.0.clone().cancelled_owned()),
        });
        let content_type = HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        ready(Ok(response))
    }
}

/// One event, and nothing more until the end.
struct Quiet {
    event: Option<Bytes>,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Body for Quiet {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.event.take() {
            Some(event) => Poll::Ready(Some(Ok(Frame::data(event)))),
            None => self.end.as_mut().poll(cx).map(|()| None),
        }
    }
}
