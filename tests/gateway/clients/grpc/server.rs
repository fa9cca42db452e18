//! A gRPC server whose calls the test answers.

use std::{convert::Infallible, net::SocketAddr};

use futures_util::stream::{self, BoxStream, StreamExt};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap, server::Grpc};
use tonic_prost::ProstCodec;

use crate::soon;

/// As `message Text { string text = 1; }` would be compiled to.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Text {
    #[prost(string, tag = "1")]
    pub(super) text: String,
}

pub(super) fn text(text: &str) -> Text {
    Text {
        text: text.to_owned(),
    }
}

type Answers = BoxStream<'static, Result<Text, Status>>;

/// What the test answers next. `closed` tells that the call was dropped.
pub(super) type Gate = mpsc::Sender<Result<Text, Status>>;

/// Serves any method of any service. The four kinds of calls differ by nothing on the wire but by how
/// many messages there are: so by what the test makes of a call.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    calls: mpsc::UnboundedReceiver<Call>,
    connections: JoinHandle<()>,
}

/// A call that has reached the server.
pub(super) struct Call {
    pub(super) metadata: MetadataMap,
    messages: Streaming<Text>,
    answer: oneshot::Sender<Result<Response<Answers>, Status>>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, calls) = mpsc::unbounded_channel();
        let connections = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                tcp.set_nodelay(true).unwrap();
                let sender = sender.clone();
                let service = service_fn(move |request| answer(request, sender.clone()));
                open.spawn(
                    http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(tcp), service),
                );
            }
        });
        Self {
            address,
            calls,
            connections,
        }
    }

    pub(super) async fn call(&mut self) -> Call {
        soon("a call", self.calls.recv()).await.unwrap()
    }

    /// Breaks all connections.
    pub(super) async fn crash(self) {
        self.connections.abort();
        let _ = self.connections.await;
    }
}

async fn answer(
    request: http::Request<Incoming>,
    calls: mpsc::UnboundedSender<Call>,
) -> Result<http::Response<tonic::body::Body>, Infallible> {
    let called = tower::service_fn(move |request: Request<Streaming<Text>>| {
        let (metadata, _, messages) = request.into_parts();
        let (answer, answered) = oneshot::channel();
        let call = Call {
            metadata,
            messages,
            answer,
        };
        let _ = calls.send(call);
        async {
            answered
                .await
                .unwrap_or_else(|_| Err(Status::internal("the test is over")))
        }
    });
    let mut grpc = Grpc::new(ProstCodec::<Text, Text>::default());
    Ok(grpc.streaming(called, request).await)
}

impl Call {
    pub(super) async fn reads(&mut self, wanted: &str) {
        let message = soon(wanted, self.messages.message()).await;
        assert_eq!(message.unwrap(), Some(text(wanted)));
    }

    pub(super) async fn reads_end(&mut self) {
        let end = soon("the end", self.messages.message()).await;
        assert_eq!(end.unwrap(), None);
    }

    /// Sends the head, with this metadata.
    pub(super) fn answers(self, metadata: MetadataMap) -> (Gate, Streaming<Text>) {
        let (gate, answers) = mpsc::channel(1);
        let answers = stream::unfold(answers, |mut answers| async {
            answers.recv().await.map(|answer| (answer, answers))
        });
        let mut response = Response::new(answers.boxed());
        *response.metadata_mut() = metadata;
        assert!(self.answer.send(Ok(response)).is_ok(), "nobody waits");
        (gate, self.messages)
    }

    /// Without any message.
    pub(super) fn refuses(self, status: Status) {
        assert!(self.answer.send(Err(status)).is_ok(), "nobody waits");
    }

    /// Waits until the caller wants no answer any more.
    pub(super) async fn is_dropped(&mut self) {
        soon("the hang-up at the server", self.answer.closed()).await;
    }
}

pub(super) async fn send(gate: &Gate, answer: Result<Text, Status>) {
    soon("the gate", gate.send(answer)).await.unwrap();
}
