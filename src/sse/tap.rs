//! The layer that shows events.

use std::fmt;

use bytes::Buf;
use http::Method;
use tower_layer::Layer;

use super::{chunks::for_each_chunk, events::Events, is_event_stream};
use crate::{
    RequestHead, ResponseHead,
    observe::{MakeObserver, Moment, Observe, Observer, Outcome},
};

/// Calls back with each event of the event streams that pass, while their bytes pass untouched.
///
/// For each request but HEAD, [`new`](Self::new)'s callback makes a sink, which is called with all there is
/// to tell of the response. A gateway before a language model counts tokens and reads what they
/// cost:
///
/// ```
/// # use std::sync::mpsc;
/// # use http::{Request, Response, header::CONTENT_TYPE};
/// # use http_body_util::{BodyExt, Full};
/// # use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
/// use serde_json::Value;
/// use tower_passthrough::{RequestHead, sse::{Tapped, TapLayer}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (report, reports) = mpsc::channel();
/// let layer = TapLayer::new(move |request: &RequestHead<'_>| {
///     let path = request.uri.path().to_owned();
///     let report = report.clone();
///     let (mut tokens, mut usage) = (0, Value::Null);
///     move |tapped: Tapped<'_>| match tapped {
///         Tapped::Event(event) => {
///             // The last one is `[DONE]`, and not JSON.
///             let Ok(mut chunk) = serde_json::from_str::<Value>(event.data) else { return };
///             tokens += u32::from(chunk["choices"][0]["delta"]["content"].is_string());
///             if chunk["usage"].is_object() {
///                 usage = chunk["usage"].take();
///             }
///         }
///         Tapped::End(outcome) => {
///             let billed = &usage["completion_tokens"];
///             let _ = report.send(format!("{path}: {tokens} tokens, {billed} billed, {outcome}"));
///         }
///         _ => {}
///     }
/// });
///
/// # let stream = concat!(
/// #     "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}],\"usage\":null}\n\n",
/// #     "data: {\"choices\":[{\"delta\":{\"content\":\"lo\"}}],\"usage\":null}\n\n",
/// #     "data: {\"choices\":[],\"usage\":{\"completion_tokens\":2}}\n\n",
/// #     "data: [DONE]\n\n",
/// # );
/// # let mut service = ServiceBuilder::new().layer(layer).service(service_fn(async |_: Request<String>| {
/// #     let response = Response::builder().header(CONTENT_TYPE, "text/event-stream");
/// #     response.body(Full::<&[u8]>::from(stream.as_bytes()))
/// # }));
/// # let request = Request::post("/v1/chat/completions").body(String::new())?;
/// # service.ready().await?.call(request).await?.into_body().collect().await?;
/// // After a response of two tokens:
/// assert_eq!(reports.try_recv()?, "/v1/chat/completions: 2 tokens, 2 billed, complete");
/// # Ok(())
/// # }
/// ```
///
/// A response is tapped if it is an event stream that can be read: of status 2xx, of the type
/// `text/event-stream`, of no content coding, and not to HEAD. The sink of any other exchange is
/// dropped, at the latest with the exchange, without being called.
///
/// # What it costs
///
/// Events are told within the poll that yields the frame in which they end, before it is handed on.
/// The sink must not block: the client waits for it.
///
/// What lies in one frame is handed to the sink from there. Only an event that is split over frames
/// is put together, and only one of several `data` lines, or of invalid UTF-8, is copied. Memory is
/// bounded by a small multiple of [`max_event_bytes`](Self::max_event_bytes), however long lines,
/// comments and events are, and given back after an event of more than 1 KiB; the last id is held
/// for as long as it is the last. What is not UTF-8 takes three times as much once it is told.
///
/// If the sink panics, [these rules](crate::observe#panics) hold: the exchange ends, and the sink is
/// called once more, with [`Tapped::End`].
#[derive(Clone)]
pub struct TapLayer<M> {
    make: M,
    max_event_bytes: usize,
}

/// What a sink of [`TapLayer`]'s is told of an event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tapped<'a> {
    /// An event.
    Event(Event<'a>),
    /// An event, which was [too long](TapLayer::max_event_bytes) to be told. It was passed on.
    Skipped {
        /// How long its lines are together, without comments and what ends a line.
        bytes: u64,
    },
    /// From here on nothing is known of the stream but its end: a frame came that does not show all
    /// of its bytes.
    ///
    /// A layer can look at all chunks of a [`Buf`] only if it shows them, by
    /// [`Buf::chunks_vectored`], and up to 64. [`bytes::Bytes`] and what else is contiguous always
    /// does.
    Lost,
    /// The exchange is over. Told once, last. An event that was not whole is not told.
    End(Outcome),
}

