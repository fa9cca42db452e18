//! One exchange, driven by hand.

use std::{
    fmt,
    sync::{Arc, MutexGuard},
    task::{Poll, Waker},
};

use http::response;

use super::{
    alarm::Alarm,
    log::{Actor, Exchange, ExchangeSeen, Failure, Given, Hints, Journal},
    stage::{Stop, TURNS_AT_MOST},
    subject::{BoxBody, SubjectFuture},
};
use crate::unwind::caught;

/// One exchange with the wrapped service, as a server has it.
pub(super) struct Open<'a> {
    journal: Arc<Journal>,
    exchange: Arc<Exchange>,
    future: Option<SubjectFuture<'a>>,
    head: Option<response::Parts>,
    body: Option<BoxBody<'a>>,
    pub(super) alarm: Alarm,
}

/// What one poll of the wrapped service's future gave.
#[derive(Debug)]
pub(super) enum Head {
    Pending,
    Answered,
    Failed(Failure),
    Panicked(String),
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("pending"),
            Self::Answered => f.write_str("a response"),
            Self::Failed(failure) => write!(f, "an error: {}", failure.message),
            Self::Panicked(message) => write!(f, "panic: {message}"),
        }
    }
}

impl<'a> Open<'a> {
    pub(super) fn new(
        journal: Arc<Journal>,
        exchange: Arc<Exchange>,
        future: SubjectFuture<'a>,
    ) -> Self {
        Self {
            journal,
            exchange,
            future: Some(future),
            head: None,
            body: None,
            alarm: Alarm::new(),
        }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, ExchangeSeen> {
        self.exchange.seen()
    }

    /// Lets something scripted go on that waits, and wakes whom it was told to. False if it does
    /// not wait, or does not know whom to wake.
    pub(super) fn release(&self, actor: impl FnOnce(&mut ExchangeSeen) -> &mut Actor) -> bool {
        let waker = actor(&mut self.seen()).release();
        waker.map(Waker::wake).is_some()
    }

    pub(super) fn poll_head(&mut self) -> Head {
        let Some(future) = &mut self.future else {
            return Head::Pending;
        };
        match caught(|| future.as_mut().poll(&mut self.alarm.context())) {
            Err(panic) => Head::Panicked(panic),
            Ok(Poll::Pending) => Head::Pending,
            Ok(Poll::Ready(Err(failure))) => Head::Failed(failure),
            Ok(Poll::Ready(Ok(response))) => {
                let (head, body) = response.into_parts();
                self.head = Some(head);
                self.body = Some(body);
                Head::Answered
            }
        }
    }

    /// Polls for the head as long as there is reason to, and gives the last answer.
    pub(super) fn drive(&mut self) -> Head {
        let mut polled = Head::Pending;
        for _ in 0..TURNS_AT_MOST {
            let rings = self.alarm.rings();
            polled = self.poll_head();
            if !matches!(polled, Head::Pending) {
                break;
            }
            self.release(|seen| &mut seen.future);
            self.release(|seen| &mut seen.request_body);
            if self.alarm.rings() == rings {
                break;
            }
        }
        polled
    }

    /// Polls for the head even if nobody was woken for it: for checks that are not about wakers.
    pub(super) fn insist(&mut self) -> Head {
        let mut polled = Head::Pending;
        for _ in 0..TURNS_AT_MOST {
            polled = self.poll_head();
            if !matches!(polled, Head::Pending) {
                break;
            }
            self.release(|seen| &mut seen.future);
            self.release(|seen| &mut seen.request_body);
        }
        polled
    }

    /// Polls for the head until something scripted has come this far.
    pub(super) fn poll_head_until(&mut self, far: fn(&ExchangeSeen) -> bool) -> Result<Head, Stop> {
        for _ in 0..TURNS_AT_MOST {
            let rings = self.alarm.rings();
            let polled = self.poll_head();
            if far(&self.seen()) {
                return Ok(polled);
            }
            if !matches!(polled, Head::Pending) {
                return Err(Stop::Unseen(format!(
                    "the service was not waited for: {polled}"
                )));
            }
            if self.alarm.rings() == rings {
                break;
            }
        }
        Err(Stop::Unseen("the service was never asked".to_owned()))
    }

    /// What comes of the request, if it comes of the service.
    pub(super) fn answer(&mut self) -> Result<Head, Stop> {
        let answer = self.drive();
        let seen = self.seen();
        if seen.request.is_none() {
            return Err(Stop::Unseen(format!(
                "the service was never called: {answer}"
            )));
        }
        if matches!(answer, Head::Answered) && !seen.answered {
            return Err(Stop::Unseen("the layer answered by itself".to_owned()));
        }
        drop(seen);
        Ok(answer)
    }

    /// The head of the service's response.
    pub(super) fn head(&mut self) -> Result<&response::Parts, Stop> {
        let answer = self.answer()?;
        self.head
            .as_ref()
            .ok_or_else(|| Stop::Unseen(format!("no response but {answer}")))
    }

    pub(super) fn poll_body(&mut self) -> Given {
        let Some(body) = &mut self.body else {
            return Given::Pending;
        };
        caught(|| body.poll_frame(&mut self.alarm.context())).unwrap_or_else(Given::Panicked)
    }

    /// Polls on, even if nobody was woken for it, until the service's body waits.
    pub(super) fn poll_body_until_it_waits(&mut self) -> Result<(), Stop> {
        for _ in 0..TURNS_AT_MOST {
            self.poll_body();
            if self.seen().response_body.waits {
                return Ok(());
            }
        }
        Err(Stop::Unseen("the body was not polled".to_owned()))
    }

    /// Polls the body until it gives something. Pending if there is no reason to poll on.
    pub(super) fn next(&mut self) -> Given {
        for _ in 0..TURNS_AT_MOST {
            let rings = self.alarm.rings();
            let given = self.poll_body();
            if !matches!(given, Given::Pending) {
                return given;
            }
            self.release(|seen| &mut seen.response_body);
            if self.alarm.rings() == rings {
                break;
            }
        }
        Given::Pending
    }

    /// Reads the body as far as it can be.
    pub(super) fn read(&mut self) -> Vec<Given> {
        let mut read = Vec::new();
        for _ in 0..TURNS_AT_MOST {
            let given = self.next();
            let goes_on = matches!(given, Given::Data { .. } | Given::Trailers(_));
            read.push(given);
            if !goes_on {
                break;
            }
        }
        read
    }

    pub(super) fn hints(&self) -> Result<Hints, Stop> {
        match &self.body {
            Some(body) => Ok(body.hints()),
            None => Err(Stop::Unseen("there is no body".to_owned())),
        }
    }

    /// Drops what there is of it, as a server does when its client leaves.
    pub(super) fn leave(&mut self) -> Result<(), String> {
        let future = self.future.take();
        let body = self.body.take();
        let left = caught(|| drop(future)).and(caught(|| drop(body)));
        // A layer may call the service only when its future is polled: then nothing comes any more.
        let awaited = &mut self.journal.seen().awaited;
        awaited.retain(|exchange| !Arc::ptr_eq(exchange, &self.exchange));
        left
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // Whether it may be dropped has a check of its own.
        let _ = self.leave();
    }
}
