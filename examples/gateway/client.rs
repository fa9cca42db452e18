//! The connection of a client, watched for the client's leaving.
//!
//! hyper's server reads an HTTP/1.1 connection only when it has a use for what comes. It does not
//! while the upstream takes none of an upload, after an upload was given up, and when a further
//! request is there already. That the client has gone then stays unseen until bytes for it do not
//! get out. So it is watched here, beside hyper, that the client has ended its side.
//!
//! Who ends its side waits for no answer, as hyper and nginx have it by default, and goes without
//! one. It is stricter than hyper with one that has sent further requests before: hyper would see the
//! end behind them only later. In tunnels either side may end first.

use std::{
    future,
    io::{self, IoSlice},
    net::Shutdown,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// What a client that speaks HTTP/2 sends first: RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Sends at once what there is to send, and notices when the other side is gone without a word.
pub(crate) fn tune(tcp: &TcpStream) {
    let probes = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10));
    let tuned = tcp.set_nodelay(true);
    if let Err(error) = tuned.and_then(|()| SockRef::from(tcp).set_tcp_keepalive(&probes)) {
        tracing::debug!(%error, "no TCP_NODELAY or no keep-alive");
    }
}

/// Sets whether a connection that is closed before hyper shuts it down is reset, even if it is the end
/// of this process that closes it. hyper shuts down what ends well, and drops what does not.
pub(crate) fn set_reset(tcp: &TcpStream, resets: bool) {
    let linger = resets.then_some(Duration::ZERO);
    if let Err(error) = SockRef::from(tcp).set_linger(linger) {
        tracing::debug!(%error, "no SO_LINGER");
    }
}

/// What hyper gets of the connection. It is none of the halves of a `TcpStream`, since the one that
/// writes ends the stream well when it is dropped, and only then can the connection be reset.
pub(crate) struct Client {
    pub(crate) tcp: Arc<TcpStream>,
    /// What hyper is to read first.
    start: Bytes,
}

impl Client {
    /// The connection when the client has begun, and what resolves when the client has ended its
    /// side, even while there is more to read before that end.
    pub(crate) async fn begun(mut tcp: TcpStream) -> io::Result<(Self, impl Future<Output = ()>)> {
        let start = start(&mut tcp).await?;
        let tcp = Arc::new(tcp);
        let left = left(Arc::clone(&tcp));
        Ok((Self { tcp, start }, left))
    }

    /// Tries it until it need not wait for the system.
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        poll_ready: fn(&TcpStream, &mut Context<'_>) -> Poll<io::Result<()>>,
        mut attempt: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            ready!(poll_ready(&self.tcp, cx))?;
            match attempt(&self.tcp) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                done => return Poll::Ready(done),
            }
        }
    }
}

/// Reads until it is clear which HTTP this is. hyper would wait for that without a limit.
async fn start(tcp: &mut TcpStream) -> io::Result<Bytes> {
    let mut start = BytesMut::with_capacity(PREFACE.len());
    while start.len() < PREFACE.len() && PREFACE.starts_with(&start) {
        if tcp.read_buf(&mut start).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(start.freeze())
}

/// Being readable is no news as long as nobody reads. Nothing urgent (`PRIORITY`) is ever asked of the
/// system for a TCP stream of tokio's, so that only the end is left to resolve this.
#[cfg(target_os = "linux")]
async fn left(connection: Arc<TcpStream>) {
    if let Err(error) = connection.ready(tokio::io::Interest::PRIORITY).await {
        tracing::debug!(%error, "cannot watch a client");
        future::pending::<()>().await;
    }
}

/// Elsewhere tokio cannot wait for the end alone, and it is noticed as late as hyper does.
#[cfg(not(target_os = "linux"))]
async fn left(connection: Arc<TcpStream>) {
    let _connection = connection;
    future::pending().await
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.start.has_remaining() {
            let first = self.start.len().min(buf.remaining());
            buf.put_slice(&self.start.split_to(first));
            return Poll::Ready(Ok(()));
        }
        let read = self.poll(cx, TcpStream::poll_read_ready, |tcp| tcp.try_read_buf(buf));
        read.map_ok(drop)
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, TcpStream::poll_write_ready, |tcp| tcp.try_write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, TcpStream::poll_write_ready, |tcp| {
            tcp.try_write_vectored(bufs)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        set_reset(&self.tcp, false);
        Poll::Ready(SockRef::from(&*self.tcp).shutdown(Shutdown::Write))
    }
}
