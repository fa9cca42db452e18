//! [`BufferingLayer`]: whether a proxy in front may buffer a response, by route, and changed at run
//! time.
//!
//! A proxy that buffers reads a response ahead of its client. That frees the server behind it early,
//! and may hold the events of a stream until a buffer is full. nginx does by default
//! (`proxy_buffering on`), but goes by the response's `x-accel-buffering: no` or `yes`, for this
//! response alone; others follow it. This layer sets that field, so that nothing need be configured
//! in the proxy, and nothing reloaded.
//!
//! ```
//! use tower_passthrough::buffering::{Buffering, BufferingControl, BufferingLayer};
//!
//! let control = BufferingControl::new(Buffering::Auto);
//! control.set("/v1/files/*", Buffering::On)?;
//! let layer = BufferingLayer::new(control.clone());
//! // ... and later, while requests are served:
//! control.set("/v1/files/*", Buffering::Off)?;
//! # let _ = layer;
//! # Ok::<(), tower_passthrough::BuildError>(())
//! ```
//!
//! It touches heads only: bodies keep their type, and their bytes do not pass through here. The
//! policy is looked up when the response's head is there: a change takes effect with the next
//! response, and a stream that is under way goes on as it began.
//!
//! # What is set
//!
//! | [`Buffering`] | responses | `x-accel-buffering` |
//! |---|---|---|
//! | `off` | all | `no` |
//! | `on` | all | `yes` |
//! | `auto` | to HEAD; 204, 304 and 1xx; tunnels: they have no content | |
//! | | of type `text/event-stream`, `application/x-ndjson`, `application/jsonl`, `application/json-seq`, `application/grpc-web` or `application/grpc-web-text` with any codec | `no` |
//! | | of unknown length: no `content-length`, and the body's `size_hint` is not exact | `no` |
//! | | others | |
//!
//! A field that the response has already, from the service or from a layer inside this one, is left
//! as it is. With a policy that is [overriding](Policy::overriding) it is as if it were not there:
//! replaced by what is set, and removed where `auto` sets nothing, so that the proxy's own setting
//! counts.
//!
//! # Where to put it
//!
//! Where the path is still as the client wrote it. Inside of what rewrites paths, it is the rewritten
//! path that routes are compared with: axum's `nest` strips its prefix from what layers of the nested
//! router see, so the layer belongs to the outermost router.
//!
//! [`HeadersLayer::sse`] sets `x-accel-buffering: no` on event streams, whatever they had: outside
//! of this layer it would overrule it, inside of it only overriding policies change what it set.
//!
#![cfg_attr(
    feature = "headers",
    doc = "[`HeadersLayer::sse`]: crate::headers::HeadersLayer::sse"
)]
#![cfg_attr(
    not(feature = "headers"),
    doc = "[`HeadersLayer::sse`]: https://docs.rs/tower-passthrough"
)]
//!
//! # What it cannot do
//!
//! What buffering means is up to the proxy. nginx 1.22 holds small events if it talks HTTP/1.0 to the
//! server, its default; over HTTP/1.1 (`proxy_http_version 1.1`) it hands on each chunk that it has
//! whole, buffering or not, and `off` only sends the head at once, and keeps nginx from reading
//! ahead of a slow client.
//!
//! An nginx with `proxy_ignore_headers X-Accel-Buffering` buffers as it is configured. So does a
//! proxy that does not know the field. nginx does not pass the field on: of several proxies in a row
//! only the one next to the server sees it.

mod control;
mod published;
mod routes;

use std::{fmt, str::FromStr, task::Context};

use http::{HeaderName, HeaderValue, Request, Response, uri::PathAndQuery};
use http_body::Body;
use tower_layer::Layer;

pub use self::control::BufferingControl;
use crate::{
    BuildError, ResponseHead,
    alter::{Alter, Alteration, Note},
    head::Asked,
    media_type,
};

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Whether a proxy may buffer a response.
///
/// As text it is `off`, `on` or `auto`:
///
/// ```
/// use tower_passthrough::buffering::Buffering;
///
/// assert_eq!("auto".parse(), Ok(Buffering::Auto));
/// assert_eq!(Buffering::Off.to_string(), "off");
/// assert_eq!(
///     "no".parse::<Buffering>().unwrap_err().to_string(),
///     "buffering `no`: it is `off`, `on` or `auto`",
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Buffering {
    /// It may not: `x-accel-buffering: no`.
    Off,
    /// It may: `x-accel-buffering: yes`.
    On,
    /// It may not if the response [looks like a stream](self#what-is-set); else that is up to it.
    Auto,
}

impl Buffering {
    const ALL: [Self; 3] = [Self::Off, Self::On, Self::Auto];

    /// `off`, `on` or `auto`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for Buffering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Buffering {
    type Err = BuildError;

