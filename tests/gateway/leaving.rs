//! A side that leaves: what becomes of the other one.

use http::{Method, Response, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

use crate::{
    Gateway, WAYS, event_stream, open_chat,
    raw::{gone, read_head},
    soon,
    tls::CA,
    upstream::{Upstream, fail, full, gated, read_end, send},
    wire::{BOTH, Body, Protocol, answer_of, ask, empty, read, request, text},
};

const GET: [&str; 1] = ["method=\"GET\""];
const POST: [&str; 1] = ["method=\"POST\""];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Upload {
    None,
    Whole,
    UnderWay,
}

impl Upload {
    const ALL: [Self; 3] = [Self::None, Self::Whole, Self::UnderWay];

    /// The method, the body, and what keeps that open.
    fn begin(self) -> (Method, Body, Option<crate::upstream::Gate>) {
        match self {
            Self::None => (Method::GET, empty(), None),
            Self::Whole => (Method::POST, full("{}"), None),
            Self::UnderWay => {
                let (gate, body) = gated();
                (Method::POST, body, Some(gate))
            }
        }
    }
}

/// hyper's server, which the upstream is, tells of an end in mid-upload only who reads that.
async fn broken(upload: &mut Incoming) {
    let end = soon("the hang-up at the upstream", upload.frame()).await;
    assert!(matches!(end, Some(Err(_))), "{end:?}");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_cancels_the_upstreams_work() {
    for (protocol, spoken) in WAYS {
        let mut upstream = Upstream::start().await;
        let mut gateway = Gateway::speaking(spoken, upstream.address).await;
        for upload in Upload::ALL {
            let (method, body, _gate) = upload.begin();
            let asked = ask(&protocol.client(), request(method, &gateway.chat(), body));
            let mut arrival = upstream.arrival().await;
            if upload == Upload::Whole {
                read(arrival.request.body_mut(), "{}").await;
            }
            asked.abort();
            if upload == Upload::UnderWay {
                broken(arrival.request.body_mut()).await;
            } else {
                arrival.abandoned().await;
            }
            gateway.logs(&["outcome=cancelled", "bytes=0"]).await;
        }
        let metrics = gateway.metrics().await;
        metrics.assert("http_requests_in_flight", &[(&GET, 0), (&POST, 0)]);
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_stream_cancels_the_upstreams_work() {
    for (protocol, spoken) in WAYS {
        let mut upstream = Upstream::start().await;
        let mut gateway = Gateway::speaking(spoken, upstream.address).await;
        for upload in Upload::ALL {
            let (method, body, upload_gate) = upload.begin();
            let asked = ask(&protocol.client(), request(method, &gateway.chat(), body));
            let (gate, body) = gated();
            let mut at_upstream = upstream.arrival().await.answer(event_stream(body));
            if upload == Upload::Whole {
                read(at_upstream.body_mut(), "{}").await;
            }
            let mut response = answer_of(asked).await;
            send(&gate, "data: one\n\n").await;
            read(response.body_mut(), "data: one\n\n").await;

            if (protocol, upload) == (Protocol::Http2, Upload::UnderWay) {
                // hyper's client resets no stream on which it still sends.
                fail(&upload_gate.unwrap()).await;
            }
            drop(response);
            if upload == Upload::UnderWay {
                broken(at_upstream.body_mut()).await;
            } else {
                soon("the hang-up at the upstream", gate.closed()).await;
            }
            let log = ["status=200", "outcome=disconnected", "bytes=11"];
            gateway.logs(&log).await;
        }
        let metrics = gateway.metrics().await;
        metrics.assert("http_requests_in_flight", &[(&GET, 0), (&POST, 0)]);
    }
}

/// One stream of a connection ends, and the others go on.
#[tokio::test]
async fn over_http2_only_the_stream_of_the_client_that_leaves_is_reset() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::speaking(Protocol::Http2, upstream.address).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let client = Protocol::Http1.client();
        let asked = ask(&client, request(Method::GET, &gateway.chat(), empty()));
        let arrival = upstream.arrival().await;
        assert_eq!(arrival.connection, 0);
        let (gate, body) = gated();
        arrival.answer(event_stream(body));
        streams.push((gate, answer_of(asked).await));
    }
    let (gate, response) = streams.pop().unwrap();
    drop(response);
    soon("the reset", gate.closed()).await;
    let (gate, mut response) = streams.pop().unwrap();
    send(&gate, "data: one\n\n").await;
    read(response.body_mut(), "data: one\n\n").await;
    drop(gate);
    read_end(response.body_mut()).await;
}

/// The upstream is not there yet: TLS waits for its word, and the client for nobody any more.
#[tokio::test]
async fn a_client_that_leaves_while_the_upstream_is_connected_to_cancels_that() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", upstream.local_addr().unwrap());
    let options = ["--upstream", &url, "--connect-timeout", "3600"];
    let mut gateway = Gateway::start_in(&[("SSL_CERT_FILE", CA)], &options).await;
    for protocol in BOTH {
        for upload in Upload::ALL {
            let (method, body, _gate) = upload.begin();
            let asked = ask(&protocol.client(), request(method, &gateway.chat(), body));
            let (mut tcp, _) = soon("a connection", upstream.accept()).await.unwrap();
            soon("TLS", tcp.read_u8()).await.unwrap();
            asked.abort();
            gone(&mut tcp).await;
            gateway.logs(&["outcome=cancelled"]).await;
        }
    }
}

/// hyper does not read on while there is no connection to the upstream, nor behind a second request,
/// and would not see the end that comes after.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_leaves_is_noticed_behind_what_is_not_read() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", upstream.local_addr().unwrap());
    let options = ["--upstream", &url, "--connect-timeout", "3600"];
    let mut gateway = Gateway::start_in(&[("SSL_CERT_FILE", CA)], &options).await;
    let mut client = gateway.tcp().await;
    let post = "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 60000\r\n\r\n";
    client.write_all(post.as_bytes()).await.unwrap();
    // As much as the system takes.
    let (body, mut sent) = (vec![b'x'; 60_000], 0);
    while let Ok(more @ 1..) = client.try_write(&body[sent..]) {
        sent += more;
    }
    let (mut tcp, _) = soon("a connection", upstream.accept()).await.unwrap();
    drop(client);
    gone(&mut tcp).await;
    gateway.logs(&["outcome=cancelled"]).await;

    let mut upstream = Upstream::start().await;
    let mut gateway = Gateway::speaking(Protocol::Http1, upstream.address).await;
    let mut client = gateway.tcp().await;
    let two =
        "GET /1 HTTP/1.1\r\nhost: a.example\r\n\r\nGET /2 HTTP/1.1\r\nhost: a.example\r\n\r\n";
    client.write_all(two.as_bytes()).await.unwrap();
    let (gate, body) = gated();
    upstream.arrival().await.answer(event_stream(body));
    read_head(&mut client).await;
    drop(client);
    soon("the hang-up at the upstream", gate.closed()).await;
    gateway.logs(&["path=\"/1\"", "outcome=disconnected"]).await;
}

