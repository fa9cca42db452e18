//! The bare service of a case, the server that drives it, and the one log of all that happens.

use std::{
    any::Any,
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake as WakeTask, Waker},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, response::Parts};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Empty;
use tower::Service;
use tower_passthrough::observe::{Outcome, Tunnel};

use crate::{
    case::{Case, Do, Fate, Hook, Readiness, Size, Step, Wake},
    common::{Broken, End, Hints, hints, trailers},
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

// The server.

/// What the server drives: a stack of layers, or the oracle.
pub(crate) trait Subject {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Result<Given, Panic>;
    fn call(&mut self, request: Incoming) -> Result<(), Panic>;
    fn poll_future(&mut self, cx: &mut Context<'_>) -> Result<Given, Panic>;
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Result<Given, Panic>;
    /// `None` if there is no body.
    fn hints(&self) -> Option<Hints>;
    fn drop_future(&mut self, unwinding: bool) -> Result<(), Panic>;
    fn drop_body(&mut self, unwinding: bool) -> Result<(), Panic>;
    fn drop_tunnel(&mut self, unwinding: bool) -> Result<(), Panic>;
}

/// Drives the case from the first act to the last. It is all over then.
pub(crate) fn serve(case: &Case, stage: &Arc<Stage>, subject: &mut dyn Subject) {
    let mut server = Serving {
        stage,
        subject,
        unwinding: case.server.drops_unwinding,
    };
    for _ in &case.ready {
        server.act(Act::PollReady, |subject, cx| subject.poll_ready(cx));
    }
    let request = with_marker(case.request());
    let called = server.act(Act::Call, |subject, _| {
        subject.call(request).map(|()| Given::Ready)
    });
    if !matches!(called, Given::Panicked(_)) {
        server.exchange(case);
    }
    if matches!(case.tunnel, Fate::KeptOverBody | Fate::Cloned) {
        server.let_go(Act::DropTunnel);
    }
}

struct Serving<'a> {
    stage: &'a Arc<Stage>,
    subject: &'a mut dyn Subject,
    unwinding: bool,
}

impl Serving<'_> {
    fn act(
        &mut self,
        act: Act,
        run: impl FnOnce(&mut dyn Subject, &mut Context<'_>) -> Result<Given, Panic>,
    ) -> Given {
        let waker = self.stage.begin(act);
        let given = run(self.subject, &mut Context::from_waker(&waker));
        let given = given.unwrap_or_else(Given::Panicked);
        self.stage.write(Event::Gives(given.clone()));
        let says = self.subject.hints().map(Event::Says);
        self.stage.seen().log.extend(says);
        given
    }

    fn let_go(&mut self, what: Act) {
        let unwinding = self.unwinding;
        self.act(what, |subject, _| {
            match what {
                Act::DropFuture => subject.drop_future(unwinding),
                Act::DropBody => subject.drop_body(unwinding),
                _ => subject.drop_tunnel(unwinding),
            }
            .map(|()| Given::Ready)
        });
    }

    /// What comes after the call.
    fn exchange(&mut self, case: &Case) {
        let has_head = (0..case.server.future_polls).any(|_| {
            let given = self.act(Act::PollFuture, |subject, cx| subject.poll_future(cx));
            matches!(given, Given::Head { .. })
        });
        if !case.server.keeps_future {
            self.let_go(Act::DropFuture);
        }
        if matches!(case.tunnel, Fate::KeptOverHead | Fate::Cloned) {
            self.let_go(Act::DropTunnel);
        }
        if has_head {
            for _ in 0..case.server.body_polls {
                self.act(Act::PollBody, |subject, cx| subject.poll_body(cx));
            }
            self.let_go(Act::DropBody);
        }
        if case.server.keeps_future {
            self.let_go(Act::DropFuture);
        }
    }
}

/// What servers put into a head beside its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marker;

fn with_marker(mut request: Incoming) -> Incoming {
    request.extensions_mut().insert(Marker);
    request
}

// The bare service.

#[derive(Debug)]
pub(crate) struct Bare {
    case: Arc<Case>,
    stage: Arc<Stage>,
    ready: VecDeque<Readiness>,
}

impl Bare {
    pub(crate) fn new(case: &Arc<Case>, stage: &Arc<Stage>) -> Self {
        Self {
            case: Arc::clone(case),
            stage: Arc::clone(stage),
            ready: case.ready.iter().copied().collect(),
        }
    }
}

impl Service<Incoming> for Bare {
    type Response = Response<Play>;
    type Error = Broken;
    type Future = Task;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.stage.inner(Inner::PolledReady);
        match self.ready.pop_front() {
            Some(Readiness::Pending(wake)) => {
                self.stage.wake(wake, cx);
                Poll::Pending
            }
            Some(Readiness::Failed) => Poll::Ready(Err(Broken)),
            Some(Readiness::Ready) | None => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, mut request: Incoming) -> Task {
        let tunnel = request.extensions_mut().remove::<Tunnel>();
        self.stage.inner(Inner::Called {
            method: request.method().clone(),
            fields: request.headers().clone(),
            has_marker: request.extensions().get() == Some(&Marker),
            has_tunnel: tunnel.is_some(),
        });
        if self.case.call_panics {
            Panic::Service.blow();
        }
        let mut kept = None;
        match self.case.tunnel {
            Fate::DroppedInCall => drop(tunnel),
            Fate::DroppedWithHead | Fate::KeptByFuture => kept = tunnel,
            Fate::KeptOverHead | Fate::KeptOverBody => self.stage.seen().tunnels.extend(tunnel),
            Fate::Cloned => {
                let clones = tunnel.clone().into_iter().chain(tunnel);
                self.stage.seen().tunnels.extend(clones);
            }
        }
        Task {
            case: Arc::clone(&self.case),
            stage: Arc::clone(&self.stage),
            steps: self.case.future.iter().copied().collect(),
            tunnel: kept,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Task {
    case: Arc<Case>,
    stage: Arc<Stage>,
    steps: VecDeque<Do>,
    tunnel: Option<Tunnel>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.stage.inner(Inner::DroppedFuture);
    }
}

impl Future for Task {
    type Output = Result<Response<Play>, Broken>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.stage.inner(Inner::PolledFuture);
        match self.steps.pop_front() {
            Some(Do::Pending(wake)) => {
                self.stage.wake(wake, cx);
                Poll::Pending
            }
            Some(Do::Fail) => Poll::Ready(Err(Broken)),
            Some(Do::Panic) => Panic::Service.blow(),
            Some(Do::Answer) => {
                if self.case.tunnel == Fate::DroppedWithHead {
                    self.tunnel = None;
                }
                Poll::Ready(Ok(self.answer()))
            }
            None => Poll::Pending,
        }
    }
}

impl Task {
    fn answer(&self) -> Response<Play> {
        let body = &self.case.body;
        let mut response = Response::new(Play {
            stage: Arc::clone(&self.stage),
            steps: body.steps.iter().copied().collect(),
            size: body.size,
            end: body.end,
        });
        *response.status_mut() = self.case.head.status;
        *response.version_mut() = Version::HTTP_2;
        *response.headers_mut() = self.case.head.fields();
        response.extensions_mut().insert(Marker);
        response
    }
}

#[derive(Debug)]
pub(crate) struct Play {
    stage: Arc<Stage>,
    steps: VecDeque<Step>,
    size: Size,
    end: End,
}

impl Drop for Play {
    fn drop(&mut self) {
        self.stage.inner(Inner::DroppedBody);
    }
}

impl Body for Play {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.stage.inner(Inner::PolledBody);
        match self.steps.pop_front() {
            Some(Step::Data(len)) => {
                // No two frames are of one content.
                let content = u8::try_from(self.steps.len()).unwrap_or(u8::MAX);
                let data = Bytes::from(vec![content; len]);
                self.stage.seen().yielded = Some(place(&data));
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Step::Pending(wake)) => {
                self.stage.wake(wake, cx);
                Poll::Pending
            }
            Some(Step::Trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers())))),
            Some(Step::Error) => Poll::Ready(Some(Err(Broken))),
            Some(Step::Panic) => Panic::Service.blow(),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.end {
            End::Shown => self.steps.is_empty(),
            End::Hidden => false,
            End::Claimed => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.steps.iter().map(Step::len).sum();
        let mut hint = SizeHint::new();
        match self.size {
            Size::Unknown => {}
            Size::Exact => hint.set_exact(left),
            Size::Bounded { above } => {
                hint.set_lower(left / 2);
                if above {
                    hint.set_upper(left * 2);
                }
            }
            Size::Claimed(lower, upper) => {
                hint.set_lower(lower);
                hint.set_upper(upper);
            }
        }
        hint
    }
}

