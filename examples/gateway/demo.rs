//! The embedded upstream: answers like an LLM behind an OpenAI-shaped API, a token every 50 ms.

use std::{convert::Infallible, error::Error, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    http::StatusCode,
    response::{IntoResponse, Response, Sse, sse::Event},
    routing::post,
    serve::ListenerExt,
};
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};

use crate::proxy::Upstream;

const TOKEN_EVERY: Duration = Duration::from_millis(50);

const ANSWER: &str = "A stream is a promise kept a little at a time. Each of these words left the \
    model 50 ms after the one before, and you read it before the next one was made: nothing on \
    the way waits for the end. Hang up now, and the model stops at once.";

/// Serves the demo on a loopback port of its own.
pub(crate) async fn start() -> Result<Upstream, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let listener = listener.tap_io(|tcp| {
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
    });
    let routes = Router::new().route("/v1/chat/completions", post(chat));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(format!("http://{address}").parse()?)
}

/// Takes the body whatever its content type, for the sake of `curl -d`.
async fn chat(body: Bytes) -> Response {
    match serde_json::from_slice::<Value>(&body) {
        Err(error) => {
            let message = format!("the body is not JSON: {error}");
            let error = json!({ "error": { "message": message, "type": "invalid_request_error" } });
            (StatusCode::BAD_REQUEST, Json(error)).into_response()
        }
        Ok(asked) if asked["stream"] == true => Sse::new(chunks()).into_response(),
        Ok(_) => completion().await.into_response(),
    }
}

/// The answer as it is made.
fn chunks() -> impl Stream<Item = Result<Event, Infallible>> {
    let start = chunk(&json!({ "role": "assistant", "content": "" }), None);
    let tokens = tokens().map(|token| chunk(&json!({ "content": token }), None));
    let stop = chunk(&json!({}), Some("stop"));
    let events = std::iter::once(start)
        .chain(tokens)
        .chain([stop, "[DONE]".to_owned()]);
    stream::iter(events).then(|data| async {
        sleep(TOKEN_EVERY).await;
        Ok(Event::default().data(data))
    })
}

fn chunk(delta: &Value, finish_reason: Option<&str>) -> String {
    json!({
        "id": "chatcmpl-demo",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "demo",
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish_reason }],
    })
    .to_string()
}

/// The answer when it is made.
async fn completion() -> Json<Value> {
    for _ in tokens() {
        sleep(TOKEN_EVERY).await;
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
