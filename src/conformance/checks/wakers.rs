//! Is the right one woken, and only when there is reason to?

use super::{Check, ONE, POLLS_AT_MOST, Sight, TWO, see, unseen, woken};
use crate::conformance::{
    Capability,
    log::Given,
    script::{Do, Script, Step, body, data},
    stage::{Alarm, Bench, Head, Open, Stop},
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "wakers.future",
        capability: Capability::Wakers,
        consequence: "a service that is ready to answer wakes nobody: the request hangs",
        look: future,
    },
    Check {
        name: "wakers.future_new",
        capability: Capability::Wakers,
        consequence: "a request that is polled by another task than before wakes the old one: it \
                      hangs under `select!` and in buffers of futures",
        look: future_new,
    },
    Check {
        name: "wakers.future_idle",
        capability: Capability::Wakers,
        consequence: "a request that waits is polled over and over: it burns CPU",
        look: future_idle,
    },
    Check {
        name: "wakers.body",
        capability: Capability::Wakers,
        consequence: "a frame that is there wakes nobody: the stream hangs until something else \
                      happens",
        look: stream,
    },
    Check {
        name: "wakers.body_new",
        capability: Capability::Wakers,
        consequence: "a stream that is polled by another task than before wakes the old one: it \
                      hangs",
        look: stream_new,
    },
    Check {
        name: "wakers.body_idle",
        capability: Capability::Wakers,
        consequence: "a quiet stream is polled over and over: it burns CPU",
        look: stream_idle,
    },
];

/// An exchange whose service waits.
fn future_waits<'a>(bench: &Bench<'a>) -> Result<Open<'a>, Stop> {
    let script = Script::answering(body([])).handler([Do::Wait]);
    let mut open = bench.stage(script)?.call()?;
    open.poll_head_until(|seen| seen.future.waits)?;
    Ok(open)
}

/// A response whose body waits.
fn body_waits<'a>(bench: &Bench<'a>) -> Result<Open<'a>, Stop> {
    let sent = body([Step::Wait, data(ONE), Step::Wait, data(TWO)]);
    let mut open = bench.open(Script::answering(sent))?;
    open.poll_body();
    if !open.seen().response_body.waits {
        return unseen("the body was not polled");
    }
    Ok(open)
}

/// Reads what came after a wait, up to the next wait.
fn read_on_until_it_waits(open: &mut Open<'_>) -> Result<(), Stop> {
    for _ in 0..POLLS_AT_MOST {
        open.poll_body();
        if open.seen().response_body.waits {
            return Ok(());
        }
    }
    unseen("the body was not polled on")
}

/// Polls once more, as another task. It must not be woken yet, and the poll must return.
fn idle(open: &mut Open<'_>, panic: fn(&mut Open<'_>) -> Option<String>) -> Result<Sight, Stop> {
    open.alarm = Alarm::new();
    let observed = match panic(open) {
        // So ends a poll that goes on until there is something.
        Some(panic) => format!("panic: {panic}"),
        None => format!("{} wake-ups", open.alarm.rings()),
    };
    see("0 wake-ups", observed)
}

fn future(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let open = future_waits(bench)?;
    see("woken", woken(&open, |seen| &mut seen.future)?)
}

fn future_new(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let mut open = future_waits(bench)?;
    open.alarm = Alarm::new();
    open.poll_head();
    see("woken", woken(&open, |seen| &mut seen.future)?)
}

fn future_idle(bench: &Bench<'_>) -> Result<Sight, Stop> {
    idle(&mut future_waits(bench)?, |open| match open.poll_head() {
        Head::Panicked(panic) => Some(panic),
        _ => None,
    })
}

fn stream(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let mut open = body_waits(bench)?;
    let first = woken(&open, |seen| &mut seen.response_body)?;
    read_on_until_it_waits(&mut open)?;
    let then = woken(&open, |seen| &mut seen.response_body)?;
    see("woken, woken", format!("{first}, {then}"))
}

fn stream_new(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let mut open = body_waits(bench)?;
    open.alarm = Alarm::new();
    open.poll_body();
    see("woken", woken(&open, |seen| &mut seen.response_body)?)
}

fn stream_idle(bench: &Bench<'_>) -> Result<Sight, Stop> {
    idle(&mut body_waits(bench)?, |open| match open.poll_body() {
        Given::Panicked(panic) => Some(panic),
        _ => None,
    })
}
