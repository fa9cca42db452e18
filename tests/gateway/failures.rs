//! What the gateway answers when the upstream does not: each told apart, for people, for programs
//! and in the metrics.

use http::{HeaderValue, Method, Response, StatusCode, header::CONTENT_TYPE};
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

use crate::{
    Gateway,
    raw::{read_head, say},
    soon,
    tls::CA,
    upstream::{Upstream, full},
    wire::{BOTH, Protocol, answer_of, ask, empty, request, text},
};

pub(crate) const TOO_LATE: &str = "the upstream takes too long to answer";

pub(crate) fn asked(
    gateway: &Gateway,
    protocol: Protocol,
) -> JoinHandle<Result<Response<Incoming>, hyper_util::client::legacy::Error>> {
    let get = request(Method::GET, &gateway.chat(), empty());
    ask(&protocol.client(), get)
}

/// The whole of an answer, and how it is logged and counted.
pub(crate) async fn assert_told(
    gateway: &mut Gateway,
    response: Response<Incoming>,
    (status, error, reason): (u16, &str, &str),
) {
    assert_eq!(response.status().as_u16(), status, "{error}");
    let fields = response.headers();
    assert_eq!(fields[CONTENT_TYPE], "text/plain; charset=utf-8");
    let told = format!("gateway; error={error}");
    assert_eq!(fields["proxy-status"], told);
    assert!(!fields.contains_key("via"), "it did not come through here");
    assert_eq!(text(response).await, format!("{reason}\n"));
    let status = format!("status={status}");
    gateway.logs(&[&status, "outcome=complete"]).await;
    let counted = format!("error_type=\"{error}\"");
    let metrics = gateway.metrics().await;
    let samples = metrics.samples("http_responses_ended_total");
    assert!(
        samples.iter().any(|sample| sample.contains(&counted)),
        "{counted}: {metrics}"
    );
}

#[tokio::test]
async fn an_upstream_that_cannot_be_connected_to_is_told_by_the_reason() {
    let vacant = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = format!("http://{}", vacant.local_addr().unwrap());
    drop(vacant);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = (format!("https://{}", silent.local_addr().unwrap()), silent);
    let unreachable = "the upstream cannot be reached";
    // What connecting takes is not taken from the time for the answer.
    let short = ["--connect-timeout", "0.5", "--header-timeout", "0.4"];
    for (upstream, times, wanted) in [
        (
            &*refusing,
            &[][..],
            (502, "connection_refused", unreachable),
        ),
        (
            "http://255.255.255.255",
            &[],
            (502, "destination_unavailable", unreachable),
        ),
        // TCP is there at once, TLS never.
        (
            &silent.0,
            &short,
            (
                504,
                "connection_timeout",
                "connecting to the upstream takes too long",
            ),
        ),
    ] {
        let options = [&["--upstream", upstream], times].concat();
        let mut gateway = Gateway::start_in(&[("SSL_CERT_FILE", CA)], &options).await;
        for protocol in BOTH {
            let response = answer_of(asked(&gateway, protocol)).await;
            assert_told(&mut gateway, response, wanted).await;
        }
    }
}

const INVALID: &str = "the upstream gave no valid answer";
const CODING: &str = "the upstream's transfer coding is not spoken";

/// What an upstream says, and what is told of it.
const ANSWERS: &[(&str, (u16, &str, &str))] = &[
    ("", (502, "connection_terminated", INVALID)),
    (
        "HTTP/1.1 200 OK\r\nx:",
        (502, "connection_terminated", INVALID),
    ),
    (
        "SSH-2.0-OpenSSH\r\n\r\n",
        (502, "http_protocol_error", INVALID),
    ),
    ("HTTP/1.1 2\r\n\r\n", (502, "http_protocol_error", INVALID)),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        (502, "http_protocol_error", INVALID),
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        (502, "http_response_transfer_coding", CODING),
    ),
    (
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        (
            502,
            "http_upgrade_failed",
            "the upstream switched protocols, and nobody asked for it",
        ),
    ),
];

