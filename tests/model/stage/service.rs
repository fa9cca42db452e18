//! The bare service of a case.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Response, Version};
use http_body::{Body, Frame, SizeHint};
use tower::Service;
use tower_passthrough::observe::Tunnel;

use super::{Incoming, Inner, Marker, Panic, Stage, place};
use crate::{
    case::{Case, Do, Fate, Readiness, Size, Step},
    common::{Broken, End, trailers},
};

#[derive(Debug)]
pub(crate) struct Bare {
    case: Arc<Case>,
    stage: Arc<Stage>,
    ready: VecDeque<Readiness>,
}

impl Bare {
    pub(crate) fn new(case: &Arc<Case>, stage: &Arc<Stage>) -> Self {
        Self {
            case: Arc::clone(case),
            stage: Arc::clone(stage),
            ready: case.ready.iter().copied().collect(),
        }
    }
}

impl Service<Incoming> for Bare {
    type Response = Response<Play>;
    type Error = Broken;
    type Future = Task;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.stage.inner(Inner::PolledReady);
        match self.ready.pop_front() {
            Some(Readiness::Pending(wake)) => {
                self.stage.wake(wake, cx);
                Poll::Pending
            }
            Some(Readiness::Failed) => Poll::Ready(Err(Broken)),
            Some(Readiness::Ready) | None => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, mut request: Incoming) -> Task {
        let tunnel = request.extensions_mut().remove::<Tunnel>();
        self.stage.inner(Inner::Called {
            method: request.method().clone(),
            fields: request.headers().clone(),
            has_marker: request.extensions().get() == Some(&Marker),
            has_tunnel: tunnel.is_some(),
        });
        if self.case.call_panics {
            Panic::Service.blow();
        }
        let mut kept = None;
        match self.case.tunnel {
            Fate::DroppedInCall => drop(tunnel),
            Fate::DroppedWithHead | Fate::KeptByFuture => kept = tunnel,
            Fate::KeptOverHead | Fate::KeptOverBody => self.stage.seen().tunnels.extend(tunnel),
            Fate::Cloned => {
                let clones = tunnel.clone().into_iter().chain(tunnel);
                self.stage.seen().tunnels.extend(clones);
            }
        }
        Task {
            case: Arc::clone(&self.case),
            stage: Arc::clone(&self.stage),
            steps: self.case.future.iter().copied().collect(),
            tunnel: kept,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Task {
    case: Arc<Case>,
    stage: Arc<Stage>,
    steps: VecDeque<Do>,
    tunnel: Option<Tunnel>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.stage.inner(Inner::DroppedFuture);
    }
}

impl Future for Task {
    type Output = Result<Response<Play>, Broken>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.stage.inner(Inner::PolledFuture);
        match self.steps.pop_front() {
            Some(Do::Pending(wake)) => {
                self.stage.wake(wake, cx);
                Poll::Pending
            }
            Some(Do::Fail) => Poll::Ready(Err(Broken)),
            Some(Do::Panic) => Panic::Service.blow(),
            Some(Do::Answer) => {
                if self.case.tunnel == Fate::DroppedWithHead {
                    self.tunnel = None;
                }
                Poll::Ready(Ok(self.answer()))
            }
            None => Poll::Pending,
        }
    }
}

impl Task {
    fn answer(&self) -> Response<Play> {
        let body = &self.case.body;
        let mut response = Response::new(Play {
            stage: Arc::clone(&self.stage),
            steps: body.steps.iter().copied().collect(),
            size: body.size,
            end: body.end,
        });
        *response.status_mut() = self.case.head.status;
        *response.version_mut() = Version::HTTP_2;
        *response.headers_mut() = self.case.head.fields();
        response.extensions_mut().insert(Marker);
        response
    }
}

#[derive(Debug)]
pub(crate) struct Play {
    stage: Arc<Stage>,
    steps: VecDeque<Step>,
    size: Size,
    end: End,
}

impl Drop for Play {
    fn drop(&mut self) {
        self.stage.inner(Inner::DroppedBody);
    }
}

impl Body for Play {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.stage.inner(Inner::PolledBody);
        match self.steps.pop_front() {
            Some(Step::Data(len)) => {
                // No two frames are of one content.
                let content = u8::try_from(self.steps.len()).unwrap_or(u8::MAX);
                let data = Bytes::from(vec![content; len]);
                self.stage.seen().yielded = Some(place(&data));
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Step::Pending(wake)) => {
                self.stage.wake(wake, cx);
                Poll::Pending
            }
            Some(Step::Trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers())))),
            Some(Step::Error) => Poll::Ready(Some(Err(Broken))),
            Some(Step::Panic) => Panic::Service.blow(),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.end.says(self.steps.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.steps.iter().map(Step::len).sum();
        let mut hint = SizeHint::new();
        match self.size {
            Size::Unknown => {}
            Size::Exact => hint.set_exact(left),
            Size::Bounded { above } => {
                hint.set_lower(left / 2);
                if above {
                    hint.set_upper(left * 2);
                }
            }
            Size::Claimed(lower, upper) => {
                hint.set_lower(lower);
                hint.set_upper(upper);
            }
        }
        hint
    }
}
