//! Forwards a request to the upstream and its response back, frame by frame.
//!
//! Nothing is buffered, and nothing outlives its exchange: dropping the future or the body that
//! this returns, as a server does when the client leaves, drops the upstream's side with it.
//!
//! What the client's side of a connection tells of its leaving, `client` sees. It tells nothing while
//! bytes that the client has sent wait in its own system, since the upstream takes none of an upload
//! and all buffers on the way are full: then the leaving is noticed when the upstream reads on, or
//! gives up, or when bytes of the answer do not get out.
//!
//! What hyper cannot pass on: interim responses (its server answers `Expect: 100-continue` when the
//! upstream's connection takes the first of the upload). Over HTTP/1.1, trailers that `Trailer` does
//! not name, and those of a response when the client did not send `TE: trailers`; and that a 304 to a
//! GET has a `content-length`. That the target `http://host` of an OPTIONS has no path, and so would
//! be `*` at the upstream (RFC 9112 §3.2.4): its path is `/` for `Uri`.

use std::{
    convert::Infallible,
    error::Error,
    future, mem,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use futures_util::TryFutureExt;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE},
    uri::PathAndQuery,
};
use http_body::Body as _;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use tokio_util::task::TaskTracker;

use crate::{
    failure::Failure,
    fields::{
        Via, has_bad_host, host, is_coded, is_grpc, join_cookies, lists, may_go_on,
        remove_hop_by_hop, set_forwarded,
    },
    options::Options,
    server::Peer,
    tunnel::{self, Upgrade},
    upload::{Broken, Upload},
    upstream::{Connections, Spoken, Upstream, connections},
    whole::Whole,
};

/// The upstream's body, or a word of our own.
pub(crate) type Body = Either<Whole, Full<Bytes>>;

pub(crate) struct Proxy {
    pub(crate) options: Options,
    upstream: Upstream,
    spoken: Spoken,
    via: Via,
    connections: Connections,
    /// For what may be upgraded.
    upgradeable: Connections,
    /// The tunnels that are open.
    pub(crate) tunnels: TaskTracker,
}

impl Proxy {
    pub(crate) fn new(options: Options, upstream: Upstream) -> Result<Self, Box<dyn Error>> {
        let is_https = upstream.is_https();
        let spoken = match (is_https, options.upstream_h2) {
            (true, _) => Spoken::Negotiated,
            (false, true) => Spoken::Http2,
            (false, false) => Spoken::Http1,
        };
        Ok(Self {
            connections: connections(&options, is_https, spoken)?,
            upgradeable: connections(&options, is_https, Spoken::Http1)?,
            tunnels: TaskTracker::new(),
            via: Via::new(&options.service)?,
            spoken,
            upstream,
            options,
        })
    }

    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Result<Response<Body>, Infallible> {
        let is_grpc = is_grpc(request.headers());
        let answered = if request.method() == Method::CONNECT {
            let connected = tunnel::connect(request, &peer, &self.options, &self.tunnels).await;
            connected.map(|()| Response::new(Body::Right(Full::default())))
        } else {
            self.forward(request, &peer).await
        };
        Ok(answered.unwrap_or_else(|failure| {
            let response = failure.response(&self.options.service, is_grpc);
            response.map(Body::Right)
        }))
    }

