//! What HTTP/1.0 makes of an answer without a length, which is over when its connection is.

use std::io::ErrorKind;

use http::{Method, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    Gateway, event_stream,
    raw::read_head,
    soon,
    upstream::{Gate, Upstream, fail, full, gated, send},
    wire::{Body, Protocol, answer_of, ask, empty, request, text},
};

const OVER_HTTP10: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
const OVER_HTTP11: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

type Answer = fn(Body) -> Response<Body>;

/// A client that has read the head and the first of the body, and what is behind it.
struct Streaming {
    upstream: Upstream,
    gateway: Gateway,
    client: TcpStream,
    head: String,
    gate: Gate,
}

async fn streaming(options: &[&str], said: &[u8], response: Answer) -> Streaming {
    let mut upstream = Upstream::start().await;
    let url = format!("http://{}", upstream.address);
    let gateway = Gateway::start_with(&[&["--upstream", &url], options].concat()).await;
    let mut client = gateway.tcp().await;
    client.write_all(said).await.unwrap();
    let (gate, body) = gated();
    upstream.arrival().await.answer(response(body));
    let head = read_head(&mut client).await;
    send(&gate, "data: one\n\n").await;
    let mut read = String::new();
    while !read.contains("data: one\n\n") {
        read.push(soon("the first", client.read_u8()).await.unwrap().into());
    }
    Streaming {
        upstream,
        gateway,
        client,
        head,
        gate,
    }
}

/// How it ends, with nothing before that but the end of a chunk.
async fn end(client: &mut TcpStream) -> Result<(), ErrorKind> {
    let mut rest = String::new();
    let end = soon("the end", client.read_to_string(&mut rest)).await;
    assert_eq!(rest.trim_end(), "");
    end.map(drop).map_err(|error| error.kind())
}

fn sized(body: Body) -> Response<Body> {
    let response = Response::builder().header("content-length", 99);
    response.body(body).unwrap()
}

#[tokio::test]
async fn an_upstream_that_breaks_in_mid_stream_resets_the_connection() {
    for options in [&[][..], &["--bare"]] {
        for response in [Response::new, event_stream] {
            let mut it = streaming(options, OVER_HTTP10, response).await;
            fail(&it.gate).await;
            let end = end(&mut it.client).await;
            assert_eq!(end, Err(ErrorKind::ConnectionReset), "{options:?}");
        }
    }
}

/// A reset may take with it what the client has not read yet.
#[tokio::test]
async fn a_client_that_can_tell_a_break_without_a_reset_sees_none() {
    let ways: [(&[u8], Answer, _); 3] = [
        (OVER_HTTP10, sized, "\r\ncontent-length: 99\r\n"),
        (OVER_HTTP11, sized, "\r\ncontent-length: 99\r\n"),
        (
            OVER_HTTP11,
            Response::new,
            "\r\ntransfer-encoding: chunked\r\n",
        ),
    ];
    for (said, response, framing) in ways {
        let mut it = streaming(&[], said, response).await;
        assert!(it.head.contains(framing), "{}", it.head);
        fail(&it.gate).await;
        assert_eq!(end(&mut it.client).await, Ok(()), "{framing}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_cut_off_at_the_end_of_the_gateway_resets_the_connection() {
    let mut it = streaming(&["--drain", "0.3"], OVER_HTTP10, Response::new).await;
    crate::shutdown::send_signal(&it.gateway.process.child, "-TERM");
    let end = end(&mut it.client).await;
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
}

/// Although most of it is still to be sent when the gateway closes the connection.
#[tokio::test]
async fn an_answer_that_is_whole_ends_well_and_loses_nothing() {
    const LENGTH: usize = 200_000;
    let options = ["--max-connections", "1"];
    let mut it = streaming(&options, OVER_HTTP10, Response::new).await;
    send(&it.gate, vec![b'x'; LENGTH]).await;
    drop(it.gate);
    // The one place is free when the connection is closed.
    let get = request(Method::GET, &it.gateway.url, empty());
    let next = ask(&Protocol::Http1.client(), get);
    it.upstream
        .arrival()
        .await
        .answer(Response::new(full("next")));
    assert_eq!(text(answer_of(next).await).await, "next");

    let mut rest = Vec::new();
    let end = soon("the end", it.client.read_to_end(&mut rest)).await;
    assert_eq!(end.unwrap(), LENGTH);
    assert!(rest.iter().all(|byte| *byte == b'x'));
}
