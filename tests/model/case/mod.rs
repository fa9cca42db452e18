//! What is played: an exchange, from the stack around the service to when the server lets go.

mod making;

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{CONTENT_LENGTH, UPGRADE},
};
use http_body_util::Empty;

pub(crate) use self::making::case;
use crate::common::End;

/// One exchange.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) method: Method,
    /// The request has an `Upgrade` field.
    pub(crate) asks_upgrade: bool,
    /// From outside.
    pub(crate) layers: Vec<Layer>,
    pub(crate) ready: Vec<Readiness>,
    pub(crate) call_panics: bool,
    pub(crate) future: Vec<Do>,
    pub(crate) head: Head,
    pub(crate) body: BodyScript,
    pub(crate) tunnel: Fate,
    pub(crate) server: Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    Pending(Wake),
    Ready,
    Failed,
}

/// When something that is pending wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Within the poll.
    Now,
    /// Before the server's next act.
    Later,
    Never,
}

/// One step of the service's future. Pending for ever once they are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Do {
    Pending(Wake),
    Answer,
    Fail,
    Panic,
}

#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) length: Length,
}

/// The `content-length` that the service sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    None,
    Is(u64),
    Malformed(&'static [u8]),
    /// In two fields.
    Repeated(u64, u64),
}

#[derive(Debug, Clone)]
pub(crate) struct BodyScript {
    pub(crate) steps: Vec<Step>,
    pub(crate) size: Size,
    pub(crate) end: End,
}

/// One step of a body. `None` for ever once they are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Data(usize),
    Pending(Wake),
    Trailers,
    Error,
    Panic,
}

/// What a body says of its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Unknown,
    /// Just as many bytes as are still to come.
    Exact,
    /// No less than half of what is still to come, and, if so, no more than twice as much.
    Bounded {
        above: bool,
    },
    /// Always between these, whatever comes.
    Claimed(u64, u64),
}

/// What the service does with the tunnel, if it is offered one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    DroppedInCall,
    DroppedWithHead,
    /// The service's future keeps it as long as it is there.
    KeptByFuture,
    /// A task keeps it until the head is out.
    KeptOverHead,
    /// A task keeps it until the body is gone.
    KeptOverBody,
    /// Two tasks, one of each kind.
    Cloned,
}

/// How the server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) future_polls: usize,
    pub(crate) keeps_future: bool,
    pub(crate) body_polls: usize,
    /// It drops the future, the body and tunnels while a panic of its own unwinds.
    pub(crate) drops_unwinding: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) kind: Kind,
    /// The second one is there for [`Kind::Pair`] only.
    pub(crate) parts: [Part; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Observe,
    /// Two observers in one layer.
    Pair,
    Capture,
    Headers,
    Metrics,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) watches: bool,
    pub(crate) bomb: Option<Hook>,
}

/// Where a layer's user panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// With the request.
    Observe,
    /// With the response head.
    Response,
    /// With a data frame. The first one is number 1.
    Data(usize),
    Trailers,
    End,
}

impl Layer {
    /// The parts that there are in a layer of this kind, each with the bomb that it can have.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let parts: &[Part] = match self.kind {
            Kind::Pair => &self.parts,
            _ => &self.parts[..1],
        };
        let can = |hook: &Hook| match self.kind {
            Kind::Observe | Kind::Pair => true,
            Kind::Capture => matches!(hook, Hook::Observe | Hook::End),
            Kind::Headers => matches!(hook, Hook::Observe | Hook::Response),
            Kind::Metrics => false,
        };
        let part = |part: &Part| Part {
            // Only an observer of one's own can choose not to watch.
            watches: part.watches || !matches!(self.kind, Kind::Observe | Kind::Pair),
            bomb: part.bomb.filter(can),
        };
        parts.iter().map(part).collect()
    }
}

impl Case {
    pub(crate) fn may_upgrade(&self) -> bool {
        self.method == Method::CONNECT || self.asks_upgrade
    }

    pub(crate) fn request(&self) -> http::Request<Empty<bytes::Bytes>> {
        let mut request = http::Request::new(Empty::new());
        *request.method_mut() = self.method.clone();
        let fields = request.headers_mut();
        fields.insert("x-foreign", HeaderValue::from_static("request"));
        if self.asks_upgrade {
            fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        request
    }
}

impl Head {
    pub(crate) fn fields(&self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        fields.insert("x-foreign", HeaderValue::from_static("response"));
        match self.length {
            Length::None => {}
            Length::Is(length) => {
                fields.insert(CONTENT_LENGTH, length.into());
            }
            Length::Malformed(value) => {
                fields.extend(HeaderValue::from_bytes(value).map(|value| (CONTENT_LENGTH, value)));
            }
            Length::Repeated(first, second) => {
                fields.append(CONTENT_LENGTH, first.into());
                fields.append(CONTENT_LENGTH, second.into());
            }
        }
        fields
    }
}
