//! The example `websocket`.

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::{
    patience::soon,
    process::{Process, url},
    wire::{get, text},
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(url: &str, path: &str) -> Socket {
    let url = url.replace("http://", "ws://") + path;
    let (socket, response) = soon("a socket", connect_async(url)).await.unwrap();
    assert_eq!(response.status(), 101);
    socket
}

async fn assert_echoes(socket: &mut Socket) {
    socket.send("hello".into()).await.unwrap();
    let echo = soon("the echo", socket.next()).await.unwrap();
    assert_eq!(echo.unwrap(), Message::text("hello"));
}

async fn close(mut socket: Socket) {
    socket.close(None).await.unwrap();
    while soon("the end", socket.next()).await.is_some() {}
}

/// The next exchange that ends is this one.
async fn assert_ended(example: &mut Process, path: &str) {
    let line = example.line(&[" after "]).await;
    assert!(
        line.starts_with(&format!("{path} upgraded after ")),
        "{line}"
    );
}

async fn assert_counted(url: &str, samples: &[&str]) {
    let metrics = text(get(&format!("{url}/metrics")).await).await;
    for sample in samples {
        assert!(
            metrics.lines().any(|it| it == *sample),
            "{sample}: {metrics}"
        );
    }
}

#[tokio::test]
async fn websocket_is_in_flight_until_it_closes_if_its_tunnel_is_held() {
    let mut example = Process::start("websocket", &["127.0.0.1:0"]);
    let url = url(&example.line(&["in a browser"]).await);

    let mut held = open(&url, "/held").await;
    assert_echoes(&mut held).await;
    let mut forgotten = open(&url, "/forgotten").await;
    assert_ended(&mut example, "/forgotten").await;
    assert_echoes(&mut forgotten).await;
    assert_counted(
        &url,
        &[
            "http_requests_in_flight{method=\"GET\",path=\"/forgotten\"} 0",
            "http_requests_in_flight{method=\"GET\",path=\"/held\"} 1",
        ],
    )
    .await;

    close(forgotten).await;
    close(held).await;
    assert_ended(&mut example, "/held").await;
    assert_counted(
        &url,
        &[
            "http_requests_in_flight{method=\"GET\",path=\"/held\"} 0",
            "http_responses_ended_total{method=\"GET\",path=\"/held\",status=\"101\",outcome=\"upgraded\"} 1",
        ],
    )
    .await;
}

#[tokio::test]
async fn websocket_serves_a_page_with_a_socket_to_each_handler() {
    let mut example = Process::start("websocket", &["127.0.0.1:0"]);
    let url = url(&example.line(&["in a browser"]).await);
    let page = get(&url).await;
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let page = text(page).await;
    for path in ["/held", "/forgotten"] {
        assert!(
            page.contains(&format!("<button name=\"{path}\">")),
            "{page}"
        );
        // To what is no WebSocket it does not speak.
        assert_eq!(get(&format!("{url}{path}")).await.status(), 400);
    }
}
