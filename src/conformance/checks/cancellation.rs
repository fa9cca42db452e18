//! Is what the server drops let go of at once?

use super::{Check, ONE, Sight, TWO, see, unseen};
use crate::conformance::{
    Capability,
    log::ExchangeSeen,
    open::Open,
    script::{Do, Script, Step, body, data},
    stage::{Bench, Stop},
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "drop.future_unpolled",
        capability: Capability::Cancellation,
        consequence: "a request that is given up before it begins is kept all the same",
        look: future_unpolled,
    },
    Check {
        name: "drop.future",
        capability: Capability::Cancellation,
        consequence: "a client that leaves before the head does not stop the service: it works on \
                      for nobody",
        look: future,
    },
    Check {
        name: "drop.body_unpolled",
        capability: Capability::Cancellation,
        consequence: "a body that nobody reads is kept: what it holds is not released",
        look: body_unpolled,
    },
    Check {
        name: "drop.body",
        capability: Capability::Cancellation,
        consequence: "a client that leaves in mid-stream does not stop the stream: it runs on for \
                      nobody",
        look: body_midstream,
    },
    Check {
        name: "drop.body_pending",
        capability: Capability::Cancellation,
        consequence: "a client that leaves a quiet stream does not stop it: it stays open for \
                      nobody",
        look: body_pending,
    },
];

/// What is left of the scripted part when the server has let go.
fn left(open: &mut Open<'_>, is_gone: fn(&ExchangeSeen) -> bool) -> Result<Sight, Stop> {
    if is_gone(&open.seen()) {
        return unseen("it was dropped before the server left");
    }
    let observed = match open.leave() {
        Err(panic) => format!("panic: {panic}"),
        Ok(()) if is_gone(&open.seen()) => "dropped".to_owned(),
        Ok(()) => "kept".to_owned(),
    };
    see("dropped", observed)
}

fn future_unpolled(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let sent = body([data(ONE)]);
    let mut open = bench.stage(Script::asking(sent, [Do::Read]))?.call()?;
    left(&mut open, |seen| seen.request_body.dropped)
}

fn future(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let script = Script::answering(body([])).handler([Do::Wait]);
    let mut open = bench.stage(script)?.call()?;
    open.poll_head_until(|seen| seen.future.waits)?;
    left(&mut open, |seen| seen.future.dropped)
}

fn body_unpolled(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let mut open = bench.open(Script::answering(body([data(ONE), data(TWO)])))?;
    left(&mut open, |seen| seen.response_body.dropped)
}

fn body_midstream(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let mut open = bench.open(Script::answering(body([data(ONE), data(TWO)])))?;
    open.poll_body();
    left(&mut open, |seen| seen.response_body.dropped)
}

fn body_pending(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let sent = body([data(ONE), Step::Wait, data(TWO)]);
    let mut open = bench.open(Script::answering(sent))?;
    open.poll_body_until_it_waits()?;
    left(&mut open, |seen| seen.response_body.dropped)
}
