//! Layers that know server-sent events (WHATWG HTML §9.2), and the scanner under them.
//!
//! | layer | what it does to event streams |
//! |---|---|
//! | [`TapLayer`] | shows each event that passes to a callback |
//! | [`KeepAliveLayer`] | puts a comment in when a stream is quiet, so that nobody takes it for dead |
//! | [`DrainLayer`] | ends streams between two events when the server shuts down |
//!
//! All of them find the places between two events with a [`Scanner`], which keeps nothing of what it
//! reads: frames pass when they come, from their own memory, however events lie across them.
//!
//! # Which responses are changed
//!
//! Those that are an event stream of unknown length:
//! - the status is 2xx, and the request was neither HEAD nor CONNECT
//! - `Content-Type` is `text/event-stream`, with any parameters, in any case
//! - there is no `Content-Encoding` but `identity`: what is compressed cannot be read here
//! - there is no `Content-Length`, the body's `size_hint` is not exact, and it is not at its end
//!   already: somebody was told the length, or will be
//!
//! All others pass untouched, size hints and all, at the cost of a branch for each frame. That goes for
//! answers to HEAD too: some servers poll their bodies, which should not be endless.
//!
//! A frame whose buffer does not show all of its chunks ([`Scanner::feed_buf`]) hides where events
//! end. After it there are no more comments, and the stream can be drained by force only.
//!
//! Of a stream that may be added to, the `size_hint` has no upper bound; of one that may be cut, no
//! lower bound. What is put in is a frame of its own, and frames are otherwise those of the inner
//! body, but for a byte order mark that is no longer at the start, and for the last frame of a
//! stream that is drained.
//!
//! # Order
//!
//! [`DrainLayer`] goes outside of [`KeepAliveLayer`], and both inside of compression, since they cannot
//! read what is compressed: [the order of all layers](crate#order), and why.

// From bytes to events.
mod chunks;
mod events;
mod lines;
mod scanner;
mod splice;

// The layers.
mod drain;
mod keep_alive;
mod tap;

use http::{
    HeaderMap, Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH},
};
use http_body::Body;

pub use self::{
    drain::{DrainBody, DrainError, DrainLayer, DrainLayerBuilder},
    keep_alive::{KeepAliveBody, KeepAliveLayer, KeepAliveLayerBuilder},
    scanner::Scanner,
    tap::{Event, TapLayer, TapObserver, Tapped},
};
use crate::{head::Asked, media_type};

/// Whether what follows this head is an event stream that can be read, unless it is to HEAD: of that
/// type, and not encoded.
pub(crate) fn is_event_stream(status: StatusCode, headers: &HeaderMap) -> bool {
    media_type::is(headers, "text/event-stream")
        && status.is_success()
        && status != StatusCode::NO_CONTENT
        && headers
            .get_all(&CONTENT_ENCODING)
            .iter()
            .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Whether bytes may be put into this event stream or taken off: nobody was told its length.
fn is_open_ended<B: Body>(response: &Response<B>, asked: Asked) -> bool {
    // What costs least first: most bodies that are no event stream have a length.
    let body = response.body();
    body.size_hint().exact().is_none()
        && !body.is_end_stream()
        && asked.may_have_content(response.status())
        && is_event_stream(response.status(), response.headers())
        && !response.headers().contains_key(CONTENT_LENGTH)
}
