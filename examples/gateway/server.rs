//! Accepts the clients' connections and serves them.
//!
//! A client has a limit for the head of its first request, over HTTP/1.1 of each, and none for what
//! follows: streams may be quiet in either direction. One that stalls in its upload, or stops reading,
//! keeps its place, and the upstream's connection, until it goes on or is gone. Over HTTP/2 so does one
//! that has asked once, as long as it answers PINGs.
//!
//! A stream that breaks ends the connection without its last chunk, or resets its stream. A client of
//! HTTP/1.0 knows neither: to it, an answer without a length is over when the connection is (RFC 9112
//! §6.3). So that connection is reset, which may take with it what the client has not read yet.

use std::{
    convert::Infallible,
    future,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, TryFutureExt};
use http::{Request, Response, Version};
use hyper::{
    body::{Body, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Service};

use crate::{
    client::{Client, set_reset, tune},
    options::Options,
};

/// How long a first request that is under way at the shutdown may take to arrive.
const GRACE: Duration = Duration::from_secs(1);

/// The client's side of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// Its place among the connections, free again when the last clone is gone.
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

/// Serves HTTP/1.1 and HTTP/2 on one port until it is to stop. Gives what waits for the connections
/// that are left.
pub(crate) async fn serve<M, S, B>(
    listener: TcpListener,
    options: &Options,
    service_for: M,
    stop: CancellationToken,
) -> GracefulShutdown
where
    M: Fn(Peer) -> S,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Send + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let patience = options.client_timeout;
    let http = http(patience);
    let places = options.max_connections.map(places);
    let graceful = GracefulShutdown::new();
    loop {
        let (tcp, peer) = tokio::select! {
            biased;
            () = stop.cancelled() => return graceful,
            accepted = accept(&listener, places.as_ref()) => accepted,
        };
        let service = Mutex::new(service_for(peer));
        let (http, stop, watcher) = (http.clone(), stop.clone(), graceful.watcher());
        tokio::spawn(async move {
            let begun = stop.run_until_cancelled(timeout(patience, Client::begun(tcp)));
            let Some(Ok(Ok((io, left)))) = begun.await else {
                return tracing::debug!("the client has not begun");
            };
            let is_asked = Arc::<AtomicBool>::default();
            let (asked, tcp) = (Arc::clone(&is_asked), Arc::clone(&io.tcp));
            let service = service_fn(move |request| {
                asked.store(true, Ordering::Relaxed);
                answer(&service, request, &tcp)
            });
            let connection = http.serve_connection_with_upgrades(TokioIo::new(io), service);
            let served = watcher.watch(connection);
            until_over(served, left, unasked(patience, &stop, &is_asked)).await;
        });
    }
}

fn places(max: NonZeroU32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(max.get() as usize))
}

fn http(patience: Duration) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(patience);
    http.http2()
        .timer(TokioTimer::new())
        // A client that is gone without a word.
        .keep_alive_interval(Some(Duration::from_secs(20)));
    http
}

/// Lets nothing but the whole of an answer to HTTP/1.0 look like it.
///
/// Calls the connection's service itself, without waiting until it is ready: what is behind it always
/// is. hyper's adapter clones it for each request, and waits; that would be much of what layers cost.
fn answer<S, B>(
    service: &Mutex<S>,
    request: Request<Incoming>,
    tcp: &Arc<TcpStream>,
) -> impl Future<Output = Result<Response<B>, Infallible>> + use<S, B>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body,
{
    let is_http10 = request.version() == Version::HTTP_10;
    let mut service = service.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = service.call(request);
    if !is_http10 {
        return answer.left_future();
    }
    let tcp = Arc::clone(tcp);
    let answer = answer.inspect_ok(move |response| {
        set_reset(&tcp, response.body().size_hint().exact().is_none());
    });
    answer.right_future()
}

/// Whichever comes first drops the connection.
async fn until_over(
    served: impl Future<Output = Result<(), BoxError>>,
    left: impl Future<Output = ()>,
    unasked: impl Future<Output = ()>,
) {
    tokio::select! {
        biased;
        ended = served => if let Err(error) = ended {
            tracing::debug!(error, "connection broken");
        },
        () = left => tracing::debug!("the client has left"),
        () = unasked => tracing::debug!("nothing was asked"),
    }
}

/// Resolves when it is too late for a first request, if there was none by then. hyper would wait for one
/// over HTTP/2 without a limit, and half a request head must not hold up the shutdown for long.
async fn unasked(patience: Duration, stop: &CancellationToken, is_asked: &AtomicBool) {
    if timeout(patience, stop.cancelled()).await.is_ok() {
        sleep(GRACE).await;
    }
    if is_asked.load(Ordering::Relaxed) {
        future::pending::<()>().await;
    }
}

/// The next connection, when there is a place for it.
async fn accept(listener: &TcpListener, places: Option<&Arc<Semaphore>>) -> (TcpStream, Peer) {
    let place = match places {
        Some(places) => Arc::clone(places).acquire_owned().await.ok(),
        None => None,
    };
    loop {
        match listener.accept().await {
            Ok((tcp, address)) => {
                tune(&tcp);
                let peer = Peer {
                    address: address.ip(),
                    _place: place.map(Arc::new),
                };
                return (tcp, peer);
            }
            Err(error) => {
                // No more file descriptors, say: the next client may have more luck.
                tracing::warn!(%error, "cannot accept");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
