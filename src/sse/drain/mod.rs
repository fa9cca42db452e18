//! The layer that ends event streams when it is time, and its settings.

mod body;

use std::{
    fmt,
    future::Future,
    hash::{BuildHasher, RandomState},
    pin::pin,
    sync::Arc,
    task::Context,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::RETRY_AFTER};
use http_body::Body;
use tower_layer::Layer;

pub use self::body::{DrainBody, DrainError};
use super::is_open_ended;
#[cfg(feature = "tokio")]
use crate::timer::TokioTimer;
use crate::{
    BuildError,
    alter::{Alter, Alteration, Note},
    head::Asked,
    timer::Timer,
};

/// Ends event streams between two events when a signal comes, so that a server can shut down.
///
/// A graceful shutdown waits for the responses that are under way, and an event stream may go on for
/// ever. Cut off anywhere, its clients lose the event that was under way; ended between two, they
/// reconnect, to another server, with the `Last-Event-ID` of the last one that they were given
/// (WHATWG HTML §9.2.2). Nothing is lost, if events have ids and the service goes on from them.
///
/// It is for routes whose streams a client can resume. The client of another, such as a completion
/// of a language model, sees a clean end that comes too early: leave those without this layer, to
/// finish or to be cut off by the server.
///
#[cfg_attr(feature = "tokio", doc = "```")]
#[cfg_attr(not(feature = "tokio"), doc = "```ignore")]
/// use std::time::Duration;
/// use tokio_util::sync::CancellationToken;
/// use tower_passthrough::{sse::DrainLayer, timer::TokioTimer};
///
/// let shutdown = CancellationToken::new();
/// let signal = {
///     let shutdown = shutdown.clone();
///     move || shutdown.clone().cancelled_owned()
/// };
/// let layer = DrainLayer::new(signal.clone(), Duration::from_secs(10))?;
/// let for_browsers = DrainLayer::builder(signal, Duration::from_secs(10), TokioTimer)
///     .retry_between(Duration::from_secs(1), Duration::from_secs(5))
///     .build()?;
/// # let _ = (layer, for_browsers);
/// # Ok::<(), tower_passthrough::BuildError>(())
/// ```
///
/// To name the type of such a layer, box the closure: `Box<dyn Fn() -> S + Send + Sync>` is one too.
///
/// The signal is whatever makes futures that resolve once it is time, and at once if it was time
/// before: a cancellation token, a watch channel, a shared future. Two are made for each stream: one
/// is looked at when there is a response head; the other goes with the body, unless it was time by
/// then.
///
/// # What happens to a stream
///
/// | at the signal | |
/// |---|---|
/// | it is [between two events](super::Scanner::is_between_events) | it ends at once |
/// | an event is under way | it goes on until that is over, and ends there. What comes in the same frame is passed on up to its last whole event |
/// | that takes longer than the grace period | it ends with a [`DrainError`]: an event is never made to look complete |
/// | its head comes later | it ends between two events after its first one, so that its client gets something, or when the grace period is over; [if so set](DrainLayerBuilder::refuse_late) it is answered 503 |
///
/// Streams see the signal when the server polls them: at once if they wait for something, else
/// within 16 frames. The grace period of each begins then.
///
/// A server does not poll the stream of a client that does not read what it was sent, so that stream
/// ends when the client reads on or leaves. No layer can end it; to be done in any case, limit the
/// shutdown of the server as a whole, as the example `axum_sse` does.
///
/// Observers outside of this layer see [`Complete`](crate::observe::Outcome::Complete), or
/// [`BodyError`](crate::observe::Outcome::BodyError) after the grace period; observers inside see
/// [`Disconnected`](crate::observe::Outcome::Disconnected), since the body is let go before its end.
/// Around a [`KeepAliveLayer`](super::KeepAliveLayer), not within: there a `retry:` line would count
/// as the beginning of an event, and a quiet stream would get no comment before that is over.
///
/// # Which responses
///
/// [Event streams without a known length](crate::sse#which-responses-are-changed). Others pass
/// untouched.
///
/// `B::Data` must be [`From<Bytes>`](Bytes), as a frame may have to be cut; of `Bytes` that takes no
/// copy. As the body has errors of its own, its error is a box.
pub struct DrainLayer<F, T> {
    settings: Arc<Settings<F, T>>,
}