// A service of any kind as a subject.

pub(crate) type AnyBody = Pin<Box<dyn Body<Data = Bytes, Error = Broken>>>;
pub(crate) type AnyFuture = Pin<Box<dyn Future<Output = Result<Response<AnyBody>, Broken>>>>;

/// A service, its type forgotten.
pub(crate) struct AnyService(Box<dyn ErasedService>);

trait ErasedService {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;
    fn call(&mut self, request: Incoming) -> AnyFuture;
}

struct Erase<S>(S);

impl<S, B> ErasedService for Erase<S>
where
    S: Service<Incoming, Response = Response<B>, Error = Broken, Future: 'static>,
    B: Body<Data = Bytes, Error = Broken> + 'static,
{
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Incoming) -> AnyFuture {
        Box::pin(EraseBody(Box::pin(self.0.call(request))))
    }
}

/// Keeps the future after it is done, as combinators do not.
struct EraseBody<F>(Pin<Box<F>>);

impl<F, B> Future for EraseBody<F>
where
    F: Future<Output = Result<Response<B>, Broken>>,
    B: Body<Data = Bytes, Error = Broken> + 'static,
{
    type Output = Result<Response<AnyBody>, Broken>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.0.as_mut().poll(cx);
        polled.map_ok(|response| response.map(|body| -> AnyBody { Box::pin(body) }))
    }
}