/// It could read on, but who waits for an answer does not say so.
#[tokio::test]
async fn a_client_that_ends_its_side_gets_no_answer() {
    let mut upstream = Upstream::start().await;
    let mut gateway = Gateway::in_front_of(upstream.address).await;
    let get = b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n";
    let mut client = gateway.tcp().await;
    client.write_all(get).await.unwrap();
    let mut arrival = upstream.arrival().await;
    client.shutdown().await.unwrap();
    arrival.abandoned().await;
    gateway.logs(&["outcome=cancelled"]).await;
    let mut answer = Vec::new();
    let end = soon("the end", client.read_to_end(&mut answer)).await;
    end.unwrap();
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn an_upstream_that_breaks_in_mid_stream_breaks_the_clients_stream() {
    for (protocol, spoken) in WAYS {
        let mut upstream = Upstream::start().await;
        let mut gateway = Gateway::speaking(spoken, upstream.address).await;
        let client = protocol.client();
        let (gate, mut response) = open_chat(&client, &gateway, &mut upstream).await;
        send(&gate, "data: one\n\n").await;
        read(response.body_mut(), "data: one\n\n").await;

        fail(&gate).await;
        let end = soon("the break", response.body_mut().frame()).await;
        assert!(matches!(end, Some(Err(_))), "{protocol:?}: {end:?}");
        let log = ["status=200", "outcome=body_error", "bytes=11"];
        gateway.logs(&log).await;
    }
}

/// Nothing that the client is sent says that it was all.
#[tokio::test]
async fn what_the_upstream_has_not_ended_does_not_end_well_for_the_client() {
    let chunked = "transfer-encoding: chunked";
    let sized = "content-length: 9";
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut gateway = Gateway::in_front_of(upstream.local_addr().unwrap()).await;
    for (framing, start, end, received) in [
        (chunked, "5\r\nhello\r\n", "", "5\r\nhello\r\n"),
        // The chunk is not whole, but what there is of it is passed on.
        (chunked, "9\r\nhello", "", "5\r\nhello\r\n"),
        (chunked, "5\r\nhello\r\n", "no length\r\n", "5\r\nhello\r\n"),
        (chunked, "5\r\nhello\r\n", "0\r\n", "5\r\nhello\r\n"),
        (sized, "hello", "", "hello"),
    ] {
        for protocol in BOTH {
            let client = HalfWay::ask(&gateway, protocol).await;
            let (mut tcp, _) = soon("a connection", upstream.accept()).await.unwrap();
            read_head(&mut tcp).await;
            let answer = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{start}");
            tcp.write_all(answer.as_bytes()).await.unwrap();
            let client = client.hello(framing, received).await;
            tcp.write_all(end.as_bytes()).await.unwrap();
            drop(tcp);
            client.broken().await;
            gateway.logs(&["outcome=body_error", "bytes=5"]).await;
        }
    }
}

/// A client that has asked for what breaks.
enum HalfWay {
    Http1(TcpStream),
    Asked(JoinHandle<Result<Response<Incoming>, Error>>),
    Http2(Incoming),
}

impl HalfWay {
    async fn ask(gateway: &Gateway, protocol: Protocol) -> Self {
        if protocol == Protocol::Http2 {
            let get = request(Method::GET, &gateway.url, empty());
            return Self::Asked(ask(&protocol.client(), get));
        }
        let mut tcp = gateway.tcp().await;
        let get = b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n";
        tcp.write_all(get).await.unwrap();
        Self::Http1(tcp)
    }

    async fn hello(self, framing: &str, received: &str) -> Self {
        match self {
            Self::Http1(mut tcp) => {
                let head = read_head(&mut tcp).await;
                assert!(head.contains(framing), "{head}");
                let mut got = vec![0; received.len()];
                soon("hello", tcp.read_exact(&mut got)).await.unwrap();
                assert_eq!(String::from_utf8(got).unwrap(), received);
                Self::Http1(tcp)
            }
            Self::Asked(asked) => {
                let mut body = answer_of(asked).await.into_body();
                read(&mut body, "hello").await;
                Self::Http2(body)
            }
            Self::Http2(_) => unreachable!(),
        }
    }

    async fn broken(self) {
        match self {
            Self::Http1(mut tcp) => assert!(soon("the end", tcp.read_u8()).await.is_err()),
            Self::Http2(mut body) => {
                let end = soon("the break", body.frame()).await;
                assert!(matches!(end, Some(Err(_))), "{end:?}");
            }
            Self::Asked(_) => unreachable!(),
        }
    }
}

/// Also without an error code, which hyper takes for an end.
#[tokio::test]
async fn a_reset_by_an_http2_upstream_breaks_the_clients_stream_whatever_its_code() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = upstream.local_addr().unwrap();
    let mut gateway = Gateway::speaking(Protocol::Http2, address).await;
    let (hello, mut resets) = mpsc::channel(1);
    tokio::spawn(async move {
        let (tcp, _) = upstream.accept().await.unwrap();
        let mut http2 = h2::server::handshake(tcp).await.unwrap();
        while let Some(Ok((_, mut respond))) = http2.accept().await {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data("hello".into(), false).unwrap();
            hello.send(stream).await.unwrap();
        }
    });
    for reason in [
        h2::Reason::NO_ERROR,
        h2::Reason::CANCEL,
        h2::Reason::INTERNAL_ERROR,
    ] {
        for protocol in BOTH {
            let client = protocol.client();
            let asked = ask(&client, request(Method::GET, &gateway.url, empty()));
            let mut stream = soon("the request", resets.recv()).await.unwrap();
            let mut response = answer_of(asked).await;
            read(response.body_mut(), "hello").await;
            stream.send_reset(reason);
            let end = soon("the break", response.body_mut().frame()).await;
            assert!(matches!(end, Some(Err(_))), "{reason:?}: {end:?}");
            gateway.logs(&["outcome=body_error", "bytes=5"]).await;
        }
    }
}

