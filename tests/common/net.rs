//! Real connections: hyper's server and client over any transport, and what passes on the wire.
#![allow(dead_code, reason = "each test file uses a part")]

#[path = "patience.rs"]
pub(crate) mod patience;

use std::{
    error::Error,
    fmt::Write as _,
    future::{Future, poll_fn},
    io,
    net::Ipv4Addr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, header::CONTENT_LENGTH};
use http_body::Body;
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client, rt::Executor, server};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    join,
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinError, JoinSet},
};
use tower::Service;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// The body of a request that a [`Client`] sends.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proto {
    H1,
    H2,
}

pub(crate) fn no_body() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// What a connection can be made of.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

/// What hyper can serve.
pub(crate) trait Served:
    Service<
        Request<Incoming>,
        Response = Response<<Self as Served>::Body>,
        Error: Into<BoxError>,
        Future: Send,
    > + Clone
    + Send
    + 'static
{
    type Body: Body<Data: Send, Error: Into<BoxError>> + Send + 'static;
}

impl<S, B> Served for S
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Body = B;
}

/// Waits for what must come.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    patience::soon("what must come", future).await
}

/// Serves one connection. The head carries no `date`, so that the wire is the same in each run.
pub(crate) fn serve(proto: Proto, io: impl Io, service: impl Served) -> Server {
    let tasks = Tasks::default();
    let io = TokioIo::new(io);
    let service = TowerToHyperService::new(service);
    match proto {
        Proto::H1 => {
            let connection = server::conn::http1::Builder::new()
                .auto_date_header(false)
                .serve_connection(io, service)
                .with_upgrades();
            tasks.execute(async { drop(connection.await) });
        }
        Proto::H2 => {
            let connection = server::conn::http2::Builder::new(tasks.clone())
                .auto_date_header(false)
                .enable_connect_protocol()
                .serve_connection(io, service);
            tasks.execute(async { drop(connection.await) });
        }
    }
    Server(tasks)
}

/// One connection's server side.
pub(crate) struct Server(Tasks);

impl Server {
    /// Waits until the connection and all its exchanges are gone: whatever an observer has not
    /// been told by then, it will never be told.
    pub(crate) async fn closed(self) {
        soon(self.0.done()).await;
    }

    /// The same, but for services that panic: gives back how many tasks ended so.
    pub(crate) async fn panics(self) -> usize {
        soon(self.0.panics()).await
    }
}

/// One connection's client side. If dropped, the connection is cut.
pub(crate) struct Client {
    sender: Sender,
    tasks: Tasks,
}

enum Sender {
    H1(client::conn::http1::SendRequest<RequestBody>),
    H2(client::conn::http2::SendRequest<RequestBody>),
}

impl Client {
    pub(crate) async fn connect(proto: Proto, io: impl Io) -> Self {
        let tasks = Tasks::default();
        let io = TokioIo::new(io);
        let sender = match proto {
            Proto::H1 => {
                let (sender, connection) = soon(client::conn::http1::handshake(io)).await.unwrap();
                tasks.execute(async { drop(connection.with_upgrades().await) });
                Sender::H1(sender)
            }
            Proto::H2 => {
                let (sender, connection) = soon(client::conn::http2::handshake(tasks.clone(), io))
                    .await
                    .unwrap();
                tasks.execute(async { drop(connection.await) });
                Sender::H2(sender)
            }
        };
        Self { sender, tasks }
    }

    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::H1(sender) => {
                soon(sender.ready()).await?;
                soon(sender.send_request(request)).await
            }
            Sender::H2(sender) => {
                soon(sender.ready()).await?;
                soon(sender.send_request(request)).await
            }
        }
    }
}

