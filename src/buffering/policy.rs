//! What is done with the responses of a route.

use std::{fmt, str::FromStr};

use http::{HeaderName, HeaderValue, Response};
use http_body::Body;

use crate::{BuildError, ResponseHead, head::Asked, media_type};

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const NO: HeaderValue = HeaderValue::from_static("no");
const YES: HeaderValue = HeaderValue::from_static("yes");

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
    /// It may not if the response [looks like a stream](super#what-is-set); else that is up to it.
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

impl Policy {
    /// Sets the field of a response, or removes it.
    pub(super) fn apply<B: Body>(self, response: &mut Response<B>, asked: Asked) {
        let value = match self.buffering {
            Buffering::Off => Some(NO),
            Buffering::On => Some(YES),
            Buffering::Auto => looks_like_a_stream(response, asked).then_some(NO),
        };
        let fields = response.headers_mut();
        match value {
            Some(_) if !self.overriding && fields.contains_key(&X_ACCEL_BUFFERING) => {}
            // A full map refuses the field; there is no better answer on a request path.
            Some(value) => drop(fields.try_insert(X_ACCEL_BUFFERING, value)),
            None if self.overriding => drop(fields.remove(X_ACCEL_BUFFERING)),
            None => {}
        }
    }
}

fn looks_like_a_stream<B: Body>(response: &Response<B>, asked: Asked) -> bool {
    let head = ResponseHead::new(response, asked);
    asked.may_have_content(head.status)
        && (media_type::essence(head.headers).is_some_and(is_streamed) || !head.has_length())
}

/// Whether content of this type is made to be read while it is being written.
fn is_streamed(essence: &[u8]) -> bool {
    // Sequential JSON: the names are those of the OpenAPI registry of media types.
    const STREAMED: [&[u8]; 4] = [
        b"text/event-stream",
        b"application/x-ndjson",
        b"application/jsonl",
        b"application/json-seq",
    ];
    // gRPC documentation, `PROTOCOL-WEB.md`: perhaps with a codec, as in `application/grpc-web+proto`.
    const GRPC_WEB: [&[u8]; 2] = [b"application/grpc-web", b"application/grpc-web-text"];

    let is_one_of = |types: &[&[u8]], it: &[u8]| types.iter().any(|of| it.eq_ignore_ascii_case(of));
    let mut parts = essence.split(|byte| *byte == b'+');
    is_one_of(&STREAMED, essence) || parts.next().is_some_and(|bare| is_one_of(&GRPC_WEB, bare))
}
