//! The server that drives a case.

use std::{sync::Arc, task::Context};

use super::{Act, Event, Given, Incoming, Panic, Stage, with_marker};
use crate::{
    case::{Case, Fate},
    common::Hints,
};

/// What the server drives: a stack of layers, or the oracle.
pub(crate) trait Subject {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Result<Given, Panic>;
    fn call(&mut self, request: Incoming) -> Result<(), Panic>;
    fn poll_future(&mut self, cx: &mut Context<'_>) -> Result<Given, Panic>;
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Result<Given, Panic>;
    /// `None` if there is no body.
    fn hints(&self) -> Option<Hints>;
    fn drop_future(&mut self, unwinding: bool) -> Result<(), Panic>;
    fn drop_body(&mut self, unwinding: bool) -> Result<(), Panic>;
    fn drop_tunnel(&mut self, unwinding: bool) -> Result<(), Panic>;
}

/// Drives the case from the first act to the last. It is all over then.
pub(crate) fn serve(case: &Case, stage: &Arc<Stage>, subject: &mut dyn Subject) {
    let mut server = Serving {
        stage,
        subject,
        unwinding: case.server.drops_unwinding,
    };
    for _ in &case.ready {
        server.act(Act::PollReady, |subject, cx| subject.poll_ready(cx));
    }
    let request = with_marker(case.request());
    let called = server.act(Act::Call, |subject, _| {
        subject.call(request).map(|()| Given::Ready)
    });
    if !matches!(called, Given::Panicked(_)) {
        server.exchange(case);
    }
    if matches!(case.tunnel, Fate::KeptOverBody | Fate::Cloned) {
        server.let_go(Act::DropTunnel);
    }
}

struct Serving<'a> {
    stage: &'a Arc<Stage>,
    subject: &'a mut dyn Subject,
    unwinding: bool,
}

impl Serving<'_> {
    fn act(
        &mut self,
        act: Act,
        run: impl FnOnce(&mut dyn Subject, &mut Context<'_>) -> Result<Given, Panic>,
    ) -> Given {
        let waker = self.stage.begin(act);
        let given = run(self.subject, &mut Context::from_waker(&waker));
        let given = given.unwrap_or_else(Given::Panicked);
        self.stage.write(Event::Gives(given.clone()));
        let says = self.subject.hints().map(Event::Says);
        self.stage.seen().log.extend(says);
        given
    }

    fn let_go(&mut self, what: Act) {
        let unwinding = self.unwinding;
        self.act(what, |subject, _| {
            match what {
                Act::DropFuture => subject.drop_future(unwinding),
                Act::DropBody => subject.drop_body(unwinding),
                _ => subject.drop_tunnel(unwinding),
            }
            .map(|()| Given::Ready)
        });
    }

    /// What comes after the call.
    fn exchange(&mut self, case: &Case) {
        let has_head = (0..case.server.future_polls).any(|_| {
            let given = self.act(Act::PollFuture, |subject, cx| subject.poll_future(cx));
            matches!(given, Given::Head { .. })
        });
        if !case.server.keeps_future {
            self.let_go(Act::DropFuture);
        }
        if matches!(case.tunnel, Fate::KeptOverHead | Fate::Cloned) {
            self.let_go(Act::DropTunnel);
        }
        if has_head {
            for _ in 0..case.server.body_polls {
                self.act(Act::PollBody, |subject, cx| subject.poll_body(cx));
            }
            self.let_go(Act::DropBody);
        }
        if case.server.keeps_future {
            self.let_go(Act::DropFuture);
        }
    }
}
