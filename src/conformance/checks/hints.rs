//! Does the response's body say of itself what the service's does, at every step?

use http::Method;

use super::{Check, NOTHING, Sight, large, listed, promised, see, unseen};
use crate::conformance::{
    Capability,
    log::{Given, Hints},
    open::Open,
    script::{BodyScript, Script, Step, body},
    stage::{Bench, Stop},
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "size_hint.before",
        capability: Capability::SizeHint,
        consequence: "a body of known size is sent chunked; clients lose the length",
        look: size_before,
    },
    Check {
        name: "size_hint.during",
        capability: Capability::SizeHint,
        consequence: "what remains of a body of known size is misjudged by layers and servers \
                      that ask in mid-stream",
        look: size_during,
    },
    Check {
        name: "size_hint.after",
        capability: Capability::SizeHint,
        consequence: "a body that has ended still promises bytes, or no longer says that none are \
                      left",
        look: size_after,
    },
    Check {
        name: "size_hint.bounds",
        capability: Capability::SizeHint,
        consequence: "a body that knows its bounds loses them, or is taken for one of known size: \
                      limits are applied too late, or a wrong `content-length` is sent",
        look: size_bounds,
    },
    Check {
        name: "size_hint.unknown",
        capability: Capability::SizeHint,
        consequence: "a stream gets a `content-length` that it does not keep",
        look: size_unknown,
    },
    Check {
        name: "size_hint.empty",
        capability: Capability::SizeHint,
        consequence: "an empty response does not tell that it is: layers and servers that go by the \
                      size take it for a stream",
        look: size_empty,
    },
    Check {
        name: "size_hint.to_head",
        capability: Capability::SizeHint,
        consequence: "a response to HEAD does not tell the length that GET would have",
        look: size_to_head,
    },
    Check {
        name: "end_stream.empty",
        capability: Capability::EndStream,
        consequence: "an empty response does not look empty: HTTP/2 needs a frame more to end it",
        look: end_empty,
    },
    Check {
        name: "end_stream.before",
        capability: Capability::EndStream,
        consequence: "a body that has not begun looks over: the server never polls it, and all of \
                      it is lost",
        look: end_before,
    },
    Check {
        name: "end_stream.during",
        capability: Capability::EndStream,
        consequence: "a body looks over in mid-stream: servers stop there, and the rest is lost",
        look: end_during,
    },
    Check {
        name: "end_stream.last_frame",
        capability: Capability::EndStream,
        consequence: "the end is not seen with the last frame: HTTP/2 needs a frame more, and the \
                      client waits for it",
        look: end_last_frame,
    },
    Check {
        name: "end_stream.before_trailers",
        capability: Capability::EndStream,
        consequence: "a body looks over when its bytes are out: its trailers are lost",
        look: end_before_trailers,
    },
    Check {
        name: "end_stream.before_error",
        capability: Capability::EndStream,
        consequence: "a body looks over when its bytes are out: an error that follows is lost, and \
                      the stream looks complete",
        look: end_before_error,
    },
    Check {
        name: "end_stream.hidden",
        capability: Capability::EndStream,
        consequence: "the layer guesses the end of a body that does not tell",
        look: end_hidden,
    },
    Check {
        name: "end_stream.after",
        capability: Capability::EndStream,
        consequence: "a body that has ended does not say so to layers and servers that ask later",
        look: end_after,
    },
];

/// Opens a response and reads as many frames of it.
fn after<'a>(bench: &Bench<'a>, script: Script, frames: usize) -> Result<Open<'a>, Stop> {
    let mut open = bench.open(script)?;
    for _ in 0..frames {
        let given = open.next();
        if !matches!(given, Given::Data { .. }) {
            return unseen(format!("no data but {given}"));
        }
    }
    Ok(open)
}

fn hints(bench: &Bench<'_>, sent: BodyScript, frames: usize) -> Result<Hints, Stop> {
    after(bench, Script::answering(sent), frames)?.hints()
}

fn ended(bench: &Bench<'_>, sent: BodyScript) -> Result<Hints, Stop> {
    let mut open = bench.open(Script::answering(sent))?;
    let read = open.read();
    match read.last() {
        Some(Given::End) => open.hints(),
        other => unseen(format!("no end but {}", listed(other))),
    }
}

/// A body of unknown size.
fn stream() -> BodyScript {
    body([large(4_096), large(2_048)])
}

/// A body of known size.
fn sized() -> BodyScript {
    stream().exact()
}

fn size_before(bench: &Bench<'_>) -> Result<Sight, Stop> {
    see("exactly 6144 B", hints(bench, sized(), 0)?.size)
}

fn size_during(bench: &Bench<'_>) -> Result<Sight, Stop> {
    see("exactly 2048 B", hints(bench, sized(), 1)?.size)
}

fn size_after(bench: &Bench<'_>) -> Result<Sight, Stop> {
    see("exactly 0 B", ended(bench, sized())?.size)
}

fn size_bounds(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let sent = stream().between(5_000, 10_000);
    see("5000 to 10000 B", hints(bench, sent, 0)?.size)
}

fn size_unknown(bench: &Bench<'_>) -> Result<Sight, Stop> {
    see(NOTHING, promised(&hints(bench, stream(), 0)?))
}

fn size_empty(bench: &Bench<'_>) -> Result<Sight, Stop> {
    see("exactly 0 B", hints(bench, body([]).exact(), 0)?.size)
}

fn size_to_head(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let script = Script::answering(sized()).method(Method::HEAD);
    see("exactly 6144 B", after(bench, script, 0)?.hints()?.size)
}

fn end(bench: &Bench<'_>, sent: BodyScript, frames: usize) -> Result<String, Stop> {
    Ok(hints(bench, sent, frames)?.is_end_stream)
}

fn end_empty(bench: &Bench<'_>) -> Result<Sight, Stop> {
    see(true, end(bench, body([]), 0)?)
}

fn end_before(bench: &Bench<'_>) -> Result<Sight, Stop> {
    see(false, end(bench, stream(), 0)?)
}

fn end_during(bench: &Bench<'_>) -> Result<Sight, Stop> {
    see(false, end(bench, stream(), 1)?)
}

fn end_last_frame(bench: &Bench<'_>) -> Result<Sight, Stop> {
    see(true, end(bench, stream(), 2)?)
}

fn end_before_trailers(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let sent = body([large(4_096), Step::Trailers]).exact();
    see(false, end(bench, sent, 1)?)
}

fn end_before_error(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let sent = body([large(4_096), Step::Error]).exact();
    see(false, end(bench, sent, 1)?)
}

fn end_hidden(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let sent = body([large(4_096)]).exact().hiding_its_end();
    see(false, end(bench, sent, 1)?)
}

fn end_after(bench: &Bench<'_>) -> Result<Sight, Stop> {
    see(true, ended(bench, stream())?.is_end_stream)
}
