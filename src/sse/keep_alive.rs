//! The layer that puts comments into quiet event streams.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;

use super::{is_open_ended, splice::Splice};
#[cfg(feature = "tokio")]
use crate::timer::TokioTimer;
use crate::{
    BuildError,
    alter::{Alter, Alteration, Note},
    head::Asked,
    quiet::Quiet,
    timer::Timer,
};

/// Puts a comment into event streams that are quiet for long, so that nobody on the way takes them
/// for dead.
///
/// Proxies and balancers cut what is quiet, often after 60 s. A comment is a line that clients skip
/// (WHATWG HTML §9.2.6): no event is dispatched for it, and none is added to.
///
#[cfg_attr(feature = "tokio", doc = "```")]
#[cfg_attr(not(feature = "tokio"), doc = "```ignore")]
/// use std::time::Duration;
/// use tower_passthrough::{sse::KeepAliveLayer, timer::TokioTimer};
///
/// let layer = KeepAliveLayer::new(Duration::from_secs(15))?; // `: keep-alive`
/// let with_own_text = KeepAliveLayer::builder(Duration::from_secs(15), TokioTimer)
///     .comment("still here")
///     .build()?;
/// # let _ = (layer, with_own_text);
/// # Ok::<(), tower_passthrough::BuildError>(())
/// ```
///
/// # When there is one
///
/// When the body has had no byte to give for the interval while the server asked for more, also before
/// the first event; and each interval after that, as long as it is quiet. The time is noted when
/// the server first asks in vain; a stream that goes on costs no timer. Only
/// [between two events](crate::sse::Scanner::is_safe_for_injection): never within a line, nor within
/// an event, where it would be allowed but is more than some clients can read. An event that stops
/// half-way thus gets none, nor does a stream whose lines end with CR alone, once it has begun.
///
/// A comment that is put in before the first byte would make a byte order mark that follows into
/// text: such a mark is taken off. What only begins like one is held back until the next byte tells,
/// and is lost if there is none: then it is no line, which no client reads.
///
/// # Which responses
///
/// [Event streams without a known length](crate::sse#which-responses-are-changed). Others pass
/// untouched.
///
/// `B::Data` must be [`From<Bytes>`](Bytes), as what is put in has to become a frame of it.
#[derive(Debug, Clone)]
pub struct KeepAliveLayer<T> {
    interval: Duration,
    line: Bytes,
    timer: T,
}

#[cfg(feature = "tokio")]
impl KeepAliveLayer<TokioTimer> {
    /// Puts in `: keep-alive` whenever a stream was quiet for `interval`, on tokio's timer.
    ///
    /// # Errors
    ///
    /// `interval` is zero.
    ///
    /// # Panics
    ///
    /// A body that is polled outside of a tokio runtime with time enabled panics: [`TokioTimer`].
    pub fn new(interval: Duration) -> Result<Self, BuildError> {
        Self::builder(interval, TokioTimer).build()
    }
}

impl<T: Timer> KeepAliveLayer<T> {
    /// A builder for a layer that puts in `: keep-alive` whenever a stream was quiet for
    /// `interval`, on this timer.
    pub fn builder(interval: Duration, timer: T) -> KeepAliveLayerBuilder<T> {
        KeepAliveLayerBuilder {
            interval,
            comment: "keep-alive".into(),
            timer,
        }
    }
}

/// Settings of a [`KeepAliveLayer`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct KeepAliveLayerBuilder<T> {
    interval: Duration,
    comment: String,
    timer: T,
}

impl<T: Timer> KeepAliveLayerBuilder<T> {
    /// What is in the comment, without the colon and the end of the line. May be empty.
    pub fn comment(mut self, text: impl Into<String>) -> Self {
        self.comment = text.into();
        self
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// - The interval is zero.
    /// - There is a CR or LF in the comment: it would end it, and what follows would be a field.
    pub fn build(self) -> Result<KeepAliveLayer<T>, BuildError> {
        if self.interval.is_zero() {
            return Err(BuildError::new(
                "keep-alive: the interval is zero, comments would never cease",
            ));
        }
        if self.comment.contains(['\r', '\n']) {
            return Err(BuildError::new(format_args!(
                "keep-alive: the comment {:?} is not one line, what follows its end would be read \
                 as a field",
                self.comment
            )));
        }
        Ok(KeepAliveLayer {
            interval: self.interval,
            line: format!(": {}\n", self.comment).into(),
            timer: self.timer,
        })
    }
}

impl<S, T: Clone> Layer<S> for KeepAliveLayer<T> {
    type Service = Alter<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Alter::new(inner, self.clone())
    }
}

impl<B, T: Timer + Clone> Note<B> for KeepAliveLayer<T> {
    fn note(&self, request: &mut Request<B>) -> Asked {
        Asked::from(request.method())
    }
}

impl<T: Timer + Clone> Alteration for KeepAliveLayer<T> {
    type Noted = Asked;
    type Body<B> = KeepAliveBody<B, T>;

    fn alter<B: Body>(
        &self,
        response: Response<B>,
        asked: &Asked,
        _: &mut Context<'_>,
    ) -> Response<Self::Body<B>> {
        let stream = is_open_ended(&response, *asked).then(|| {
            Box::pin(Stream {
                splice: Splice::default(),
                quiet: Quiet::new(self.timer.clone(), self.interval),
                line: self.line.clone(),
            })
        });
        response.map(|inner| KeepAliveBody { inner, stream })
    }
}

pin_project! {
    /// The body of [`KeepAliveLayer`].
    pub struct KeepAliveBody<B, T: Timer> {
        #[pin]
        inner: B,
        // Apart, so that the bodies which pass untouched, most of all, are hardly larger for it.
        stream: Option<Pin<Box<Stream<T>>>>,
    }
}

pin_project! {
    struct Stream<T: Timer> {
        splice: Splice,
        #[pin]
        quiet: Quiet<T>,
        line: Bytes,
    }
}

impl<B, T> Body for KeepAliveBody<B, T>
where
    B: Body,
    B::Data: From<Bytes>,
    T: Timer,
{
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(stream) = this.stream else {
            return this.inner.poll_frame(cx);
        };
        let mut stream = stream.as_mut().project();
        loop {
            let Poll::Ready(polled) = this.inner.as_mut().poll_frame(cx) else {
                break;
            };
            let last = match polled.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => match stream.splice.pass(data) {
                    Some(data) => {
                        // What puts no byte on the way is as quiet as nothing.
                        if data.has_remaining() {
                            stream.quiet.as_mut().break_off();
                        }
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    None => continue,
                },
                Some(Ok(Err(trailers))) => Some(Ok(trailers)),
                Some(Err(error)) => Some(Err(error)),
                None => None,
            };
            // No data may follow, be the body asked as often as may be.
            *this.stream = None;
            return Poll::Ready(last);
        }
        if !stream.splice.scanner().is_safe_for_injection() {
            return Poll::Pending;
        }
        ready!(stream.quiet.poll(cx));
        stream.splice.insert();
        Poll::Ready(Some(Ok(Frame::data(stream.line.clone().into()))))
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.size_hint();
        let Some(stream) = &self.stream else {
            return inner;
        };
        let (less, _) = stream.splice.slack();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_sub(less));
        hint
    }
}

impl<B: fmt::Debug, T: Timer> fmt::Debug for KeepAliveBody<B, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepAliveBody")
            .field("inner", &self.inner)
            .field("is_event_stream", &self.stream.is_some())
            .finish_non_exhaustive()
    }
}
