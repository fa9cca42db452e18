//! What a client asks for, what the service does, and when the client leaves.

mod shapes;

use http::Method;
use tower_passthrough::observe::Outcome;

pub(crate) use self::shapes::plan;
use crate::net::Proto;

/// The service and the method of all gRPC calls.
pub(crate) const GRPC: (&str, &str) = ("pkg.Svc", "Get");

/// One exchange.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Its name, and the value of its label `path`.
    pub(crate) shape: &'static str,
    pub(crate) proto: Proto,
    pub(crate) ask: Ask,
    pub(crate) upload: Upload,
    pub(crate) does: Does,
    pub(crate) leave: Leave,
    /// How it ends if nothing is left to chance.
    pub(crate) certain: Option<Outcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Get,
    Head,
    Post,
    /// Of a gRPC method.
    Call,
    Upgrade,
    Connect,
}

/// The body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upload {
    Nothing,
    Sized(usize),
    /// As many frames of 100 bytes.
    Streamed(usize),
    /// As many frames, and then neither more nor an end.
    Open(usize),
}

/// What the service does.
#[derive(Debug, Clone)]
pub(crate) struct Does {
    pub(crate) reads_upload: bool,
    /// How often it yields before it goes on.
    pub(crate) waits: usize,
    pub(crate) then: Then,
}

#[derive(Debug, Clone)]
pub(crate) enum Then {
    Answer(Answer),
    Fail,
    Hang,
    Panic,
    PanicInCall,
}

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    /// The `content-length`.
    pub(crate) declares: Option<usize>,
    /// Whether the body tells its exact size.
    pub(crate) is_exact: bool,
    /// Whether the body shows that it is over as soon as it is.
    pub(crate) shows_end: bool,
    /// The `grpc-status` of the head.
    pub(crate) grpc_status: Option<usize>,
    pub(crate) steps: Vec<Step>,
    pub(crate) keeps: Keeps,
}

/// One step of a response body. `None` once they are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Data(usize),
    /// Pending, and awake again at once.
    Wait,
    /// Pending for ever.
    Hold,
    /// With a `grpc-status`, or with none.
    Trailers(Option<usize>),
    Error,
    Panic,
}

/// Who keeps the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    Nobody,
    /// The response body.
    Body,
    /// The task that serves the tunnel, until it has begun.
    ToBegin,
    /// The task that serves the tunnel, until it is over.
    ToEnd,
}

/// When the client leaves, if it does not wait for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    Never,
    /// The service has the request.
    Called,
    /// As many bytes of the response have come.
    Bytes(usize),
    /// Others were let go first as often.
    Yields(usize),
}

impl Ask {
    pub(crate) fn method(self) -> Method {
        match self {
            Self::Get | Self::Upgrade => Method::GET,
            Self::Head => Method::HEAD,
            Self::Post | Self::Call => Method::POST,
            Self::Connect => Method::CONNECT,
        }
    }

    /// The value of its label `method`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Get | Self::Upgrade => "GET",
            Self::Head => "HEAD",
            Self::Post | Self::Call => "POST",
            Self::Connect => "CONNECT",
        }
    }

    pub(crate) fn is_call(self) -> bool {
        self == Self::Call
    }

    fn may_upgrade(self) -> bool {
        matches!(self, Self::Upgrade | Self::Connect)
    }
}

impl Upload {
    /// The length that the request tells.
    pub(crate) fn announces(self) -> Option<u64> {
        match self {
            Self::Nothing => Some(0),
            Self::Sized(bytes) => Some(bytes as u64),
            Self::Streamed(_) | Self::Open(_) => None,
        }
    }
}

impl Answer {
    pub(crate) fn is_tunnel_to(&self, ask: Ask) -> bool {
        ask.may_upgrade() && matches!(self.status, 101 | 200)
    }

    pub(crate) fn has_no_content_to(&self, ask: Ask) -> bool {
        ask == Ask::Head || matches!(self.status, 204 | 304)
    }

    /// The length at which a server may let go of the body.
    pub(crate) fn announces(&self) -> Option<usize> {
        let exact = self.is_exact.then(|| total(&self.steps));
        match (self.declares, exact) {
            (Some(declared), Some(exact)) => Some(declared.min(exact)),
            (declared, exact) => declared.or(exact),
        }
    }
}

impl Plan {
    /// The kind of the exchange, if it comes to a head.
    pub(crate) fn kind(&self) -> &'static str {
        let Then::Answer(answer) = &self.does.then else {
            unreachable!("there is no head");
        };
        if answer.is_tunnel_to(self.ask) {
            return "upgrade";
        }
        match answer.content_type {
            "application/grpc+proto" => "grpc",
            _ if answer.has_no_content_to(self.ask) => "unary",
            "text/event-stream" | "application/x-ndjson" => "stream",
            _ if answer.announces().is_none() => "stream",
            _ => "unary",
        }
    }

    /// Whether an HTTP/1 connection can go on after the response was read to its end.
    pub(crate) fn leaves_connection_open(&self) -> bool {
        !self.ask.may_upgrade() && (self.upload == Upload::Nothing || self.does.reads_upload)
    }
}

pub(crate) fn total(steps: &[Step]) -> usize {
    let bytes = |step: &Step| match step {
        Step::Data(bytes) => *bytes,
        _ => 0,
    };
    steps.iter().map(bytes).sum()
}
