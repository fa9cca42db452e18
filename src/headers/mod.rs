//! [`HeadersLayer`]: rules that set and remove header fields, on requests and on responses.
//!
//! It touches heads only: bodies keep their type, and their bytes do not pass through here.
//!
//! ```
//! use http::HeaderValue;
//! use tower_passthrough::headers::{HeadersLayer, RequestRule, ResponseRule};
//!
//! let layer = HeadersLayer::builder()
//!     .request(RequestRule::remove("x-debug"))
//!     .response(ResponseRule::insert("x-content-type-options", "nosniff"))
//!     .response(ResponseRule::if_absent("cache-control", "no-store").when(|head| head.status.is_server_error()))
//!     .response(ResponseRule::if_absent("cache-control", "max-age=60").when_content_type("text/css"))
//!     .response(
//!         ResponseRule::insert("deprecation", "@1767225600")
//!             .when_request(|request| request.uri.path().starts_with("/v1/")),
//!     )
//!     .response(ResponseRule::append_with("server-timing", |head| {
//!         HeaderValue::from_str(&format!("status;desc={}", head.status.as_u16())).ok()
//!     }))
//!     .build()?;
//! # Ok::<(), tower_passthrough::BuildError>(())
//! ```
//!
//! Rules are applied in the order in which they were added; each sees the head as the rules before
//! it left it. Request rules are applied before the inner service is called, response rules when
//! its response head is there. A service that fails has no head, and nothing to apply them to.
//!
//! # What no rule may name
//!
//! `connection`, `keep-alive`, `proxy-connection`, `te`, `transfer-encoding` and `upgrade` concern
//! one connection (RFC 9110 §7.6.1): HTTP/2 forbids them, `te: trailers` in a request aside (RFC 9113
//! §8.2.2), and on HTTP/1 the server sets them as it needs. `content-length` and `trailer` describe
//! the body, which this layer does not know. The recipes for server-sent events that set
//! `Connection: keep-alive` or `Transfer-Encoding: chunked` by hand are wrong;
//! [`HeadersLayer::sse`] sets what they are after.
//!
//! # Panics
//!
//! A panic in a condition or in a computed value goes to the caller: of `call` if it looks at the
//! request, of the future's `poll` if it looks at the response.

mod checked;
mod field;
mod rule;

use std::{fmt, sync::Arc, task::Context};

use http::{HeaderName, HeaderValue, Request, Response, header};
use http_body::Body;
use tower_layer::Layer;

use self::checked::{Action, Checked, Rules, Unmet, Value};
pub use self::{
    field::{FixedValue, Name},
    rule::{OnRequest, OnResponse, RequestRule, ResponseRule, Rule, Stage},
};
use crate::{
    BuildError,
    alter::{Alter, Alteration, Note},
    head::Asked,
};

/// Applies [rules](Rule) to the heads of requests and responses.
///
/// See the [module docs](self) for an example. Clones share their rules.
#[derive(Clone)]
pub struct HeadersLayer {
    rules: Arc<Rules>,
}

impl HeadersLayer {
    /// A builder without rules.
    pub fn builder() -> HeadersLayerBuilder {
        HeadersLayerBuilder::default()
    }

    /// What a response of type `text/event-stream` needs so that proxies neither hold nor change
    /// it; other responses are left alone.
    ///
    /// - `cache-control: no-cache, no-transform`, unless the response has a `cache-control`:
    ///   caches must ask again, and nobody may recompress (RFC 9111 §5.2.2)
    /// - `x-accel-buffering: no`: nginx, and proxies that follow it, pass each event on at once
    ///
    /// axum's `Sse` sets `cache-control: no-cache` itself, which is then left as it is. Whoever wants
    /// `no-transform` in any case adds a rule of [`insert`](Rule::insert) with
    /// [`when_content_type`](Rule::when_content_type).
    ///
    /// ```
    /// use tower_passthrough::headers::HeadersLayer;
    ///
    /// let layer = HeadersLayer::sse();
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn sse() -> Self {
        let fixed = |value| Value::Fixed(HeaderValue::from_static(value));
        let rules = vec![
            Checked::new(
                header::CACHE_CONTROL,
                Action::IfAbsent(fixed("no-cache, no-transform")),
            ),
            Checked::new(
                HeaderName::from_static("x-accel-buffering"),
                Action::Insert(fixed("no")),
            ),
        ];
        Self {
            rules: Arc::new(Rules::of_type("text/event-stream", rules)),
        }
    }
}

impl<S> Layer<S> for HeadersLayer {
    type Service = Alter<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Alter::new(inner, self.clone())
    }
}

impl<B: Body> Note<B> for HeadersLayer {
    fn note(&self, request: &mut Request<B>) -> Self::Noted {
        let unmet = self.rules.on_request(request);
        (unmet, Asked::from(request.method()))
    }
}

impl Alteration for HeadersLayer {
    type Noted = (Unmet, Asked);
    type Body<B> = B;

    #[inline]
    fn alter<B: Body>(
        &self,
        mut response: Response<B>,
        (unmet, asked): &Self::Noted,
        _: &mut Context<'_>,
    ) -> Response<B> {
        self.rules.on_response(&mut response, *unmet, *asked);
        response
    }
}

impl fmt::Debug for HeadersLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rules.fmt(f)
    }
}

/// Collects rules for a [`HeadersLayer`].
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct HeadersLayerBuilder {
    request: Vec<RequestRule>,
    response: Vec<ResponseRule>,
}

impl HeadersLayerBuilder {
    /// Adds a rule on requests, after those added so far.
    pub fn request(mut self, rule: RequestRule) -> Self {
        self.request.push(rule);
        self
    }

    /// Adds a rule on responses, after those added so far.
    pub fn response(mut self, rule: ResponseRule) -> Self {
        self.response.push(rule);
        self
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// - A rule's name or fixed value is not valid, or its media type is not `type/subtype`.
    /// - A rule names a field that [no rule may name](self#what-no-rule-may-name).
    /// - More than 64 response rules have conditions on the request.
    pub fn build(self) -> Result<HeadersLayer, BuildError> {
        fn checked<S: Stage>(rules: Vec<Rule<S>>) -> Result<Vec<Checked<S>>, BuildError> {
            rules.into_iter().map(|rule| rule.checked).collect()
        }

        let rules = Rules::new(checked(self.request)?, checked(self.response)?)?;
        Ok(HeadersLayer {
            rules: Arc::new(rules),
        })
    }
}
