//! What the gateway does to heads, and what it answers itself.

use std::io;

use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, TRANSFER_ENCODING},
};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    Gateway, WAYS,
    raw::{read_answer, read_head, say},
    soon,
    upstream::{Upstream, full, gated, read_end, send},
    wire::{BOTH, Protocol, answer_of, ask, empty, get, read, request, text},
};

#[tokio::test]
async fn responses_without_content_keep_their_head_and_are_complete() {
    for (protocol, spoken) in WAYS {
        let mut upstream = Upstream::start().await;
        let mut gateway = Gateway::speaking(spoken, upstream.address).await;
        let client = protocol.client();
        for (method, status, length) in [
            (Method::HEAD, StatusCode::OK, Some("5")),
            (Method::HEAD, StatusCode::OK, None),
            (Method::GET, StatusCode::NO_CONTENT, None),
            (Method::GET, StatusCode::NOT_MODIFIED, None),
            (Method::GET, StatusCode::NOT_MODIFIED, Some("5")),
            (Method::HEAD, StatusCode::NOT_MODIFIED, Some("5")),
        ] {
            // hyper's server writes none for a 304 to a GET.
            let is_lost = protocol == Protocol::Http1
                && (&method, status) == (&Method::GET, StatusCode::NOT_MODIFIED);
            let asked = ask(&client, request(method, &gateway.chat(), empty()));
            // Over HTTP/1.1 it is clear from the head that there is no body.
            let (_gate, unknown) = gated();
            let is_http1 = spoken == Protocol::Http1;
            let mut response = Response::new(if is_http1 { unknown } else { empty() });
            *response.status_mut() = status;
            if let Some(length) = length {
                let length = HeaderValue::from_static(length);
                response.headers_mut().insert(CONTENT_LENGTH, length);
            }
            upstream.arrival().await.answer(response);
            let response = answer_of(asked).await;
            assert_eq!(response.status(), status);
            let got = response.headers().get(CONTENT_LENGTH);
            assert_eq!(
                got.map(|got| got.to_str().unwrap()),
                length.filter(|_| !is_lost),
                "{protocol:?} {spoken:?} {status}"
            );
            assert_eq!(text(response).await, "");
            let status = format!("status={}", status.as_u16());
            gateway
                .logs(&[&status, "outcome=complete", "bytes=0"])
                .await;
        }
    }
}

/// A `transfer-encoding` overrides a `content-length`, which then must not be passed on.
#[tokio::test]
async fn an_overridden_content_length_is_dropped() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::in_front_of(upstream.local_addr().unwrap()).await;
    let client = Protocol::Http1.client();
    let asked = ask(&client, request(Method::GET, &gateway.chat(), empty()));
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n\
        b\r\nhello world\r\n0\r\n\r\n";
    let _tcp = answer_with(&upstream, answer).await;
    let response = answer_of(asked).await;
    assert!(!response.headers().contains_key(CONTENT_LENGTH));
    assert_eq!(text(response).await, "hello world");
}

/// Takes a request, and answers what no server of good manners would.
async fn answer_with(upstream: &TcpListener, answer: &str) -> TcpStream {
    let answering = async {
        let (mut tcp, _) = upstream.accept().await?;
        tcp.read_exact(&mut [0; 16]).await?;
        tcp.write_all(answer.as_bytes()).await?;
        io::Result::Ok(tcp)
    };
    soon("the request", answering).await.unwrap()
}

/// Without the field that tells of it, what is coded would be taken for plain.
#[tokio::test]
async fn a_transfer_coding_besides_chunked_is_refused() {
    let body = "5\r\nhello\r\n0\r\n\r\n";
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut gateway = Gateway::in_front_of(upstream.local_addr().unwrap()).await;
    for codings in [
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
    ] {
        let mut tcp = gateway.tcp().await;
        let post = "POST / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n";
        let post = format!("{post}{codings}\r\n{body}");
        tcp.write_all(post.as_bytes()).await.unwrap();
        let answer = read_answer(&mut tcp).await;
        assert!(answer.starts_with("HTTP/1.1 501 "), "{codings}: {answer}");
        gateway.logs(&["status=501", "outcome=complete"]).await;

        let client = Protocol::Http1.client();
        let asked = ask(&client, request(Method::GET, &gateway.chat(), empty()));
        let answer = format!("HTTP/1.1 200 OK\r\n{codings}\r\n{body}");
        let _tcp = answer_with(&upstream, &answer).await;
        let response = answer_of(asked).await;
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY, "{codings}");
        gateway.logs(&["status=502", "outcome=complete"]).await;
    }
}

/// HTTP/2 may split them, HTTP/1.1 may not; what came over HTTP/1.1 is left as it is.
#[tokio::test]
async fn cookies_leave_http2_in_one_field() {
    for (protocol, wanted) in [
        (Protocol::Http1, &["a=1", "b=2; c=3", "d=\"\u{e9}\""][..]),
        (Protocol::Http2, &["a=1; b=2; c=3; d=\"\u{e9}\""]),
    ] {
        let mut upstream = Upstream::start().await;
        let gateway = Gateway::in_front_of(upstream.address).await;
        let mut get = request(Method::GET, &gateway.chat(), empty());
        for crumb in ["a=1", "b=2; c=3", "d=\"\u{e9}\""] {
            let crumb = HeaderValue::from_bytes(crumb.as_bytes()).unwrap();
            get.headers_mut().append(COOKIE, crumb);
        }
        let asked = ask(&protocol.client(), get);
        let arrival = upstream.arrival().await;
        let got: Vec<_> = arrival.request.headers().get_all(COOKIE).iter().collect();
        assert_eq!(got, wanted, "{protocol:?}");
        arrival.answer(Response::new(empty()));
        answer_of(asked).await;
    }
}

