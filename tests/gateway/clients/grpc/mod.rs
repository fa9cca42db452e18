//! gRPC by tonic, on both sides of the gateway.

mod server;

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tonic::{
    Code, Request, Response, Status, Streaming,
    client::Grpc,
    metadata::{Ascii, MetadataMap, MetadataValue},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use self::server::{Server, Text, send, text};
use crate::{Gateway, soon};

const PATH: &str = "/test.v1.Chat/Talk";

async fn pair() -> (Server, Gateway) {
    let server = Server::start().await;
    let url = format!("http://{}", server.address);
    let gateway = Gateway::start_with(&["--upstream", &url, "--upstream-h2"]).await;
    (server, gateway)
}

/// A client, as it would be generated.
#[derive(Clone)]
struct Client(Grpc<Channel>);

impl Client {
    async fn connect(gateway: &Gateway) -> Self {
        let endpoint = Endpoint::from_shared(gateway.url.clone()).unwrap();
        let connected = soon("a connection", endpoint.connect()).await;
        Self(Grpc::new(connected.unwrap()))
    }

    async fn unary(mut self, request: Request<Text>) -> Result<Response<Text>, Status> {
        self.0.ready().await.unwrap();
        self.0.unary(request, path(), ProstCodec::default()).await
    }

    async fn server_streaming(mut self, request: Text) -> Result<Streaming<Text>, Status> {
        self.0.ready().await.unwrap();
        let request = Request::new(request);
        let called = self
            .0
            .server_streaming(request, path(), ProstCodec::default());
        called.await.map(Response::into_inner)
    }

    async fn client_streaming(
        mut self,
        messages: impl Stream<Item = Text> + Send + 'static,
    ) -> Result<Text, Status> {
        self.0.ready().await.unwrap();
        let request = Request::new(messages);
        let called = self
            .0
            .client_streaming(request, path(), ProstCodec::default());
        called.await.map(Response::into_inner)
    }

    async fn streaming(
        mut self,
        messages: impl Stream<Item = Text> + Send + 'static,
    ) -> Result<Streaming<Text>, Status> {
        self.0.ready().await.unwrap();
        let request = Request::new(messages);
        let called = self.0.streaming(request, path(), ProstCodec::default());
        called.await.map(Response::into_inner)
    }
}

fn path() -> PathAndQuery {
    PathAndQuery::from_static(PATH)
}

/// What a client sends, message by message.
fn messages() -> (mpsc::Sender<Text>, impl Stream<Item = Text>) {
    let (sender, messages) = mpsc::channel(1);
    let messages = stream::unfold(messages, |mut messages: mpsc::Receiver<Text>| async {
        messages.recv().await.map(|message| (message, messages))
    });
    (sender, messages)
}

async fn reads(answers: &mut Streaming<Text>, wanted: &str) {
    let answer = soon(wanted, answers.message()).await;
    assert_eq!(answer.unwrap(), Some(text(wanted)));
}

/// Waits until the gateway's one call is over, and counted with this code and no other.
async fn ended(gateway: &mut Gateway, outcome: &str, code: &str) {
    gateway.logs(&[&format!("outcome={outcome}")]).await;
    let code = format!("grpc_code=\"{code}\"");
    let known = [
        "grpc_service=\"test.v1.Chat\"",
        "grpc_method=\"Talk\"",
        &code,
    ];
    let unknown = ["grpc_service=\"_other\"", "grpc_method=\"_other\"", &code];
    // Any client can call what there is not.
    let is_known = !code.contains("Unimplemented") && outcome != "cancelled";
    let labels: &[&str] = if is_known { &known } else { &unknown };
    let metrics = gateway.metrics().await;
    metrics.assert("grpc_server_handled_total", &[(labels, 1)]);
    let outcome = format!("outcome=\"{outcome}\"");
    metrics.assert("http_responses_ended_total", &[(&[&outcome], 1)]);
    metrics.assert("http_requests_in_flight", &[(&[], 0)]);
}

#[tokio::test]
async fn a_unary_call_carries_metadata_both_ways() {
    let (mut server, mut gateway) = pair().await;
    let client = Client::connect(&gateway).await;
    let mut metadata = MetadataMap::new();
    metadata.insert("x-plain", MetadataValue::from_static("as it is"));
    let bytes = Bytes::from_static(&[0, 255, 10]);
    metadata.insert_bin("x-binary-bin", MetadataValue::from_bytes(&bytes));

    let mut request = Request::new(text("hello"));
    *request.metadata_mut() = metadata.clone();
    let asked = tokio::spawn(client.unary(request));
    let mut call = server.call().await;
    call.reads("hello").await;
    call.reads_end().await;
    let of_call = call.metadata.clone();
    let (gate, _) = call.answers(metadata);
    send(&gate, Ok(text("hello back"))).await;
    drop(gate);
    let response = soon("the answer", asked).await.unwrap().unwrap();
    for metadata in [&of_call, response.metadata()] {
        assert_eq!(metadata.get("x-plain").unwrap(), "as it is");
        let binary = metadata.get_bin("x-binary-bin").unwrap();
        assert_eq!(binary.to_bytes().unwrap(), bytes);
    }
    assert_eq!(response.into_inner(), text("hello back"));
    ended(&mut gateway, "complete", "OK").await;
}

#[tokio::test]
async fn the_server_streams_while_it_is_held_before_each_message() {
    let (mut server, mut gateway) = pair().await;
    let client = Client::connect(&gateway).await;
    let asked = tokio::spawn(client.server_streaming(text("count")));
    let mut call = server.call().await;
    call.reads("count").await;
    call.reads_end().await;
    let (gate, _) = call.answers(MetadataMap::new());
    let mut answers = soon("the head", asked).await.unwrap().unwrap();
    for answer in ["one", "two", "three"] {
        send(&gate, Ok(text(answer))).await;
        reads(&mut answers, answer).await;
    }
    drop(gate);
    assert_eq!(soon("the end", answers.message()).await.unwrap(), None);
    ended(&mut gateway, "complete", "OK").await;
}

#[tokio::test]
async fn the_client_streams_while_it_is_held_before_each_message() {
    let (mut server, mut gateway) = pair().await;
    let client = Client::connect(&gateway).await;
    let (sender, messages) = messages();
    let asked = tokio::spawn(client.client_streaming(messages));
    let mut call = server.call().await;
    for message in ["one", "two", "three"] {
        soon("the client", sender.send(text(message)))
            .await
            .unwrap();
        call.reads(message).await;
    }
    drop(sender);
    call.reads_end().await;
    let (gate, _) = call.answers(MetadataMap::new());
    send(&gate, Ok(text("six"))).await;
    drop(gate);
    let answer = soon("the answer", asked).await.unwrap();
    assert_eq!(answer.unwrap(), text("six"));
    ended(&mut gateway, "complete", "OK").await;
}

#[tokio::test]
async fn both_stream_and_each_waits_for_the_other() {
    let (mut server, mut gateway) = pair().await;
    let client = Client::connect(&gateway).await;
    let (sender, messages) = messages();
    let asked = tokio::spawn(client.streaming(messages));
    let (gate, mut at_server) = server.call().await.answers(MetadataMap::new());
    let mut answers = soon("the head", asked).await.unwrap().unwrap();
    for message in ["one", "two", "three"] {
        soon("the client", sender.send(text(message)))
            .await
            .unwrap();
        reads(&mut at_server, message).await;
        send(&gate, Ok(text(message))).await;
        reads(&mut answers, message).await;
    }
    drop(sender);
    assert_eq!(soon("the end", at_server.message()).await.unwrap(), None);
    send(&gate, Ok(text("bye"))).await;
    reads(&mut answers, "bye").await;
    drop(gate);
    assert_eq!(soon("the end", answers.message()).await.unwrap(), None);
    ended(&mut gateway, "complete", "OK").await;
}

/// In trailers that are all there is, and in those that follow a message.
#[tokio::test]
async fn error_statuses_arrive_with_all_they_say_and_are_counted() {
    for (code, label) in [
        (Code::Cancelled, "Canceled"),
        (Code::Unknown, "Unknown"),
        (Code::InvalidArgument, "InvalidArgument"),
        (Code::DeadlineExceeded, "DeadlineExceeded"),
        (Code::NotFound, "NotFound"),
        (Code::AlreadyExists, "AlreadyExists"),
        (Code::PermissionDenied, "PermissionDenied"),
        (Code::ResourceExhausted, "ResourceExhausted"),
        (Code::FailedPrecondition, "FailedPrecondition"),
        (Code::Aborted, "Aborted"),
        (Code::OutOfRange, "OutOfRange"),
        (Code::Unimplemented, "Unimplemented"),
        (Code::Internal, "Internal"),
        (Code::Unavailable, "Unavailable"),
        (Code::DataLoss, "DataLoss"),
        (Code::Unauthenticated, "Unauthenticated"),
    ] {
        for has_message in [false, true] {
            let (mut server, mut gateway) = pair().await;
            let client = Client::connect(&gateway).await;
            let mut metadata = MetadataMap::new();
            metadata.insert("x-reason", MetadataValue::<Ascii>::from_static("quota"));
            let details = Bytes::from_static(&[8, 0, 255]);
            let message = "r\u{e9}fus\u{e9}: 100%\n";
            let status = Status::with_details_and_metadata(code, message, details, metadata);

            let asked = tokio::spawn(client.server_streaming(text("may I?")));
            let call = server.call().await;
            let refused = if has_message {
                let (gate, _) = call.answers(MetadataMap::new());
                let mut answers = soon("the head", asked).await.unwrap().unwrap();
                send(&gate, Ok(text("wait"))).await;
                reads(&mut answers, "wait").await;
                send(&gate, Err(status.clone())).await;
                soon("the status", answers.message()).await.unwrap_err()
            } else {
                call.refuses(status.clone());
                soon("the status", asked).await.unwrap().unwrap_err()
            };
            assert_eq!(refused.code(), code);
            assert_eq!(refused.message(), status.message());
            assert_eq!(refused.details(), status.details());
            assert_eq!(refused.metadata().get("x-reason").unwrap(), "quota");
            ended(&mut gateway, "complete", label).await;
        }
    }
}

/// The server is told of the deadline. It is the client that gives up, and the server learns of it.
#[tokio::test]
async fn a_deadline_passes_and_a_call_past_it_is_cancelled() {
    let (mut server, mut gateway) = pair().await;
    let client = Client::connect(&gateway).await;
    let mut request = Request::new(text("take your time"));
    request.set_timeout(Duration::from_secs(5));
    let asked = tokio::spawn(client.unary(request));
    let mut call = server.call().await;
    assert_eq!(call.metadata.get("grpc-timeout").unwrap(), "5000000u");
    call.reads("take your time").await;
    call.is_dropped().await;
    let status = soon("the deadline", asked).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Cancelled, "{status:?}");
    assert_eq!(status.message(), "Timeout expired");
    ended(&mut gateway, "cancelled", "Canceled").await;
}

