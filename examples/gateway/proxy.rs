//! Forwards a request to the upstream and its response back, frame by frame.
//!
//! Nothing is buffered, and nothing outlives its exchange: dropping the future or the body that
//! this returns, as a server does when the client leaves, drops the upstream's side with it.
//!
//! Two hang-ups over HTTP/1.1 are noticed late, since hyper does not read the client's socket then:
//! - The client has pipelined a further request: noticed when bytes of the answer do not get out.
//! - An upload is blocked, as the upstream reads nothing: noticed when it reads on, or gives up.

use std::{convert::Infallible, error::Error, fmt, iter, str::FromStr};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, TE, TRANSFER_ENCODING, UPGRADE,
    },
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body::Body as _;
use http_body_util::{Either, Full};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tower_passthrough::observe::Tunnel;

/// The upstream's body, or a word of our own.
pub(crate) type Body = Either<Incoming, Full<Bytes>>;

/// The one server that requests are forwarded to.
#[derive(Debug, Clone)]
pub(crate) struct Upstream(Authority);

impl FromStr for Upstream {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let form = "give it as http://HOST[:PORT]";
        let uri: Uri = url.parse().map_err(|error| format!("{error}; {form}"))?;
        let is_bare = uri.path() == "/" && uri.query().is_none();
        match (uri.scheme(), uri.authority()) {
            (Some(scheme), _) if *scheme != Scheme::HTTP => {
                Err(format!("{scheme} is not spoken to upstreams; {form}"))
            }
            (Some(_), Some(host)) if is_bare && !host.as_str().contains('@') => {
                Ok(Self(host.clone()))
            }
            _ => Err(form.to_owned()),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    upstream: Upstream,
    client: Client<HttpConnector, Incoming>,
}

impl Proxy {
    pub(crate) fn new(upstream: Upstream) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self { upstream, client }
    }

    pub(crate) async fn forward(
        self,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        if request.method() == Method::CONNECT {
            return Ok(refusal(StatusCode::FORBIDDEN, "this is no CONNECT proxy"));
        }
        if is_coded(request.headers()) {
            let reason = "no transfer coding but chunked is spoken";
            return Ok(refusal(StatusCode::NOT_IMPLEMENTED, reason));
        }
        let upgrade = Upgrade::asked_for_by(&mut request);
        if let Err(error) = self.readdress(&mut request, upgrade.as_ref()) {
            tracing::debug!(%error, "bad request head");
            return Ok(refusal(StatusCode::BAD_REQUEST, "bad request head"));
        }
        let mut response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) => return Ok(failure(&error)),
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(match upgrade {
                Some(upgrade) => upgrade.accepted_by(response),
                None => refusal(StatusCode::BAD_GATEWAY, "an upgrade that nobody asked for"),
            });
        }
        if is_coded(response.headers()) {
            let reason = "the upstream's transfer coding is not spoken";
            tracing::warn!("{reason}");
            return Ok(refusal(StatusCode::BAD_GATEWAY, reason));
        }
        remove_hop_by_hop(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        Ok(response.map(Body::Left))
    }

    /// Turns a request to us into one to the upstream.
    fn readdress(
        &self,
        request: &mut Request<Incoming>,
        upgrade: Option<&Upgrade>,
    ) -> Result<(), http::Error> {
        if request.version() == Version::HTTP_2 {
            join_cookies(request.headers_mut())?;
        }
        let target = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.upstream.0.clone())
            .path_and_query(target.unwrap_or(PathAndQuery::from_static("/")))
            .build()?;
        *request.version_mut() = Version::HTTP_11;

        let takes_trailers = lists(request.headers(), &TE, "trailers");
        let is_chunked =
            !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
        let headers = request.headers_mut();
        remove_hop_by_hop(headers);
        headers.remove(HOST); // the client sets the upstream's
        if takes_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
            headers.append(CONNECTION, HeaderValue::from_static("te"));
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
}

/// The client's side of a connection that may stop speaking HTTP.
struct Upgrade {
    protocol: HeaderValue,
    client: OnUpgrade,
    /// Keeps the exchange open for the layers until the tunnel closes.
    tunnel: Option<Tunnel>,
}

impl Upgrade {
    fn asked_for_by(request: &mut Request<Incoming>) -> Option<Self> {
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
            tunnel: request.extensions_mut().remove(),
            client: hyper::upgrade::on(request),
        })
    }

    fn accepted_by(self, mut response: Response<Incoming>) -> Response<Body> {
        let upstream = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            let _open = self.tunnel;
            if let Err(error) = relay(self.client, upstream).await {
                tracing::debug!(error, "tunnel broken");
            }
        });

        let protocol = response.headers_mut().remove(UPGRADE);
        let headers = response.headers_mut();
        remove_hop_by_hop(headers);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.unwrap_or(self.protocol));
        response.map(Body::Left)
    }
}

async fn relay(client: OnUpgrade, upstream: OnUpgrade) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (client, upstream) = tokio::try_join!(client, upstream)?;
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    tokio::io::copy_bidirectional(&mut client, &mut upstream).await?;
    Ok(())
}

/// Removes what is about the connection and not about the message: RFC 9110 §7.6.1.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.remove(TRANSFER_ENCODING).is_some() {
        headers.remove(CONTENT_LENGTH); // overridden by it: RFC 9112 §6.3
    }
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter_map(|name| name.parse().ok())
        .collect();
    let known = ["keep-alive", "proxy-connection"].map(HeaderName::from_static);
    let known = known.into_iter().chain([CONNECTION, TE, UPGRADE]);
    for name in known.chain(named) {
        headers.remove(name);
    }
}

/// Makes one field of those that HTTP/2 may split cookies into: RFC 9113 §8.2.3.
fn join_cookies(headers: &mut HeaderMap) -> Result<(), http::Error> {
    let crumbs = headers.get_all(COOKIE).into_iter();
    let crumbs: Vec<_> = crumbs.map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1 {
        let cookie = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))?;
        headers.insert(COOKIE, cookie);
    }
    Ok(())
}

/// Whether the body has transfer codings besides one `chunked`, which is all that hyper decodes.
fn is_coded(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(TRANSFER_ENCODING).into_iter();
    let is_chunked = |field: &HeaderValue| field.as_bytes().eq_ignore_ascii_case(b"chunked");
    fields.next().is_some_and(|field| !is_chunked(field)) || fields.next().is_some()
}

fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|listed| listed.eq_ignore_ascii_case(token))
}

/// The members of a field that is a list of tokens, perhaps over several lines.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// What to answer instead of the upstream.
fn failure(error: &legacy::Error) -> Response<Body> {
    let cause: &(dyn Error + 'static) = error;
    if is_of_upload(cause) {
        tracing::debug!(error = cause, "broken upload");
        return refusal(StatusCode::BAD_REQUEST, "the request body is broken");
    }
    let reason = if error.is_connect() {
        "the upstream cannot be reached"
    } else {
        "the upstream gave no valid answer"
    };
    tracing::warn!(error = cause, "{reason}");
    refusal(StatusCode::BAD_GATEWAY, reason)
}

/// Whether the client's body broke: an error of hyper's server, which its client calls the user's.
fn is_of_upload(error: &(dyn Error + 'static)) -> bool {
    iter::successors(Some(error), |&error| error.source())
        .filter_map(|error| error.downcast_ref::<hyper::Error>())
        .filter(|error| error.is_user())
        .filter_map(Error::source)
        .any(<dyn Error>::is::<hyper::Error>)
}

fn refusal(status: StatusCode, reason: &str) -> Response<Body> {
    let mut response = Response::new(Body::Right(format!("{reason}\n").into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
