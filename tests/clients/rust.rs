//! An `EventSource` in Rust, over HTTP/2: what the standard says of a client, and no more (WHATWG
//! HTML §9.2).

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Request;
use http_body_util::BodyExt;
use tokio::{
    net::TcpStream,
    task::{JoinHandle, spawn},
    time::sleep,
};

use crate::{
    EventSource, Seen,
    net::{Client, Proto, no_body},
    reader::read_after,
    server::Server,
    stories,
};

struct Source {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    seen: Seen,
    last_event_id: String,
    retry: Duration,
}

impl Source {
    fn open(server: &Server, path: &str) -> Self {
        let state = Arc::<Mutex<State>>::default();
        let (address, path) = (server.address, format!("http://localhost{path}/events"));
        let task = spawn(Self::go_on(address, path, Arc::clone(&state)));
        Self { state, task }
    }

    async fn go_on(server: SocketAddr, url: String, state: Arc<Mutex<State>>) {
        loop {
            Self::read(server, &url, &state).await;
            let retry = {
                let mut state = state.lock().unwrap();
                state.seen.errors += 1;
                state.retry
            };
            sleep(retry).await;
        }
    }

    /// Reads one response to its end, or until it is broken.
    async fn read(server: SocketAddr, url: &str, state: &Mutex<State>) {
        let tcp = TcpStream::connect(server).await.unwrap();
        let mut client = Client::connect(Proto::H2, tcp).await;
        let mut request = Request::get(url);
        let id = state.lock().unwrap().last_event_id.clone();
        if !id.is_empty() {
            request = request.header("last-event-id", &id);
        }
        let response = client.send(request.body(no_body()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut body = response.into_body();
        let before = state.lock().unwrap().seen.events.clone();
        let mut bytes = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            bytes.extend(frame.into_data().unwrap());
            let reading = read_after(&id, &bytes);
            let mut state = state.lock().unwrap();
            state.seen.events = [&before[..], &reading.events].concat();
            state.last_event_id = reading.last_event_id;
            state.retry = reading.retry.unwrap_or(state.retry);
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl EventSource for Source {
    async fn seen(&self) -> Seen {
        assert!(!self.task.is_finished(), "the client has failed");
        self.state.lock().unwrap().seen.clone()
    }
}

#[tokio::test]
async fn events_arrive_in_order_and_keep_alives_are_not_seen() {
    stories::events(async |server, path| Source::open(server, path)).await;
}

#[tokio::test]
async fn lines_end_in_any_way_and_keep_alives_do_no_harm() {
    stories::line_ends(async |server, path| Source::open(server, path)).await;
}

#[tokio::test]
async fn a_drained_client_comes_back_with_its_last_event_id_when_it_was_told() {
    stories::drain(async |server, path| Source::open(server, path)).await;
}

#[tokio::test]
async fn a_client_of_an_idle_stream_finds_it_broken_and_comes_back() {
    stories::idle(async |server, path| Source::open(server, path)).await;
}