/// Whether the client has sent all that it has to say, or not.
#[tokio::test]
async fn a_call_that_is_dropped_in_mid_stream_is_cancelled_at_the_server() {
    for has_more in [false, true] {
        let (mut server, mut gateway) = pair().await;
        let client = Client::connect(&gateway).await;
        let (sender, messages) = messages();
        let sender = has_more.then_some(sender);
        let asked = tokio::spawn(client.streaming(messages));
        let mut call = server.call().await;
        if !has_more {
            call.reads_end().await;
        }
        let (gate, _) = call.answers(MetadataMap::new());
        let mut answers = soon("the head", asked).await.unwrap().unwrap();
        send(&gate, Ok(text("one"))).await;
        reads(&mut answers, "one").await;
        drop((answers, sender));
        soon("the hang-up at the server", gate.closed()).await;
        ended(&mut gateway, "disconnected", "Canceled").await;
    }
}

#[tokio::test]
async fn a_server_that_breaks_off_is_no_clean_end() {
    let (mut server, mut gateway) = pair().await;
    let client = Client::connect(&gateway).await;
    let asked = tokio::spawn(client.server_streaming(text("count")));
    let (gate, _) = server.call().await.answers(MetadataMap::new());
    let mut answers = soon("the head", asked).await.unwrap().unwrap();
    send(&gate, Ok(text("one"))).await;
    reads(&mut answers, "one").await;
    server.crash().await;
    let end = soon("the break", answers.message()).await;
    assert_eq!(end.unwrap_err().code(), Code::Internal);
    ended(&mut gateway, "body_error", "Internal").await;
}

/// The gateway's own answer is of HTTP: what a client makes of it is the client's.
#[tokio::test]
async fn a_server_that_is_down_is_an_error_and_counted_as_unavailable() {
    let (server, mut gateway) = pair().await;
    let client = Client::connect(&gateway).await;
    server.crash().await;
    let asked = tokio::spawn(client.unary(Request::new(text("hello"))));
    let status = soon("the status", asked).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(status.message(), "the upstream cannot be reached");
    gateway.logs(&["status=502", "outcome=complete"]).await;
    let counted: (&[&str], u64) = (&["grpc_code=\"Unavailable\""], 1);
    let metrics = gateway.metrics().await;
    metrics.assert("grpc_server_handled_total", &[counted]);
}
