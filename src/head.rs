//! Views of a message's head, the same for every body type.

use http::{
    Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
};
use http_body::{Body, SizeHint};

/// What can be known of a request before its body is read.
///
/// A view borrows the head where it lies, so that a callback need not be generic over the body.
///
/// ```
/// use http_body_util::Full;
/// use tower_passthrough::RequestHead;
///
/// let request = http::Request::get("/chat").body(Full::new(bytes::Bytes::from("hello"))).unwrap();
/// let head = RequestHead::from(&request);
/// assert_eq!(head.uri.path(), "/chat");
/// assert_eq!(head.body_size.exact(), Some(5));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The request's target, in the form that the service was given.
    pub uri: &'a Uri,
    /// The protocol version that the request came with.
    pub version: Version,
    /// The request's header fields.
    pub headers: &'a HeaderMap,
    /// The request's extensions: what the server and outer layers left there.
    pub extensions: &'a Extensions,
    /// The body's own hint of its size. A hint: a body may yield more or fewer bytes.
    pub body_size: SizeHint,
}

impl<'a, B: Body> From<&'a Request<B>> for RequestHead<'a> {
    fn from(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
            body_size: request.body().size_hint(),
        }
    }
}

/// What can be known of a response before its body is polled.
///
/// ```
/// use http_body_util::Empty;
/// use tower_passthrough::ResponseHead;
///
/// let response = http::Response::builder().status(404).body(Empty::<bytes::Bytes>::new()).unwrap();
/// let head = ResponseHead::from(&response);
/// assert_eq!(head.status, 404);
/// assert_eq!(head.body_size.exact(), Some(0));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ResponseHead<'a> {
    /// The response's status.
    pub status: StatusCode,
    /// The version that the service set. A server may send another.
    pub version: Version,
    /// The response's header fields, as they stand at this layer.
    pub headers: &'a HeaderMap,
    /// The response's extensions.
    pub extensions: &'a Extensions,
    /// The body's own hint of its size. A hint: a body may yield more or fewer bytes.
    pub body_size: SizeHint,
    /// Whether the connection stops speaking HTTP after this head: 101 (RFC 9110 §15.2.2), or a
    /// 2xx to CONNECT (§9.3.6).
    pub tunnel: bool,
}

impl<'a> ResponseHead<'a> {
    pub(crate) fn new<B: Body>(response: &'a Response<B>, asked: Asked) -> Self {
        let status = response.status();
        Self {
            status,
            version: response.version(),
            headers: response.headers(),
            extensions: response.extensions(),
            body_size: response.body().size_hint(),
            tunnel: asked.is_tunnel(status),
        }
    }
}

#[cfg(any(feature = "buffering", feature = "metrics"))]
impl ResponseHead<'_> {
    /// Whether somebody was told how long the content is, or will be: a server makes a
    /// `content-length` of an exact size.
    pub(crate) fn has_length(&self) -> bool {
        self.body_size.exact().is_some() || self.headers.contains_key(&http::header::CONTENT_LENGTH)
    }
}

/// The head of a response to a request that was not CONNECT.
impl<'a, B: Body> From<&'a Response<B>> for ResponseHead<'a> {
    fn from(response: &'a Response<B>) -> Self {
        Self::new(response, Asked::Other)
    }
}

/// The one thing that matters about the request once it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    unnameable_types,
    unreachable_pub,
    reason = "some layers note it, by a trait that is sealed"
)]
pub enum Asked {
    Head,
    Connect,
    Other,
}

impl From<&Method> for Asked {
    fn from(method: &Method) -> Self {
        match *method {
            Method::HEAD => Self::Head,
            Method::CONNECT => Self::Connect,
            _ => Self::Other,
        }
    }
}

impl Asked {
    /// RFC 9110 §6.4.1: the response to this, with this status, never has content, whatever body it
    /// comes with. What follows a 2xx to CONNECT is no content either, but no end.
    #[inline]
    pub(crate) fn has_no_content(self, status: StatusCode) -> bool {
        self == Self::Head
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED
    }

    /// Whether content may follow a head with this status.
    #[cfg(any(feature = "buffering", feature = "sse"))]
    #[inline]
    pub(crate) fn may_have_content(self, status: StatusCode) -> bool {
        !self.has_no_content(status) && !self.is_tunnel(status)
    }

    /// Whether the connection stops speaking HTTP after a head with this status: 101 (RFC 9110
    /// §15.2.2), or a 2xx to CONNECT (§9.3.6).
    #[inline]
    pub(crate) fn is_tunnel(self, status: StatusCode) -> bool {
        status == StatusCode::SWITCHING_PROTOCOLS || (self == Self::Connect && status.is_success())
    }
}

/// The number that a field of digits tells, such as `content-length` (RFC 9110 §8.6). `None` for
/// anything else, signs and lists included, and for what 64 bits cannot hold.
pub(crate) fn decimal(value: &HeaderValue) -> Option<u64> {
    let digits = value.to_str().ok()?;
    // `parse` alone would take a sign too.
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }
}
