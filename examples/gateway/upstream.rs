//! The one server that requests are forwarded to, and the connections to it.

use std::{fmt, io, str::FromStr, time::Duration};

use http::{
    Uri,
    uri::{Authority, Scheme},
};
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::net::TcpStream;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tower::{BoxError, ServiceBuilder, util::BoxCloneSyncService};

use crate::{fields::is_host, options::Options, upload::Upload};

#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
}

impl Upstream {
    pub(crate) fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let form = "give it as http://HOST[:PORT] or https://HOST[:PORT]";
        let uri: Uri = url.parse().map_err(|error| format!("{error}; {form}"))?;
        let is_bare = uri.path() == "/" && uri.query().is_none();
        let parts = uri.into_parts();
        match (parts.scheme, parts.authority) {
            (Some(scheme), _) if ![Scheme::HTTP, Scheme::HTTPS].contains(&scheme) => {
                Err(format!("{scheme} is not spoken to upstreams; {form}"))
            }
            (Some(scheme), Some(authority)) if is_bare && is_host(&authority) => {
                Ok(Self { scheme, authority })
            }
            _ => Err(form.to_owned()),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

type Connection = MaybeHttpsStream<TokioIo<TcpStream>>;
type Connector = BoxCloneSyncService<Uri, Connection, BoxError>;
pub(crate) type Connections = Client<Connector, Upload>;

/// How long nothing may come before the system asks whether the upstream is there, and again.
const PROBE: Duration = Duration::from_secs(20);

/// How long a connection may be idle and still be used. Many servers close theirs after 5 s, and a request
/// that crosses with that is lost.
const IDLE: Duration = Duration::from_secs(4);

/// What is spoken with the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// HTTP/1.1, as what may be upgraded needs it.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Either, as the TLS of https negotiates it.
    Negotiated,
}

/// A pool of connections: as many as are needed over HTTP/1.1, and one over HTTP/2. What exceeds the
/// exchanges that an upstream allows on that (`SETTINGS_MAX_CONCURRENT_STREAMS`) waits, but no longer
/// than an upstream may take to answer. Where HTTP/2 was negotiated, a connection on which no request has
/// begun for long gets no further one, and ends with its streams.
///
/// An upstream may close a connection just as a request is sent on it, all the same: that is a 502, and
/// not sent again, as nobody knows whether it was read.
///
/// Fails if the system has no certificates to trust, and the upstream is to be spoken to over TLS.
pub(crate) fn connections(
    options: &Options,
    is_https: bool,
    spoken: Spoken,
) -> io::Result<Connections> {
    let tls = if is_https {
        HttpsConnectorBuilder::new().with_native_roots()?
    } else {
        let none = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
        HttpsConnectorBuilder::new().with_tls_config(none.with_no_client_auth())
    };
    let tls = tls.https_or_http();
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    // For an upstream that is gone without a word. Not with PINGs of HTTP/2: servers of gRPC take
    // more than one in five minutes of quiet for abuse, and close the connection.
    tcp.set_keepalive(Some(PROBE));
    tcp.set_keepalive_interval(Some(PROBE));
    tcp.set_keepalive_retries(Some(3));
    tcp.enforce_http(false);
    let connector = match spoken {
        Spoken::Http1 => tls.enable_http1().wrap_connector(tcp),
        Spoken::Http2 | Spoken::Negotiated => tls.enable_all_versions().wrap_connector(tcp),
    };
    // Around all of it: the name's resolution, TCP and TLS.
    let connector = ServiceBuilder::new()
        .timeout(options.connect_timeout)
        .service(connector);
    let mut client = Client::builder(TokioExecutor::new());
    client.pool_timer(TokioTimer::new());
    if spoken == Spoken::Http2 {
        client.http2_only(true);
    } else {
        client.pool_idle_timeout(IDLE);
    }
    Ok(client.build(BoxCloneSyncService::new(connector)))
}
