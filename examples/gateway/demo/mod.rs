//! The embedded upstream: answers like an LLM behind an OpenAI-shaped API, a token every 50 ms by
//! default, and serves a page that shows when they arrive.

mod answers;

use std::{
    convert::Infallible,
    error::Error,
    future::ready,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes, to_bytes},
    extract::Path,
    http::StatusCode,
    middleware::map_response,
    response::{Html, IntoResponse, Response, Sse, sse::Event},
    routing::{get, post},
    serve::ListenerExt,
};
use futures_util::{Stream, stream};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};

use self::answers::{Answer, Answers};
use crate::upstream::Upstream;

const ANSWER: &str = "A stream is a promise kept a little at a time. Each of these words left the \
    model 50 ms after the one before, and you read it before the next one was made: nothing on \
    the way waits for the end. Hang up now, and the model stops at once.";

const PAGE: &str = include_str!("page.html");

/// Serves the demo on a loopback port of its own, a token after each `pause`. Its page asks the
/// gateway's operators' port for what was counted.
pub(crate) async fn start(admin: SocketAddr, pause: Duration) -> Result<Upstream, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let listener = listener.tap_io(|tcp| {
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
    });
    let page = PAGE.replace("{{admin}}", &format!("http://{}", reachable(admin)));
    let answers = Answers::default();
    let to_ask = answers.clone();
    let chat = post(move |body| chat(body, answers, pause));
    let routes = Router::new()
        .route("/buffered/v1/chat/completions", chat.clone())
        .layer(map_response(buffered))
        .route("/v1/chat/completions", chat)
        .route(
            "/demo/answers/{number}",
            get(move |Path(number)| ready(to_ask.show(number))),
        )
        .route("/", get(move || async { Html(page) }));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(format!("http://{address}").parse()?)
}

/// Where a page of this machine finds what listens there, be it on all addresses.
fn reachable(mut listening: SocketAddr) -> SocketAddr {
    if listening.ip().is_unspecified() {
        listening.set_ip(match listening {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    listening
}

/// The middleware that many have written: to look at a response, it waits for all of it.
async fn buffered(response: Response) -> Response {
    let (head, body) = response.into_parts();
    match to_bytes(body, usize::MAX).await {
        Ok(whole) => Response::from_parts(head, Body::from(whole)),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

/// Takes the body whatever its content type, for the sake of `curl -d`.
async fn chat(body: Bytes, answers: Answers, pause: Duration) -> Response {
    match serde_json::from_slice::<Value>(&body) {
        Err(error) => {
            let message = format!("the body is not JSON: {error}");
            let error = json!({ "error": { "message": message, "type": "invalid_request_error" } });
            (StatusCode::BAD_REQUEST, Json(error)).into_response()
        }
        Ok(asked) if asked["stream"] == true => {
            Sse::new(chunks(answers.begin(), pause)).into_response()
        }
        Ok(_) => completion(pause).await.into_response(),
    }
}

/// The answer as it is made.
fn chunks(answer: Answer, pause: Duration) -> impl Stream<Item = Result<Event, Infallible>> {
    let start = (json!({ "role": "assistant", "content": "" }), Value::Null);
    let tokens = tokens().map(|token| (json!({ "content": token }), Value::Null));
    let stop = (json!({}), "stop".into());
    let deltas = std::iter::once(start).chain(tokens).chain([stop]);
    let chunks = deltas.map(Some).chain([None]);
    stream::unfold((answer, chunks), move |(answer, mut chunks)| async move {
        let chunk = chunks.next()?;
        sleep(pause).await;
        let data = match chunk {
            Some((delta, finish_reason)) => json!({
                "id": format!("chatcmpl-{}", answer.number),
                "object": "chat.completion.chunk",
                "created": 0,
                "model": "demo",
                "choices": [{ "index": 0, "delta": delta, "finish_reason": finish_reason }],
                "sent_ms": answer.send(),
            })
            .to_string(),
            None => "[DONE]".to_owned(),
        };
        Some((Ok(Event::default().data(data)), (answer, chunks)))
    })
}

/// The answer when it is made.
async fn completion(pause: Duration) -> Json<Value> {
    for _ in tokens() {
        sleep(pause).await;
    }
    Json(json!({
        "id": "chatcmpl-demo",
        "object": "chat.completion",
        "created": 0,
        "model": "demo",
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": ANSWER },
            "finish_reason": "stop",
        }],
    }))
}

fn tokens() -> impl Iterator<Item = &'static str> + Send {
    ANSWER.split_inclusive(' ')
}
