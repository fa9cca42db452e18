//! Does a layer take a body that stays on one thread? No check can find that out as it runs: such a
//! layer does not compile.
//!
//! So the compiler is asked which of two methods of one name there is. The first is there only if
//! the layer takes the body. The second needs a reference more, so it is taken if it must be.
//!
//! The body also borrows. Whether `'static` is asked for beside `Send` cannot be told this way; a
//! layer that asks for `'static` alone would not compile here.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    marker::PhantomData,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use tower::{Layer, Service};

/// An empty body that is `Send` and `'static` if `P` is.
pub(crate) struct Probe<P>(PhantomData<P>);

/// Neither `Send` nor `'static`.
pub(crate) type Local<'a> = (&'a (), Rc<()>);

impl<P> Default for Probe<P> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<P> Body for Probe<P> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}

/// Answers with a [`Probe`]. Is itself `Send` and `Sync`.
pub(crate) struct Inner<P>(PhantomData<fn() -> P>);

impl<P> Clone for Inner<P> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<P, Q> Service<Request<Q>> for Inner<P> {
    type Response = Response<Probe<P>>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Probe<P>>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Q>) -> Self::Future {
        ready(Ok(Response::default()))
    }
}

/// Is there a service of this layer, around [`Inner`], for responses with such a body?
pub(crate) struct Ask<L, P>(pub(crate) L, pub(crate) P);

pub(crate) trait Takes {
    fn takes(&self) -> bool {
        true
    }
}

impl<L, P> Takes for Ask<L, P>
where
    L: Layer<Inner<P>>,
    L::Service: Service<Request<axum::body::Body>>,
{
}

pub(crate) trait Refuses {
    fn takes(&self) -> bool {
        false
    }
}

impl<L, P> Refuses for &Ask<L, P> {}

/// What a layer asks of the response's body. The layer is built once for each body, since its types
/// may differ.
macro_rules! asks {
    ($layer:expr) => {{
        use $crate::bounds::{Ask, Local};
        #[allow(unused_imports, reason = "which of the two is used is the answer")]
        use $crate::bounds::{Refuses as _, Takes as _};

        let anchor = ();
        let local: Local<'_> = (&anchor, std::rc::Rc::new(()));
        assert!((&Ask($layer, ())).takes(), "it asks for something else");
        if (&Ask($layer, local)).takes() {
            "-"
        } else {
            "Send"
        }
    }};
}
pub(crate) use asks;
