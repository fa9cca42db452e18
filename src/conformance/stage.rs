//! Drives a wrapped service by hand, step by step.

use std::{
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
};

use http::{Request, Response, response};
use http_body::Body;
use tower_service::Service;

use super::{
    Kit, ScriptedBody, ScriptedService,
    log::{Actor, BoxError, Exchange, ExchangeSeen, Failure, Given, Hints, Journal},
    script::Script,
};
use crate::unwind;

/// More than any layer needs that has something to do between two polls.
const POLLS_AT_MOST: usize = 100;

/// A wrapped service, its types forgotten.
pub(super) trait Subject<'a> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>>;
    fn call(&mut self, request: Request<ScriptedBody>) -> SubjectFuture<'a>;
}

type SubjectFuture<'a> = Pin<Box<dyn Future<Output = Result<Response<BoxBody<'a>>, Failure>> + 'a>>;

type BoxBody<'a> = Box<dyn SubjectBody + 'a>;

pub(super) trait SubjectBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Given;
    fn hints(&self) -> Hints;
}

/// A service as a [`Subject`].
pub(super) struct Worn<S>(pub(super) S);

impl<'a, S, B> Subject<'a> for Worn<S>
where
    S: Service<Request<ScriptedBody>, Response = Response<B>> + 'a,
    S::Error: Into<BoxError>,
    B: Body + 'a,
    B::Error: Into<BoxError>,
{
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.0.poll_ready(cx).map_err(Failure::new)
    }

    fn call(&mut self, request: Request<ScriptedBody>) -> SubjectFuture<'a> {
        let mut future = Some(Box::pin(self.0.call(request)));
        // Not an `async` block: that drops what panics while it unwinds, and a future that panics
        // at that, too, would end the process.
        Box::pin(poll_fn(move |cx| {
            let Some(polled) = future.as_mut().map(|future| future.as_mut().poll(cx)) else {
                return Poll::Pending;
            };
            let answer = ready!(polled);
            // As `await` does.
            future = None;
            Poll::Ready(match answer {
                Ok(response) => {
                    Ok(response.map(|body| -> BoxBody<'a> { Box::new(Box::pin(body)) }))
                }
                Err(error) => Err(Failure::new(error)),
            })
        }))
    }
}

impl<B> SubjectBody for Pin<Box<B>>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Given {
        Given::new(self.as_mut().poll_frame(cx))
    }

    fn hints(&self) -> Hints {
        Hints::of(self)
    }
}

/// Why a check cannot be made.
#[derive(Debug)]
pub(super) enum Stop {
    /// What is to be looked at never came; that has a check of its own.
    Unseen(String),
    /// It makes no sense for this service.
    NotApplicable(&'static str),
}

impl Stop {
    /// For a check whose business it is.
    pub(super) fn reason(self) -> Result<String, Self> {
        match self {
            Self::Unseen(why) => Ok(why),
            other @ Self::NotApplicable(_) => Err(other),
        }
    }
}

/// Makes the services and their requests.
pub(super) struct Bench<'a> {
    pub(super) wrap: &'a dyn Fn(ScriptedService) -> Box<dyn Subject<'a> + 'a>,
    pub(super) kit: &'a Kit,
}

impl<'a> Bench<'a> {
    /// Wraps a service that does as the script says.
    pub(super) fn stage(&self, mut script: Script) -> Result<Stage<'a>, Stop> {
        self.kit.dress(&mut script);
        let journal = Journal::new(script);
        let service = ScriptedService::new(journal.clone());
        let service = caught(|| (self.wrap)(service)).map_err(|panic| {
            Stop::Unseen(format!("the layer panicked around the service: {panic}"))
        })?;
        Ok(Stage { journal, service })
    }

    /// The response to a request, its body not polled yet.
    pub(super) fn open(&self, script: Script) -> Result<Open<'a>, Stop> {
        self.stage(script)?.open()
    }
}

/// A wrapped service under way.
pub(super) struct Stage<'a> {
    pub(super) journal: Arc<Journal>,
    service: Box<dyn Subject<'a> + 'a>,
}

impl<'a> Stage<'a> {
    pub(super) fn poll_ready(&mut self, alarm: &Alarm) -> Result<Poll<Result<(), Failure>>, Stop> {
        caught(|| self.service.poll_ready(&mut alarm.context()))
            .map_err(|panic| Stop::Unseen(format!("the layer panicked in poll_ready: {panic}")))
    }

    /// For checks that need a service that fails.
    pub(super) fn can_fail(&self) -> Result<(), Stop> {
        if self.journal.seen().infallible {
            return Err(Stop::NotApplicable("the service was made infallible"));
        }
        Ok(())
    }