    async fn forward(
        &self,
        mut request: Request<Incoming>,
        peer: &Peer,
    ) -> Result<Response<Body>, Failure> {
        if is_coded(request.headers()) {
            return Err(Failure::CODED_REQUEST);
        }
        if has_bad_host(&request) {
            return Err(Failure::BAD_HEAD);
        }
        if !may_go_on(&mut request) {
            return own_answer(request.method());
        }
        let upgrade = Upgrade::asked_for_by(&mut request, peer);
        let version = request.version();
        self.readdress(&mut request, peer, upgrade.as_ref())
            .map_err(|error| {
                tracing::debug!(%error, "bad request head");
                Failure::BAD_HEAD
            })?;
        let request = request.map(|body| Whole::new(body, version));
        let mut response = self.ask(request, upgrade.is_some()).await?;
        if is_coded(response.headers()) {
            return Err(Failure::CODED_RESPONSE);
        }
        let protocol = response.headers_mut().remove(UPGRADE);
        remove_hop_by_hop(response.headers_mut());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let upgrade = upgrade.ok_or(Failure::UNASKED_UPGRADE)?;
            upgrade.accepted_by(&mut response, protocol, &self.tunnels)?;
        }
        let version = response.version();
        self.via.append_to(response.headers_mut(), version);
        *response.version_mut() = Version::HTTP_11;
        Ok(response.map(|body| Body::Left(Whole::new(body, version))))
    }

    /// The same at the upstream.
    fn target(&self, asked_for: &Uri) -> Result<Uri, http::Error> {
        let path = match asked_for.path_and_query() {
            None => PathAndQuery::from_static("/"),
            // An absolute target may leave out the path, which is there when it is written.
            Some(query) if query.as_str().starts_with('?') => query.to_string().parse()?,
            Some(path) => path.clone(),
        };
        Uri::builder()
            .scheme(self.upstream.scheme.clone())
            .authority(self.upstream.authority.clone())
            .path_and_query(path)
            .build()
    }

    /// Turns a request to us into one to the upstream.
    fn readdress(
        &self,
        request: &mut Request<Incoming>,
        peer: &Peer,
        upgrade: Option<&Upgrade>,
    ) -> Result<(), http::Error> {
        let target = self.target(request.uri())?;
        let asked_for = mem::replace(request.uri_mut(), target);
        let version = mem::replace(request.version_mut(), Version::HTTP_11);
        let takes_trailers = lists(request.headers(), &TE, "trailers");
        let is_chunked =
            !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
        let headers = request.headers_mut();
        if version == Version::HTTP_2 {
            join_cookies(headers)?;
        }
        // Before `Connection` has its way with it.
        let host = host(&asked_for, headers)?;
        remove_hop_by_hop(headers);
        set_forwarded(headers, host, peer.address, self.options.trust_forwarded)?;
        self.via.append_to(headers, version);
        headers.remove(HOST); // the client sets the upstream's
        if takes_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
            if self.spoken == Spoken::Http1 || upgrade.is_some() {
                // Where HTTP/2 is spoken, hyper's client would take it for an order to remove TE.
                headers.append(CONNECTION, HeaderValue::from_static("te"));
            }
        }
        if is_chunked {
            // The client takes it that a GET has no body, unless it is told.
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        if let Some(upgrade) = upgrade {
            headers.insert(UPGRADE, upgrade.protocol.clone());
            headers.append(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        Ok(())
    }

    /// Waits for the upstream's head, but not for ever.
    async fn ask(
        &self,
        request: Request<Whole>,
        may_upgrade: bool,
    ) -> Result<Response<Incoming>, Failure> {
        let options = &self.options;
        let (head, body) = request.into_parts();
        let (upload, fate) = Upload::new(body, options.connect_timeout);
        let connections = if may_upgrade {
            &self.upgradeable
        } else {
            &self.connections
        };
        let answer = connections.request(Request::from_parts(head, upload));
        let broken = Arc::clone(&fate.broken);
        tokio::select! {
            answer = answer.or_else(|error| no_answer(error, broken)) => answer,
            () = fate.stalled(options.header_timeout) => Err(Failure::HEADER_TIMEOUT),
        }
    }
}

/// To what asks the gateway itself, which has nothing to tell but that it is there.
fn own_answer(asked: &Method) -> Result<Response<Body>, Failure> {
    if asked == Method::TRACE {
        return Err(Failure::TRACE);
    }
    Ok(Response::new(Body::Right(Full::default())))
}

/// Why there is none. That the upload is broken comes before what comes of it.
async fn no_answer<T>(error: legacy::Error, upload: Arc<OnceLock<Broken>>) -> Result<T, Failure> {
    tracing::debug!(error = &error as &dyn Error, "no answer");
    match upload.get() {
        None => Err(Failure::of_client(&error)),
        Some(Broken::Malformed) => Err(Failure::BROKEN_UPLOAD),
        Some(Broken::Left) => future::pending().await, // the server drops this
    }
}
