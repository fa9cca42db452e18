//! What the gateway tells the upstream of the way that a request has come.

use http::{
    HeaderValue, Method, Response, Version,
    header::{HOST, VIA},
    uri::Authority,
};
use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::{
    Gateway,
    fields::{Fields, fields},
    process::Process,
    raw::read_answer,
    upstream::{Upstream, full},
    wire::{Protocol, answer_of, ask, empty, request},
};

const SPOOFED: Fields = &[
    ("host", "public.example:81"),
    ("forwarded", "for=10.0.0.1"),
    ("x-forwarded-for", "10.0.0.1"),
    ("x-forwarded-for", "10.0.0.2, 10.0.0.3"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "inner.example"),
    ("x-forwarded-port", "444"),
    ("x-forwarded-prefix", "/admin"),
    ("x-real-ip", "10.0.0.1"),
    ("x-real-time", "none of these"),
    // Many upstreams take an underscore for a hyphen.
    ("x_forwarded_for", "10.0.0.4"),
    ("x-forwarded_proto", "ftp"),
    ("x_real_ip", "10.0.0.4"),
];

const SPOOFED_AND_KEPT: Fields = &[
    ("forwarded", "for=10.0.0.1"),
    ("forwarded", "for=127.0.0.1"),
    ("x-forwarded-for", "10.0.0.1"),
    ("x-forwarded-for", "10.0.0.2, 10.0.0.3"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "inner.example"),
    ("x-forwarded-port", "444"),
    ("x-forwarded-prefix", "/admin"),
    ("x-real-ip", "10.0.0.1"),
    ("x-real-time", "none of these"),
];

const SPOOFED_AND_REMOVED: Fields = &[
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-proto", "http"),
    ("x-forwarded-host", "public.example:81"),
    ("x-real-time", "none of these"),
];

#[tokio::test]
async fn what_clients_say_of_the_way_counts_only_when_they_are_trusted() {
    let own: Fields = &[
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "public.example:81"),
    ];
    let removed: Fields = &[
        ("host", "public.example:81"),
        ("connection", "x-forwarded-for, x-forwarded-host, via"),
    ];
    for (trusted, sent, wanted) in [
        (false, SPOOFED, SPOOFED_AND_REMOVED),
        (true, SPOOFED, SPOOFED_AND_KEPT),
        (false, removed, own),
        (true, removed, own),
    ] {
        let mut upstream = Upstream::start().await;
        let url = format!("http://{}", upstream.address);
        let options = ["--upstream", &url, "--trust-forwarded"];
        let gateway = Gateway::start_with(&options[..if trusted { 3 } else { 2 }]).await;
        let mut get = request(Method::GET, &gateway.chat(), empty());
        *get.headers_mut() = fields(sent);
        let asked = ask(&Protocol::Http1.client(), get);
        let arrival = upstream.arrival().await;
        let mut got = arrival.request.headers().clone();
        assert_eq!(got.remove(HOST).unwrap(), upstream.address.to_string());
        assert_eq!(got.remove(VIA).unwrap(), "1.1 gateway");
        assert_eq!(got, fields(wanted), "{trusted} {sent:?}");
        arrival.answer(Response::new(empty()));
        answer_of(asked).await;
    }
}

#[tokio::test]
async fn addresses_of_ipv6_are_written_as_their_fields_have_them() {
    if TcpListener::bind("[::1]:0").await.is_err() {
        return; // not every machine has it
    }
    let mut upstream = Upstream::serve("[::1]:0", |tcp| async { Ok(tcp) }).await;
    let url = format!("http://{}", upstream.address);
    let options = [
        "--listen",
        "[::]:0",
        "--admin",
        "127.0.0.1:0",
        "--trust-forwarded",
        "--upstream",
        &url,
    ];
    let mut process = Process::start("gateway", &options);
    let listening = process.line(&["gateway ", "http://[::]:"]).await;
    let port = listening.rsplit(':').next().unwrap();
    for (address, client, node) in [
        ("127.0.0.1", "127.0.0.1", "for=127.0.0.1"),
        ("[::1]", "::1", "for=\"[::1]\""),
    ] {
        let url = format!("http://{address}:{port}/");
        let mut get = request(Method::GET, &url, empty());
        *get.headers_mut() = fields(&[("forwarded", "for=a")]);
        let asked = ask(&Protocol::Http1.client(), get);
        let arrival = upstream.arrival().await;
        let got = arrival.request.headers();
        assert_eq!(got[HOST], upstream.address.to_string());
        assert_eq!(got["x-forwarded-for"], client);
        let got: Vec<_> = got.get_all("forwarded").iter().collect();
        assert_eq!(got, ["for=a", node]);
        arrival.answer(Response::new(empty()));
        answer_of(asked).await;
    }
}

