//! A layer that is honest in all but what one fault replaces.
//!
//! Its parts stand here, each with its honest form: `ask`, `ask_size`, `ask_end` do what a layer
//! should. A fault replaces one or two of the [`Hooks`], and may look at what its part has seen so
//! far, so that it strikes in one place only.

mod stream;

use std::{
    cell::{Cell, RefCell},
    error::Error,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use http::{Method, Request, Response};
use http_body::SizeHint;
use tower::{Layer, Service};
use tower_passthrough::conformance::{ScriptedBody, ScriptedFuture, ScriptedService};

pub(crate) use self::stream::{Foreign, Got, Stream};

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