    fn from_str(written: &str) -> Result<Self, BuildError> {
        let is_written = |it: &Self| it.as_str() == written;
        Self::ALL.into_iter().find(is_written).ok_or_else(|| {
            BuildError::new(format_args!(
                "buffering `{}`: it is `off`, `on` or `auto`",
                written.escape_debug()
            ))
        })
    }
}

/// What is done with the responses of a route.
///
/// ```
/// use tower_passthrough::buffering::{Buffering, Policy};
///
/// let policy = Policy::new(Buffering::Off).overriding();
/// assert_eq!(policy.buffering(), Buffering::Off);
/// assert!(policy.is_overriding());
/// assert!(!Policy::from(Buffering::Off).is_overriding());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Policy {
    buffering: Buffering,
    overriding: bool,
}

impl Policy {
    /// A policy for responses that have no `x-accel-buffering` yet.
    #[must_use]
    pub const fn new(buffering: Buffering) -> Self {
        Self {
            buffering,
            overriding: false,
        }
    }

    /// The same, but for all responses: a field that one has already counts for nothing.
    #[must_use]
    pub const fn overriding(self) -> Self {
        Self {
            overriding: true,
            ..self
        }
    }

    /// Whether a proxy may buffer.
    #[must_use]
    pub const fn buffering(self) -> Buffering {
        self.buffering
    }

    /// Whether a field that a response has already counts for nothing.
    #[must_use]
    pub const fn is_overriding(self) -> bool {
        self.overriding
    }
}

impl From<Buffering> for Policy {
    fn from(buffering: Buffering) -> Self {
        Self::new(buffering)
    }
}

/// Sets `x-accel-buffering` on responses, as a [`BufferingControl`] says.
///
/// See the [module docs](self) for an example. Clones share the control.
#[derive(Debug, Clone)]
pub struct BufferingLayer {
    control: BufferingControl,
}

impl BufferingLayer {
    /// A layer that goes by this control, whatever becomes of it.
    #[must_use]
    pub const fn new(control: BufferingControl) -> Self {
        Self { control }
    }
}

impl<S> Layer<S> for BufferingLayer {
    type Service = Alter<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Alter::new(inner, self.clone())
    }
}

impl<B> Note<B> for BufferingLayer {
    fn note(&self, request: &mut Request<B>) -> Self::Noted {
        // A handle of what the request has, not a copy.
        let target = request.uri().path_and_query().cloned();
        (target, Asked::from(request.method()))
    }
}

impl Alteration for BufferingLayer {
    type Noted = (Option<PathAndQuery>, Asked);
    type Body<B> = B;

    fn alter<B: Body>(
        &self,
        mut response: Response<B>,
        (target, asked): &Self::Noted,
        _: &mut Context<'_>,
    ) -> Response<B> {
        let path = target.as_ref().map_or("", PathAndQuery::path);
        let policy = self.control.policy_for(path);
        policy.apply(&mut response, *asked);
        response
    }
}

impl Policy {
    fn apply<B: Body>(self, response: &mut Response<B>, asked: Asked) {
        if !self.overriding && response.headers().contains_key(&X_ACCEL_BUFFERING) {
            return;
        }
        let value = match self.buffering {
            Buffering::Off => Some("no"),
            Buffering::On => Some("yes"),
            Buffering::Auto => looks_like_a_stream(response, asked).then_some("no"),
        };
        let fields = response.headers_mut();
        match value.map(HeaderValue::from_static) {
            // A full map refuses the field; there is no better answer on a request path.
            Some(value) => drop(fields.try_insert(X_ACCEL_BUFFERING, value)),
            None => drop(fields.remove(X_ACCEL_BUFFERING)),
        }
    }
}

fn looks_like_a_stream<B: Body>(response: &Response<B>, asked: Asked) -> bool {
    let head = ResponseHead::new(response, asked);
    asked.may_have_content(head.status)
        && (media_type::essence(head.headers).is_some_and(is_streamed) || !head.has_length())
}

/// Whether content of this type is made to be read while it is being written.
fn is_streamed(essence: &str) -> bool {
    // Sequential JSON: the names are those of the OpenAPI registry of media types.
    const STREAMED: [&str; 4] = [
        "text/event-stream",
        "application/x-ndjson",
        "application/jsonl",
        "application/json-seq",
    ];
    // gRPC documentation, `PROTOCOL-WEB.md`: perhaps with a codec, as in `application/grpc-web+proto`.
    const GRPC_WEB: [&str; 2] = ["application/grpc-web", "application/grpc-web-text"];

    let bare = essence.split_once('+').map_or(essence, |(bare, _)| bare);
    let is_one_of = |types: &[&str], it: &str| types.iter().any(|of| it.eq_ignore_ascii_case(of));
    is_one_of(&STREAMED, essence) || is_one_of(&GRPC_WEB, bare)
}
