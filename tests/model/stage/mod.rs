//! The one log of all that happens, and who is told of it: the server that drives a case, the bare
//! service, and services of any kind.

mod running;
mod server;
mod service;

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Wake as WakeTask, Waker},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::Empty;
use tower_passthrough::observe::{Outcome, Tunnel};

use crate::{
    case::{Hook, Wake},
    common::Hints,
};

pub(crate) use self::{
    running::{AnyService, Running},
    server::{Subject, serve},
    service::Bare,
};

pub(crate) type Incoming = Request<Empty<Bytes>>;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The server does this.
    Does(Act),
    /// This was done with the bare service, its future or its body.
    Inner(Inner),
    /// A layer's user was told this.
    Told(Who, Told),
    /// This came of it.
    Gives(Given),
    /// The body, if there is one, says this of itself.
    Says(Hints),
    /// The waker was woken that the server had brought to this act.
    Woken(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    PollReady,
    Call,
    PollFuture,
    PollBody,
    DropFuture,
    DropBody,
    /// What a task does that holds a tunnel.
    DropTunnel,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inner {
    PolledReady,
    Called {
        method: Method,
        fields: HeaderMap,
        has_marker: bool,
        has_tunnel: bool,
    },
    PolledFuture,
    DroppedFuture,
    PolledBody,
    DroppedBody,
}

/// A user of a layer: the layer, from outside, and the part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who {
    pub(crate) layer: usize,
    pub(crate) part: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Request(Method),
    Response {
        status: StatusCode,
        fields: usize,
        lower: u64,
        upper: Option<u64>,
        tunnel: bool,
    },
    Data {
        len: usize,
        /// It lies where the bare body put it.
        in_place: bool,
    },
    Trailers(HeaderMap),
    End(Outcome),
    Summary(Summary),
}

/// What is compared of a [`tower_passthrough::capture::Summary`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) method: Method,
    pub(crate) status: Option<StatusCode>,
    pub(crate) outcome: Outcome,
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    pub(crate) trailers: bool,
    pub(crate) has_time_to_head: bool,
    pub(crate) has_time_to_first_byte: bool,
}

/// What is compared of a metric.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    Requests { status: String },
    InFlight(i8),
    Ended { status: String, outcome: String },
    Bytes(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Given {
    Pending,
    Ready,
    Failed,
    Head {
        status: StatusCode,
        version: Version,
        fields: HeaderMap,
        has_marker: bool,
    },
    Data {
        content: Bytes,
        /// It lies where the bare body put it.
        in_place: bool,
    },
    Trailers(HeaderMap),
    End,
    Panicked(Panic),
}

/// Who panicked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Panic {
    Service,
    User(Who, Hook),
    /// The server, as it drops things.
    Server,
    /// Nobody who should.
    Other(String),
}

impl Panic {
    /// Unwinds, and spares the panic hook: there are many of these.
    pub(crate) fn blow(self) -> ! {
        resume_unwind(Box::new(self))
    }

    fn from_payload(payload: Box<dyn Any + Send>) -> Self {
        match payload.downcast::<Self>() {
            Ok(panic) => *panic,
            Err(payload) => Self::Other(
                payload
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string))
                    .unwrap_or_default(),
            ),
        }
    }
}

pub(crate) fn caught<T>(act: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(act)).map_err(Panic::from_payload)
}

/// When an observer was told something, as the moment has it.
#[derive(Debug, Clone)]
pub(crate) struct Timed {
    pub(crate) who: Who,
    pub(crate) act: usize,
    pub(crate) told: Told,
    pub(crate) at: Instant,
}

/// Where one case is played.
#[derive(Debug, Default)]
pub(crate) struct Stage(Mutex<Seen>);

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) log: Vec<Event>,
    /// With the number of the act and that of the layer.
    pub(crate) metrics: Vec<(usize, usize, Metric)>,
    pub(crate) timed: Vec<Timed>,
    act: usize,
    /// To be woken before the next act.
    waiting: Vec<Waker>,
    /// What tasks hold.
    tunnels: Vec<Tunnel>,
    /// Where the data lies that the bare body yielded last.
    yielded: Option<(usize, usize)>,
}

impl Stage {
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self, event: Event) {
        self.seen().log.push(event);
    }

    pub(crate) fn inner(&self, inner: Inner) {
        self.write(Event::Inner(inner));
    }

    pub(crate) fn metric(&self, layer: usize, metric: Metric) {
        let mut seen = self.seen();
        let act = seen.act;
        seen.metrics.push((act, layer, metric));
    }

    pub(crate) fn told_at(&self, who: Who, told: Told, at: Instant) {
        let mut seen = self.seen();
        seen.log.push(Event::Told(who, told.clone()));
        let act = seen.act;
        seen.timed.push(Timed { who, act, told, at });
    }

    /// Whether this lies where the bare body put it.
    pub(crate) fn is_in_place(&self, data: &[u8]) -> bool {
        self.seen().yielded == Some(place(data))
    }

    pub(crate) fn take_tunnel(&self) -> Option<Tunnel> {
        self.seen().tunnels.pop()
    }

    /// Begins an act, with a waker of its own.
    fn begin(self: &Arc<Self>, act: Act) -> Waker {
        let waiting = std::mem::take(&mut self.seen().waiting);
        waiting.into_iter().for_each(Waker::wake);
        let mut seen = self.seen();
        seen.act += 1;
        seen.log.push(Event::Does(act));
        Waker::from(Arc::new(Bell {
            stage: Arc::clone(self),
            act: seen.act,
        }))
    }

    fn wake(&self, wake: Wake, cx: &Context<'_>) {
        match wake {
            Wake::Now => cx.waker().wake_by_ref(),
            Wake::Later => self.seen().waiting.push(cx.waker().clone()),
            Wake::Never => {}
        }
    }
}

fn place(data: &[u8]) -> (usize, usize) {
    (data.as_ptr() as usize, data.len())
}

struct Bell {
    stage: Arc<Stage>,
    act: usize,
}

impl WakeTask for Bell {
    fn wake(self: Arc<Self>) {
        self.stage.write(Event::Woken(self.act));
    }
}

/// What servers put into a head beside its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marker;

fn with_marker(mut request: Incoming) -> Incoming {
    request.extensions_mut().insert(Marker);
    request
}
