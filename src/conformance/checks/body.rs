//! Do the frames of the response come as they are, and when they are there?

use http::StatusCode;

use super::{
    Check, ONE, POLLS_AT_MOST, Sight, THREE, TWO, content, found_trailers, large, listed,
    listed_fields, see, unseen,
};
use crate::conformance::{
    Capability,
    log::{Failure, Given},
    open::Open,
    script::{BodyScript, Script, Step, body, data, trailers},
    stage::{Bench, Stop},
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "frames.boundaries",
        capability: Capability::Frames,
        consequence: "frames are split or merged: events and messages do not arrive one by one",
        look: boundaries,
    },
    Check {
        name: "frames.empty",
        capability: Capability::Frames,
        consequence: "empty frames are lost or made",
        look: empty,
    },
    Check {
        name: "frames.large",
        capability: Capability::Frames,
        consequence: "large frames are split, or rewritten: each piece is polled and written by itself",
        look: large_frame,
    },
    Check {
        name: "frames.many",
        capability: Capability::Frames,
        consequence: "long streams lose or gain frames",
        look: many,
    },
    Check {
        name: "frames.of_failures",
        capability: Capability::Frames,
        consequence: "the body of an error response is lost or rewritten: clients do not learn \
                      what went wrong",
        look: of_failures,
    },
    Check {
        name: "frames.content",
        capability: Capability::Content,
        consequence: "the client gets other bytes than the service sent",
        look: same_content,
    },
    Check {
        name: "frames.at_once",
        capability: Capability::Frames,
        consequence: "frames are held back: tokens arrive late and in lumps",
        look: at_once,
    },
    Check {
        name: "frames.pending",
        capability: Capability::Frames,
        consequence: "the client gets something while the service has sent nothing",
        look: pending,
    },
    Check {
        name: "frames.no_copy",
        capability: Capability::Memory,
        consequence: "each byte is copied once more, into memory allocated for it",
        look: no_copy,
    },
    Check {
        name: "trailers.after_data",
        capability: Capability::Trailers,
        consequence: "trailers are lost or changed: gRPC calls fail without a status, checksums \
                      are missing",
        look: trailers_after_data,
    },
    Check {
        name: "trailers.alone",
        capability: Capability::Trailers,
        consequence: "the trailers of a stream without data are lost: empty gRPC streams fail",
        look: trailers_alone,
    },
    Check {
        name: "trailers.after_exact_size",
        capability: Capability::Trailers,
        consequence: "a body of known size is ended when its bytes are out: its trailers are lost",
        look: trailers_after_exact_size,
    },
    Check {
        name: "errors.arrive",
        capability: Capability::Errors,
        consequence: "a stream that broke looks complete, or hangs: clients take half an answer \
                      for a whole one",
        look: errors_arrive,
    },
    Check {
        name: "errors.order",
        capability: Capability::Errors,
        consequence: "the error overtakes frames that came before it: they are lost",
        look: errors_order,
    },
    Check {
        name: "errors.once",
        capability: Capability::Errors,
        consequence: "after its error the stream goes on: with the error again, or with data that \
                      belongs nowhere",
        look: errors_once,
    },
    Check {
        name: "errors.source",
        capability: Capability::Errors,
        consequence: "nobody outside can tell why the stream broke: servers find no HTTP/2 reset \
                      code in the chain of sources",
        look: errors_source,
    },
    Check {
        name: "polls.before_asked",
        capability: Capability::Polls,
        consequence: "the body is read before anyone asked: responses to HEAD are produced for \
                      nothing, and a slow first frame delays the head",
        look: polls_before_asked,
    },
    Check {
        name: "polls.read_ahead",
        capability: Capability::Polls,
        consequence: "back-pressure is lost: more is taken from the service than the client reads",
        look: polls_read_ahead,
    },
    Check {
        name: "polls.after_end",
        capability: Capability::Polls,
        consequence: "a body that has ended is polled again though nobody asked: many panic or hang",
        look: polls_after_end,
    },
    Check {
        name: "polls.after_error",
        capability: Capability::Polls,
        consequence: "a body that has failed is polled again though nobody asked: many panic or hang",
        look: polls_after_error,
    },
    Check {
        name: "polls.end_again",
        capability: Capability::Polls,
        consequence: "a server or layer that polls once more after the end gets a panic, a hang or \
                      data",
        look: polls_end_again,
    },
];

