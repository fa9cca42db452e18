//! What is recorded of one exchange, and when.

use std::{fmt, mem, num::NonZeroU64, sync::Arc, time::Instant};

use bytes::Buf;
use http::{HeaderMap, StatusCode, header::CONTENT_LENGTH};

use super::{
    labels::{GrpcCode, Kind, is_grpc_call},
    set::{End, Set},
    settings::Style,
    table::Table,
};
use crate::{
    RequestHead, ResponseHead,
    head::{Asked, decimal},
    observe::{Moment, Observer, Outcome},
    sse::{Scanner, is_event_stream},
};

/// The observer of [`MetricsLayer`](super::MetricsLayer).
///
/// It is carried by each response body, and therefore kept small.
pub struct MetricsObserver {
    begun: InFlight,
    /// Where the rest is recorded, if no longer where it began.
    now: Option<Arc<Set>>,
    /// Where it is counted as a gRPC call, if it is one.
    call: Option<Arc<Set>>,
    start: Instant,
    /// Plus one: an `Option` of it is no larger.
    request_bytes: Option<NonZeroU64>,
    response_bytes: u64,
    /// When the last frame came, in seconds from the start. Not a number before the first.
    last_frame: f64,
    events: Option<Box<Events>>,
    looks: Looks,
    grpc_code: Option<GrpcCode>,
    status: Option<StatusCode>,
    kind: Kind,
    asked: Asked,
    has_room: bool,
}

/// Which data frames are looked at. Mostly none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
    Never,
    /// Up to the first byte, for it.
    UntilFirstByte,
    /// At all, and for the first byte.
    BeforeFirstByte,
    /// At all.
    Always,
}

impl Looks {
    fn new(for_first_byte: bool, always: bool) -> Self {
        match (for_first_byte, always) {
            (false, false) => Self::Never,
            (true, false) => Self::UntilFirstByte,
            (true, true) => Self::BeforeFirstByte,
            (false, true) => Self::Always,
        }
    }

    /// Takes note of a frame of so many bytes. True if it has the first byte, and that is looked for.
    fn take_first_byte(&mut self, bytes: u64) -> bool {
        let past = match self {
            Self::UntilFirstByte if bytes > 0 => Self::Never,
            Self::BeforeFirstByte if bytes > 0 => Self::Always,
            _ => return false,
        };
        *self = past;
        true
    }
}

/// The events of an event stream. Times are in seconds from the start.
#[derive(Default)]
struct Events {
    scanner: Scanner,
    last: Option<f64>,
    /// There was a frame in several chunks. To hand it over whole would cost each frame of each body
    /// as much again: it would have to lie in memory.
    are_lost: bool,
}

impl Events {
    /// How many events this frame completes; and if it does, the time since the last one before,
    /// if there was one.
    fn on_data(&mut self, bytes: u64, chunk: &[u8], seconds: f64) -> (u64, Option<f64>) {
        self.are_lost |= chunk.len() as u64 != bytes;
        if self.are_lost {
            return (0, None);
        }
        match self.scanner.feed(chunk) {
            0 => (0, None),
            events => {
                let last = self.last.replace(seconds);
                (events, last.map(|last| seconds - last))
            }
        }
    }
}

impl MetricsObserver {
    pub(super) fn begin(table: &Arc<Table>, request: &RequestHead<'_>, at: &Moment) -> Self {
        let start = at.instant();
        let set = table.find(start, |settings, key| settings.write_request(key, request));
        let request_bytes = announced(request);
        set.on_request(request_bytes);
        let is_call = table.settings().style != Style::OnlyRequests
            && is_grpc_call(request.method, request.headers);
        let call = is_call.then(|| {
            table.find_or_lend(start, |settings, key| {
                settings.write_call(key, set.key(), Some(request.uri.path()));
            })
        });
        let mut observer = Self {
            begun: InFlight::enter(set),
            now: None,
            call,
            start,
            request_bytes: request_bytes.and_then(|bytes| NonZeroU64::new(bytes.checked_add(1)?)),
            response_bytes: 0,
            last_frame: f64::NAN,
            events: None,
            looks: Looks::Never,
            grpc_code: None,
            status: None,
            kind: if is_call { Kind::Grpc } else { Kind::Unary },
            asked: Asked::from(request.method),
            has_room: true,
        };
        observer.count_if_overflow();
        observer
    }

