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
//! §8.2.2), and on HTTP/1 the server sets them as it needs. `content-length` and `trailer` describe the body, which this layer does not know. The
//! recipes for server-sent events that set `Connection: keep-alive` or `Transfer-Encoding:
//! chunked` by hand are wrong; [`HeadersLayer::sse`] sets what they are after.
//!
//! # Panics
//!
//! A panic in a condition or in a computed value goes to the caller: of `call` if it looks at the
//! request, of the future's `poll` if it looks at the response.

mod rule;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderName, HeaderValue, Request, Response, header};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use self::rule::{Action, Checked, Value, content_type};
pub use self::rule::{
    FixedValue, Name, OnRequest, OnResponse, RequestRule, ResponseRule, Rule, Stage,
};
use crate::{BuildError, RequestHead, ResponseHead, head::Asked};

/// Applies [rules](Rule) to the heads of requests and responses.
///
/// See the [module docs](self) for an example. Clones share their rules.
#[derive(Clone)]
pub struct HeadersLayer {
    rules: Arc<Rules>,
}

impl HeadersLayer {
    /// A builder without rules.
    #[must_use]
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
        let rule = |name, action: fn(Value<OnResponse>) -> Action<OnResponse>, value| {
            let mut rule =
                Checked::new(name, action(Value::Fixed(HeaderValue::from_static(value))));
            rule.conditions
                .push(content_type::<OnResponse>("text/event-stream".into()));
            rule
        };
        let response = vec![
            rule(
                header::CACHE_CONTROL,
                Action::IfAbsent,
                "no-cache, no-transform",
            ),
            rule(
                HeaderName::from_static("x-accel-buffering"),
                Action::Insert,
                "no",
            ),
        ];
        Self {
            rules: Arc::new(Rules {
                request: Vec::new(),
                response,
                judged: 0,
            }),
        }
    }
}

impl<S> Layer<S> for HeadersLayer {
    type Service = Headers<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Headers {
            inner,
            rules: Arc::clone(&self.rules),
        }
    }
}

impl fmt::Debug for HeadersLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rules.fmt(f)
    }
}

/// Collects rules for a [`HeadersLayer`].
#[derive(Debug, Default)]
pub struct HeadersLayerBuilder {
    request: Vec<RequestRule>,
    response: Vec<ResponseRule>,
}

impl HeadersLayerBuilder {
    /// Adds a rule on requests, after those added so far.
    #[must_use]
    pub fn request(mut self, rule: RequestRule) -> Self {
        self.request.push(rule);
        self
    }

    /// Adds a rule on responses, after those added so far.
    #[must_use]
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

        let (request, response) = (checked(self.request)?, checked(self.response)?);
        let judged = response
            .iter()
            .filter(|rule| rule.has_request_conditions())
            .count();
        if judged > Unmet::BITS {
            return Err(BuildError::new(format_args!(
                "more than {} response rules have conditions on the request: \
                 put some of them into a second layer",
                Unmet::BITS
            )));
        }
        Ok(HeadersLayer {
            rules: Arc::new(Rules {
                request,
                response,
                judged,
            }),
        })
    }
}

#[derive(Debug)]
struct Rules {
    request: Vec<Checked<OnRequest>>,
    response: Vec<Checked<OnResponse>>,
    /// How many of the response rules have conditions on the request.
    judged: usize,
}

/// Which of the response rules with conditions on the request, counted in their order, are out.
/// They are judged while there is a request to look at.
#[derive(Debug, Clone, Copy)]
struct Unmet(u64);

impl Unmet {
    const BITS: usize = u64::BITS as usize;
}

impl Rules {
    fn on_request<B: Body>(&self, request: &mut Request<B>) -> Unmet {
        let unmet = match self.judged {
            0 => Unmet(0),
            _ => self.unmet(&RequestHead::from(&*request)),
        };
        for rule in &self.request {
            rule.apply(request, Request::headers_mut, |request| {
                RequestHead::from(request)
            });
        }
        unmet
    }

    fn unmet(&self, head: &RequestHead<'_>) -> Unmet {
        let judged = self
            .response
            .iter()
            .filter(|rule| rule.has_request_conditions());
        Unmet(judged.enumerate().fold(0, |unmet, (bit, rule)| {
            let met = rule.request_conditions.iter().all(|holds| holds(head));
            unmet | (u64::from(!met) << bit)
        }))
    }

    fn on_response<B: Body>(&self, response: &mut Response<B>, unmet: Unmet, asked: Asked) {
        let mut unmet = unmet.0;
        for rule in &self.response {
            if rule.has_request_conditions() {
                let out = unmet & 1 == 1;
                unmet >>= 1;
                if out {
                    continue;
                }
            }
            rule.apply(response, Response::headers_mut, |response| {
                ResponseHead::new(response, asked)
            });
        }
    }
}

/// The service of [`HeadersLayer`].
#[derive(Debug, Clone)]
pub struct Headers<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Headers<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ReqBody: Body,
    ResBody: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let unmet = self.rules.on_request(&mut request);
        let asked = Asked::from(request.method());
        let inner = self.inner.call(request);
        ResponseFuture {
            inner,
            rules: Arc::clone(&self.rules),
            unmet,
            asked,
        }
    }
}

pin_project! {
    /// The future of [`Headers`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        rules: Arc<Rules>,
        unmet: Unmet,
        asked: Asked,
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut result = ready!(this.inner.poll(cx));
        if let Ok(response) = &mut result {
            this.rules.on_response(response, *this.unmet, *this.asked);
        }
        Poll::Ready(result)
    }
}
