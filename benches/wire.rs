//! What all layers together take from the throughput of a hyper server on loopback:
//! `cargo bench --all-features --bench wire`.
//!
//! The server has one thread, the client another. Each round asks the bare server and the layered
//! one, in changing order, so that noise hits both; what is told is the median of the rounds. The
//! client is cheap, so that the server is what limits: raw bytes for HTTP/1.1, the `h2` crate for
//! HTTP/2. Either may still have to wait for the other, or for a core: the last column compares how
//! long the server's thread itself ran, as Linux tells it, with nothing of the client in it.
#![allow(clippy::print_stdout, reason = "it is a report")]
#![allow(clippy::expect_used, reason = "it fails by a panic")]

mod common;

use std::{
    convert::Infallible,
    error::Error,
    fs,
    future::{Ready, poll_fn, ready},
    mem,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    pin::Pin,
    sync::mpsc,
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::try_join_all;
use h2::client::SendRequest;
use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};
use tower::{Layer, Service, layer::util::Identity};

use crate::common::{
    exporters, ours,
    table::{publish, table},
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ROUNDS: usize = 41;
const CLIENTS: usize = 16;
/// Of each client, in each round.
const REQUESTS: usize = 250;
const EVENTS: usize = 10_000;
const EVENT: &[u8; 64] = b"data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n\n";

fn main() -> Outcome<()> {
    let exporter = exporters::prometheus();
    let servers = [serve(Identity::new())?, serve(ours::all(ours::metrics()))?];
    let client = runtime()?;

    let compare = |what: &str, units: usize, load: &dyn Fn(SocketAddr) -> Outcome<Duration>| {
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            exporter.run_upkeep();
            let mut costs = [Cost::default(); 2];
            for turn in [round, round + 1].map(|it| it % 2) {
                costs[turn] = servers[turn].cost_of(load)?;
            }
            rounds.push(costs);
        }
        Outcome::Ok(line(what, units, &rounds))
    };
    let lines = [
        compare("small responses, HTTP/1.1", CLIENTS * REQUESTS, &|server| {
            client.block_on(small::<Http1>(server))
        })?,
        compare("small responses, HTTP/2", CLIENTS * REQUESTS, &|server| {
            client.block_on(small::<Http2>(server))
        })?,
        compare("events, HTTP/1.1", EVENTS, &|server| {
            client.block_on(events::<Http1>(server))
        })?,
        compare("events, HTTP/2", EVENTS, &|server| {
            client.block_on(events::<Http2>(server))
        })?,
    ];
    let header = [
        "per second",
        "bare",
        "layered",
        "ratio",
        "ratio, per CPU time of the server",
    ];
    publish("wire", &table(&header, lines));
    Ok(())
}

fn line(what: &str, units: usize, rounds: &[[Cost; 2]]) -> Vec<String> {
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
    let units = units as f64;
    let median = |of: &dyn Fn(&[Cost; 2]) -> f64| {
        let mut of: Vec<_> = rounds.iter().map(of).collect();
        of.sort_by(f64::total_cmp);
        of[of.len() / 2]
    };
    let rate = |it: &Cost| units / it.wall.as_secs_f64();
    vec![
        what.to_owned(),
        format!("{:.0}", median(&|[bare, _]| rate(bare))),
        format!("{:.0}", median(&|[_, layered]| rate(layered))),
        format!(
            "{:.3}",
            median(&|[bare, layered]| rate(layered) / rate(bare))
        ),
        format!(
            "{:.3}",
            median(&|[bare, layered]| bare.cpu.div_duration_f64(layered.cpu))
        ),
    ]
}

/// What a load took.
#[derive(Clone, Copy, Default)]
struct Cost {
    wall: Duration,
    /// Of the server alone.
    cpu: Duration,
}

struct Server {
    address: SocketAddr,
    /// Where Linux tells how long its thread has run.
    schedstat: PathBuf,
}

impl Server {
    fn cost_of(&self, load: &dyn Fn(SocketAddr) -> Outcome<Duration>) -> Outcome<Cost> {
        let before = self.cpu()?;
        let wall = load(self.address)?;
        Ok(Cost {
            wall,
            cpu: self.cpu()?.saturating_sub(before),
        })
    }

    fn cpu(&self) -> Outcome<Duration> {
        let schedstat = fs::read_to_string(&self.schedstat)?;
        let nanos = schedstat.split(' ').next().unwrap_or_default().parse()?;
        Ok(Duration::from_nanos(nanos))
    }
}

fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_current_thread().enable_io().build()?)
}

