//! Is the right one woken, and only when there is reason to?

use super::{Check, ONE, Sight, TWO, see, woken};
use crate::conformance::{
    Capability,
    alarm::Alarm,
    log::Given,
    open::{Head, Open},
    script::{Do, Script, Step, body, data},
    stage::{Bench, Stop},
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
pub(super) fn future_waits<'a>(bench: &Bench<'a>) -> Result<Open<'a>, Stop> {
    let script = Script::answering(body([])).handler([Do::Wait]);
    let mut open = bench.stage(script)?.call()?;
    open.poll_head_until(|seen| seen.future.waits)?;
    Ok(open)
}

/// A response whose body waits.
fn body_waits<'a>(bench: &Bench<'a>) -> Result<Open<'a>, Stop> {
    let sent = body([Step::Wait, data(ONE), Step::Wait, data(TWO)]);
    let mut open = bench.open(Script::answering(sent))?;
    open.poll_body_until_it_waits()?;
    Ok(open)
}

/// Polls once more, as another task: it must not be woken yet, and the poll must return. How often
/// it was woken, or the panic that ends a poll that goes on until there is something.
fn idle(open: &mut Open<'_>, panic: fn(&mut Open<'_>) -> Option<String>) -> Result<usize, String> {
    open.alarm = Alarm::new();
    match panic(open) {
        Some(panic) => Err(panic),
        None => Ok(open.alarm.rings()),
    }
}

pub(super) fn see_idle(idle: Result<usize, String>) -> Result<Sight, Stop> {
    let observed = match idle {
        Ok(rings) => format!("{rings} wake-ups"),
        Err(panic) => format!("panic: {panic}"),
    };
    see("0 wake-ups", observed)
}

/// Polls a response once more that waits for the service.
pub(super) fn idle_future(open: &mut Open<'_>) -> Result<usize, String> {
    idle(open, |open| match open.poll_head() {
        Head::Panicked(panic) => Some(panic),
        _ => None,
    })
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
    see_idle(idle_future(&mut future_waits(bench)?))
}

fn stream(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let mut open = body_waits(bench)?;
    let first = woken(&open, |seen| &mut seen.response_body)?;
    open.poll_body_until_it_waits()?;
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
    let mut open = body_waits(bench)?;
    see_idle(idle(&mut open, |open| match open.poll_body() {
        Given::Panicked(panic) => Some(panic),
        _ => None,
    }))
}