    fn seconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.start).as_secs_f64()
    }

    /// Where to record what happens at this instant.
    fn set(&mut self, at: Instant) -> &Set {
        let set = self.now.as_ref().unwrap_or(&self.begun.0);
        if !set.is_current(at) {
            let renewed = set.renewed(at);
            self.turn_to(renewed);
        }
        self.now.as_ref().unwrap_or(&self.begun.0)
    }

    /// Where to record an exchange with these labels from its response.
    fn answered(&mut self, head: Option<&ResponseHead<'_>>, at: Instant) {
        let begun = &self.begun.0;
        if begun.settings().response_labels.is_empty() {
            return;
        }
        let set = begun.other(at, |settings, key| {
            settings.write_response(key, begun.key(), head);
        });
        self.turn_to(set);
    }

    #[cold]
    fn turn_to(&mut self, set: Arc<Set>) {
        self.now = Some(set);
        self.count_if_overflow();
    }

    fn count_if_overflow(&mut self) {
        let set = self.now.as_ref().unwrap_or(&self.begun.0);
        if self.has_room && set.key().is_overflow() {
            set.on_overflow();
            self.has_room = false;
        }
    }

    // Out of line, so that the path of a frame that nobody looks at stays short.
    #[cold]
    #[inline(never)]
    fn look(&mut self, bytes: u64, chunk: &[u8], at: &Moment) {
        let at = at.instant();
        let (seconds, kind) = (self.seconds(at), self.kind);
        let is_first_byte = self.looks.take_first_byte(bytes);
        let gap = seconds - mem::replace(&mut self.last_frame, seconds);
        let events = self.events.as_mut();
        let (events, event_gap) = events.map_or((0, None), |it| it.on_data(bytes, chunk, seconds));

        let set = self.set(at);
        let settings = set.settings();
        if is_first_byte {
            set.on_first_byte(kind, seconds);
        }
        if settings.live_bytes {
            set.on_live_bytes(bytes);
        }
        if settings.frame_gaps && !gap.is_nan() {
            set.on_frame_gap(kind, gap);
        }
        if events > 0 {
            set.on_events(events, seconds, event_gap);
        }
    }

    fn end_call(&mut self, call: &Set, end: &End, at: Instant) {
        let code = GrpcCode::of(self.grpc_code, end.status, end.outcome);
        // Any client can name any method. One that the service answers as a call, it knows.
        let is_answered = end.status.is_some() && end.kind == Kind::Grpc;
        let is_known = call.is_held() || is_answered;
        let found = if !is_known || code == GrpcCode::UNIMPLEMENTED {
            Some(call.other(at, |settings, key| {
                settings.write_call(key, self.begun.0.key(), None);
            }))
        } else if call.is_held() && call.is_current(at) {
            None
        } else {
            Some(call.renewed(at))
        };
        let call = found.as_deref().unwrap_or(call);
        call.on_call(code, end.seconds);
        if self.has_room && call.key().is_overflow() {
            call.on_overflow();
        }
    }
}

/// The length that the request announces: its `content-length` (RFC 9110 §8.6), else what its
/// body says.
fn announced(request: &RequestHead<'_>) -> Option<u64> {
    let field = request.headers.get(&CONTENT_LENGTH).and_then(decimal);
    field.or_else(|| request.body_size.exact())
}

impl Observer for MetricsObserver {
    fn on_response(&mut self, head: &ResponseHead<'_>, at: &Moment) {
        let at = at.instant();
        // The labels first: if one of them panics, the head is lost, and there was none.
        self.answered(Some(head), at);
        self.status = Some(head.status);
        self.kind = Kind::of(head, self.asked);
        if self.call.is_some() {
            self.grpc_code = GrpcCode::from_fields(head.headers);
        }

        let (kind, seconds) = (self.kind, self.seconds(at));
        let set = self.set(at);
        set.on_response(head.status, kind, seconds);
        let settings = set.settings();
        let first_byte =
            settings.style == Style::Prometheus && matches!(kind, Kind::Stream | Kind::Grpc);
        // Of another kind is none that has content.
        let has_events = settings.sse_events
            && kind == Kind::Stream
            && is_event_stream(head.status, head.headers);
        let always = settings.live_bytes || settings.frame_gaps || has_events;
        self.looks = Looks::new(first_byte, always);
        self.events = has_events.then(Box::default);
    }

    #[inline]
    fn on_data<D: Buf>(&mut self, data: &D, at: &Moment) {
        let bytes = data.remaining() as u64;
        self.response_bytes = self.response_bytes.wrapping_add(bytes);
        if self.looks != Looks::Never {
            self.look(bytes, data.chunk(), at);
        }
    }

    fn on_trailers(&mut self, trailers: &HeaderMap, _: &Moment) {
        if self.call.is_some() {
            self.grpc_code = GrpcCode::from_fields(trailers).or(self.grpc_code);
        }
    }

    fn on_end(mut self, outcome: Outcome, at: &Moment) {
        // Handles may be out of date by now, though they were not when the last thing happened.
        let (now, at) = (at.told(), at.instant());
        if self.status.is_none() {
            self.answered(None, now);
        }
        let end = End {
            status: self.status,
            kind: self.kind,
            outcome,
            seconds: self.seconds(at),
            request_bytes: self.request_bytes.map(|bytes| bytes.get() - 1),
            response_bytes: self.response_bytes,
        };
        self.set(now).on_end(&end);
        if let Some(call) = self.call.take() {
            self.end_call(&call, &end, now);
        }
    }
}

impl fmt::Debug for MetricsObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsObserver")
            .field("kind", &self.kind)
            .field("status", &self.status)
            .field("response_bytes", &self.response_bytes)
            .finish_non_exhaustive()
    }
}

/// In the gauge as long as it lives: in the very one that went up, whatever happens to the set.
struct InFlight(Arc<Set>);

impl InFlight {
    fn enter(set: Arc<Set>) -> Self {
        if let Some(gauge) = set.in_flight() {
            gauge.increment(1.0);
        }
        Self(set)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(gauge) = self.0.in_flight() {
            gauge.decrement(1.0);
        }
    }
}
