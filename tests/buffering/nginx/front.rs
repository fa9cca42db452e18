//! The nginx, the server behind it, and streams that are seen from both ends.

use std::time::Duration;

use axum::{Router, routing::get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::yield_now,
    time::timeout,
};
use tower_passthrough::buffering::{Buffering::Auto, BufferingControl, BufferingLayer};

use super::server::{Answer, Nginx};
use crate::{
    gate::{Gate, event_stream, gated_body},
    patience::soon,
};

/// An nginx, and the server behind it.
pub(super) struct Front {
    pub(super) nginx: Nginx,
    pub(super) control: BufferingControl,
    upstream: u16,
    /// That of each stream that was asked for.
    gates: mpsc::UnboundedReceiver<Gate>,
}

impl Front {
    pub(super) async fn start(name: &str) -> Self {
        let control = BufferingControl::new(Auto);
        let (opened, gates) = mpsc::unbounded_channel();
        let events = async move || {
            let (gate, body) = gated_body();
            opened.send(gate).unwrap();
            event_stream(body)
        };
        let router = Router::new()
            .route("/events", get(events.clone()))
            .route("/{location}/events", get(events.clone()));
        #[cfg(all(feature = "sse", feature = "tokio"))]
        let router = {
            let layer =
                tower_passthrough::sse::KeepAliveLayer::new(super::server::SILENCE).unwrap();
            router.route("/impatient/kept", get(events).layer(layer))
        };
        let router = router.layer(BufferingLayer::new(control.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap().port();
        tokio::spawn(axum::serve(listener, router).into_future());
        Self {
            nginx: Nginx::start(name, &locations(upstream)).await,
            control,
            upstream,
            gates,
        }
    }

    pub(super) async fn open(&mut self, path: &str) -> Stream {
        let answer = self.nginx.ask(path).await;
        let gate = soon("the request to arrive", self.gates.recv()).await;
        Stream {
            answer,
            gate: gate.unwrap(),
        }
    }

    pub(super) async fn passes_each_event_on(&mut self, path: &str) {
        let mut stream = self.open(path).await;
        for number in 1..=5 {
            stream.event(number).await;
            // The next one is not made before this one was read.
            stream.reads(number).await;
        }
        stream.end().await;
    }

    pub(super) async fn holds_until_the_end(&mut self, path: &str) {
        let mut stream = self.open(path).await;
        for number in 1..=5 {
            stream.event(number).await;
        }
        stream.reads_nothing(self).await;
        let all = stream.end().await;
        for number in 1..=5 {
            assert!(all.contains(&event(number)), "{number} in {all}");
        }
    }

    /// The first event's response, as the server sends it.
    pub(super) async fn past_nginx(&mut self, path: &str) -> String {
        let mut client = TcpStream::connect(("127.0.0.1", self.upstream))
            .await
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        drop(soon("the request to arrive", self.gates.recv()).await);
        let mut all = String::new();
        soon("the end", client.read_to_string(&mut all))
            .await
            .unwrap();
        all
    }
}

/// A stream of events, seen from both ends.
pub(super) struct Stream {
    answer: Answer,
    gate: Gate,
}

impl Stream {
    pub(super) async fn event(&mut self, number: u32) {
        self.produce(event(number)).await;
    }

    pub(super) async fn produce(&mut self, text: String) {
        self.gate.send(text.into()).await.unwrap();
        // The task that takes it from the channel writes it to the socket before it yields: there is
        // only one thread.
        let taken = async {
            while self.gate.capacity() == 0 {
                yield_now().await;
            }
        };
        soon("the server to take it", taken).await;
    }

    /// How many of so many pieces are taken, if none may take longer than this.
    pub(super) async fn takes(&mut self, piece: &str, pieces: usize, limit: Duration) -> usize {
        for taken in 0..pieces {
            let produced = timeout(limit, self.produce(piece.to_owned())).await;
            if produced.is_err() {
                return taken;
            }
        }
        pieces
    }

    /// Waits for this event.
    pub(super) async fn reads(&mut self, number: u32) {
        self.reads_text(&event(number)).await;
    }

    pub(super) async fn reads_text(&mut self, wanted: &str) {
        self.answer.reads(wanted).await;
    }

    /// Not even the head, if nothing was read before.
    pub(super) async fn reads_nothing(&mut self, front: &Front) {
        self.answer.reads_nothing(&front.nginx).await;
    }

    /// Waits for this text, after all that was read by now.
    #[cfg(all(feature = "sse", feature = "tokio"))]
    pub(super) async fn reads_anew(&mut self, wanted: &str) {
        self.answer.reads_anew(wanted).await;
    }

    /// Nginx gives the stream up. Nothing comes before that, and no last chunk.
    #[cfg(all(feature = "sse", feature = "tokio"))]
    pub(super) async fn waits_for_the_cut(self) {
        let before = self.answer.read().to_owned();
        assert_eq!(self.answer.all().await, before);
    }

    /// Ends the stream. All that was read of it.
    pub(super) async fn end(self) -> String {
        drop(self.gate);
        let all = self.answer.all().await;
        assert!(all.ends_with("\r\n0\r\n\r\n"), "{all}");
        all
    }
}

pub(super) fn event(number: u32) -> String {
    format!("data: {number}\n\n")
}

/// nginx buffers in each of these, if it may: over HTTP/1.0, over HTTP/1.1, and whatever it is told.
fn locations(upstream: u16) -> String {
    format!(
        r#"
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
        }}
        location /http1.1/ {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
        location /impatient/ {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_read_timeout 2s;
        }}
        location /ignored/ {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_ignore_headers X-Accel-Buffering;
        }}
        "#
    )
}
