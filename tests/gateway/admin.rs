//! What operators ask on the port of their own.

use std::collections::BTreeSet;

use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, ORIGIN},
};
use tokio::net::TcpListener;
use tower_passthrough::metrics::{
    REQUEST_BODY_BYTES, REQUEST_DURATION_SECONDS, RESPONSE_BODY_BYTES, RESPONSE_FIRST_BYTE_SECONDS,
    RESPONSE_HEAD_SECONDS, SSE_EVENT_GAP_SECONDS, SSE_FIRST_EVENT_SECONDS,
};

use crate::{
    Gateway, open_chat,
    process::{Process, url},
    upstream::{Upstream, full, read_end, send},
    wire::{BOTH, Protocol, answer_of, ask, empty, get, read, request, text},
};

/// The status and the body.
async fn admin(
    gateway: &Gateway,
    method: Method,
    path: &str,
    body: &'static str,
) -> (StatusCode, String) {
    let mut request = request(method, &format!("{}{path}", gateway.admin), full(body));
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(CONTENT_TYPE, json);
    let answer = answer_of(ask(&Protocol::Http1.client(), request)).await;
    (answer.status(), text(answer).await)
}

#[tokio::test]
async fn the_buffering_of_a_route_is_set_shown_and_removed() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(upstream.address).await;
    for (method, path, body, wanted) in [
        (
            Method::GET,
            "/buffering",
            "",
            r#"{"default":"auto","routes":{}}"#,
        ),
        (
            Method::PUT,
            "/buffering/v1/files/*",
            r#"{"buffering":"on"}"#,
            r#"{"before":null,"buffering":"on","route":"/v1/files/*"}"#,
        ),
        (
            Method::PUT,
            "/buffering/v1/files/*",
            r#"{"buffering":"off"}"#,
            r#"{"before":"on","buffering":"off","route":"/v1/files/*"}"#,
        ),
        (
            Method::PUT,
            "/buffering/a%20b",
            r#"{"buffering":"auto"}"#,
            r#"{"before":null,"buffering":"auto","route":"/a%20b"}"#,
        ),
        (
            Method::DELETE,
            "/buffering/a%20b",
            "",
            r#"{"before":"auto","route":"/a%20b"}"#,
        ),
        (
            Method::PUT,
            "/buffering/",
            r#"{"buffering":"on"}"#,
            r#"{"before":null,"buffering":"on","route":"/"}"#,
        ),
        (
            Method::GET,
            "/buffering",
            "",
            r#"{"default":"auto","routes":{"/":"on","/v1/files/*":"off"}}"#,
        ),
    ] {
        let (status, said) = admin(&gateway, method, path, body).await;
        assert_eq!((status, said.as_str()), (StatusCode::OK, wanted), "{path}");
    }

    // What the operator says counts, not what the upstream does.
    let file = format!("{}/v1/files/7", gateway.url);
    let asked = ask(
        &Protocol::Http1.client(),
        request(Method::GET, &file, empty()),
    );
    let answer = Response::builder().header("x-accel-buffering", "yes");
    let arrival = upstream.arrival().await;
    arrival.answer(answer.body(empty()).unwrap());
    assert_eq!(answer_of(asked).await.headers()["x-accel-buffering"], "no");

    let removed = admin(&gateway, Method::DELETE, "/buffering/v1/files/*", "").await;
    assert_eq!(removed.0, StatusCode::OK);
    let removed = admin(&gateway, Method::DELETE, "/buffering/v1/files/*", "").await;
    let nothing = "there is no route /v1/files/*\n".to_owned();
    assert_eq!(removed, (StatusCode::NOT_FOUND, nothing));
}

