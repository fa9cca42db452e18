//! Servers as their users write them, that shut down gracefully.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
};

use axum::{Router, body::Body, response::IntoResponse, routing::Route, serve::Listener};
use http::{Request, Response, request::Parts};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    io::DuplexStream,
    net::{TcpListener, TcpStream},
    select,
    sync::mpsc,
    task::JoinHandle,
};
use tokio_util::{either::Either, sync::CancellationToken};
use tower::{Layer, Service};

use crate::net::{Served, pipe, soon};

/// The service: answers at once.
#[derive(Clone)]
pub(crate) struct Responder(Arc<Respond>);

type Respond = dyn Fn(&Parts) -> Response<Body> + Send + Sync;

impl Responder {
    pub(crate) fn new(respond: impl Fn(&Parts) -> Response<Body> + Send + Sync + 'static) -> Self {
        Self(Arc::new(respond))
    }
}

impl<B> Service<Request<B>> for Responder {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok((self.0)(&request.into_parts().0)))
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Hyper,
    Axum,
}

pub(crate) const KINDS: [Kind; 2] = [Kind::Hyper, Kind::Axum];

impl Kind {
    /// Serves until the signal, and from then on what is under way.
    pub(crate) async fn serve<L>(
        self,
        layer: L,
        responder: Responder,
        shutdown: CancellationToken,
    ) -> Server
    where
        L: Layer<Responder, Service: Served> + Layer<Route> + Clone + Send + Sync + 'static,
        <L as Layer<Route>>::Service: Service<Request<Body>, Response: IntoResponse, Error: Into<Infallible>, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        match self {
            Self::Hyper => Server::hyper(layer.layer(responder), shutdown).await,
            Self::Axum => {
                let app = Router::new().fallback_service(responder).layer(layer);
                Server::axum(app, shutdown).await
            }
        }
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pipes: mpsc::UnboundedSender<DuplexStream>,
    /// Ends when the server has shut down.
    done: JoinHandle<()>,
}

impl Server {
    async fn hyper(service: impl Served, shutdown: CancellationToken) -> Self {
        Self::open(async move |mut door| {
            let builder = auto::Builder::new(TokioExecutor::new());
            let connections = GracefulShutdown::new();
            loop {
                let (io, _) = select! {
                    accepted = door.accept() => accepted,
                    () = shutdown.cancelled() => break,
                };
                let service = TowerToHyperService::new(service.clone());
                let connection = builder.serve_connection(TokioIo::new(io), service);
                let connection = connections.watch(connection.into_owned());
                // How it ends is the client's affair.
                tokio::spawn(async { drop(connection.await) });
            }
            connections.shutdown().await;
        })
        .await
    }

    async fn axum(app: Router, shutdown: CancellationToken) -> Self {
        Self::open(async move |door| {
            axum::serve(door, app)
                .with_graceful_shutdown(shutdown.cancelled_owned())
                .await
                .unwrap();
        })
        .await
    }

    async fn open<F>(serve: impl FnOnce(Door) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, pipes) = mpsc::unbounded_channel();
        Self {
            address,
            pipes: sender,
            done: tokio::spawn(serve(Door { listener, pipes })),
        }
    }

    /// Connects to it over a real socket.
    pub(crate) async fn socket(&self) -> TcpStream {
        let tcp = soon(TcpStream::connect(self.address)).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp
    }

    /// Connects to it within the process.
    pub(crate) fn pipe(&self) -> DuplexStream {
        let (near, far) = pipe();
        self.pipes.send(far).unwrap();
        near
    }

    pub(crate) fn has_shut_down(&self) -> bool {
        self.done.is_finished()
    }

    pub(crate) async fn shut_down(self) {
        soon(self.done).await.unwrap();
    }
}

/// Where connections come in.
struct Door {
    listener: TcpListener,
    pipes: mpsc::UnboundedReceiver<DuplexStream>,
}

impl Listener for Door {
    type Io = Either<TcpStream, DuplexStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        select! {
            accepted = self.listener.accept() => {
                let (tcp, from) = accepted.unwrap();
                tcp.set_nodelay(true).unwrap();
                (Either::Left(tcp), from)
            }
            Some(pipe) = self.pipes.recv() => (Either::Right(pipe), self.local_addr().unwrap()),
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