/// It has no other way to say that it was all.
#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::in_front_of(upstream.local_addr().unwrap()).await;
    for protocol in BOTH {
        let client = protocol.client();
        let asked = ask(&client, request(Method::GET, &gateway.url, empty()));
        let (mut tcp, _) = soon("a connection", upstream.accept()).await.unwrap();
        read_head(&mut tcp).await;
        let answer = b"HTTP/1.0 200 OK\r\n\r\nhello";
        tcp.write_all(answer).await.unwrap();
        drop(tcp);
        let response = answer_of(asked).await;
        // It is the gateway's answer, in the version that it speaks.
        assert!(response.version() >= Version::HTTP_11);
        assert_eq!(text(response).await, "hello");
    }
}

/// For instance, since it refuses what it has seen of it.
#[tokio::test]
async fn an_upstream_may_answer_before_it_has_the_whole_upload() {
    for (protocol, spoken) in WAYS {
        let mut upstream = Upstream::start().await;
        let gateway = Gateway::speaking(spoken, upstream.address).await;
        let (_gate, body) = gated();
        let client = protocol.client();
        let asked = ask(&client, request(Method::POST, &gateway.chat(), body));
        let arrival = upstream.arrival().await;
        arrival.answer(Response::new(full("no more")));
        assert_eq!(text(answer_of(asked).await).await, "no more");
    }
}