impl Client {
    /// Another one on the same connection, which ends with the first one. HTTP/1 carries one
    /// exchange at a time: there is none.
    pub(crate) fn beside(&self) -> Option<Self> {
        match &self.sender {
            Sender::H1(_) => None,
            Sender::H2(sender) => Some(Self {
                sender: Sender::H2(sender.clone()),
                tasks: Tasks::default(),
            }),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

/// Both ends of a transport within the process, on which no write ever waits for a read.
pub(crate) fn pipe() -> (DuplexStream, DuplexStream) {
    duplex(64 * 1024)
}

/// Both ends of a transport over a real socket.
pub(crate) async fn loopback() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = soon(async { join!(TcpStream::connect(address), listener.accept()) }).await;
    let (near, (far, _)) = (near.unwrap(), far.unwrap());
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

/// Sends `request` as it stands over HTTP/1 and gives back all bytes until the server closes the
/// connection, which the request must ask for.
pub(crate) async fn raw_h1<I: Io>(
    (mut near, far): (I, I),
    service: impl Served,
    request: &str,
) -> String {
    let server = serve(Proto::H1, far, service);
    near.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    soon(near.read_to_string(&mut response)).await.unwrap();
    server.closed().await;
    response
}

/// Sends `request` over HTTP/2 and reads the response to its end. Gives back the frames, and what
/// the client made of them: `HEADERS, DATA 5 END_STREAM => 200 content-length: 5, 5 bytes`.
pub(crate) async fn frames_h2<I: Io>(
    (near, far): (I, I),
    service: impl Served,
    request: Request<RequestBody>,
) -> String {
    let (near, recording) = Recorded::new(near);
    let server = serve(Proto::H2, far, service);
    let mut client = Client::connect(Proto::H2, near).await;
    let received = match client.send(request).await {
        Ok(response) => received(response).await,
        Err(error) => broken(&error),
    };
    drop(client);
    server.closed().await;
    format!("{} => {received}", recording.frames())
}

async fn received(response: Response<Incoming>) -> String {
    let mut received = response.status().as_u16().to_string();
    if let Some(length) = response.headers().get(CONTENT_LENGTH) {
        write!(received, " content-length: {}", length.to_str().unwrap()).unwrap();
    }
    match soon(response.into_body().collect()).await {
        Ok(body) => {
            for (name, value) in body.trailers().into_iter().flatten() {
                write!(received, ", {name}: {}", value.to_str().unwrap()).unwrap();
            }
            write!(received, ", {} bytes", body.to_bytes().len()).unwrap();
        }
        Err(error) => write!(received, ", {}", broken(&error)).unwrap(),
    }
    received
}

/// Why the client takes a stream for broken.
fn broken(error: &hyper::Error) -> String {
    let reset = error
        .source()
        .and_then(|source| source.downcast_ref::<h2::Error>());
    match reset.and_then(h2::Error::reason) {
        Some(reason) => format!("broken: {reason:?}"),
        None => format!("broken: {error:?}"),
    }
}

/// What was read from a connection so far.
#[derive(Clone, Default)]
pub(crate) struct Recording(Arc<Mutex<Vec<u8>>>);

impl Recording {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    /// The frames that a connection has carried on its HTTP/2 streams, without those that are
    /// about the connection as a whole.
    pub(crate) fn frames(&self) -> String {
        let bytes = self.bytes();
        let mut rest = &bytes[..];
        let mut frames = Vec::new();
        while let Some((head, more)) = rest.split_first_chunk::<9>() {
            let &[l0, l1, l2, kind, flags, s0, s1, s2, s3] = head;
            let length = usize::try_from(u32::from_be_bytes([0, l0, l1, l2])).unwrap();
            let (payload, more) = more.split_at(length);
            rest = more;
            let end = match (kind, flags & 1) {
                (0 | 1, 1) => " END_STREAM",
                _ => "",
            };
            match (u32::from_be_bytes([s0, s1, s2, s3]), kind) {
                (0, _) => {}
                (_, 0) => frames.push(format!("DATA {length}{end}")),
                (_, 1) => frames.push(format!("HEADERS{end}")),
                (_, 3) => frames.push(reset(payload)),
                (_, kind) => frames.push(format!("frame {kind:#x} {payload:?}")),
            }
        }
        assert_eq!(rest, b"", "cut within a frame");
        frames.join(", ")
    }
}

fn reset(payload: &[u8]) -> String {
    let code = u32::from_be_bytes(payload.try_into().unwrap());
    format!("RST_STREAM {:?}", h2::Reason::from(code))
}

/// A transport that keeps a copy of all that is read from it.
pub(crate) struct Recorded<T> {
    io: T,
    recording: Recording,
}

impl<T> Recorded<T> {
    pub(crate) fn new(io: T) -> (Self, Recording) {
        let recording = Recording::default();
        let copy = recording.clone();
        (Self { io, recording }, copy)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Recorded<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        self.recording.0.lock().unwrap().extend_from_slice(read);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Recorded<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// All that one side of a connection has spawned.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    /// Waits until none is left. A panic in one of them goes on here.
    async fn done(&self) {
        while let Some(task) = self.next().await {
            task.unwrap();
        }
    }

    /// Waits until none is left, and counts those that panicked.
    async fn panics(&self) -> usize {
        let mut panics = 0;
        while let Some(task) = self.next().await {
            panics += usize::from(task.is_err_and(|error| error.is_panic()));
        }
        panics
    }

    /// A task that spawns another is still there itself, so none left means none to come.
    async fn next(&self) -> Option<Result<(), JoinError>> {
        poll_fn(|cx| self.0.lock().unwrap().poll_join_next(cx)).await
    }

    fn abort(&self) {
        self.0.lock().unwrap().abort_all();
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        let _: AbortHandle = self.0.lock().unwrap().spawn(future);
    }
}
