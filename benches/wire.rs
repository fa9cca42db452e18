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
    future::poll_fn,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::try_join_all;
use h2::client::SendRequest;
use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::layer::util::Identity;

use crate::common::{
    Outcome, exporters, ours,
    pairs::{self, Rate},
    server::{App, EVENT, Server, runtime},
    table::{publish, table},
};

const ROUNDS: usize = 41;
const CLIENTS: usize = 16;
/// Of each client, in each round.
const REQUESTS: usize = 250;
const EVENTS: usize = 10_000;

fn main() -> Outcome<()> {
    let exporter = exporters::prometheus();
    let app = App { events: EVENTS };
    let servers = [
        Server::start(Identity::new(), app.clone())?,
        Server::start(ours::all(ours::metrics()), app)?,
    ];
    let client = runtime()?;

    let compare = |what: &str, units: usize, load: &dyn Fn(SocketAddr) -> Outcome<Duration>| {
        let units = f64::from(u32::try_from(units)?);
        pairs::compare(what, ROUNDS, |turn| {
            exporter.run_upkeep();
            let server = &servers[turn];
            let before = server.cpu()?;
            let wall = load(server.address)?;
            let cpu = server.cpu()?.saturating_sub(before);
            Ok(Rate {
                per_second: units / wall.as_secs_f64(),
                per_second_of_cpu: units / cpu.as_secs_f64(),
            })
        })
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