/// An event, as a browser's `EventSource` has it.
///
/// What is not UTF-8 is replaced by U+FFFD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The type: of the last field `event`, or `message`.
    pub event: &'a str,
    /// The last event ID: of the last field `id` of the stream so far, be it of an earlier event;
    /// empty if there was none.
    pub id: &'a str,
    /// The fields `data`, joined by line feeds.
    pub data: &'a str,
}

/// What [`TapLayer::max_event_bytes`] is by default.
const MAX_EVENT_BYTES: usize = 64 * 1024;

impl<M> TapLayer<M> {
    /// Calls `make` when a request other than HEAD comes, before the service sees it, and what it
    /// returns with all there is to tell of the response, if that is an event stream.
    ///
    /// A function that returns an `impl FnMut(Tapped<'_>) + Send` has to add `+ use<>`: a sink takes
    /// nothing along from the request by reference.
    pub const fn new<C>(make: M) -> Self
    where
        M: Fn(&RequestHead<'_>) -> C,
        C: FnMut(Tapped<'_>),
    {
        Self {
            make,
            max_event_bytes: MAX_EVENT_BYTES,
        }
    }

    /// How long the lines of an event may be together, to be told: 64 KiB, if this is not called.
    /// Comments do not count, nor does what ends a line.
    ///
    /// An event that is longer is [skipped](Tapped::Skipped), but for its field `id` if the line of
    /// that alone is not longer.
    #[must_use]
    pub const fn max_event_bytes(mut self, max_event_bytes: usize) -> Self {
        self.max_event_bytes = max_event_bytes;
        self
    }
}

impl<S, M: Clone> Layer<S> for TapLayer<M> {
    type Service = Observe<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Observe::new(inner, self.clone())
    }
}

impl<M, C> MakeObserver for TapLayer<M>
where
    M: Fn(&RequestHead<'_>) -> C,
    C: FnMut(Tapped<'_>) + Send + 'static,
{
    type Observer = TapObserver<C>;

    #[inline]
    fn observe(&self, request: &RequestHead<'_>, _: &Moment) -> Option<Self::Observer> {
        (request.method != Method::HEAD).then(|| TapObserver {
            tap: Tap::Waits {
                sink: (self.make)(request),
                max_event_bytes: self.max_event_bytes,
            },
        })
    }
}

impl<M> fmt::Debug for TapLayer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapLayer")
            .field("max_event_bytes", &self.max_event_bytes)
            .finish_non_exhaustive()
    }
}

/// The observer of [`TapLayer`].
pub struct TapObserver<C> {
    tap: Tap<C>,
}

/// Carried by each response body, and therefore kept small.
enum Tap<C> {
    /// There is no head yet.
    Waits { sink: C, max_event_bytes: usize },
    /// `None` if not all was shown.
    Reads {
        sink: C,
        events: Option<Box<Events>>,
    },
    /// It is no event stream.
    Off,
}

impl<C: FnMut(Tapped<'_>) + Send + 'static> Observer for TapObserver<C> {
    fn on_response(&mut self, head: &ResponseHead<'_>, _: &Moment) {
        let tap = std::mem::replace(&mut self.tap, Tap::Off);
        if let Tap::Waits {
            sink,
            max_event_bytes,
        } = tap
        {
            if is_event_stream(head.status, head.headers) && !head.tunnel {
                let events = Some(Box::new(Events::new(max_event_bytes)));
                self.tap = Tap::Reads { sink, events };
            }
        }
    }

    #[inline]
    fn on_data<D: Buf>(&mut self, data: &D, _: &Moment) {
        if let Tap::Reads { sink, events } = &mut self.tap {
            read(data, events, sink);
        }
    }

    fn on_end(self, outcome: Outcome, _: &Moment) {
        if let Tap::Reads { mut sink, .. } = self.tap {
            sink(Tapped::End(outcome));
        }
    }
}

// Inline, as `Events::feed` is not: what is handed to it is a slice. A reference to the frame would
// force it through memory, of other responses too.
#[inline]
fn read<D: Buf>(data: &D, events: &mut Option<Box<Events>>, sink: &mut impl FnMut(Tapped<'_>)) {
    if let Some(reading) = events {
        let all_seen = for_each_chunk(data, |chunk| reading.feed(chunk, &mut *sink));
        if !all_seen {
            *events = None;
            sink(Tapped::Lost);
        }
    }
}

impl<C> fmt::Debug for TapObserver<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tap = match &self.tap {
            Tap::Waits { .. } => "waits",
            Tap::Reads { events: None, .. } => "lost",
            Tap::Reads { .. } => "reads",
            Tap::Off => "off",
        };
        f.debug_tuple("TapObserver").field(&tap).finish()
    }
}
