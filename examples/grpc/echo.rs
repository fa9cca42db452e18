//! The service, as it could have been generated from this, and what it does:
//!
//! ```protobuf
//! package demo;
//! message Text { string text = 1; }
//! service Echo {
//!   rpc Say(Text) returns (Text);                  // all at once
//!   rpc Spell(Text) returns (stream Text);         // letter by letter
//!   rpc Join(stream Text) returns (Text);          // many in one
//!   rpc Chat(stream Text) returns (stream Text);   // each as it comes
//! }
//! ```

use std::time::Duration;

use axum::{Router, routing::post};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::sleep;
use tonic::{Request, Response, Status, Streaming, body::Body, server::Grpc, service::Routes};
use tonic_prost::ProstCodec;
use tower::service_fn;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Text {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
}

type HttpRequest = http::Request<axum::body::Body>;
type HttpResponse = http::Response<Body>;

pub(crate) fn routes() -> Routes {
    let unknown = async || Status::unimplemented("no such method").into_http::<Body>();
    let router = Router::new()
        .route("/demo.Echo/Say", post(say))
        .route("/demo.Echo/Spell", post(spell))
        .route("/demo.Echo/Join", post(join))
        .route("/demo.Echo/Chat", post(chat))
        .fallback(unknown);
    Routes::from(router)
}

fn grpc() -> Grpc<ProstCodec<Text, Text>> {
    Grpc::new(ProstCodec::default())
}

async fn say(request: HttpRequest) -> HttpResponse {
    let say = async |request: Request<Text>| {
        let said = request.into_inner();
        if said.text.is_empty() {
            return Err(Status::invalid_argument("there is nothing to say"));
        }
        Ok(Response::new(said))
    };
    grpc().unary(service_fn(say), request).await
}

async fn spell(request: HttpRequest) -> HttpResponse {
    let spell = async |request: Request<Text>| {
        let text = request.into_inner().text;
        let letters: Vec<_> = text.chars().map(letter).collect();
        let letters = stream::iter(letters).then(async |letter| {
            sleep(Duration::from_millis(50)).await;
            letter
        });
        Ok(Response::new(letters))
    };
    grpc().server_streaming(service_fn(spell), request).await
}

/// Fails when the response is on its way already.
fn letter(it: char) -> Result<Text, Status> {
    if it.is_alphabetic() {
        Ok(Text { text: it.into() })
    } else {
        Err(Status::invalid_argument(format!("{it:?} is no letter")))
    }
}

async fn join(request: HttpRequest) -> HttpResponse {
    let join = async |request: Request<Streaming<Text>>| {
        let texts = request.into_inner().map_ok(|it| it.text);
        let text = texts.try_collect().await?;
        Ok(Response::new(Text { text }))
    };
    grpc().client_streaming(service_fn(join), request).await
}

async fn chat(request: HttpRequest) -> HttpResponse {
    let chat = async |request: Request<Streaming<Text>>| Ok(Response::new(request.into_inner()));
    grpc().streaming(service_fn(chat), request).await
}
