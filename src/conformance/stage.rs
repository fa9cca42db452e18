//! A wrapped service, driven by hand.

use std::{
    sync::Arc,
    task::{Poll, Waker},
};

use super::{
    Kit, ScriptedService,
    alarm::Alarm,
    log::{Exchange, Failure, Journal},
    open::Open,
    script::Script,
    subject::Subject,
};
use crate::unwind::caught;

/// More than any layer needs that has something to do between two polls.
pub(super) const TURNS_AT_MOST: usize = 100;

/// Why a check cannot be made.
#[derive(Debug)]
pub(super) enum Stop {
    /// What is to be looked at never came; that has a check of its own.
    Unseen(String),
    /// It makes no sense for this service.
    NotApplicable(&'static str),
}

impl Stop {
    /// For a check whose business it is.
    pub(super) fn reason(self) -> Result<String, Self> {
        match self {
            Self::Unseen(why) => Ok(why),
            other @ Self::NotApplicable(_) => Err(other),
        }
    }
}

/// Makes the services and their requests.
pub(super) struct Bench<'a> {
    pub(super) wrap: &'a dyn Fn(ScriptedService) -> Box<dyn Subject<'a> + 'a>,
    pub(super) kit: &'a Kit,
}

impl<'a> Bench<'a> {
    /// Wraps a service that does as the script says.
    pub(super) fn stage(&self, mut script: Script) -> Result<Stage<'a>, Stop> {
        self.kit.dress(&mut script);
        let journal = Journal::new(script);
        let service = ScriptedService::new(journal.clone());
        let service = caught(|| (self.wrap)(service)).map_err(|panic| {
            Stop::Unseen(format!("the layer panicked around the service: {panic}"))
        })?;
        Ok(Stage { journal, service })
    }

    /// The response to a request, its body not polled yet.
    pub(super) fn open(&self, script: Script) -> Result<Open<'a>, Stop> {
        self.stage(script)?.open()
    }
}

/// A wrapped service under way.
pub(super) struct Stage<'a> {
    pub(super) journal: Arc<Journal>,
    service: Box<dyn Subject<'a> + 'a>,
}

impl<'a> Stage<'a> {
    pub(super) fn poll_ready(&mut self, alarm: &Alarm) -> Result<Poll<Result<(), Failure>>, Stop> {
        caught(|| self.service.poll_ready(&mut alarm.context()))
            .map_err(|panic| Stop::Unseen(format!("the layer panicked in poll_ready: {panic}")))
    }

    /// For checks that need a service that fails.
    pub(super) fn can_fail(&self) -> Result<(), Stop> {
        if self.journal.seen().infallible {
            return Err(Stop::NotApplicable("the service was made infallible"));
        }
        Ok(())
    }

    pub(super) fn release_readiness(&self) -> bool {
        let waker = self.journal.seen().readiness.release();
        waker.map(Waker::wake).is_some()
    }

    /// Polls for readiness as long as there is reason to, and gives the last answer.
    pub(super) fn drive_ready(&mut self) -> Result<Poll<Result<(), Failure>>, Stop> {
        let alarm = Alarm::new();
        for _ in 0..TURNS_AT_MOST {
            let rings = alarm.rings();
            let polled = self.poll_ready(&alarm)?;
            if polled.is_ready() {
                return Ok(polled);
            }
            self.release_readiness();
            if alarm.rings() == rings {
                break;
            }
        }
        Ok(Poll::Pending)
    }

    fn ready(&mut self) -> Result<(), Stop> {
        match self.drive_ready()? {
            Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(error)) => Err(Stop::Unseen(format!(
                "poll_ready failed: {}",
                error.message
            ))),
            Poll::Pending => Err(Stop::Unseen("the layer is never ready".to_owned())),
        }
    }

    /// Calls the service when it is ready.
    pub(super) fn call(&mut self) -> Result<Open<'a>, Stop> {
        self.ready()?;
        let exchange = Arc::<Exchange>::default();
        self.journal.seen().awaited.push_back(exchange.clone());
        let request = self.journal.script.request(exchange.clone());
        let future = caught(|| self.service.call(request))
            .map_err(|panic| Stop::Unseen(format!("the layer panicked when called: {panic}")))?;
        Ok(Open::new(self.journal.clone(), exchange, future))
    }

    /// Calls the service when it is ready, and waits for the response.
    pub(super) fn open(&mut self) -> Result<Open<'a>, Stop> {
        let mut open = self.call()?;
        open.head()?;
        Ok(open)
    }
}