/// What comes of a body when it is read to its end.
fn read(bench: &Bench<'_>, sent: BodyScript) -> Result<Vec<Given>, Stop> {
    Ok(bench.open(Script::answering(sent))?.read())
}

/// The same, in words.
fn frames(bench: &Bench<'_>, sent: BodyScript) -> Result<String, Stop> {
    Ok(listed(&read(bench, sent)?))
}

fn boundaries(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let sent = body([data(ONE), data(TWO), data(THREE)]);
    see("9 B, 11 B, 13 B, end", frames(bench, sent)?)
}

fn empty(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let sent = body([data(ONE), data(""), data(TWO)]);
    see("9 B, 0 B, 11 B, end", frames(bench, sent)?)
}

fn large_frame(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let sent = body([large(300_000)]);
    see("300000 B, end", frames(bench, sent)?)
}

fn many(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let read = read(bench, body(vec![data(ONE); 60]))?;
    let frames = read
        .iter()
        .filter(|given| matches!(given, Given::Data { .. }));
    see(
        "60 frames, end",
        format!("{} frames, {}", frames.count(), listed(read.last())),
    )
}

fn of_failures(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let script = Script::answering(body([data(ONE), data(TWO)]));
    let mut open = bench.open(script.status(StatusCode::SERVICE_UNAVAILABLE))?;
    see("9 B, 11 B, end", listed(&open.read()))
}

fn same_content(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let read = read(bench, body([data(ONE), data(TWO), data(THREE)]))?;
    see(
        [ONE, TWO, THREE].concat().escape_debug(),
        content(&read).escape_ascii(),
    )
}

fn at_once(bench: &Bench<'_>) -> Result<Sight, Stop> {
    // A layer that knows the end need not poll for it, nor keep the body.
    let sent = body([data(ONE), Step::Wait, data(TWO), Step::Wait, data(THREE)]).hiding_its_end();
    let mut open = bench.open(Script::answering(sent))?;
    let mut late = 0;
    // The end is among what must not come late.
    for _ in 0..POLLS_AT_MOST {
        let before = open.seen().response_body.given.len();
        let given = open.poll_body();
        let came = open.seen().response_body.given.len() > before;
        late += usize::from(came && matches!(given, Given::Pending));
        if let Some(Given::End) = open.seen().response_body.given.last() {
            break;
        }
        open.release(|seen| &mut seen.response_body);
    }
    match open.seen().response_body.given.last() {
        Some(Given::End) => see("0 late", format!("{late} late")),
        _ => unseen("the body was not polled to its end"),
    }
}

fn pending(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let first = bench
        .open(Script::answering(body([Step::Wait, data(ONE)])))?
        .poll_body();
    let mut open = bench.open(Script::answering(body([data(ONE), Step::Wait, data(TWO)])))?;
    // How and when the first frame comes has checks of its own.
    let mut read = Vec::new();
    for _ in 0..POLLS_AT_MOST {
        if content(&read).len() >= ONE.len() {
            return see("pending, pending", format!("{first}, {}", open.poll_body()));
        }
        read.push(open.poll_body());
    }
    unseen("the frame before the pause did not come")
}

fn no_copy(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let mut open = bench.open(Script::answering(body([data(ONE), data(TWO)])))?;
    let (mut bytes, mut copied) = (0, 0);
    for _ in 0..POLLS_AT_MOST {
        let given = open.next();
        if !matches!(given, Given::Data { .. }) {
            break;
        }
        bytes += content(std::slice::from_ref(&given)).len();
        copied += given.copied_from(&open.seen().response_body.given);
    }
    if bytes == 0 {
        return unseen("no data came");
    }
    see("0 B copied", format!("{copied} B copied"))
}

fn trailers_after_data(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let read = read(bench, body([data(ONE), data(TWO), Step::Trailers]))?;
    see(listed_fields(&trailers()), found_trailers(&read))
}

