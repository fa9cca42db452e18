//! nginx in front of the gateway, as in most deployments, with what it buffers by default.
//!
//! To the gateway it speaks HTTP/1.0, its default, or, under `/http1.1/`, HTTP/1.1.

#[path = "../../common/nginx.rs"]
mod server;

use http::{HeaderValue, Method, Response, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tokio_tungstenite::{client_async, tungstenite::Message};

use self::server::Nginx;
use super::{
    ended, event, hung_up, pair, stream_of,
    websocket::{accept, next, passes},
};
use crate::{
    Gateway, soon,
    upstream::{Upstream, fail, full},
    wire::{Protocol, answer_of, ask, request, text},
};

const OVER_HTTP10: &str = "/v1/chat/completions";
const OVER_HTTP11: &str = "/http1.1/v1/chat/completions";

/// An upstream, a gateway and an nginx, in a row.
async fn row(name: &str, options: &[&str]) -> (Upstream, Gateway, Nginx) {
    let (upstream, gateway) = pair(options).await;
    let url = &gateway.url;
    let locations = format!(
        r#"
        set_real_ip_from unix:;
        real_ip_header X-Client;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto https;
        proxy_set_header X-Forwarded-Host $host;
        location / {{
            proxy_pass {url};
        }}
        location /http1.1/ {{
            proxy_pass {url};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
        location /socket {{
            proxy_pass {url};
            proxy_http_version 1.1;
            proxy_set_header Connection upgrade;
            proxy_set_header Upgrade $http_upgrade;
        }}
        "#
    );
    let nginx = Nginx::start(&format!("gateway-{name}"), &locations).await;
    (upstream, gateway, nginx)
}

fn data(number: u32) -> String {
    format!("data: {number}\n\n")
}

async fn passes_each_event_on(upstream: &mut Upstream, nginx: &Nginx, path: &str) {
    let mut answer = nginx.ask(path).await;
    let (gate, _) = stream_of(upstream).await;
    answer.reads("\r\n\r\n").await;
    for number in 1..=5 {
        event(&gate, number).await;
        answer.reads(&data(number)).await;
    }
    drop(gate);
    let all = answer.all().await;
    assert!(all.ends_with("\r\n0\r\n\r\n"), "{all}");
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn each_event_passes_before_the_next_is_made() {
    for path in [OVER_HTTP10, OVER_HTTP11] {
        let (mut upstream, mut gateway, nginx) = row("events", &[]).await;
        passes_each_event_on(&mut upstream, &nginx, path).await;
        ended(&mut gateway, StatusCode::OK, "complete").await;
    }
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn an_operator_can_let_nginx_buffer_a_route_and_take_it_back() {
    let (mut upstream, gateway, mut nginx) = row("policy", &[]).await;
    let admin = format!("{}/buffering{OVER_HTTP10}", gateway.admin);
    for _ in 0..2 {
        passes_each_event_on(&mut upstream, &nginx, OVER_HTTP10).await;
        let answer = operate(Method::PUT, &admin, r#"{"buffering":"on"}"#).await;
        let set = json!({ "route": OVER_HTTP10, "buffering": "on", "before": null });
        assert_eq!(answer, set);

        let mut answer = nginx.ask(OVER_HTTP10).await;
        let (gate, _) = stream_of(&mut upstream).await;
        for number in 1..=5 {
            event(&gate, number).await;
        }
        answer.reads_nothing(&nginx).await;
        drop(gate);
        let all = answer.all().await;
        assert!((1..=5).all(|number| all.contains(&data(number))), "{all}");

        let answer = operate(Method::DELETE, &admin, "").await;
        let removed = json!({ "route": OVER_HTTP10, "before": "on" });
        assert_eq!(answer, removed);
    }
    nginx.was_never_reloaded();
}

async fn operate(method: Method, url: &str, body: &'static str) -> Value {
    let mut asked = request(method, url, full(body));
    let json = HeaderValue::from_static("application/json");
    asked.headers_mut().insert(CONTENT_TYPE, json);
    let response = answer_of(ask(&Protocol::Http1.client(), asked)).await;
    assert_eq!(response.status(), StatusCode::OK);
    serde_json::from_str(&text(response).await).unwrap()
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn a_client_that_leaves_nginx_leaves_the_upstream_too() {
    for path in [OVER_HTTP10, OVER_HTTP11] {
        let (mut upstream, mut gateway, nginx) = row("hang-up", &[]).await;
        let mut answer = nginx.ask(path).await;
        let (gate, _) = stream_of(&mut upstream).await;
        event(&gate, 1).await;
        answer.reads(&data(1)).await;
        drop(answer);
        hung_up(&gate).await;
        ended(&mut gateway, StatusCode::OK, "disconnected").await;
    }
}

/// Over HTTP/1.0 the gateway has to reset the connection for that: its end is the stream's.
#[tokio::test]
#[ignore = "needs nginx"]
async fn a_break_at_the_upstream_is_no_clean_end_behind_nginx() {
    for path in [OVER_HTTP10, OVER_HTTP11] {
        let (mut upstream, mut gateway, nginx) = row("break", &[]).await;
        let mut answer = nginx.ask(path).await;
        let (gate, _) = stream_of(&mut upstream).await;
        event(&gate, 1).await;
        answer.reads(&data(1)).await;
        fail(&gate).await;
        let all = answer.all().await;
        assert!(!all.ends_with("\r\n0\r\n\r\n"), "{path}: {all}");
        ended(&mut gateway, StatusCode::OK, "body_error").await;
    }
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn the_client_that_nginx_tells_of_is_believed_if_asked_to() {
    const FORWARDED: [&str; 3] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];
    for (options, wanted) in [
        (
            &["--trust-forwarded"][..],
            ["203.0.113.7, 127.0.0.1", "https", "test"],
        ),
        (&[], ["127.0.0.1", "http", "{gateway}"]),
    ] {
        let (mut upstream, gateway, nginx) = row("forwarded", options).await;
        let address = gateway.url.strip_prefix("http://").unwrap();
        let answer = nginx
            .ask_with(OVER_HTTP10, "x-client: 203.0.113.7\r\n")
            .await;
        let arrival = upstream.arrival().await;
        let got = FORWARDED.map(|name| {
            let all = arrival.request.headers().get_all(name).iter();
            let all: Vec<_> = all.map(|value| value.to_str().unwrap()).collect();
            all.join(", ")
        });
        assert_eq!(got, wanted.map(|value| value.replace("{gateway}", address)));
        arrival.answer(Response::new(full("hello")));
        let all = answer.all().await;
        assert!(all.ends_with("\r\n\r\nhello"), "{all}");
    }
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn a_websocket_passes_both() {
    let (mut upstream, mut gateway, nginx) = row("socket", &[]).await;
    let connecting = client_async("ws://test/socket", nginx.connect().await);
    let connecting = soon("the upgrade", connecting);
    let (client, (mut server, _)) = tokio::join!(connecting, accept(&mut upstream));
    let (mut client, _) = client.unwrap();
    let large = Message::binary(vec![7; 1_000_000]);
    for message in [Message::text("one"), Message::text("two"), large] {
        passes(message.clone(), &mut client, &mut server).await;
        passes(message, &mut server, &mut client).await;
    }
    drop(client);
    assert!(next(&mut server).await.unwrap().is_err());
    drop(server);
    ended(&mut gateway, StatusCode::SWITCHING_PROTOCOLS, "upgraded").await;
}