/// The start of a request, and the target and `X-Forwarded-Host` at the upstream. The host that was
/// asked for is that of the target, if it has one: RFC 9112 §3.2.2.
const TARGETS: [(&str, &str, Option<&str>); 13] = [
    (
        "GET /a?b=%20 HTTP/1.1\r\nhost: b.example",
        "/a?b=%20",
        Some("b.example"),
    ),
    (
        "GET //a/../b HTTP/1.1\r\nhost: b.example",
        "//a/../b",
        Some("b.example"),
    ),
    // RFC 3986 §3.2.3: the port may be empty.
    (
        "GET / HTTP/1.1\r\nhost: b.example:",
        "/",
        Some("b.example:"),
    ),
    ("GET / HTTP/1.1\r\nhost: [::1]:81", "/", Some("[::1]:81")),
    (
        "GET /? HTTP/1.1\r\nhost: b.example",
        "/?",
        Some("b.example"),
    ),
    (
        "OPTIONS * HTTP/1.1\r\nhost: b.example",
        "*",
        Some("b.example"),
    ),
    // RFC 9112 §3.2.4 has it `*`: `Uri` does not tell it from the next.
    (
        "OPTIONS http://c.example HTTP/1.1\r\nhost: b.example",
        "/",
        Some("c.example"),
    ),
    (
        "OPTIONS http://c.example/ HTTP/1.1\r\nhost: b.example",
        "/",
        Some("c.example"),
    ),
    (
        "GET http://c.example:81/a?b HTTP/1.1\r\nhost: b.example",
        "/a?b",
        Some("c.example:81"),
    ),
    (
        "GET http://c.example HTTP/1.1\r\nhost: b.example",
        "/",
        Some("c.example"),
    ),
    (
        "GET https://c.example?b HTTP/1.1\r\nhost: b.example",
        "/?b",
        Some("c.example"),
    ),
    ("GET http://c.example/ HTTP/1.0", "/", Some("c.example")),
    ("GET / HTTP/1.0", "/", None),
];

#[tokio::test]
async fn targets_of_each_form_reach_the_upstream_in_origin_form() {
    let mut upstream = Upstream::start().await;
    let http1 = Gateway::in_front_of(upstream.address).await;
    let http2 = Gateway::speaking(Protocol::Http2, upstream.address).await;
    for (line, target, host) in TARGETS {
        for gateway in [&http1, &http2] {
            let mut tcp = gateway.tcp().await;
            let said = format!("{line}\r\nconnection: close\r\n\r\n");
            tcp.write_all(said.as_bytes()).await.unwrap();
            let arrival = upstream.arrival().await;
            let (got, fields) = (arrival.request.uri(), arrival.request.headers());
            assert!(line.starts_with(arrival.request.method().as_str()));
            assert_eq!(got.path_and_query().unwrap().as_str(), target, "{line}");
            let authority = got.authority().map(Authority::as_str);
            let authority = authority.or_else(|| fields.get(HOST)?.to_str().ok());
            assert_eq!(authority, Some(&*upstream.address.to_string()), "{line}");
            let got = fields.get("x-forwarded-host");
            assert_eq!(got.map(|host| host.to_str().unwrap()), host, "{line}");
            arrival.answer(Response::new(full("whole")));
            let answer = read_answer(&mut tcp).await;
            assert!(answer.ends_with("\r\n\r\nwhole"), "{answer}");
        }
    }
}

#[tokio::test]
async fn via_tells_the_way_in_both_directions() {
    for (version, at_upstream, at_client) in [
        (Version::HTTP_10, "1.0 edge-1", "1.1 edge-1"),
        (Version::HTTP_11, "1.1 edge-1", "1.1 edge-1"),
        (Version::HTTP_2, "2 edge-1", "1.1 edge-1"),
        (Version::HTTP_2, "2 edge-1", "2 edge-1"),
    ] {
        let mut upstream = Upstream::start().await;
        let url = format!("http://{}", upstream.address);
        let mut options = vec!["--service", "edge-1", "--upstream", &url];
        if at_client.starts_with('2') {
            options.push("--upstream-h2");
        }
        let gateway = Gateway::start_with(&options).await;
        let client = if version == Version::HTTP_2 {
            Protocol::Http2.client()
        } else {
            Protocol::Http1.client()
        };
        let mut get = request(Method::GET, &gateway.chat(), empty());
        if version == Version::HTTP_10 {
            *get.version_mut() = version;
        }
        let via = HeaderValue::from_static("1.1 before");
        get.headers_mut().insert(VIA, via.clone());
        let asked = ask(&client, get);
        let arrival = upstream.arrival().await;
        let got: Vec<_> = arrival.request.headers().get_all(VIA).iter().collect();
        assert_eq!(got, ["1.1 before", at_upstream], "{version:?}");

        let mut response = Response::new(empty());
        response.headers_mut().insert(VIA, via);
        arrival.answer(response);
        let response = answer_of(asked).await;
        let got: Vec<_> = response.headers().get_all(VIA).iter().collect();
        assert_eq!(got, ["1.1 before", at_client], "{version:?}");
    }
}
