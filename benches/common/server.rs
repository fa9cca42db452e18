//! A server of hyper's on loopback: small responses, and streams of events.

use std::{
    convert::Infallible,
    fs,
    future::{Ready, ready},
    mem,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    pin::Pin,
    sync::mpsc,
    task::{Context, Poll},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};
use tower::{Layer, Service};

use super::Outcome;

pub(crate) const EVENT: &[u8; 64] =
    b"data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n\n";

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Where Linux tells how long its thread has run.
    schedstat: PathBuf,
}

async fn serve<S, B>(stream: TcpStream, service: TowerToHyperService<S>)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let server = auto::Builder::new(TokioExecutor::new());
    // The client leaves when it has seen enough.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

impl Server {
    /// Serves on a thread of its own, for as long as the process lives.
    pub(crate) fn start<L, B>(layer: L, app: App) -> Outcome<Self>
    where
        L: Layer<App>,
        L::Service: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
            + Clone
            + Send
            + 'static,
        B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let runtime = runtime()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let service = TowerToHyperService::new(layer.layer(app));
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            tell.send(fs::read_link("/proc/thread-self"))
                .expect("someone listens");
            runtime.block_on(async {
                while let Ok((stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).expect("a TCP stream");
                    tokio::spawn(serve(stream, service.clone()));
                }
            });
        });
        Ok(Self {
            address,
            schedstat: Path::new("/proc").join(told.recv()??).join("schedstat"),
        })
    }

    /// For how long its thread has run.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        cpu(&self.schedstat)
    }
}

/// For how long a thread has run, by its `schedstat`.
pub(crate) fn cpu(schedstat: &Path) -> Outcome<Duration> {
    let schedstat = fs::read_to_string(schedstat)?;
    let nanos = schedstat.split(' ').next().unwrap_or_default().parse()?;
    Ok(Duration::from_nanos(nanos))
}

pub(crate) fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_current_thread().enable_io().build()?)
}

/// `/events`: as many; else one, of known size.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) events: usize,
}

impl<Q> Service<Request<Q>> for App {
    type Response = Response<Events>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Events>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let is_stream = request.uri().path() == "/events";
        let mut response = Response::new(Events {
            left: if is_stream { self.events } else { 1 },
            is_stream,
            is_due: true,
        });
        if is_stream {
            let event_stream = HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert(CONTENT_TYPE, event_stream);
        }
        ready(Ok(response))
    }
}

/// Pending once between two events, so that the server flushes each, as it does those that take
/// time to make.
pub(crate) struct Events {
    left: usize,
    is_stream: bool,
    is_due: bool,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !mem::replace(&mut self.is_due, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.left.checked_sub(1).map(|left| {
            self.left = left;
            self.is_due = left == 0;
            Ok(Frame::data(Bytes::from_static(EVENT)))
        }))
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_stream {
            SizeHint::new()
        } else {
            SizeHint::with_exact((self.left * EVENT.len()) as u64)
        }
    }
}