#[tokio::test]
async fn a_get_may_have_a_body_of_unknown_length() {
    for (protocol, spoken) in WAYS {
        let mut upstream = Upstream::start().await;
        let gateway = Gateway::speaking(spoken, upstream.address).await;
        let (upload, body) = gated();
        let mut get = request(Method::GET, &gateway.chat(), body);
        if protocol == Protocol::Http1 {
            let chunked = HeaderValue::from_static("chunked");
            get.headers_mut().insert(TRANSFER_ENCODING, chunked);
        }
        let asked = ask(&protocol.client(), get);
        send(&upload, "a query").await;
        let mut arrival = upstream.arrival().await;
        read(arrival.request.body_mut(), "a query").await;
        drop(upload);
        read_end(arrival.request.body_mut()).await;
        arrival.answer(Response::new(full("found")));
        assert_eq!(text(answer_of(asked).await).await, "found");
    }
}

#[tokio::test]
async fn an_upstream_that_is_down_or_answers_nothing_is_a_502() {
    let vacant = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let mut gateway = Gateway::in_front_of(vacant).await;
    let response = get(&gateway.chat()).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(
        response.headers()[CONTENT_TYPE],
        "text/plain; charset=utf-8"
    );
    assert_eq!(text(response).await, "the upstream cannot be reached\n");
    gateway.logs(&["status=502", "outcome=complete"]).await;

    let mut upstream = Upstream::start().await;
    let mut gateway = Gateway::in_front_of(upstream.address).await;
    let asked = ask(
        &Protocol::Http1.client(),
        request(Method::GET, &gateway.chat(), empty()),
    );
    drop(upstream.arrival().await);
    let response = answer_of(asked).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(text(response).await, "the upstream gave no valid answer\n");
    gateway.logs(&["status=502", "outcome=complete"]).await;
}

/// How often the upstream fails must not depend on the manners of clients.
#[tokio::test]
async fn an_upload_that_is_malformed_is_a_400() {
    for spoken in BOTH {
        let mut upstream = Upstream::start().await;
        let mut gateway = Gateway::speaking(spoken, upstream.address).await;
        let mut tcp = gateway.tcp().await;
        let start = "POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n\
            5\r\nhello\r\n";
        tcp.write_all(start.as_bytes()).await.unwrap();
        let mut arrival = upstream.arrival().await;
        read(arrival.request.body_mut(), "hello").await;
        tcp.write_all(b"no length\r\n").await.unwrap();
        let answer = read_answer(&mut tcp).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\nthe request body is broken\n"));
        let end = soon("the break", arrival.request.body_mut().frame()).await;
        assert!(matches!(end, Some(Err(_))), "{spoken:?}: {end:?}");
        gateway.logs(&["status=400", "outcome=complete"]).await;
        let counted: (&[&str], u64) = (&["status=\"400\"", "outcome=\"complete\""], 1);
        let metrics = gateway.metrics().await;
        metrics.assert("http_responses_ended_total", &[counted]);
    }
}

/// The client waits for leave to send its body, and gets it when somebody takes that.
#[tokio::test]
async fn an_upload_is_sent_when_the_upstream_is_there_to_take_it() {
    let post = "POST / HTTP/1.1\r\nhost: a.example\r\nexpect: 100-continue\r\n\
        connection: close\r\ncontent-length: 5\r\n\r\n";
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(upstream.address).await;
    let mut tcp = gateway.tcp().await;
    tcp.write_all(post.as_bytes()).await.unwrap();
    assert_eq!(read_head(&mut tcp).await, "HTTP/1.1 100 Continue\r\n\r\n");
    let mut arrival = upstream.arrival().await;
    assert_eq!(arrival.request.headers()["expect"], "100-continue");
    tcp.write_all(b"hello").await.unwrap();
    read(arrival.request.body_mut(), "hello").await;
    arrival.answer(Response::new(full("whole")));
    let answer = read_answer(&mut tcp).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nwhole"), "{answer}");

    // Where nobody takes it, there is only the answer.
    let nowhere = Gateway::start_with(&["--upstream", "http://255.255.255.255"]).await;
    let answer = say(&nowhere, post.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let bad = post.replace("a.example", "a b");
    let answer = say(&gateway, bad.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn a_hang_up_in_mid_upload_is_no_502() {
    let mut upstream = Upstream::start().await;
    let mut gateway = Gateway::in_front_of(upstream.address).await;
    let mut tcp = gateway.tcp().await;
    let start = "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 50\r\n\r\nhello";
    tcp.write_all(start.as_bytes()).await.unwrap();
    let _arrival = upstream.arrival().await;
    drop(tcp);
    gateway.logs(&["method=POST", "outcome=cancelled"]).await;
    let metrics = gateway.metrics().await;
    let counted: (&[&str], u64) = (&["method=\"POST\"", "outcome=\"cancelled\""], 1);
    metrics.assert("http_responses_ended_total", &[counted]);
}