struct Settings<F, T> {
    signal: F,
    timer: T,
    grace: Duration,
    refusal: Option<HeaderValue>,
    retry: Option<Retry>,
}

/// The least and the most milliseconds to wait before reconnecting.
#[derive(Debug, Clone, Copy)]
struct Retry {
    least: u64,
    most: u64,
}

#[cfg(feature = "tokio")]
impl<F, S> DrainLayer<F, TokioTimer>
where
    F: Fn() -> S,
    S: Future<Output = ()>,
{
    /// Ends streams when a future from `signal` resolves, those in mid-event within `grace`, on
    /// tokio's timer.
    ///
    /// # Errors
    ///
    /// `grace` is zero.
    ///
    /// # Panics
    ///
    /// A body that is polled outside of a tokio runtime with time enabled panics: [`TokioTimer`].
    pub fn new(signal: F, grace: Duration) -> Result<Self, BuildError> {
        Self::builder(signal, grace, TokioTimer).build()
    }
}

impl<F, S, T> DrainLayer<F, T>
where
    F: Fn() -> S,
    S: Future<Output = ()>,
    T: Timer,
{
    /// A builder for a layer that ends streams when a future from `signal` resolves, those in
    /// mid-event within `grace`, on this timer.
    pub fn builder(signal: F, grace: Duration, timer: T) -> DrainLayerBuilder<F, T> {
        DrainLayerBuilder {
            signal,
            timer,
            grace,
            refuse_late: None,
            retry_between: None,
        }
    }
}

/// Settings of a [`DrainLayer`].
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct DrainLayerBuilder<F, T> {
    signal: F,
    timer: T,
    grace: Duration,
    refuse_late: Option<Duration>,
    retry_between: Option<(Duration, Duration)>,
}

impl<F, T> DrainLayerBuilder<F, T> {
    /// Answers 503 (Service Unavailable) in place of event streams that begin after the signal, with
    /// a `Retry-After` of so long, in whole seconds, rounded up.
    ///
    /// The service has been called by then, and what it did is thrown away: whether its answer is an
    /// event stream is not known before. For clients that read the field: a browser's `EventSource`
    /// does not reconnect after any status but 200 (WHATWG HTML §9.2.3).
    pub fn refuse_late(mut self, retry_after: Duration) -> Self {
        self.refuse_late = Some(retry_after);
        self
    }

