//! Who watches.

use bytes::Buf;
use http::HeaderMap;

use super::{
    Moment, Outcome,
    guard::{Guard, ToldAtDrop},
};
use crate::{RequestHead, ResponseHead};

/// Makes one [`Observer`] for each exchange.
///
/// A pair makes the observers of both its parts, and so does a pair of pairs.
pub trait MakeObserver {
    /// The observer of one exchange.
    type Observer: Observer;

    /// Called once for each request, on the thread and within the stack of `Service::call`, before
    /// the inner service sees it. `at` is the moment of the call.
    ///
    /// With `None` this exchange is not watched: no hook is called for it, and it costs no more
    /// than a branch per frame. A panic here goes to the caller of the service; the inner service
    /// is not called. An observer that the other part of a pair has made by then ends as
    /// [`Panicked`](Outcome::Panicked).
    fn observe(&self, request: &RequestHead<'_>, at: &Moment) -> Option<Self::Observer>;
}

/// Watches one exchange, from its request to its one outcome.
///
/// ```text
/// on_response?  ─▶  on_data*  ─▶  on_trailers?  ─▶  on_end
/// ```
///
/// Hooks are called in this order, each on the thread that polls the exchange at that time; for
/// one exchange that need not always be the same thread. They must not block, and cannot fail.
/// [What happens if one panics](crate::observe#panics).
pub trait Observer: Send + Sized + 'static {
    /// The service produced its response head. Not called if there is none: see the outcomes
    /// [`ServiceError`](Outcome::ServiceError), [`Cancelled`](Outcome::Cancelled) and
    /// [`Panicked`](Outcome::Panicked).
    fn on_response(&mut self, head: &ResponseHead<'_>, at: &Moment) {
        let _ = (head, at);
    }

    /// The body yielded a data frame, perhaps an empty one. Called within the poll that yields
    /// it, just before the frame is handed on: it is not sent yet, much less received.
    ///
    /// The frame can be looked at, not changed: [`Buf::remaining`] is its length,
    /// [`Buf::chunk`] its first contiguous part (of a [`bytes::Bytes`] the whole).
    fn on_data<D: Buf>(&mut self, data: &D, at: &Moment) {
        let _ = (data, at);
    }

    /// The body yielded its trailers. Called within the poll that yields them.
    ///
    /// An HTTP/1 server may still drop them: it sends trailers only with a chunked body, to a
    /// request with `TE: trailers`.
    fn on_trailers(&mut self, trailers: &HeaderMap, at: &Moment) {
        let _ = (trailers, at);
    }

    /// The exchange is over. Called exactly once, last, at the earliest moment at which its end
    /// is known: [when that is](crate::observe#when-is-a-dropped-body-complete).
    ///
    /// `at` is when the last thing happened in the exchange. That is now, but for a body that is
    /// dropped after all of it was handed over: then it is the moment of its last frame (of its
    /// head, if it had no frame), however late the drop.
    fn on_end(self, outcome: Outcome, at: &Moment);
}

/// Watches nothing if `None`.
impl<O: Observer> Observer for Option<O> {
    #[inline]
    fn on_response(&mut self, head: &ResponseHead<'_>, at: &Moment) {
        if let Some(observer) = self {
            observer.on_response(head, at);
        }
    }

    #[inline]
    fn on_data<D: Buf>(&mut self, data: &D, at: &Moment) {
        if let Some(observer) = self {
            observer.on_data(data, at);
        }
    }

    #[inline]
    fn on_trailers(&mut self, trailers: &HeaderMap, at: &Moment) {
        if let Some(observer) = self {
            observer.on_trailers(trailers, at);
        }
    }

    fn on_end(self, outcome: Outcome, at: &Moment) {
        if let Some(observer) = self {
            observer.on_end(outcome, at);
        }
    }
}

/// Both are told of everything, the first one first. If the `on_end` of the first panics, the
/// second is still told.
impl<A: Observer, B: Observer> Observer for (A, B) {
    #[inline]
    fn on_response(&mut self, head: &ResponseHead<'_>, at: &Moment) {
        self.0.on_response(head, at);
        self.1.on_response(head, at);
    }

    #[inline]
    fn on_data<D: Buf>(&mut self, data: &D, at: &Moment) {
        self.0.on_data(data, at);
        self.1.on_data(data, at);
    }

    #[inline]
    fn on_trailers(&mut self, trailers: &HeaderMap, at: &Moment) {
        self.0.on_trailers(trailers, at);
        self.1.on_trailers(trailers, at);
    }

    fn on_end(self, outcome: Outcome, at: &Moment) {
        let _second = ToldAtDrop::new(self.1, outcome, at);
        self.0.on_end(outcome, at);
    }
}

/// The exchange is watched if either of the two watches it.
impl<A: MakeObserver, B: MakeObserver> MakeObserver for (A, B) {
    type Observer = (Option<A::Observer>, Option<B::Observer>);

    fn observe(&self, request: &RequestHead<'_>, at: &Moment) -> Option<Self::Observer> {
        // The first one's exchange begins here: if making the second one panics, it ends here too.
        let mut first = Guard::new(self.0.observe(request, at));
        let armed = first.armed();
        let second = self.1.observe(request, at);
        armed.disarm();
        match (first.into_observer(), second) {
            (None, None) => None,
            both => Some(both),
        }
    }
}
