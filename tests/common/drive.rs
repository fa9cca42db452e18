//! Drives one exchange by hand, through any layer, to any of its possible ends.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    future::{Future, pending, ready},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::Empty;
use tower::{Layer, Service};
use tower_passthrough::observe::Tunnel;

use crate::common::{Broken, End, Script, Size, Step};

/// What a service does with its one request.
#[derive(Debug, Clone)]
pub(crate) enum Does {
    Answer(Box<Response<Script>>),
    Fail,
    NeverAnswer,
    PanicInCall,
    PanicInFuture,
}

/// How far the exchange is driven before it is let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// The future is not even polled.
    Called,
    /// There is a response head, if there ever is one.
    Head,
    /// The body was polled as often.
    Polls(usize),
    /// The body yielded `None` or an error, or panicked.
    End,
}

/// An exchange that is yet to be driven.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) request: Request<Empty<Bytes>>,
    pub(crate) does: Does,
    pub(crate) until: Until,
    /// The service keeps the request's [`Tunnel`], and it is [`Held`] as the last of all.
    pub(crate) keeps_tunnel: bool,
}

/// What is left of an exchange that was driven as far as it should. It ends, if it did not yet,
/// when this is dropped.
pub(crate) struct Held<F, B> {
    future: Option<Pin<Box<F>>>,
    body: Option<Pin<Box<B>>>,
    tunnel: Arc<Mutex<Option<Tunnel>>>,
}

/// What is left of an exchange that was driven through such a layer.
pub(crate) type Driven<L, B> =
    Held<<<L as Layer<Actor>>::Service as Service<Request<Empty<Bytes>>>>::Future, B>;

impl<F, B> Held<F, B> {
    /// Lets go of all but the tunnel.
    pub(crate) fn only_tunnel(self) -> Option<Tunnel> {
        self.tunnel.lock().unwrap().take()
    }

    /// The body, if the exchange has come so far.
    pub(crate) fn into_body(self) -> Option<Pin<Box<B>>> {
        self.body
    }
}

/// A GET that is driven to the end.
pub(crate) fn exchange(does: Does) -> Exchange {
    Exchange {
        request: request(Method::GET),
        does,
        until: Until::End,
        keeps_tunnel: false,
    }
}

/// A GET that is answered so, and driven to the end of its body.
pub(crate) fn answering(response: Response<Script>) -> Exchange {
    exchange(Does::Answer(Box::new(response)))
}

impl Exchange {
    pub(crate) fn until(self, until: Until) -> Self {
        Self { until, ..self }
    }

    pub(crate) fn method(mut self, method: Method) -> Self {
        *self.request.method_mut() = method;
        self
    }

    /// Makes it a request that may upgrade.
    pub(crate) fn upgrade(mut self) -> Self {
        let fields = self.request.headers_mut();
        fields.insert("connection", "upgrade".parse().unwrap());
        fields.insert("upgrade", "websocket".parse().unwrap());
        self
    }

    pub(crate) fn keeping_tunnel(self) -> Self {
        Self {
            keeps_tunnel: true,
            ..self
        }
    }
}

pub(crate) fn request(method: Method) -> Request<Empty<Bytes>> {
    Request::builder()
        .method(method)
        .body(Empty::new())
        .unwrap()
}

/// A response of this status and these fields, whose body is of unknown size and shows its end to
/// nobody before it yields `None`.
pub(crate) fn answer(
    status: u16,
    fields: &[(&'static str, &str)],
    steps: impl IntoIterator<Item = Step>,
) -> Response<Script> {
    let mut response = Response::new(Script::new(steps, Size::Unknown, End::Hidden));
    *response.status_mut() = status.try_into().unwrap();
    for (name, value) in fields {
        response.headers_mut().append(*name, value.parse().unwrap());
    }
    response
}

/// The response, whose body says so much of its size and its end.
pub(crate) fn hinting(response: Response<Script>, size: Size, end: End) -> Response<Script> {
    response.map(|mut script| {
        script.size = size;
        script.end = end;
        script
    })
}

/// The service of an [`Exchange`].
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    does: Does,
    tunnel: Option<Arc<Mutex<Option<Tunnel>>>>,
}

impl Actor {
    /// Of a request whose tunnel it does not keep.
    pub(crate) fn new(does: Does) -> Self {
        Self { does, tunnel: None }
    }
}

impl Service<Request<Empty<Bytes>>> for Actor {
    type Response = Response<Script>;
    type Error = Broken;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Script>, Broken>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Empty<Bytes>>) -> Self::Future {
        if let Some(tunnel) = &self.tunnel {
            *tunnel.lock().unwrap() = request.extensions_mut().remove();
        }
        match mem::replace(&mut self.does, Does::Fail) {
            Does::Answer(response) => Box::pin(ready(Ok(*response))),
            Does::Fail => Box::pin(ready(Err(Broken))),
            Does::NeverAnswer => Box::pin(pending()),
            Does::PanicInCall => panic!("scripted"),
            Does::PanicInFuture => Box::pin(async { panic!("scripted") }),
        }
    }
}

/// Drives the exchange through this layer. A panic goes through to the caller.
pub(crate) fn drive_and_panic<L, B>(layer: &L, exchange: Exchange) -> Driven<L, B>
where
    L: Layer<Actor>,
    L::Service: Service<Request<Empty<Bytes>>, Response = Response<B>>,
    B: Body,
{
    let tunnel = Arc::<Mutex<Option<Tunnel>>>::default();
    let mut service = layer.layer(Actor {
        does: exchange.does,
        tunnel: exchange.keeps_tunnel.then(|| Arc::clone(&tunnel)),
    });
    let mut held = Held {
        future: None,
        body: None,
        tunnel,
    };
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(matches!(service.poll_ready(cx), Poll::Ready(Ok(()))));
    let mut future = Box::pin(service.call(exchange.request));
    if exchange.until == Until::Called {
        held.future = Some(future);
        return held;
    }
    let mut body = match future.as_mut().poll(cx) {
        Poll::Pending => {
            held.future = Some(future);
            return held;
        }
        Poll::Ready(Err(_)) => return held,
        Poll::Ready(Ok(response)) => Box::pin(response.into_body()),
    };
    let polls = match exchange.until {
        Until::Called | Until::Head => 0,
        Until::Polls(polls) => polls,
        Until::End => usize::MAX,
    };
    for _ in 0..polls {
        let polled = body.as_mut().poll_frame(cx);
        if exchange.until == Until::End && matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            break;
        }
    }
    held.body = Some(body);
    held
}

/// Drives the exchange through this layer. `None` if the service or its body panicked: then there
/// is nothing left to hold.
pub(crate) fn drive<L, B>(layer: &L, exchange: Exchange) -> Option<Driven<L, B>>
where
    L: Layer<Actor>,
    L::Service: Service<Request<Empty<Bytes>>, Response = Response<B>>,
    B: Body,
{
    catch_unwind(AssertUnwindSafe(|| drive_and_panic(layer, exchange))).ok()
}