/// That there are trailers, or what there is instead. What is in them has a check of its own.
fn some_trailers(read: &[Given]) -> String {
    let is_trailers = |given: &&Given| matches!(given, Given::Trailers(_));
    listed(read.iter().find(is_trailers).or(read.last()))
}

fn trailers_alone(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let read = read(bench, body([Step::Trailers]))?;
    see("trailers", some_trailers(&read))
}

fn trailers_after_exact_size(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let read = read(bench, body([large(4_096), Step::Trailers]).exact())?;
    see("trailers", some_trailers(&read))
}

/// What is read of a body that breaks after 20 bytes.
fn broken<'a>(bench: &Bench<'a>) -> Result<(Open<'a>, Vec<Given>), Stop> {
    let sent = body([data(ONE), data(TWO), Step::Error]);
    let mut open = bench.open(Script::answering(sent))?;
    let read = open.read();
    let given = open.seen().response_body.given.clone();
    // How often the layer polls after that has a check of its own.
    if !given.iter().any(|given| matches!(given, Given::Error(_))) {
        return unseen("the body was not polled until it broke");
    }
    Ok((open, read))
}

fn errors_arrive(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let at_once = read(bench, body([Step::Error]))?;
    let (_, after_data) = broken(bench)?;
    let last = [after_data, at_once].map(|read| listed(read.last()));
    see("error, error", last.join(", "))
}

fn errors_order(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let (_, read) = broken(bench)?;
    match read.last() {
        Some(Given::Error(_)) => see("20 B before", format!("{} B before", content(&read).len())),
        other => unseen(format!("no error but {}", listed(other))),
    }
}

fn errors_once(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let (mut open, read) = broken(bench)?;
    match read.last() {
        Some(Given::Error(_)) => see("error, end", format!("error, {}", open.poll_body())),
        other => unseen(format!("no error but {}", listed(other))),
    }
}

fn errors_source(bench: &Bench<'_>) -> Result<Sight, Stop> {
    match broken(bench)?.1.last() {
        Some(Given::Error(failure)) => see(Failure::SOURCE, failure.source()),
        other => unseen(format!("no error but {}", listed(other))),
    }
}

fn polls_before_asked(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let polls = |sent: BodyScript| {
        let open = bench.open(Script::answering(sent))?;
        let polls = open.seen().response_body.polls;
        Ok(polls)
    };
    let stream = polls(body([data(ONE)]))?;
    let sized = polls(body([data(ONE)]).exact())?;
    see("0 and 0 polls", format!("{stream} and {sized} polls"))
}

fn polls_read_ahead(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let sent = body([data(ONE), data(TWO), data(THREE)]);
    let mut open = bench.open(Script::answering(sent))?;
    // How far the layer went into the body before anyone asked has a check of its own.
    let before = open.seen().response_body.polls;
    let mut ahead = 0;
    for polls in 1..=2 {
        open.poll_body();
        ahead = ahead.max((open.seen().response_body.polls - before).saturating_sub(polls));
    }
    if open.seen().response_body.polls == 0 {
        return unseen("the body was never polled");
    }
    see("0 polls ahead", format!("{ahead} polls ahead"))
}

/// How often the body was polled after it gave what is its last.
fn unasked(open: &Open<'_>) -> Result<Sight, Stop> {
    let seen = open.seen();
    let is_last = |given: &Given| matches!(given, Given::End | Given::Error(_));
    let Some(last) = seen.response_body.given.iter().position(is_last) else {
        return unseen("the body was not polled to its end");
    };
    let unasked = seen.response_body.given.len() - last - 1;
    see("0 polls", format!("{unasked} polls"))
}

fn polls_after_end(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let mut open = bench.open(Script::answering(body([data(ONE)]).hiding_its_end()))?;
    open.read();
    unasked(&open)
}

fn polls_after_error(bench: &Bench<'_>) -> Result<Sight, Stop> {
    unasked(&broken(bench)?.0)
}

fn polls_end_again(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let mut open = bench.open(Script::answering(body([data(ONE)])))?;
    let end = open.read().pop();
    see(
        "end, end, end",
        listed(end.iter().chain(&[open.poll_body(), open.poll_body()])),
    )
}