    pub(super) fn release_readiness(&self) -> bool {
        let waker = self.journal.seen().readiness.release();
        waker.map(Waker::wake).is_some()
    }

    /// Polls for readiness as long as there is reason to, and gives the last answer.
    pub(super) fn drive_ready(&mut self) -> Result<Poll<Result<(), Failure>>, Stop> {
        let alarm = Alarm::new();
        for _ in 0..POLLS_AT_MOST {
            let rings = alarm.rings();
            let polled = self.poll_ready(&alarm)?;
            if polled.is_ready() {
                return Ok(polled);
            }
            self.release_readiness();
            if alarm.rings() == rings {
                break;
            }
        }
        Ok(Poll::Pending)
    }

    fn ready(&mut self) -> Result<(), Stop> {
        match self.drive_ready()? {
            Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(error)) => Err(Stop::Unseen(format!(
                "poll_ready failed: {}",
                error.message
            ))),
            Poll::Pending => Err(Stop::Unseen("the layer is never ready".to_owned())),
        }
    }

    /// Calls the service when it is ready.
    pub(super) fn call(&mut self) -> Result<Open<'a>, Stop> {
        self.ready()?;
        let exchange = Arc::<Exchange>::default();
        self.journal.seen().awaited.push_back(exchange.clone());
        let request = self.journal.script.request(exchange.clone());
        let future = caught(|| self.service.call(request))
            .map_err(|panic| Stop::Unseen(format!("the layer panicked when called: {panic}")))?;
        Ok(Open {
            journal: self.journal.clone(),
            exchange,
            future: Some(future),
            head: None,
            body: None,
            alarm: Alarm::new(),
        })
    }

    /// Calls the service when it is ready, and waits for the response.
    pub(super) fn open(&mut self) -> Result<Open<'a>, Stop> {
        let mut open = self.call()?;
        open.head()?;
        Ok(open)
    }
}

/// One exchange with the wrapped service, as a server has it.
pub(super) struct Open<'a> {
    journal: Arc<Journal>,
    exchange: Arc<Exchange>,
    future: Option<SubjectFuture<'a>>,
    head: Option<response::Parts>,
    body: Option<BoxBody<'a>>,
    pub(super) alarm: Alarm,
}

/// What one poll of the wrapped service's future gave.
#[derive(Debug)]
pub(super) enum Head {
    Pending,
    Answered,
    Failed(Failure),
    Panicked(String),
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("pending"),
            Self::Answered => f.write_str("a response"),
            Self::Failed(failure) => write!(f, "an error: {}", failure.message),
            Self::Panicked(message) => write!(f, "panic: {message}"),
        }
    }
}

