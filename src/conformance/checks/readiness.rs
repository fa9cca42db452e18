//! Is the service asked whether it is ready, and called as often as it should be?

use std::task::Poll;

use super::{Check, ONE, Sight, THREE, TWO, listed, see, unseen};
use crate::conformance::{
    Capability,
    alarm::Alarm,
    log::{Failure, Given},
    open::{Head, Open},
    script::{Do, Readiness, Script, body, data},
    stage::{Bench, Stage, Stop},
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "call.once",
        capability: Capability::Calls,
        consequence: "requests never reach the service, or reach it more than once",
        look: call_once,
    },
    Check {
        name: "call.next",
        capability: Capability::Calls,
        consequence: "after a client that left too soon, the service takes no more requests",
        look: call_next,
    },
    Check {
        name: "call.side_by_side",
        capability: Capability::Calls,
        consequence: "streams that are open at the same time disturb each other",
        look: call_side_by_side,
    },
    Check {
        name: "ready.pending",
        capability: Capability::Readiness,
        consequence: "back-pressure is hidden: load balancing and load shedding outside do not see it",
        look: ready_pending,
    },
    Check {
        name: "ready.waker",
        capability: Capability::Readiness,
        consequence: "a service that becomes ready again wakes nobody: the connection hangs",
        look: ready_waker,
    },
    Check {
        name: "ready.error",
        capability: Capability::Readiness,
        consequence: "a service that has failed for good looks as if it had not",
        look: ready_error,
    },
    Check {
        name: "ready.same_service",
        capability: Capability::Readiness,
        consequence: "a clone is called that was never asked whether it is ready: services that \
                      reserve a place in poll_ready panic or exceed their limit",
        look: ready_same_service,
    },
    Check {
        name: "service.error",
        capability: Capability::ServiceErrors,
        consequence: "a failure of the service is hidden from the server",
        look: service_error,
    },
    Check {
        name: "service.error_source",
        capability: Capability::ServiceErrors,
        consequence: "nobody outside can tell what has failed: the error is not in the chain of \
                      sources",
        look: service_error_source,
    },
];

fn call_once(bench: &Bench<'_>) -> Result<Sight, Stop> {
    // Whatever keeps a call from being made is this check's finding.
    fn called(bench: &Bench<'_>) -> Result<String, Stop> {
        let mut stage = bench.stage(Script::answering(body([data(ONE)])))?;
        let answer = stage.call()?.drive();
        let calls = stage.journal.seen().calls.len();
        Ok(format!("{answer}, calls: {calls}"))
    }
    see("a response, calls: 1", called(bench).or_else(Stop::reason)?)
}

fn call_next(bench: &Bench<'_>) -> Result<Sight, Stop> {
    // Each client leaves a step later.
    const STEPS: [fn(&mut Open<'_>); 4] = [
        |_| {},
        |open| drop(open.poll_head()),
        |open| drop(open.insist()),
        |open| {
            open.insist();
            open.poll_body();
        },
    ];
    fn answered(stage: &mut Stage<'_>) -> Result<String, Stop> {
        for step in STEPS {
            let mut open = stage.call()?;
            step(&mut open);
            // Whether it may be dropped has a check of its own.
            let _ = open.leave();
        }
        Ok(stage.call()?.insist().to_string())
    }
    let stream = body([data(ONE), data(TWO)]);
    let mut stage = bench.stage(Script::answering(stream).handler([Do::Wait]))?;
    let mut first = stage.call()?;
    first.insist();
    first.head()?;
    first.read();
    drop(first);
    see("a response", answered(&mut stage).or_else(Stop::reason)?)
}

fn call_side_by_side(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let stream = body([data(ONE), data(TWO), data(THREE)]);
    let mut stage = bench.stage(Script::answering(stream))?;
    let alone = stage.open()?.read();
    if !matches!(alone.last(), Some(Given::End)) {
        return unseen("the stream was not read to its end");
    }
    let alone = listed(&alone);
    let mut first = stage.open()?;
    let mut read = vec![first.next()];
    // Whatever keeps the second from being answered is this check's finding.
    let observed = match stage.open() {
        Ok(mut second) => {
            let second = listed(&second.read());
            read.extend(first.read());
            format!("{}; {second}", listed(&read))
        }
        Err(stop) => stop.reason()?,
    };
    see(format!("{alone}; {alone}"), observed)
}

fn waiting<'a>(bench: &Bench<'a>) -> Result<Stage<'a>, Stop> {
    bench.stage(Script::answering(body([])).ready([Readiness::Pending]))
}

fn ready_pending(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let observed = match waiting(bench)?.poll_ready(&Alarm::new()) {
        Ok(Poll::Pending) => "pending".to_owned(),
        Ok(Poll::Ready(Ok(()))) => "ready".to_owned(),
        Ok(Poll::Ready(Err(error))) => format!("an error: {}", error.message),
        Err(panicked) => panicked.reason()?,
    };
    see("pending", observed)
}

fn ready_waker(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let mut stage = waiting(bench)?;
    let (first, last) = (Alarm::new(), Alarm::new());
    if stage.poll_ready(&first)?.is_ready() || stage.poll_ready(&last)?.is_ready() {
        return unseen("poll_ready is not pending");
    }
    let rings = last.rings();
    if !stage.release_readiness() {
        return unseen("the service was not asked whether it is ready");
    }
    see("woken", last.rang_since(rings))
}

fn ready_error(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let mut stage = bench.stage(Script::answering(body([])).ready([Readiness::Error]))?;
    stage.can_fail()?;
    // A layer may ask only when it is called: then the error is the response's.
    let observed = match stage.drive_ready() {
        Ok(Poll::Ready(Err(_))) => "an error".to_owned(),
        Ok(Poll::Pending) => "pending".to_owned(),
        Ok(Poll::Ready(Ok(()))) => match stage.call()?.drive() {
            Head::Failed(_) => "an error".to_owned(),
            other => other.to_string(),
        },
        Err(panicked) => panicked.reason()?,
    };
    see("an error", observed)
}

fn ready_same_service(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let mut stage = bench.stage(Script::answering(body([])))?;
    stage.open()?;
    stage.open()?;
    let calls = stage.journal.seen().calls.clone();
    let observed: Vec<_> = calls
        .into_iter()
        .map(|ready| if ready { "ready" } else { "not ready" })
        .collect();
    see(
        "called when ready, ready",
        format!("called when {}", observed.join(", ")),
    )
}

/// What the wrapped service answers when the scripted one fails.
fn failure(bench: &Bench<'_>) -> Result<Head, Stop> {
    let mut stage = bench.stage(Script::answering(body([])).failing())?;
    stage.can_fail()?;
    let mut open = stage.call()?;
    let answer = open.drive();
    if !open.seen().answered {
        return unseen("the service did not get to fail");
    }
    Ok(answer)
}

fn service_error(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let observed = match failure(bench)? {
        Head::Failed(_) => "an error".to_owned(),
        other => other.to_string(),
    };
    see("an error", observed)
}

fn service_error_source(bench: &Bench<'_>) -> Result<Sight, Stop> {
    match failure(bench)? {
        Head::Failed(failure) => see(Failure::SOURCE, failure.source()),
        other => unseen(format!("no error but {other}")),
    }
}
