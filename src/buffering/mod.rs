//! [`BufferingLayer`]: whether a proxy in front may buffer a response, by route, and changed at run
//! time.
//!
//! A proxy that buffers reads a response ahead of its client. That frees the server behind it early,
//! and may hold the events of a stream until a buffer is full. nginx does by default
//! (`proxy_buffering on`), but goes by the response's `x-accel-buffering: no` or `yes`, for this
//! response alone; others follow it. This layer sets that field, so that nothing need be configured
//! in the proxy, and nothing reloaded.
//!
//! ```
//! use tower_passthrough::buffering::{Buffering, BufferingControl, BufferingLayer};
//!
//! let control = BufferingControl::new(Buffering::Auto);
//! control.set("/v1/files/*", Buffering::On)?;
//! let layer = BufferingLayer::new(control.clone());
//! // ... and later, while requests are served:
//! control.set("/v1/files/*", Buffering::Off)?;
//! # let _ = layer;
//! # Ok::<(), tower_passthrough::BuildError>(())
//! ```
//!
//! It touches heads only: bodies keep their type, and their bytes do not pass through here. The
//! policy is looked up when the response's head is there: a change takes effect with the next
//! response, and a stream that is under way goes on as it began.
//!
//! # What is set
//!
//! | [`Buffering`] | responses | `x-accel-buffering` |
//! |---|---|---|
//! | `off` | all | `no` |
//! | `on` | all | `yes` |
//! | `auto` | to HEAD; 204, 304 and 1xx; tunnels: they have no content | |
//! | | of type `text/event-stream`, `application/x-ndjson`, `application/jsonl`, `application/json-seq`, `application/grpc-web` or `application/grpc-web-text` with any codec | `no` |
//! | | of unknown length: no `content-length`, and the body's `size_hint` is not exact | `no` |
//! | | others | |
//!
//! A field that the response has already, from the service or from a layer inside this one, is left
//! as it is. With a policy that is [overriding](Policy::overriding) it is as if it were not there:
//! replaced by what is set, and removed where `auto` sets nothing, so that the proxy's own setting
//! counts.
//!
//! # Where to put it
//!
//! Where the path is still as the client wrote it. Inside of what rewrites paths, it is the rewritten
//! path that routes are compared with: axum's `nest` strips its prefix from what layers of the nested
//! router see, so the layer belongs to the outermost router.
//!
//! [`HeadersLayer::sse`] sets `x-accel-buffering: no` on event streams, whatever they had: outside
//! of this layer it would overrule it, inside of it only overriding policies change what it set.
//!
#![cfg_attr(
    feature = "headers",
    doc = "[`HeadersLayer::sse`]: crate::headers::HeadersLayer::sse"
)]
#![cfg_attr(
    not(feature = "headers"),
    doc = "[`HeadersLayer::sse`]: https://docs.rs/tower-passthrough"
)]
//!
//! # What it cannot do
//!
//! What buffering means is up to the proxy. nginx 1.22 holds small events if it talks HTTP/1.0 to the
//! server, its default; over HTTP/1.1 (`proxy_http_version 1.1`) it hands on each chunk that it has
//! whole, buffering or not, and `off` only sends the head at once, and keeps nginx from reading
//! ahead of a slow client.
//!
//! An nginx with `proxy_ignore_headers X-Accel-Buffering` buffers as it is configured. So does a
//! proxy that does not know the field. nginx does not pass the field on: of several proxies in a row
//! only the one next to the server sees it.

mod control;
mod policy;
mod published;
mod routes;

use std::task::Context;

use http::{Request, Response, uri::PathAndQuery};
use http_body::Body;
use tower_layer::Layer;

pub use self::{
    control::BufferingControl,
    policy::{Buffering, Policy},
};
use crate::{
    alter::{Alter, Alteration, Note},
    head::Asked,
};

/// Sets `x-accel-buffering` on responses, as a [`BufferingControl`] says.
///
/// See the [module docs](self) for an example. Clones share the control.
#[derive(Debug, Clone)]
pub struct BufferingLayer {
    control: BufferingControl,
}

impl BufferingLayer {
    /// A layer that goes by this control, whatever becomes of it.
    #[must_use]
    pub const fn new(control: BufferingControl) -> Self {
        Self { control }
    }
}

impl<S> Layer<S> for BufferingLayer {
    type Service = Alter<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Alter::new(inner, self.clone())
    }
}

impl<B> Note<B> for BufferingLayer {
    fn note(&self, request: &mut Request<B>) -> Self::Noted {
        // A handle of what the request has, not a copy.
        let target = request.uri().path_and_query().cloned();
        (target, Asked::from(request.method()))
    }
}

impl Alteration for BufferingLayer {
    type Noted = (Option<PathAndQuery>, Asked);
    type Body<B> = B;

    #[inline]
    fn alter<B: Body>(
        &self,
        mut response: Response<B>,
        (target, asked): &Self::Noted,
        _: &mut Context<'_>,
    ) -> Response<B> {
        let path = target.as_ref().map_or("", PathAndQuery::path);
        let policy = self.control.policy_for(path);
        policy.apply(&mut response, *asked);
        response
    }
}
