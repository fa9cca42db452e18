//! A service of any kind as a subject.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Response, response::Parts};
use http_body::Body;
use tower::Service;

use super::{Given, Incoming, Marker, Panic, Stage, Subject, caught};
use crate::common::{Broken, Hints, hints};

pub(crate) type AnyBody = Pin<Box<dyn Body<Data = Bytes, Error = Broken>>>;

pub(crate) type AnyFuture = Pin<Box<dyn Future<Output = Result<Response<AnyBody>, Broken>>>>;

/// A service, its type forgotten.
pub(crate) struct AnyService(Box<dyn ErasedService>);

trait ErasedService {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;
    fn call(&mut self, request: Incoming) -> AnyFuture;
}

struct Erase<S>(S);

impl<S, B> ErasedService for Erase<S>
where
    S: Service<Incoming, Response = Response<B>, Error = Broken, Future: 'static>,
    B: Body<Data = Bytes, Error = Broken> + 'static,
{
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Incoming) -> AnyFuture {
        Box::pin(EraseBody(Box::pin(self.0.call(request))))
    }
}

/// Keeps the future after it is done, as combinators do not.
struct EraseBody<F>(Pin<Box<F>>);

impl<F, B> Future for EraseBody<F>
where
    F: Future<Output = Result<Response<B>, Broken>>,
    B: Body<Data = Bytes, Error = Broken> + 'static,
{
    type Output = Result<Response<AnyBody>, Broken>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.0.as_mut().poll(cx);
        polled.map_ok(|response| response.map(|body| -> AnyBody { Box::pin(body) }))
    }
}

impl AnyService {
    pub(crate) fn new<S, B>(service: S) -> Self
    where
        S: Service<Incoming, Response = Response<B>, Error = Broken, Future: 'static> + 'static,
        B: Body<Data = Bytes, Error = Broken> + 'static,
    {
        Self(Box::new(Erase(service)))
    }
}

impl Service<Incoming> for AnyService {
    type Response = Response<AnyBody>;
    type Error = Broken;
    type Future = AnyFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Incoming) -> AnyFuture {
        self.0.call(request)
    }
}

/// A service under way.
pub(crate) struct Running {
    stage: Arc<Stage>,
    service: AnyService,
    future: Option<AnyFuture>,
    body: Option<AnyBody>,
}

impl Running {
    pub(crate) fn new(stage: &Arc<Stage>, service: AnyService) -> Self {
        Self {
            stage: Arc::clone(stage),
            service,
            future: None,
            body: None,
        }
    }
}

impl Subject for Running {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Result<Given, Panic> {
        caught(|| match self.service.poll_ready(cx) {
            Poll::Pending => Given::Pending,
            Poll::Ready(Err(_)) => Given::Failed,
            Poll::Ready(Ok(())) => Given::Ready,
        })
    }

    fn call(&mut self, request: Incoming) -> Result<(), Panic> {
        self.future = Some(caught(|| self.service.call(request))?);
        Ok(())
    }

    fn poll_future(&mut self, cx: &mut Context<'_>) -> Result<Given, Panic> {
        let Some(future) = &mut self.future else {
            return Ok(Given::Pending);
        };
        let polled = caught(|| future.as_mut().poll(cx))?;
        Ok(match polled {
            Poll::Pending => Given::Pending,
            Poll::Ready(Err(_)) => Given::Failed,
            Poll::Ready(Ok(response)) => {
                let (parts, body) = response.into_parts();
                self.body = Some(body);
                Given::head(parts)
            }
        })
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Result<Given, Panic> {
        let Some(body) = &mut self.body else {
            return Ok(Given::Pending);
        };
        let polled = caught(|| body.as_mut().poll_frame(cx))?;
        Ok(match polled {
            Poll::Pending => Given::Pending,
            Poll::Ready(None) => Given::End,
            Poll::Ready(Some(Err(_))) => Given::Failed,
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(content) => Given::Data {
                    in_place: self.stage.is_in_place(&content),
                    content,
                },
                Err(frame) => Given::Trailers(frame.into_trailers().unwrap_or_default()),
            },
        })
    }

    fn hints(&self) -> Option<Hints> {
        self.body.as_ref().map(hints)
    }

    fn drop_future(&mut self, unwinding: bool) -> Result<(), Panic> {
        drop_caught(self.future.take(), unwinding)
    }

    fn drop_body(&mut self, unwinding: bool) -> Result<(), Panic> {
        drop_caught(self.body.take(), unwinding)
    }

    fn drop_tunnel(&mut self, unwinding: bool) -> Result<(), Panic> {
        drop_caught(self.stage.take_tunnel(), unwinding)
    }
}

fn drop_caught<T>(it: T, unwinding: bool) -> Result<(), Panic> {
    caught(|| {
        let _it = it;
        if unwinding {
            Panic::Server.blow();
        }
    })
}

impl Given {
    fn head(parts: Parts) -> Self {
        Self::Head {
            status: parts.status,
            version: parts.version,
            has_marker: parts.extensions.get() == Some(&Marker),
            fields: parts.headers,
        }
    }
}
