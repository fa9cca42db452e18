//! What a client goes through.

use std::time::{Duration, Instant};

use axum::response::sse;
use bytes::Bytes;
use tower_passthrough::observe::Outcome;

use crate::{
    EventSource, Seen,
    reader::Message,
    server::{Arrival, IDLE, Server, Settings},
};

/// Nobody has to wait in these.
const PATIENT: Settings = Settings {
    retry: [Duration::from_millis(1), Duration::from_millis(10)],
};

pub(crate) async fn events<C: EventSource>(open: impl AsyncFnOnce(&Server, &str) -> C) {
    let mut server = Server::start(PATIENT);
    let client = open(&server, "/axum").await;
    let stream = server.axum.next().await;
    assert_eq!(stream.last_event_id, None);
    let sent = [
        sse::Event::default().data("first"),
        sse::Event::default()
            .id("1")
            .event("tick")
            .data("two\nlines"),
        sse::Event::default().comment("by hand"),
        sse::Event::default().id("x").data(": keep-alive"),
    ];
    for event in sent {
        server.witness.keep_alives(3).await;
        stream.send(event).await;
    }
    let seen = Seen {
        events: vec![
            Message::new("message", "", "first"),
            Message::new("tick", "1", "two\nlines"),
            Message::new("message", "x", ": keep-alive"),
        ],
        errors: 0,
    };
    assert_eq!(client.sees(3).await, seen);
}

pub(crate) async fn line_ends<C: EventSource>(open: impl AsyncFnOnce(&Server, &str) -> C) {
    let mut server = Server::start(PATIENT);
    let client = open(&server, "/raw").await;
    let stream = server.raw.next().await;
    // By now the mark is not the first thing any more. It still must not become a part of the line.
    server.witness.keep_alives(2).await;
    send(&stream, b"\xEF\xBB").await;
    send(&stream, b"\xBFdata: marked\n\n").await;
    client.sees(1).await;
    server.witness.keep_alives(2).await;
    send(&stream, b"data: CR\rid: 1\r\r").await;
    client.sees(2).await;
    // An LF may follow each of these.
    server.witness.no_keep_alive().await;
    send(&stream, b"event: tick\r\ndata: CRLF\r").await;
    server.witness.no_keep_alive().await;
    send(&stream, b"\ndata: too\r\n\r").await;
    client.sees(3).await;
    server.witness.no_keep_alive().await;
    send(&stream, b"\n").await;
    server.witness.keep_alives(2).await;
    send(&stream, b"data: LF\n\ndata: L").await;
    client.sees(4).await;
    server.witness.no_keep_alive().await;
    send(&stream, b"F\n").await;
    server.witness.no_keep_alive().await;
    send(&stream, b"data\n").await;
    server.witness.no_keep_alive().await;
    send(&stream, b"\n: the end\n").await;
    client.sees(5).await;
    server.witness.keep_alives(2).await;
    send(&stream, b"id: never\ndata: dispatched").await;
    drop(stream);
    // That was the end of the stream, and this is another.
    let stream = server.raw.next().await;
    assert_eq!(stream.last_event_id.as_deref(), Some("1"));
    // No mark, though it begins like one: this is no field that clients know.
    server.witness.keep_alives(2).await;
    send(&stream, b"\xEF\xBB").await;
    send(&stream, b"data: of an unknown field\n\n").await;
    send(&stream, b"id: 2\ndata\n\n").await;
    let seen = Seen {
        events: vec![
            Message::new("message", "", "marked"),
            Message::new("message", "1", "CR"),
            Message::new("tick", "1", "CRLF\ntoo"),
            Message::new("message", "1", "LF"),
            Message::new("message", "1", "LF\n"),
            Message::new("message", "2", ""),
        ],
        errors: 1,
    };
    assert_eq!(client.sees(6).await, seen);
}

pub(crate) async fn drain<C: EventSource>(open: impl AsyncFnOnce(&Server, &str) -> C) {
    // Longer than Chromium waits by itself, which is 3 s.
    let least = Duration::from_millis(3_500);
    let settings = Settings {
        retry: [least, Duration::from_millis(3_600)],
    };
    let mut first = Server::start(settings);
    let client = open(&first, "/raw").await;
    let stream = first.raw.next().await;
    send(&stream, b"id: 1\ndata: a\n\nid: 2\nda").await;
    client.sees(1).await;

    first.drain().await;
    let before = Instant::now();
    send(&stream, b"ta: b\n\nid: 3\ndata: c").await;
    let witness = first.witness.clone();
    let listener = first.shut_down().await;
    assert_eq!(witness.outcome().await, Outcome::Complete);

    let mut second = Server::on(listener, settings);
    let stream = second.raw.next().await;
    assert_eq!(stream.last_event_id.as_deref(), Some("2"));
    let waited = stream.at - before;
    assert!(waited >= least, "{waited:?}");
    send(&stream, b"id: 3\ndata: c\n\nid: 4\ndata: d\n\n").await;
    let seen = Seen {
        events: vec![
            Message::new("message", "1", "a"),
            Message::new("message", "2", "b"),
            Message::new("message", "3", "c"),
            Message::new("message", "4", "d"),
        ],
        errors: 1,
    };
    assert_eq!(client.sees(4).await, seen);
}

pub(crate) async fn idle<C: EventSource>(open: impl AsyncFnOnce(&Server, &str) -> C) {
    let mut server = Server::start(PATIENT);
    let client = open(&server, "/axum").await;
    let stream = server.axum.next().await;
    stream.send(sse::Event::default().id("1").data("a")).await;
    client.sees(1).await;
    // It stays open, with nothing to say: the keep-alives do not count.
    server.clock.advance(IDLE / 2);
    server.witness.keep_alives(3).await;
    server.clock.advance(IDLE / 2);
    let next = server.axum.next().await;
    assert_eq!(next.last_event_id.as_deref(), Some("1"));
    assert_eq!(server.witness.outcome().await, Outcome::BodyError);
    next.send(sse::Event::default().id("2").data("b")).await;
    let seen = Seen {
        events: vec![
            Message::new("message", "1", "a"),
            Message::new("message", "2", "b"),
        ],
        errors: 1,
    };
    assert_eq!(client.sees(2).await, seen);
    drop(stream);
}

async fn send(stream: &Arrival<Bytes>, bytes: &'static [u8]) {
    stream.send(Bytes::from_static(bytes)).await;
}
