//! The request body on its way to the upstream.

use std::{
    error::Error,
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tower::BoxError;

use crate::whole::Whole;

/// The client's body, that tells what has become of it.
pub(crate) struct Upload {
    body: Whole,
    broken: Arc<OnceLock<Broken>>,
    turn: watch::Sender<Turn>,
}

/// From when on it is for the upstream to act: to answer, or to take more; nothing while the client
/// is waited for.
type Turn = Option<Instant>;

/// What becomes of an upload.
pub(crate) struct Fate {
    turn: watch::Receiver<Turn>,
    /// Why it ends with an error, from before that is seen on.
    pub(crate) broken: Arc<OnceLock<Broken>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// What the client has sent is no body.
    Malformed,
    /// It has reset the stream, or ended the connection: nobody waits for an answer.
    Left,
}

impl Upload {
    /// One to an upstream that may first take so long to connect to.
    pub(crate) fn new(body: Whole, connecting: Duration) -> (Self, Fate) {
        let (sender, turn) = watch::channel(Instant::now().checked_add(connecting));
        let broken = Arc::default();
        let upload = Self {
            body,
            broken: Arc::clone(&broken),
            turn: sender,
        };
        (upload, Fate { turn, broken })
    }
}

impl Fate {
    /// Resolves when the upstream has neither answered nor taken more for so long, though it was its
    /// turn. However slow the client is, that is not held against the upstream.
    pub(crate) async fn stalled(&self, patience: Duration) {
        loop {
            let since = self.turn.borrow().unwrap_or_else(Instant::now);
            let waited = Instant::now().saturating_duration_since(since);
            let left = patience.saturating_sub(waited);
            if left.is_zero() {
                return;
            }
            // A turn that begins in the meantime is not over before that.
            sleep(left).await;
        }
    }
}

impl Body for Upload {
    type Data = <Whole as Body>::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.turn.send_replace(polled.is_ready().then(Instant::now));
        if let Poll::Ready(Some(Err(error))) = &polled {
            self.broken.get_or_init(|| why(error.as_ref()));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Upload {
    /// The upstream has been sent all of it, or wants no more.
    fn drop(&mut self) {
        self.turn.send_replace(Some(Instant::now()));
    }
}

fn why(error: &(dyn Error + 'static)) -> Broken {
    if !error.is::<hyper::Error>() {
        return Broken::Left;
    }
    let cause = error.source();
    let io = cause.and_then(<dyn Error>::downcast_ref);
    match io.map(io::Error::kind) {
        // Where `client` sees it, too.
        Some(io::ErrorKind::UnexpectedEof) if cfg!(target_os = "linux") => Broken::Left,
        _ if cause.is_some_and(<dyn Error>::is::<h2::Error>) => Broken::Left,
        _ => Broken::Malformed,
    }
}
