//! An upstream that does what a test tells it to.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::{gate, patience::soon, wire::Body};

pub(crate) type Gate = gate::Gate<io::Result<Frame<Bytes>>>;

/// A body of unknown length that yields what is sent through the gate.
///
/// `Gate::closed` tells that the body was dropped.
pub(crate) fn gated() -> (Gate, Body) {
    let (gate, frames) = gate::gated();
    (gate, StreamBody::new(frames).boxed())
}

pub(crate) fn full(text: &'static str) -> Body {
    Full::from(text).map_err(|never| match never {}).boxed()
}

pub(crate) async fn send(gate: &Gate, data: impl Into<Bytes>) {
    let frame = Frame::data(data.into());
    soon("the gate", gate.send(Ok(frame))).await.unwrap();
}

pub(crate) async fn send_trailers(gate: &Gate, trailers: HeaderMap) {
    let frame = Frame::trailers(trailers);
    soon("the gate", gate.send(Ok(frame))).await.unwrap();
}

pub(crate) async fn fail(gate: &Gate) {
    let error = io::Error::other("broken on purpose");
    soon("the gate", gate.send(Err(error))).await.unwrap();
}

/// Reads on to a clean end that nothing precedes; HTTP/2 may say it with an empty frame.
pub(crate) async fn read_end(body: &mut Incoming) {
    let rest = soon("the end", body.collect()).await.unwrap();
    assert_eq!(rest.to_bytes(), "");
}

/// A server of HTTP/1.1 and HTTP/2 whose requests are answered by the test.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
}

/// A request that has reached the upstream. Dropped, its connection breaks without an answer.
pub(crate) struct Arrival {
    pub(crate) request: Request<Incoming>,
    /// The how manyth that the upstream has accepted.
    pub(crate) connection: usize,
    answer: oneshot::Sender<Response<Body>>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        Self::serve("127.0.0.1:0", |tcp| async { Ok(tcp) }).await
    }

    /// Over TLS, with a certificate for `localhost` of the authority in `tls/ca.pem`.
    pub(crate) async fn start_tls(protocols: &[&str]) -> Self {
        let tls = TlsAcceptor::from(Arc::new(tls_config(protocols)));
        Self::serve("127.0.0.1:0", move |tcp| tls.accept(tcp)).await
    }

    pub(crate) async fn serve<F, Io>(
        address: &str,
        handshake: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = io::Result<Io>> + Send + 'static,
        Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, arrivals) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for connection in 0.. {
                let (tcp, _) = listener.accept().await.unwrap();
                tcp.set_nodelay(true).unwrap();
                let (shaken, sender) = (handshake(tcp), sender.clone());
                let service = service_fn(move |request| {
                    let (answer, answered) = oneshot::channel();
                    let _ = sender.send(Arrival {
                        request,
                        connection,
                        answer,
                    });
                    answered
                });
                tokio::spawn(async move {
                    let io = TokioIo::new(shaken.await?);
                    auto::Builder::new(TokioExecutor::new())
                        .serve_connection_with_upgrades(io, service)
                        .await
                });
            }
        });
        Self { address, arrivals }
    }

    pub(crate) async fn arrival(&mut self) -> Arrival {
        let arrival = soon("a request at the upstream", self.arrivals.recv()).await;
        arrival.unwrap()
    }
}

impl Arrival {
    pub(crate) fn answer(self, response: Response<Body>) -> Request<Incoming> {
        assert!(self.answer.send(response).is_ok(), "the gateway has gone");
        self.request
    }

    /// Waits until nobody wants the answer any more.
    pub(crate) async fn abandoned(&mut self) {
        soon("the hang-up at the upstream", self.answer.closed()).await;
    }
}

fn tls_config(protocols: &[&str]) -> ServerConfig {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/upstream.pem"));
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/upstream.key"));
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.unwrap()], key.unwrap())
        .unwrap();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().into())
        .collect();
    config
}