impl AnyService {
    pub(crate) fn new<S, B>(service: S) -> Self
    where
        S: Service<Incoming, Response = Response<B>, Error = Broken, Future: 'static> + 'static,
        B: Body<Data = Bytes, Error = Broken> + 'static,
    {
        Self(Box::new(Erase(service)))
    }
}

impl Service<Incoming> for AnyService {
    type Response = Response<AnyBody>;
    type Error = Broken;
    type Future = AnyFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Incoming) -> AnyFuture {
        self.0.call(request)
    }
}

/// A service under way.
pub(crate) struct Running {
    stage: Arc<Stage>,
    service: AnyService,
    future: Option<AnyFuture>,
    body: Option<AnyBody>,
}

impl Running {
    pub(crate) fn new(stage: &Arc<Stage>, service: AnyService) -> Self {
        Self {
            stage: Arc::clone(stage),
            service,
            future: None,
            body: None,
        }
    }
}

impl Subject for Running {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Result<Given, Panic> {
        caught(|| match self.service.poll_ready(cx) {
            Poll::Pending => Given::Pending,
            Poll::Ready(Err(_)) => Given::Failed,
            Poll::Ready(Ok(())) => Given::Ready,
        })
    }

    fn call(&mut self, request: Incoming) -> Result<(), Panic> {
        self.future = Some(caught(|| self.service.call(request))?);
        Ok(())
    }

    fn poll_future(&mut self, cx: &mut Context<'_>) -> Result<Given, Panic> {
        let Some(future) = &mut self.future else {
            return Ok(Given::Pending);
        };
        let polled = caught(|| future.as_mut().poll(cx))?;
        Ok(match polled {
            Poll::Pending => Given::Pending,
            Poll::Ready(Err(_)) => Given::Failed,
            Poll::Ready(Ok(response)) => {
                let (parts, body) = response.into_parts();
                self.body = Some(body);
                Given::head(parts)
            }
        })
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Result<Given, Panic> {
        let Some(body) = &mut self.body else {
            return Ok(Given::Pending);
        };
        let polled = caught(|| body.as_mut().poll_frame(cx))?;
        Ok(match polled {
            Poll::Pending => Given::Pending,
            Poll::Ready(None) => Given::End,
            Poll::Ready(Some(Err(_))) => Given::Failed,
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(content) => Given::Data {
                    in_place: self.stage.is_in_place(&content),
                    content,
                },
                Err(frame) => Given::Trailers(frame.into_trailers().unwrap_or_default()),
            },
        })
    }

    fn hints(&self) -> Option<Hints> {
        self.body.as_ref().map(hints)
    }

    fn drop_future(&mut self, unwinding: bool) -> Result<(), Panic> {
        drop_caught(self.future.take(), unwinding)
    }

    fn drop_body(&mut self, unwinding: bool) -> Result<(), Panic> {
        drop_caught(self.body.take(), unwinding)
    }

    fn drop_tunnel(&mut self, unwinding: bool) -> Result<(), Panic> {
        drop_caught(self.stage.take_tunnel(), unwinding)
    }
}

fn drop_caught<T>(it: T, unwinding: bool) -> Result<(), Panic> {
    caught(|| {
        let _it = it;
        if unwinding {
            Panic::Server.blow();
        }
    })
}

impl Given {
    fn head(parts: Parts) -> Self {
        Self::Head {
            status: parts.status,
            version: parts.version,
            has_marker: parts.extensions.get() == Some(&Marker),
            fields: parts.headers,
        }
    }
}