/// Serves on loopback, on a thread of its own, for as long as the process lives.
fn serve<L, B>(layer: L) -> Outcome<Server>
where
    L: Layer<App>,
    L::Service: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let runtime = runtime()?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    let service = TowerToHyperService::new(layer.layer(App));
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        tell.send(fs::read_link("/proc/thread-self"))
            .expect("someone listens");
        runtime.block_on(async {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("a TCP stream");
                let service = service.clone();
                tokio::spawn(async {
                    let server = auto::Builder::new(TokioExecutor::new());
                    // The client leaves when it has seen enough.
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
    });
    Ok(Server {
        address,
        schedstat: Path::new("/proc").join(told.recv()??).join("schedstat"),
    })
}

/// `/events`: all of them; else one, of known size.
#[derive(Clone)]
struct App;

impl<Q> Service<Request<Q>> for App {
    type Response = Response<Events>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Events>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let is_stream = request.uri().path() == "/events";
        let mut response = Response::new(Events {
            left: if is_stream { EVENTS } else { 1 },
            is_stream,
            is_due: true,
        });
        if is_stream {
            let event_stream = HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert(CONTENT_TYPE, event_stream);
        }
        ready(Ok(response))
    }
}

/// Pending once between two events, so that the server flushes each, as it does those that take
/// time to make.
struct Events {
    left: usize,
    is_stream: bool,
    is_due: bool,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !mem::replace(&mut self.is_due, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.left.checked_sub(1).map(|left| {
            self.left = left;
            self.is_due = left == 0;
            Ok(Frame::data(Bytes::from_static(EVENT)))
        }))
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_stream {
            SizeHint::new()
        } else {
            SizeHint::with_exact((self.left * EVENT.len()) as u64)
        }
    }
}

/// How long it takes all clients to get all their small responses, once connected.
async fn small<C: Client>(server: SocketAddr) -> Outcome<Duration> {
    let mut clients = C::connect(server, CLIENTS).await?;
    let start = Instant::now();
    try_join_all(clients.iter_mut().map(async |client| {
        for _ in 0..REQUESTS {
            client.get("/small", EVENT).await?;
        }
        Outcome::Ok(())
    }))
    .await?;
    Ok(start.elapsed())
}

/// How long it takes one client to get all events.
async fn events<C: Client>(server: SocketAddr) -> Outcome<Duration> {
    let mut clients = C::connect(server, 1).await?;
    let start = Instant::now();
    for client in &mut clients {
        client.get("/events", b"\r\n0\r\n\r\n").await?;
    }
    Ok(start.elapsed())
}

trait Client: Sized {
    async fn connect(server: SocketAddr, clients: usize) -> Outcome<Vec<Self>>;

    /// Asks, and reads the response to its end. Over HTTP/1.1 it ends with these bytes.
    async fn get(&mut self, path: &str, end: &[u8]) -> Outcome<()>;
}

async fn connect(server: SocketAddr) -> Outcome<TcpStream> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One connection each.
struct Http1 {
    stream: TcpStream,
    response: Vec<u8>,
}

impl Client for Http1 {
    async fn connect(server: SocketAddr, clients: usize) -> Outcome<Vec<Self>> {
        try_join_all((0..clients).map(async |_| {
            Ok(Self {
                stream: connect(server).await?,
                response: Vec::new(),
            })
        }))
        .await
    }

    async fn get(&mut self, path: &str, end: &[u8]) -> Outcome<()> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: api.example\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        self.response.clear();
        while !self.response.ends_with(end) {
            if self.stream.read_buf(&mut self.response).await? == 0 {
                return Err("the server closed the connection".into());
            }
        }
        Ok(())
    }
}

/// One connection for all.
struct Http2(SendRequest<Bytes>);

impl Client for Http2 {
    async fn connect(server: SocketAddr, clients: usize) -> Outcome<Vec<Self>> {
        let (client, connection) = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            // It also limits how many small frames may wait to be read.
            .initial_connection_window_size(1 << 26)
            .handshake(connect(server).await?)
            .await?;
        tokio::spawn(connection);
        Ok(vec![client; clients].into_iter().map(Self).collect())
    }

    async fn get(&mut self, path: &str, _: &[u8]) -> Outcome<()> {
        let request = Request::get(format!("http://api.example{path}")).body(())?;
        poll_fn(|cx| self.0.poll_ready(cx)).await?;
        let (response, _) = self.0.send_request(request, true)?;
        let mut body = response.await?.into_body();
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data?.len())?;
        }
        Ok(())
    }
}