    /// Begins each stream with a `retry:` line that tells its client how long to wait before it
    /// reconnects: a random time between these two, in milliseconds, so that they do not all come
    /// back at once.
    ///
    /// A later `retry:` of the stream's own replaces it in the client.
    ///
    /// For streams that browsers read, or what reads them as the standard says. The line becomes a
    /// part of what comes up to the first blank line. If that has no data, as after a comment and a
    /// blank line, clients that take any field for an event see one that is empty. The package
    /// `openai` for Python is one of these, and fails to read JSON of it.
    pub fn retry_between(mut self, least: Duration, most: Duration) -> Self {
        self.retry_between = Some((least, most));
        self
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// - The grace period is zero.
    /// - The time after which to retry is zero, or more than 64 bits of seconds.
    /// - The least of the times between which to retry is less than a millisecond or more than the
    ///   most, or that is more than 64 bits of milliseconds.
    pub fn build(self) -> Result<DrainLayer<F, T>, BuildError> {
        if self.grace.is_zero() {
            return Err(BuildError::new(
                "drain: the grace period is zero, each event under way would be cut off",
            ));
        }
        let refusal = self.refuse_late.map(seconds).transpose()?;
        let retry = self.retry_between.map(Retry::new).transpose()?;
        Ok(DrainLayer {
            settings: Arc::new(Settings {
                signal: self.signal,
                timer: self.timer,
                grace: self.grace,
                refusal,
                retry,
            }),
        })
    }
}

fn seconds(retry_after: Duration) -> Result<HeaderValue, BuildError> {
    let seconds = retry_after.as_nanos().div_ceil(1_000_000_000);
    match u64::try_from(seconds) {
        Ok(seconds @ 1..) => Ok(seconds.into()),
        _ => Err(BuildError::new(format_args!(
            "drain: clients that are refused cannot retry after {retry_after:?}: more than nothing, \
             and not more than 64 bits of seconds, is needed"
        ))),
    }
}

impl Retry {
    fn new((least, most): (Duration, Duration)) -> Result<Self, BuildError> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis());
        match (millis(least), millis(most)) {
            (Ok(least @ 1..), Ok(most)) if least <= most => Ok(Self { least, most }),
            _ => Err(BuildError::new(format_args!(
                "drain: clients cannot retry between {least:?} and {most:?}: the least must be a \
                 millisecond or more and not more than the most, which must be at most 64 bits of \
                 milliseconds"
            ))),
        }
    }

    fn line(self) -> Bytes {
        // Each is keyed anew: there is no better chance in the standard library.
        let chance = RandomState::new().hash_one(self.most);
        // No overflow: the least is not zero.
        let choices = self.most - self.least + 1;
        let millis = self.least + chance % choices;
        format!("retry: {millis}\n").into()
    }
}

impl<F, T> Clone for DrainLayer<F, T> {
    fn clone(&self) -> Self {
        Self {
            settings: Arc::clone(&self.settings),
        }
    }
}

impl<S, F, T> Layer<S> for DrainLayer<F, T> {
    type Service = Alter<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Alter::new(inner, self.clone())
    }
}

impl<B, F, S, T> Note<B> for DrainLayer<F, T>
where
    F: Fn() -> S,
    S: Future<Output = ()>,
    T: Timer + Clone,
{
    fn note(&self, request: &mut Request<B>) -> Asked {
        Asked::from(request.method())
    }
}

impl<F, S, T> Alteration for DrainLayer<F, T>
where
    F: Fn() -> S,
    S: Future<Output = ()>,
    T: Timer + Clone,
{
    type Noted = Asked;
    type Body<B> = DrainBody<B, S, T>;

    fn alter<B: Body>(
        &self,
        response: Response<B>,
        asked: &Asked,
        cx: &mut Context<'_>,
    ) -> Response<Self::Body<B>> {
        if !is_open_ended(&response, *asked) {
            return response.map(DrainBody::untouched);
        }
        let Settings {
            signal,
            timer,
            grace,
            refusal,
            retry,
        } = &*self.settings;
        let is_late = pin!(signal()).poll(cx).is_ready();
        if let (true, Some(retry_after)) = (is_late, refusal) {
            let mut refusal = Response::new(DrainBody::none());
            *refusal.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            refusal
                .headers_mut()
                .insert(RETRY_AFTER, retry_after.clone());
            return refusal;
        }
        let signal = (!is_late).then(signal);
        let retry = retry.map(Retry::line);
        response.map(|inner| DrainBody::new(inner, signal, *grace, timer.clone(), retry))
    }
}

impl<F, T: fmt::Debug> fmt::Debug for DrainLayer<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.settings;
        f.debug_struct("DrainLayer")
            .field("timer", &settings.timer)
            .field("grace", &settings.grace)
            .field("refusal", &settings.refusal)
            .field("retry", &settings.retry)
            .finish_non_exhaustive()
    }
}

impl<F, T: fmt::Debug> fmt::Debug for DrainLayerBuilder<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainLayerBuilder")
            .field("timer", &self.timer)
            .field("grace", &self.grace)
            .field("refuse_late", &self.refuse_late)
            .field("retry_between", &self.retry_between)
            .finish_non_exhaustive()
    }
}
