//! What they ask of services and bodies: no more than they must.

use std::{
    convert::Infallible,
    future::Ready,
    marker::PhantomPinned,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tower_passthrough::observe::{ObserveLayer, Outcome};

use crate::{
    Incoming, Takes,
    common::{Broken, Told, Watch, trailers},
    layers::each_layer,
};

/// Never `Send`.
struct NotSend(Rc<Full<Bytes>>);

impl Body for NotSend {
    type Data = Bytes;
    type Error = Rc<str>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Rc<str>>>> {
        let body = Rc::get_mut(&mut self.0).expect("no clone");
        Pin::new(body)
            .poll_frame(cx)
            .map_err(|error| match error {})
    }
}

fn takes_a_body_that_is_not_send(name: &str, layer: &impl Takes<NotSend>) {
    let body = NotSend(Rc::new(Full::from("hello")));
    assert_eq!(layer.serve(body), ("hello".into(), None), "{name}");
}

#[test]
fn body_need_not_be_send() {
    each_layer!(takes_a_body_that_is_not_send);
}

/// Yields the words of a text that it borrows.
struct Words<'a>(std::str::Split<'a, char>);

impl<'a> Body for Words<'a> {
    type Data = &'a [u8];
    type Error = &'a str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<&'a [u8]>, &'a str>>> {
        let word = self.0.next();
        Poll::Ready(word.map(|word| Ok(Frame::data(word.as_bytes()))))
    }
}

fn takes_a_body_that_borrows<'a>(name: &str, layer: &impl Takes<Words<'a>>, text: &'a str) {
    let body = Words(text.split(' '));
    assert_eq!(layer.serve(body), ("oneday".into(), None), "{name}");
}

#[test]
fn body_may_borrow() {
    let text = String::from("one day");
    each_layer!(takes_a_body_that_borrows, &text);
}

pin_project! {
    /// Counts down. Never `Unpin`.
    struct Pinned {
        left: u8,
        #[pin]
        pinned: PhantomPinned,
    }
}

impl Body for Pinned {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let left = self.project().left;
        Poll::Ready(left.checked_sub(1).map(|next| {
            *left = next;
            Ok(if next == 0 {
                Frame::trailers(trailers())
            } else {
                Frame::data(Bytes::from(next.to_string()))
            })
        }))
    }
}

fn takes_a_body_that_is_not_unpin(name: &str, layer: &impl Takes<Pinned>) {
    let body = Pinned {
        left: 4,
        pinned: PhantomPinned,
    };
    let expected = ("321".into(), Some(trailers()));
    assert_eq!(layer.serve(body), expected, "{name}");
}

#[test]
fn body_need_not_be_unpin() {
    each_layer!(takes_a_body_that_is_not_unpin);
}

/// Bytes in two places.
struct Halves(&'static [u8], &'static [u8]);

impl Buf for Halves {
    fn remaining(&self) -> usize {
        self.0.len() + self.1.len()
    }

    fn chunk(&self) -> &[u8] {
        if self.0.is_empty() { self.1 } else { self.0 }
    }

    fn advance(&mut self, count: usize) {
        let first = usize::min(count, self.0.len());
        self.0.advance(first);
        self.1.advance(count - first);
    }
}

/// Yields [`Halves`] once.
struct Halved(Option<Halves>);

impl Body for Halved {
    type Data = Halves;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Halves>, Infallible>>> {
        Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |data| data.remaining() as u64))
    }
}

fn takes_data_of_any_kind(name: &str, layer: &impl Takes<Halved>) {
    let body = Halved(Some(Halves(b"hel", b"lo")));
    assert_eq!(layer.serve(body), ("hello".into(), None), "{name}");
}

#[test]
fn data_may_be_any_buffer() {
    each_layer!(takes_data_of_any_kind);
}

#[test]
fn length_of_data_is_that_of_all_its_chunks() {
    let watch = Watch::default();
    ObserveLayer::new(watch.clone()).serve(Halved(Some(Halves(b"hel", b"lo"))));
    assert_eq!(
        watch.told(),
        [
            Told::Response(StatusCode::OK),
            Told::Data(5),
            Told::End(Outcome::Complete)
        ]
    );
}

/// Is busy, then ready, then broken.
struct Busy(u8);

impl Service<Incoming> for Busy {
    type Response = Response<Full<Bytes>>;
    type Error = Broken;
    type Future = Ready<Result<Self::Response, Broken>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.0 += 1;
        match self.0 {
            1 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            2 => Poll::Ready(Ok(())),
            _ => Poll::Ready(Err(Broken)),
        }
    }

    fn call(&mut self, _: Incoming) -> Self::Future {
        unreachable!("it is not called")
    }
}

fn hands_on_readiness<L>(name: &str, layer: &L)
where
    L: Layer<Busy>,
    L::Service: Service<Incoming, Error = Broken>,
{
    let mut service = layer.layer(Busy(0));
    let mut poll = || service.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert_eq!(poll(), Poll::Pending, "{name}");
    assert_eq!(poll(), Poll::Ready(Ok(())), "{name}");
    assert_eq!(poll(), Poll::Ready(Err(Broken)), "{name}");
}

#[test]
fn service_is_ready_when_the_inner_one_is() {
    each_layer!(hands_on_readiness);
}