#[tokio::test]
async fn what_is_wrong_with_a_policy_is_said_and_changes_nothing() {
    let gateway = Gateway::start().await;
    for (path, body, wanted) in [
        ("/buffering/a", "{", "EOF while parsing"),
        ("/buffering/a", "{}", r#"give it as {"buffering": "on"}"#),
        (
            "/buffering/a",
            r#"{"buffering":1}"#,
            r#"give it as {"buffering": "on"}"#,
        ),
        ("/buffering/a", r#"{"buffering":"maybe"}"#, "maybe"),
        ("/buffering/a*b", r#"{"buffering":"on"}"#, "/a*b"),
    ] {
        let (status, said) = admin(&gateway, Method::PUT, path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}: {said}");
        assert!(said.contains(wanted), "{path} {body}: {said}");
    }
    let (_, routes) = admin(&gateway, Method::GET, "/buffering", "").await;
    assert_eq!(routes, r#"{"default":"auto","routes":{}}"#);
}

/// Else a page from anywhere could have an operator's browser change things here.
#[tokio::test]
async fn no_page_may_ask_but_that_of_the_demo() {
    let upstream = Upstream::start().await;
    let with_demo = Gateway::start().await;
    let without = Gateway::in_front_of(upstream.address).await;
    let own = |gateway: &Gateway| gateway.url.clone();
    let local = |gateway: &Gateway| gateway.url.replace("127.0.0.1", "localhost");
    let local_v6 = |gateway: &Gateway| gateway.url.replace("127.0.0.1", "[::1]");
    let own_of_admin = |gateway: &Gateway| gateway.admin.clone();
    for (gateway, origin, allowed) in [
        (&with_demo, own(&with_demo), true),
        (&with_demo, local(&with_demo), true),
        (&with_demo, local_v6(&with_demo), true),
        (&with_demo, "http://evil.example".to_owned(), false),
        (&with_demo, own_of_admin(&with_demo), false),
        (&with_demo, "null".to_owned(), false),
        (&without, own(&without), false),
    ] {
        let body = full(r#"{"buffering":"on"}"#);
        let mut put = request(Method::PUT, &format!("{}/buffering/a", gateway.admin), body);
        let json = HeaderValue::from_static("application/json");
        put.headers_mut().insert(CONTENT_TYPE, json);
        put.headers_mut().insert(ORIGIN, origin.parse().unwrap());
        let answer = answer_of(ask(&Protocol::Http1.client(), put)).await;
        let wanted = if allowed {
            (StatusCode::OK, Some(origin.as_str()))
        } else {
            (StatusCode::FORBIDDEN, None)
        };
        let field = answer.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN);
        let field = field.map(|field| field.to_str().unwrap());
        assert_eq!((answer.status(), field), wanted, "{origin}");
        let removed = admin(gateway, Method::DELETE, "/buffering/a", "").await;
        assert_eq!(removed.0 == StatusCode::OK, allowed, "{origin}");
    }
}

/// An address that stands for all cannot be asked: the page is given one that can.
#[tokio::test]
async fn the_page_is_told_an_address_that_it_can_ask() {
    for (admin, told) in [("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "[::1]")] {
        if TcpListener::bind(admin).await.is_err() {
            println!("not run: {admin} is not there");
            continue;
        }
        let arguments = ["--listen", "127.0.0.1:0", "--admin", admin];
        let mut process = Process::start("gateway", &arguments);
        let gateway = url(&process.line(&["gateway ", "http://"]).await);
        let admin = url(&process.line(&["metrics ", "/metrics"]).await);
        let (_, port) = admin.rsplit_once(':').unwrap();
        let page = text(get(&gateway).await).await;
        let told = format!("const admin = 'http://{told}:{port}',");
        assert!(page.contains(&told), "{told}: {page}");
    }
}

/// Summaries, which the exporter makes of what it is told no buckets of, do not add up over replicas.
#[tokio::test]
async fn all_histograms_have_buckets() {
    let mut upstream = Upstream::start().await;
    let mut gateway = Gateway::in_front_of(upstream.address).await;
    let client = Protocol::Http1.client();
    let asked = ask(&client, request(Method::POST, &gateway.chat(), full("{}")));
    let plain = upstream.arrival().await;
    plain.answer(Response::new(full("whole")));
    assert_eq!(text(answer_of(asked).await).await, "whole");
    gateway.logs(&["outcome=complete"]).await;

    let (gate, mut response) = open_chat(&client, &gateway, &mut upstream).await;
    for event in ["data: one\n\n", "data: two\n\n"] {
        send(&gate, event).await;
        read(response.body_mut(), event).await;
    }
    drop(gate);
    read_end(response.body_mut()).await;
    gateway.logs(&["outcome=complete"]).await;

    let metrics = gateway.metrics().await;
    let all = metrics.to_string();
    assert!(!all.contains("quantile="), "{all}");
    assert!(!all.contains(" summary\n"), "{all}");
    let histograms = all.lines().filter_map(|line| {
        let line = line.strip_prefix("# TYPE ")?;
        line.strip_suffix(" histogram")
    });
    let histograms: BTreeSet<_> = histograms.collect();
    let wanted = [
        REQUEST_BODY_BYTES,
        REQUEST_DURATION_SECONDS,
        RESPONSE_BODY_BYTES,
        RESPONSE_FIRST_BYTE_SECONDS,
        RESPONSE_HEAD_SECONDS,
        SSE_EVENT_GAP_SECONDS,
        SSE_FIRST_EVENT_SECONDS,
    ];
    assert_eq!(histograms, BTreeSet::from(wanted));
    for histogram in wanted {
        let buckets = metrics.samples(&format!("{histogram}_bucket"));
        assert!(!buckets.is_empty(), "{histogram}: {all}");
    }
}

#[tokio::test]
async fn metrics_are_in_the_text_format_and_health_is_told() {
    let gateway = Gateway::start().await;
    let metrics = get(&format!("{}/metrics", gateway.admin)).await;
    assert_eq!(
        metrics.headers()[CONTENT_TYPE],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let (status, said) = admin(&gateway, Method::GET, "/healthz", "").await;
    assert_eq!((status, said.as_str()), (StatusCode::OK, "ok\n"));
}

/// All of these paths are the upstream's.
#[tokio::test]
async fn none_of_it_is_on_the_public_port() {
    for protocol in BOTH {
        let mut upstream = Upstream::start().await;
        let gateway = Gateway::in_front_of(upstream.address).await;
        for (method, path) in [
            (Method::GET, "/metrics"),
            (Method::GET, "/healthz"),
            (Method::GET, "/buffering"),
            (Method::PUT, "/buffering/a"),
            (Method::DELETE, "/buffering/a"),
        ] {
            let url = format!("{}{path}", gateway.url);
            let asked = ask(&protocol.client(), request(method, &url, empty()));
            let arrival = upstream.arrival().await;
            assert_eq!(arrival.request.uri().path(), path);
            arrival.answer(Response::new(full("the upstream's")));
            assert_eq!(text(answer_of(asked).await).await, "the upstream's");
        }
    }
}
