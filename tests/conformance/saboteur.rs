//! A layer that is honest in all but what one fault replaces.
//!
//! Its parts stand here, each with its honest form: `ask`, `ask_size`, `ask_end` do what a layer
//! should. A fault replaces one or two of the [`Hooks`], and may look at what its part has seen so
//! far, so that it strikes in one place only.

use std::{
    cell::{Cell, RefCell},
    error::Error,
    fmt,
    future::Future,
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tower::{Layer, Service};
use tower_passthrough::conformance::{
    ScriptedBody, ScriptedError, ScriptedFuture, ScriptedService,
};

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// A fault, and what the kit is to say of it.
#[derive(Clone)]
pub(crate) struct Saboteur {
    pub(crate) how: &'static str,
    /// The checks that must fail.
    pub(crate) breaks: Vec<&'static str>,
    /// The checks that have nothing to look at then.
    pub(crate) hides: Vec<&'static str>,
    hooks: Hooks,
}

/// What a fault can replace.
#[derive(Clone, Copy)]
struct Hooks {
    ready: fn(&mut Sabotaged, &mut Context<'_>) -> Poll<Result<(), BoxError>>,
    request: fn(&mut Request<Stream>),
    /// `None` if the service is not called: then `reply` has to answer.
    call: fn(&mut Sabotaged, Request<Stream>) -> Option<ScriptedFuture<Stream>>,
    reply: fn(&mut Reply, &mut Context<'_>) -> Poll<Answer>,
    reply_drop: fn(&mut Reply),
    response: fn(&mut Response<Stream>),
    service_drop: fn(&mut Sabotaged),
    upload: StreamHooks,
    download: StreamHooks,
}

#[derive(Clone, Copy)]
struct StreamHooks {
    frame: fn(&mut Stream, &mut Context<'_>) -> Got,
    size: fn(&Stream) -> SizeHint,
    end: fn(&Stream) -> bool,
    drop: fn(&mut Stream),
}

const HONEST: StreamHooks = StreamHooks {
    frame: Stream::ask,
    size: Stream::ask_size,
    end: Stream::ask_end,
    drop: |_| {},
};

/// A layer without a fault.
pub(crate) fn honest() -> Saboteur {
    Saboteur {
        how: "honest",
        breaks: Vec::new(),
        hides: Vec::new(),
        hooks: Hooks {
            ready: Sabotaged::ask_ready,
            request: |_| {},
            call: |service, request| Some(service.inner.call(request)),
            reply: Reply::ask,
            reply_drop: |_| {},
            response: |_| {},
            service_drop: |_| {},
            upload: HONEST,
            download: HONEST,
        },
    }
}

/// A layer with a fault that just this check must find.
pub(crate) fn breaks(check: &'static str, how: &'static str) -> Saboteur {
    breaks_all([check], how)
}

/// A layer with one fault that breaks several things at once.
pub(crate) fn breaks_all(
    checks: impl IntoIterator<Item = &'static str>,
    how: &'static str,
) -> Saboteur {
    Saboteur {
        how,
        breaks: checks.into_iter().collect(),
        ..honest()
    }
}

/// Setters of one hook each.
macro_rules! hooks {
    ($($name:ident = $($field:ident).+: fn($($of:ty),+) $(-> $gives:ty)?;)+) => {
        impl Saboteur {
            $(pub(crate) fn $name(mut self, hook: fn($($of),+) $(-> $gives)?) -> Self {
                self.hooks.$($field).+ = hook;
                self
            })+
        }
    };
}

hooks! {
    ready = ready: fn(&mut Sabotaged, &mut Context<'_>) -> Poll<Result<(), BoxError>>;
    request = request: fn(&mut Request<Stream>);
    call = call: fn(&mut Sabotaged, Request<Stream>) -> Option<ScriptedFuture<Stream>>;
    reply = reply: fn(&mut Reply, &mut Context<'_>) -> Poll<Answer>;
    reply_drop = reply_drop: fn(&mut Reply);
    response = response: fn(&mut Response<Stream>);
    service_drop = service_drop: fn(&mut Sabotaged);
    upload = upload.frame: fn(&mut Stream, &mut Context<'_>) -> Got;
    upload_size = upload.size: fn(&Stream) -> SizeHint;
    upload_end = upload.end: fn(&Stream) -> bool;
    upload_drop = upload.drop: fn(&mut Stream);
    download = download.frame: fn(&mut Stream, &mut Context<'_>) -> Got;
    download_size = download.size: fn(&Stream) -> SizeHint;
    download_end = download.end: fn(&Stream) -> bool;
    download_drop = download.drop: fn(&mut Stream);
}

impl Saboteur {
    /// Names the checks that have nothing to look at.
    pub(crate) fn hides(mut self, checks: &[&'static str]) -> Self {
        self.hides = checks.to_vec();
        self
    }
}

impl Layer<ScriptedService> for Saboteur {
    type Service = Sabotaged;

    fn layer(&self, inner: ScriptedService) -> Sabotaged {
        Sabotaged {
            inner,
            hooks: self.hooks,
            memory: Rc::default(),
            first_waker: None,
        }
    }
}

pub(crate) struct Sabotaged {
    pub(crate) inner: ScriptedService,
    hooks: Hooks,
    pub(crate) memory: Rc<Memory>,
    first_waker: Option<Waker>,
}

/// What all requests of one service share.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) was_ready: Cell<bool>,
    /// How many response bodies there were, and how many there are.
    streams: Cell<usize>,
    pub(crate) open: Cell<usize>,
    /// A client left in mid-stream.
    pub(crate) was_left: Cell<bool>,
}

impl Sabotaged {
    pub(crate) fn ask_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let inner: &mut dyn Service<Request<Stream>, Response = _, Error = _, Future = _> =
            &mut self.inner;
        inner.poll_ready(cx).map_err(Into::into)
    }

    pub(crate) fn first_waker(&mut self, cx: &Context<'_>) -> Waker {
        let first = self.first_waker.get_or_insert_with(|| cx.waker().clone());
        first.clone()
    }
}

impl Service<Request<ScriptedBody>> for Sabotaged {
    type Response = Response<Stream>;
    type Error = BoxError;
    type Future = Reply;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        (self.hooks.ready)(self, cx)
    }

    fn call(&mut self, request: Request<ScriptedBody>) -> Reply {
        let method = request.method().clone();
        let keeper = Rc::<RefCell<Vec<ScriptedBody>>>::default();
        let mut request = request.map(|body| {
            let (hooks, keeper) = (self.hooks.upload, keeper.clone());
            Stream::new(body, hooks, method.clone(), self.memory.clone(), keeper)
        });
        (self.hooks.request)(&mut request);
        Reply {
            inner: (self.hooks.call)(self, request).map(Box::pin),
            service: self.inner.clone(),
            hooks: self.hooks,
            memory: self.memory.clone(),
            _keeper: keeper,
            method,
            polls: 0,
            answered: false,
            held: None,
            first_waker: None,
        }
    }
}

impl Drop for Sabotaged {
    fn drop(&mut self) {
        (self.hooks.service_drop)(self);
    }
}

pub(crate) type Answer = Result<Response<Stream>, BoxError>;

/// The future of [`Sabotaged`].
pub(crate) struct Reply {
    /// `None` if the service was not called.
    pub(crate) inner: Option<Pin<Box<ScriptedFuture<Stream>>>>,
    pub(crate) service: ScriptedService,
    hooks: Hooks,
    pub(crate) memory: Rc<Memory>,
    _keeper: Rc<RefCell<Vec<ScriptedBody>>>,
    pub(crate) method: Method,
    /// How often it was polled before.
    pub(crate) polls: usize,
    pub(crate) answered: bool,
    /// A response that was there before it was given.
    pub(crate) held: Option<Response<Stream>>,
    first_waker: Option<Waker>,
}

impl Reply {
    pub(crate) fn ask(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        if let Some(response) = self.held.take() {
            return Poll::Ready(Ok(response));
        }
        let Some(inner) = &mut self.inner else {
            return Poll::Pending;
        };
        let response = ready!(inner.as_mut().poll(cx))?;
        Poll::Ready(Ok(response.map(|body| self.stream(body))))
    }

    pub(crate) fn stream(&self, body: ScriptedBody) -> Stream {
        let (method, memory) = (self.method.clone(), self.memory.clone());
        let mut stream = Stream::new(body, self.hooks.download, method, memory, Rc::default());
        self.memory.streams.set(self.memory.streams.get() + 1);
        self.memory.open.set(self.memory.open.get() + 1);
        stream.number = self.memory.streams.get();
        stream
    }

    /// Calls the service with a request of its own, as it should be called.
    pub(crate) fn call_again(&mut self) {
        let nobody = &mut Context::from_waker(Waker::noop());
        let request = Request::new(ScriptedBody::default());
        let ready = Service::<Request<ScriptedBody>>::poll_ready(&mut self.service, nobody);
        assert!(matches!(ready, Poll::Ready(Ok(()))));
        drop(self.service.call(request));
    }

    pub(crate) fn first_waker(&mut self, cx: &Context<'_>) -> Waker {
        let first = self.first_waker.get_or_insert_with(|| cx.waker().clone());
        first.clone()
    }
}

impl Future for Reply {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let this = &mut *self;
        let mut polled = (this.hooks.reply)(this, cx);
        this.polls += 1;
        this.answered |= polled.is_ready();
        if let Poll::Ready(Ok(response)) = &mut polled {
            (this.hooks.response)(response);
        }
        polled
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        (self.hooks.reply_drop)(self);
    }
}

/// What one poll of a body gives.
pub(crate) enum Got {
    Pending,
    Data(Bytes),
    Trailers(HeaderMap),
    Failed(BoxError),
    End,
}

impl From<Poll<Option<Result<Frame<Bytes>, ScriptedError>>>> for Got {
    fn from(polled: Poll<Option<Result<Frame<Bytes>, ScriptedError>>>) -> Self {
        match polled {
            Poll::Pending => Self::Pending,
            Poll::Ready(None) => Self::End,
            Poll::Ready(Some(Err(error))) => Self::Failed(error.into()),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => Self::Data(data),
                Err(frame) => Self::Trailers(frame.into_trailers().unwrap()),
            },
        }
    }
}

impl Got {
    pub(crate) fn on_data(self, data: impl FnOnce(Bytes) -> Self) -> Self {
        match self {
            Self::Data(of) => data(of),
            other => other,
        }
    }

    pub(crate) fn on_trailers(self, trailers: impl FnOnce(HeaderMap) -> Self) -> Self {
        match self {
            Self::Trailers(of) => trailers(of),
            other => other,
        }
    }

    pub(crate) fn on_error(self, error: impl FnOnce(BoxError) -> Self) -> Self {
        match self {
            Self::Failed(of) => error(of),
            other => other,
        }
    }
}

/// A body of [`Sabotaged`], of a request or of a response.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any of them may be a fault's condition"
)]
pub(crate) struct Stream {
    /// `None` when it was taken away.
    pub(crate) inner: Option<ScriptedBody>,
    hooks: StreamHooks,
    /// Outlives this body, as its future does.
    pub(crate) keeper: Rc<RefCell<Vec<ScriptedBody>>>,
    pub(crate) memory: Rc<Memory>,
    number: usize,
    /// The request's.
    pub(crate) method: Method,
    /// What was said before the first poll.
    pub(crate) first_size: SizeHint,
    /// How often it was polled before.
    pub(crate) polls: usize,
    /// How many frames of data it gave, and how long the last was.
    pub(crate) frames: usize,
    pub(crate) last_len: usize,
    /// The last poll gave nothing.
    pub(crate) is_paused: bool,
    /// There was a pause before.
    pub(crate) has_paused: bool,
    pub(crate) is_over: bool,
    pub(crate) has_failed: bool,
    /// What was taken before it was asked for.
    pub(crate) ahead: Option<Got>,
    first_waker: Option<Waker>,
}

impl Stream {
    fn new(
        inner: ScriptedBody,
        hooks: StreamHooks,
        method: Method,
        memory: Rc<Memory>,
        keeper: Rc<RefCell<Vec<ScriptedBody>>>,
    ) -> Self {
        Self {
            first_size: inner.size_hint(),
            inner: Some(inner),
            hooks,
            keeper,
            memory,
            number: 0,
            method,
            polls: 0,
            frames: 0,
            last_len: 0,
            is_paused: false,
            has_paused: false,
            is_over: false,
            has_failed: false,
            ahead: None,
            first_waker: None,
        }
    }

    pub(crate) fn ask(&mut self, cx: &mut Context<'_>) -> Got {
        if let Some(ahead) = self.ahead.take() {
            return ahead;
        }
        let Some(inner) = &mut self.inner else {
            return Got::End;
        };
        Got::from(Pin::new(inner).poll_frame(cx))
    }

    /// Takes what comes next, if it is there, for the next [`ask`](Self::ask).
    pub(crate) fn take_ahead(&mut self, cx: &mut Context<'_>) {
        self.ahead = match self.ask(cx) {
            Got::Pending => None,
            got => Some(got),
        };
    }

    pub(crate) fn ask_size(&self) -> SizeHint {
        let inner = self.inner.as_ref().map(Body::size_hint).unwrap_or_default();
        match (inner.exact(), &self.ahead) {
            (Some(left), Some(Got::Data(data))) => SizeHint::with_exact(left + data.len() as u64),
            _ => inner,
        }
    }

    pub(crate) fn ask_end(&self) -> bool {
        match &self.ahead {
            None | Some(Got::End) => self.inner.as_ref().is_none_or(Body::is_end_stream),
            Some(_) => false,
        }
    }

    /// How much is left, if that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        self.ask_size().exact()
    }

    pub(crate) fn is_newest(&self) -> bool {
        self.number == self.memory.streams.get()
    }

    /// Keeps what should be dropped.
    pub(crate) fn keep(&mut self) {
        mem::forget(self.inner.take());
    }

    /// Gives it to the one that outlives this body.
    pub(crate) fn hand_back(&mut self) {
        self.keeper.borrow_mut().extend(self.inner.take());
    }

    pub(crate) fn first_waker(&mut self, cx: &Context<'_>) -> Waker {
        let first = self.first_waker.get_or_insert_with(|| cx.waker().clone());
        first.clone()
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let got = (this.hooks.frame)(this, cx);
        this.polls += 1;
        this.is_paused = matches!(got, Got::Pending);
        this.has_paused |= this.is_paused;
        this.is_over |= matches!(got, Got::End);
        this.has_failed |= matches!(got, Got::Failed(_));
        Poll::Ready(match got {
            Got::Pending => return Poll::Pending,
            Got::Data(data) => {
                this.frames += 1;
                this.last_len = data.len();
                Some(Ok(Frame::data(data)))
            }
            Got::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            Got::Failed(error) => Some(Err(error)),
            Got::End => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        (self.hooks.size)(self)
    }

    fn is_end_stream(&self) -> bool {
        (self.hooks.end)(self)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.number > 0 {
            self.memory.open.set(self.memory.open.get() - 1);
        }
        (self.hooks.drop)(self);
    }
}

/// An error that has nothing of the service's.
#[derive(Debug)]
pub(crate) struct Foreign;

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something went wrong")
    }
}

impl Error for Foreign {}