impl Open<'_> {
    pub(super) fn seen(&self) -> MutexGuard<'_, ExchangeSeen> {
        self.exchange.seen()
    }

    /// Lets something scripted go on that waits, and wakes whom it was told to. False if it does
    /// not wait, or does not know whom to wake.
    pub(super) fn release(&self, actor: impl FnOnce(&mut ExchangeSeen) -> &mut Actor) -> bool {
        let waker = actor(&mut self.seen()).release();
        waker.map(Waker::wake).is_some()
    }

    pub(super) fn poll_head(&mut self) -> Head {
        let Some(future) = &mut self.future else {
            return Head::Pending;
        };
        match caught(|| future.as_mut().poll(&mut self.alarm.context())) {
            Err(panic) => Head::Panicked(panic),
            Ok(Poll::Pending) => Head::Pending,
            Ok(Poll::Ready(Err(failure))) => Head::Failed(failure),
            Ok(Poll::Ready(Ok(response))) => {
                let (head, body) = response.into_parts();
                self.head = Some(head);
                self.body = Some(body);
                Head::Answered
            }
        }
    }

    /// Polls for the head as long as there is reason to, and gives the last answer.
    pub(super) fn drive(&mut self) -> Head {
        let mut polled = Head::Pending;
        for _ in 0..POLLS_AT_MOST {
            let rings = self.alarm.rings();
            polled = self.poll_head();
            if !matches!(polled, Head::Pending) {
                break;
            }
            self.release(|seen| &mut seen.future);
            self.release(|seen| &mut seen.request_body);
            if self.alarm.rings() == rings {
                break;
            }
        }
        polled
    }

    /// Polls for the head even if nobody was woken for it: for checks that are not about wakers.
    pub(super) fn insist(&mut self) -> Head {
        let mut polled = Head::Pending;
        for _ in 0..POLLS_AT_MOST {
            polled = self.poll_head();
            if !matches!(polled, Head::Pending) {
                break;
            }
            self.release(|seen| &mut seen.future);
            self.release(|seen| &mut seen.request_body);
        }
        polled
    }

    /// Polls for the head until something scripted has come this far.
    pub(super) fn poll_head_until(&mut self, far: fn(&ExchangeSeen) -> bool) -> Result<Head, Stop> {
        for _ in 0..POLLS_AT_MOST {
            let rings = self.alarm.rings();
            let polled = self.poll_head();
            if far(&self.seen()) {
                return Ok(polled);
            }
            if !matches!(polled, Head::Pending) {
                return Err(Stop::Unseen(format!(
                    "the service was not waited for: {polled}"
                )));
            }
            if self.alarm.rings() == rings {
                break;
            }
        }
        Err(Stop::Unseen("the service was never asked".to_owned()))
    }

    /// What comes of the request, if it comes of the service.
    pub(super) fn answer(&mut self) -> Result<Head, Stop> {
        let answer = self.drive();
        let seen = self.seen();
        if seen.request.is_none() {
            return Err(Stop::Unseen(format!(
                "the service was never called: {answer}"
            )));
        }
        if matches!(answer, Head::Answered) && !seen.answered {
            return Err(Stop::Unseen("the layer answered by itself".to_owned()));
        }
        drop(seen);
        Ok(answer)
    }

    /// The head of the service's response.
    pub(super) fn head(&mut self) -> Result<&response::Parts, Stop> {
        let answer = self.answer()?;
        self.head
            .as_ref()
            .ok_or_else(|| Stop::Unseen(format!("no response but {answer}")))
    }

    pub(super) fn poll_body(&mut self) -> Given {
        let Some(body) = &mut self.body else {
            return Given::Pending;
        };
        caught(|| body.poll_frame(&mut self.alarm.context())).unwrap_or_else(Given::Panicked)
    }

    /// Polls on, even if nobody was woken for it, until the service's body waits.
    pub(super) fn poll_body_until_it_waits(&mut self) -> Result<(), Stop> {
        for _ in 0..POLLS_AT_MOST {
            self.poll_body();
            if self.seen().response_body.waits {
                return Ok(());
            }
        }
        Err(Stop::Unseen("the body was not polled".to_owned()))
    }

    /// Polls the body until it gives something. Pending if there is no reason to poll on.
    pub(super) fn next(&mut self) -> Given {
        for _ in 0..POLLS_AT_MOST {
            let rings = self.alarm.rings();
            let given = self.poll_body();
            if !matches!(given, Given::Pending) {
                return given;
            }
            self.release(|seen| &mut seen.response_body);
            if self.alarm.rings() == rings {
                break;
            }
        }
        Given::Pending
    }

    /// Reads the body as far as it can be.
    pub(super) fn read(&mut self) -> Vec<Given> {
        let mut read = Vec::new();
        for _ in 0..POLLS_AT_MOST {
            let given = self.next();
            let goes_on = matches!(given, Given::Data { .. } | Given::Trailers(_));
            read.push(given);
            if !goes_on {
                break;
            }
        }
        read
    }

    pub(super) fn hints(&self) -> Result<Hints, Stop> {
        match &self.body {
            Some(body) => Ok(body.hints()),
            None => Err(Stop::Unseen("there is no body".to_owned())),
        }
    }

    /// Drops what there is of it, as a server does when its client leaves.
    pub(super) fn leave(&mut self) -> Result<(), String> {
        let future = self.future.take();
        let body = self.body.take();
        let left = caught(|| drop(future)).and(caught(|| drop(body)));
        // A layer may call the service only when its future is polled: then nothing comes any more.
        let awaited = &mut self.journal.seen().awaited;
        awaited.retain(|exchange| !Arc::ptr_eq(exchange, &self.exchange));
        left
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // Whether it may be dropped has a check of its own.
        let _ = self.leave();
    }
}

/// Counts how often it is woken.
#[derive(Debug, Clone)]
pub(super) struct Alarm {
    rings: Arc<Rings>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Rings(AtomicUsize);

impl Wake for Rings {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Alarm {
    pub(super) fn new() -> Self {
        let rings = Arc::<Rings>::default();
        Self {
            waker: Waker::from(rings.clone()),
            rings,
        }
    }

    pub(super) fn rings(&self) -> usize {
        self.rings.0.load(Ordering::SeqCst)
    }

    pub(super) fn rang_since(&self, rings: usize) -> &'static str {
        if self.rings() > rings {
            "woken"
        } else {
            "not woken"
        }
    }

    pub(super) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }
}

/// Runs what may panic, and gives the panic's message.
pub(super) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let message = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => "not a text".to_owned(),
        };
        unwind::discard(panic);
        message
    })
}