#[tokio::test]
async fn an_upstream_that_gives_no_valid_answer_is_told_by_the_reason() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut gateway = Gateway::in_front_of(upstream.local_addr().unwrap()).await;
    let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1_000_000));
    let answers = ANSWERS.iter().copied();
    for (answer, wanted) in answers.chain([(&*head, (502, "http_protocol_error", INVALID))]) {
        for protocol in BOTH {
            let asked = asked(&gateway, protocol);
            let (mut tcp, _) = soon("a connection", upstream.accept()).await.unwrap();
            read_head(&mut tcp).await;
            // The gateway may have had enough before the end.
            let _ = soon("the gateway", tcp.write_all(answer.as_bytes())).await;
            drop(tcp);
            assert_told(&mut gateway, answer_of(asked).await, wanted).await;
        }
    }
}

/// What a client says, and what it is told.
const BAD_REQUESTS: &[(&str, u16, &str, &str)] = &[
    (
        "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
        400,
        "http_request_error",
        "bad request head",
    ),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        501,
        "http_request_error",
        "no transfer coding but chunked is spoken",
    ),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
        400,
        "http_request_error",
        "the request body is broken",
    ),
    (
        "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\nconnection: close\r\n\r\n",
        403,
        "http_request_denied",
        "CONNECT may not go there",
    ),
    (
        "TRACE / HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\nconnection: close\r\n\r\n",
        501,
        "http_request_denied",
        "TRACE is not answered here",
    ),
];

#[tokio::test]
async fn a_request_that_is_the_clients_fault_is_not_the_upstreams() {
    let mut upstream = Upstream::start().await;
    let mut gateway = Gateway::in_front_of(upstream.address).await;
    for &(said, status, error, reason) in BAD_REQUESTS {
        let answer = say(&gateway, said.as_bytes()).await;
        let first = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&first), "{said:?}: {answer}");
        assert!(answer.contains(&format!("\r\nproxy-status: gateway; error={error}\r\n")));
        assert!(answer.ends_with(&format!("\r\n\r\n{reason}\n")), "{answer}");
        let status = format!("status={status}");
        gateway.logs(&[&status, "outcome=complete"]).await;
    }
    let metrics = gateway.metrics().await;
    let samples = metrics.samples("http_responses_ended_total");
    let count = |label: &str| samples.iter().filter(|it| it.contains(label)).count();
    assert_eq!(count("error_type=\"http_request_error\""), 3, "{metrics}");
    assert_eq!(count("error_type=\"http_request_denied\""), 2, "{metrics}");

    // An error of the upstream's own is none of the gateway's.
    let asked = asked(&gateway, Protocol::Http1);
    let mut response = Response::new(full("out of order"));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let other = HeaderValue::from_static("inner; error=connection_refused");
    response.headers_mut().insert("proxy-status", other.clone());
    upstream.arrival().await.answer(response);
    let response = answer_of(asked).await;
    assert_eq!(response.headers()["proxy-status"], other);
    assert_eq!(text(response).await, "out of order");
    gateway.logs(&["status=503"]).await;
    let told: (&[&str], u64) = (&["status=\"503\"", "error_type=\"\""], 1);
    let metrics = gateway.metrics().await;
    metrics.assert_has("http_responses_ended_total", told.0, told.1);
}

/// Its head cannot be had, so nobody knows whose it is: hyper refuses it before any layer.
#[tokio::test]
async fn a_head_of_a_megabyte_is_refused() {
    let mut gateway = Gateway::start().await;
    let mut tcp = gateway.tcp().await;
    let head = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "x".repeat(1_000_000)
    );
    let (mut read, mut write) = tcp.split();
    let mut answer = [0; 13];
    let (_, read) = soon("431", async {
        tokio::join!(
            write.write_all(head.as_bytes()),
            read.read_exact(&mut answer)
        )
    })
    .await;
    read.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 431 ");

    let mut get = request(Method::GET, &gateway.chat(), empty());
    let value = HeaderValue::from_str(&"x".repeat(1_000_000)).unwrap();
    get.headers_mut().insert("x", value);
    let refused = soon("the refusal", ask(&Protocol::Http2.client(), get)).await;
    // It may have closed the connection before all was sent.
    if let Ok(response) = refused.unwrap() {
        assert_eq!(response.status(), 431);
    }

    // It goes on, and nobody else has seen any of it.
    let small = request(Method::GET, &gateway.url, empty());
    let served = answer_of(ask(&Protocol::Http2.client(), small)).await;
    assert_eq!(served.status(), StatusCode::OK);
    gateway.logs(&["path=\"/\"", "outcome="]).await;
    let metrics = gateway.metrics().await;
    let alone: (&[&str], u64) = (&["path=\"_other\"", "status=\"200\""], 1);
    metrics.assert("http_requests_total", &[alone]);
}
