//! Connections that stop speaking HTTP: upgrades (WebSocket and any other) and CONNECT.
//!
//! WebSocket over HTTP/2 (RFC 8441) is not offered: clients then take HTTP/1.1 for it.

use http::{
    HeaderValue, Request, Response, Version,
    header::{CONNECTION, UPGRADE},
    uri::Authority,
};
use http_body::Body as _;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::TcpStream,
    time::timeout,
};
use tokio_util::task::TaskTracker;
use tower_passthrough::observe::Tunnel;

use crate::{
    client::tune,
    failure::Failure,
    fields::{has_bad_host, lists, members},
    options::Options,
    server::Peer,
};

/// The client's side of a tunnel, before there is one.
pub(crate) struct ClientSide {
    connection: OnUpgrade,
    /// Keeps the exchange open for the layers until the tunnel closes.
    tunnel: Option<Tunnel>,
    /// Keeps its place among the connections.
    peer: Peer,
}

impl ClientSide {
    fn of(request: &mut Request<Incoming>, peer: &Peer) -> Self {
        Self {
            tunnel: request.extensions_mut().remove(),
            peer: peer.clone(),
            connection: hyper::upgrade::on(request),
        }
    }

    /// Passes bytes in both directions until both sides have ended, or one breaks.
    fn join<T>(
        self,
        other: impl Future<Output = hyper::Result<T>> + Send + 'static,
        tunnels: &TaskTracker,
    ) where
        T: AsyncRead + AsyncWrite + Unpin + Send,
    {
        tunnels.spawn(async move {
            let _open = (self.tunnel, self.peer);
            match tokio::try_join!(self.connection, other) {
                Ok((client, mut other)) => {
                    let relayed = copy_bidirectional(&mut TokioIo::new(client), &mut other).await;
                    if let Err(error) = relayed {
                        tracing::debug!(%error, "tunnel broken");
                    }
                }
                Err(error) => tracing::debug!(%error, "no tunnel"),
            }
        });
    }
}

/// A request for another protocol on this connection: RFC 9110 §7.8.
pub(crate) struct Upgrade {
    pub(crate) protocol: HeaderValue,
    client: ClientSide,
}

impl Upgrade {
    pub(crate) fn asked_for_by(request: &mut Request<Incoming>, peer: &Peer) -> Option<Self> {
        let protocol = request.headers().get(UPGRADE)?.clone();
        if request.version() != Version::HTTP_11
            || !lists(request.headers(), &CONNECTION, "upgrade")
            // It is ours, not the upstream's, to speak HTTP/2 with the client.
            || lists(request.headers(), &UPGRADE, "h2c")
        {
            return None;
        }
        Some(Self {
            protocol,
            client: ClientSide::of(request, peer),
        })
    }

    /// The head for the client of one that the upstream has accepted. Fails if that names nothing that
    /// was asked for; it may name the layers above it, too, as RFC 2817 has it.
    pub(crate) fn accepted_by(
        self,
        response: &mut Response<Incoming>,
        protocol: Option<HeaderValue>,
        tunnels: &TaskTracker,
    ) -> Result<(), Failure> {
        let protocol = protocol.unwrap_or_else(|| self.protocol.clone());
        let is_asked_for =
            |it: &[u8]| members(&self.protocol).any(|asked| asked.eq_ignore_ascii_case(it));
        if !members(&protocol).any(is_asked_for) {
            return Err(Failure::UNASKED_UPGRADE);
        }
        let upstream = hyper::upgrade::on(&mut *response);
        self.client
            .join(async { upstream.await.map(TokioIo::new) }, tunnels);
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
        Ok(())
    }
}

/// Opens a tunnel to where CONNECT asks for, if that is allowed: RFC 9110 §9.3.6.
pub(crate) async fn connect(
    mut request: Request<Incoming>,
    peer: &Peer,
    options: &Options,
    tunnels: &TaskTracker,
) -> Result<(), Failure> {
    if has_bad_host(&request) || !request.body().is_end_stream() {
        return Err(Failure::BAD_HEAD);
    }
    let target = request.uri().authority().ok_or(Failure::BAD_HEAD)?;
    let is_target = |allowed: &&Authority| *allowed == target;
    let Some(target) = options.allow_connect.iter().find(is_target) else {
        return Err(Failure::CONNECT_DENIED);
    };
    let connected = timeout(options.connect_timeout, TcpStream::connect(target.as_str()));
    let connected = connected.await.map_err(|_| Failure::CONNECT_TIMEOUT);
    let tcp = connected
        .and_then(|tcp| tcp.map_err(|error| Failure::of_connecting(&error)))
        .map_err(Failure::without_tunnel)?;
    tune(&tcp);
    ClientSide::of(&mut request, peer).join(async { Ok(tcp) }, tunnels);
    Ok(())
}
