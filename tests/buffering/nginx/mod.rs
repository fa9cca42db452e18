//! A real nginx in front, which buffers (`proxy_buffering on`) unless a response says otherwise.
//!
//! `cargo test --test buffering -- --ignored nginx::`, with nginx in the PATH. It runs as whoever
//! runs the test, on a socket and with files of its own, and leaves nothing behind.
//!
//! That a client can read something is waited for, without a clock: it must come while the producer
//! is held. That it can *not* read something takes a wait. It is bounded, but long after nginx has had
//! the chance: other exchanges have passed through its only thread since the event was written to it.
//!
//! What `proxy_buffering on` does depends on how nginx talks to the server (1.22, `proxy_http_version`):
//! over HTTP/1.0, its default, it holds what does not fill a buffer. Over HTTP/1.1 it hands each chunk
//! on that it has whole, but not the head before the first of them; and either way it reads ahead of a
//! slow client. All of that is tested.

mod front;
#[path = "../../common/nginx.rs"]
mod server;

use tower_passthrough::buffering::Buffering::{Auto, Off, On};

use self::{
    front::{Front, event},
    server::SILENCE,
};
use crate::patience::PATIENCE;

#[tokio::test]
#[ignore = "needs nginx"]
async fn one_nginx_buffers_and_does_not_as_the_policy_is_switched() {
    let mut front = Front::start("switched").await;
    for buffering in [On, Off, Auto, On, Auto, Off, On] {
        front.control.set_default(buffering);
        match buffering {
            On => front.holds_until_the_end("/events").await,
            _ => front.passes_each_event_on("/events").await,
        }
    }
    // The same by route, the default being the other way each time.
    for (default, route, of_the_route) in [(On, "/events", Off), (Off, "/*", On), (On, "/*", Auto)]
    {
        front.control.set_default(default);
        front.control.set(route, of_the_route).unwrap();
        match of_the_route {
            On => front.holds_until_the_end("/events").await,
            _ => front.passes_each_event_on("/events").await,
        }
        front.control.remove(route).unwrap();
    }
    front.nginx.was_never_reloaded();
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn streams_that_are_open_go_on_as_they_began() {
    let mut front = Front::start("open").await;
    front.control.set_default(Off);
    let mut passed = front.open("/events").await;
    passed.event(1).await;
    passed.reads(1).await;
    front.control.set_default(On);
    let mut held = front.open("/events").await;
    held.event(1).await;
    front.control.set_default(Off);

    passed.event(2).await;
    passed.reads(2).await;
    held.event(2).await;
    held.reads_nothing(&front).await;
    held.end().await;
    passed.end().await;
    front.nginx.was_never_reloaded();
}

/// Not at its end only.
#[tokio::test]
#[ignore = "needs nginx"]
async fn what_is_held_comes_when_nginx_has_a_buffer_full() {
    let mut front = Front::start("full").await;
    front.control.set_default(On);
    let mut stream = front.open("/events").await;
    for number in 1..=9 {
        stream.event(number).await;
    }
    stream.reads_nothing(&front).await;
    let comment = format!(":{}\n\n", "x".repeat(32 * 1024));
    stream.produce(comment).await;
    for number in 1..=9 {
        stream.reads(number).await;
    }
    stream.end().await;
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn nginx_takes_the_field_off() {
    let mut front = Front::start("taken-off").await;
    for (buffering, value) in [(Off, "no"), (On, "yes"), (Auto, "no")] {
        front.control.set_default(buffering);
        for path in ["/events", "/ignored/events"] {
            let mut stream = front.open(path).await;
            stream.event(1).await;
            let through_nginx = stream.end().await;
            assert!(through_nginx.starts_with("HTTP/1.1 200 OK\r\n"));
            assert!(
                !through_nginx.to_lowercase().contains("x-accel"),
                "{through_nginx}"
            );
        }
        let direct = front.past_nginx("/events").await;
        let field = format!("\r\nx-accel-buffering: {value}\r\n");
        assert!(direct.contains(&field), "{direct}");
    }
}

/// What the documentation says it cannot do.
#[tokio::test]
#[ignore = "needs nginx"]
async fn an_nginx_that_ignores_the_field_buffers_whatever_the_policy() {
    let mut front = Front::start("ignored").await;
    for buffering in [Off, Auto] {
        front.control.set_default(buffering);
        front.holds_until_the_end("/ignored/events").await;
        front.passes_each_event_on("/events").await;
    }
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn over_http_1_1_the_head_is_held_and_chunks_are_not() {
    let mut front = Front::start("chunks").await;
    for buffering in [On, Off, On, Auto] {
        front.control.set_default(buffering);
        let mut stream = front.open("/http1.1/events").await;
        if buffering == On {
            stream.reads_nothing(&front).await;
        } else {
            stream.reads_text("\r\n\r\n").await;
        }
        for number in 1..=5 {
            stream.event(number).await;
            stream.reads(number).await;
        }
        stream.end().await;
    }
    front.nginx.was_never_reloaded();
}

/// So that `on` frees the server, and `off` lets it feel how fast the client reads.
#[tokio::test]
#[ignore = "needs nginx"]
async fn nginx_reads_ahead_of_a_slow_client_only_if_it_may_buffer() {
    // Far more than sockets hold.
    const PIECES: usize = 512;
    let piece = event(1).repeat(8 * 1024);

    let mut front = Front::start("ahead").await;
    for path in ["/events", "/http1.1/events"] {
        for buffering in [On, Off, On, Auto] {
            front.control.set_default(buffering);
            let mut stream = front.open(path).await;
            let limit = if buffering == On { PATIENCE } else { SILENCE };
            let taken = stream.takes(&piece, PIECES, limit).await;
            // The client has not read a byte by now.
            assert_eq!(
                taken == PIECES,
                buffering == On,
                "{path} {buffering}: {taken}"
            );
            let all = stream.end().await;
            assert!(all.len() >= usize::min(taken + 1, PIECES) * piece.len());
        }
    }
    front.nginx.was_never_reloaded();
}

/// What `KeepAliveLayer` is for: nginx cuts what is quiet for longer than `proxy_read_timeout`.
#[cfg(all(feature = "sse", feature = "tokio"))]
#[tokio::test]
#[ignore = "needs nginx"]
async fn a_quiet_stream_is_cut_and_one_with_keep_alives_is_not() {
    let mut front = Front::start("impatient").await;
    front.control.set_default(Off);
    let mut quiet = front.open("/impatient/events").await;
    quiet.event(1).await;
    quiet.reads(1).await;
    quiet.waits_for_the_cut().await;

    let mut kept = front.open("/impatient/kept").await;
    kept.event(1).await;
    // Longer than nginx has waited for the other.
    for _ in 0..10 {
        kept.reads_anew(": keep-alive\n").await;
    }
    kept.event(2).await;
    kept.reads(2).await;
    kept.end().await;
}
