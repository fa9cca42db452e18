//! What is sent and asked in other ways: by clients of HTTP/1.0, and with bodies.

use futures_util::stream;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use tower::service_fn;

use crate::{
    STREAM,
    common::{End::Hidden, Script, Size, trailers},
    net::{Client, Proto, pipe, raw_h1, serve, soon},
    replies::{Reply, ok},
    stack::{Witness, stack},
};

#[tokio::test]
async fn a_stream_to_an_http_1_0_client_ends_with_the_connection() {
    let service =
        service_fn(|_: Request<Incoming>| async { ok(Script::new(STREAM, Size::Unknown, Hidden)) });
    let request = "GET / HTTP/1.0\r\n\r\n";
    let bare = raw_h1(pipe(), service, request).await;
    assert_eq!(bare, "HTTP/1.0 200 OK\r\n\r\nxxxxxxxxxxxxxxx");
    let witness = Witness::default();
    assert_eq!(
        raw_h1(pipe(), stack(&witness, service), request).await,
        bare
    );
    assert_eq!(witness.story(), "200 5 5 5 complete");
}

/// Answers with a list of the frames that the request came in.
async fn list(request: Request<Incoming>) -> Reply {
    let mut body = request.into_body();
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.unwrap();
        frames.push(match frame.into_data() {
            Ok(data) => format!("{data:?}"),
            Err(frame) => format!("{:?}", frame.into_trailers().unwrap()),
        });
    }
    ok(Full::from(frames.join(" ")).map_err(|never| match never {}))
}

const FRAMES: &str = r#"b"Hello" b"World!" {"x-checksum": "42"}"#;

#[tokio::test]
async fn h1_request_chunks_and_trailers_reach_the_handler() {
    let request = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
                   transfer-encoding: chunked\r\ntrailer: x-checksum\r\n\r\n\
                   5\r\nHello\r\n6\r\nWorld!\r\n0\r\nx-checksum: 42\r\n\r\n";
    let bare = raw_h1(pipe(), service_fn(list), request).await;
    assert!(bare.ends_with(&format!("\r\n\r\n{FRAMES}")), "{bare:?}");
    let witness = Witness::default();
    let worn = raw_h1(pipe(), stack(&witness, service_fn(list)), request).await;
    assert_eq!(worn, bare);
    assert_eq!(witness.story(), format!("200 {} complete", FRAMES.len()));
}

#[tokio::test]
async fn h2_request_frames_and_trailers_reach_the_handler() {
    let witness = Witness::default();
    let (near, far) = pipe();
    let server = serve(Proto::H2, far, stack(&witness, service_fn(list)));
    let mut client = Client::connect(Proto::H2, near).await;
    let frames = [
        Frame::data("Hello".into()),
        Frame::data("World!".into()),
        Frame::trailers(trailers()),
    ];
    let body = StreamBody::new(stream::iter(frames.map(Ok))).boxed_unsync();
    let response = client.send(Request::post("http://a/").body(body).unwrap());
    let body = soon(response.await.unwrap().into_body().collect()).await;
    assert_eq!(body.unwrap().to_bytes(), FRAMES);
    drop(client);
    server.closed().await;
    assert_eq!(witness.story(), format!("200 {} complete", FRAMES.len()));
}
