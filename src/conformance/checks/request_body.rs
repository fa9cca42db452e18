//! Does the request's body reach the service as it is, and when it comes?

use super::{
    Check, NOTHING, ONE, POLLS_AT_MOST, Sight, THREE, TWO, content, found_trailers, large, listed,
    listed_fields, promised, see, unseen,
    wakers::{future_waits, idle_future, see_idle},
    woken,
};
use crate::conformance::{
    Capability,
    alarm::Alarm,
    log::{Failure, Given, Hints},
    open::{Head, Open},
    script::{BodyScript, Do, Script, Step, body, data, trailers},
    stage::{Bench, Stop},
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "request_body.frames",
        capability: Capability::RequestBody,
        consequence: "messages of an upload are split or merged",
        look: frames,
    },
    Check {
        name: "request_body.content",
        capability: Capability::RequestBody,
        consequence: "the service reads other bytes than the client sent",
        look: same_content,
    },
    Check {
        name: "request_body.no_copy",
        capability: Capability::RequestBody,
        consequence: "each byte of an upload is copied once more",
        look: no_copy,
    },
    Check {
        name: "request_body.at_once",
        capability: Capability::RequestBody,
        consequence: "what a client sends in mid-stream waits until it sends more",
        look: at_once,
    },
    Check {
        name: "request_body.unread",
        capability: Capability::RequestBody,
        consequence: "the body is read before the service asks for it: `100 Continue` is sent for \
                      uploads that the service refuses, and streams in both directions dead-lock",
        look: unread,
    },
    Check {
        name: "request_body.read_ahead",
        capability: Capability::RequestBody,
        consequence: "back-pressure is lost: more is read of an upload than the service takes",
        look: read_ahead,
    },
    Check {
        name: "request_body.trailers",
        capability: Capability::RequestBody,
        consequence: "the request's trailers are lost: checksums, signatures",
        look: trailers_arrive,
    },
    Check {
        name: "request_body.size_hint",
        capability: Capability::RequestBody,
        consequence: "an upload of known size is forwarded chunked: its `content-length` is lost",
        look: size_hint,
    },
    Check {
        name: "request_body.end_stream",
        capability: Capability::RequestBody,
        consequence: "requests without a body are forwarded as if they had one",
        look: end_stream,
    },
    Check {
        name: "request_body.error",
        capability: Capability::RequestBody,
        consequence: "an upload that breaks off looks complete, or never ends",
        look: error,
    },
    Check {
        name: "request_body.error_source",
        capability: Capability::RequestBody,
        consequence: "the service cannot tell why an upload broke off",
        look: error_source,
    },
    Check {
        name: "request_body.after_end",
        capability: Capability::RequestBody,
        consequence: "a service that polls the request body once more after its end panics, or \
                      reads what is not there",
        look: after_end,
    },
    Check {
        name: "request_body.dropped",
        capability: Capability::RequestBody,
        consequence: "a service that lets go of an upload does not stop the client's sending",
        look: dropped,
    },
    Check {
        name: "request_body.waker",
        capability: Capability::RequestBody,
        consequence: "a client that sends on wakes nobody: the upload hangs",
        look: waker,
    },
    Check {
        name: "request_body.idle",
        capability: Capability::RequestBody,
        consequence: "a quiet upload is polled over and over: it burns CPU",
        look: idle,
    },
];

/// An exchange whose request body the service has read for as many polls.
fn reading<'a>(bench: &Bench<'a>, sent: BodyScript, reads: usize) -> Result<Open<'a>, Stop> {
    let mut open = bench
        .stage(Script::asking(sent, vec![Do::Read; reads]))?
        .call()?;
    let answer = open.drive();
    if open.seen().read.is_empty() {
        return unseen(format!(
            "the service got nothing of the request body: {answer}"
        ));
    }
    Ok(open)
}

/// What the service read of a request body.
fn read(bench: &Bench<'_>, sent: BodyScript, reads: usize) -> Result<Vec<Given>, Stop> {
    let open = reading(bench, sent, reads)?;
    let read = open
        .seen()
        .read
        .iter()
        .map(|read| read.given.clone())
        .collect();
    Ok(read)
}

/// What request bodies said of themselves before the first read and after each.
fn hints<const N: usize>(
    bench: &Bench<'_>,
    sent: [BodyScript; N],
    what: fn(&Hints) -> &str,
) -> Result<String, Stop> {
    let mut said = Vec::new();
    for sent in sent {
        // An empty one is read once, too.
        let reads = sent.steps.len().max(1);
        let open = reading(bench, sent, reads)?;
        let seen = open.seen();
        let before = seen.read.iter().take(1).map(|read| what(&read.before));
        let after = seen.read.iter().map(|read| what(&read.after));
        said.push(before.chain(after).collect::<Vec<_>>().join(", "));
    }
    Ok(said.join("; "))
}

fn frames(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let sent = body([data(ONE), data(""), data(TWO), data(THREE), large(300_000)]);
    see(
        "9 B, 0 B, 11 B, 13 B, 300000 B",
        listed(&read(bench, sent, 5)?),
    )
}

fn same_content(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let read = read(bench, body([data(ONE), data(TWO)]), 3)?;
    see(
        [ONE, TWO].concat().escape_debug(),
        content(&read).escape_ascii(),
    )
}

fn no_copy(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let open = reading(bench, body([data(ONE), data(TWO)]), 2)?;
    let copied: usize = open.seen().read.iter().map(|read| read.copied).sum();
    see("0 B copied", format!("{copied} B copied"))
}

fn at_once(bench: &Bench<'_>) -> Result<Sight, Stop> {
    const READS: usize = 3;
    let sent = body([data(ONE), Step::Wait, data(TWO)]);
    let mut open = bench
        .stage(Script::asking(sent, [Do::Read; READS]))?
        .call()?;
    let answer = open.insist();
    let seen = open.seen();
    if seen.read.is_empty() && !seen.read_late {
        return unseen(format!(
            "the service got nothing of the request body: {answer}"
        ));
    }
    let mut observed = vec![listed(seen.read.iter().map(|read| &read.given))];
    if seen.read.len() < READS && matches!(answer, Head::Panicked(_)) {
        observed.push(answer.to_string());
    }
    if seen.read_late {
        observed.push("late".to_owned());
    }
    see("9 B, 11 B, end", observed.join("; "))
}

fn unread(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let polls = |script: Script| {
        let mut open = bench.stage(script)?.call()?;
        let answered = open.head().map(drop);
        let polls = open.seen().request_body.polls;
        if polls == 0 {
            answered?;
        }
        Ok(polls)
    };
    let stream = body([data(ONE), Step::Wait, data(TWO)]);
    let sized = Script::asking(stream.clone().exact(), []).request_field("content-length", "20");
    let (stream, sized) = (polls(Script::asking(stream, []))?, polls(sized)?);
    see("0 and 0 polls", format!("{stream} and {sized} polls"))
}

fn read_ahead(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let open = reading(bench, body([data(ONE), data(TWO), data(THREE)]), 2)?;
    let seen = open.seen();
    let ahead = (1..)
        .zip(&seen.read)
        .map(|(reads, read)| read.polls.saturating_sub(reads));
    see(
        "0 polls ahead",
        format!("{} polls ahead", ahead.max().unwrap_or(0)),
    )
}

fn trailers_arrive(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let whole = read(bench, body([data(ONE), Step::Trailers]), 3)?;
    let exact = read(bench, body([data(ONE), Step::Trailers]).exact(), 3)?;
    let alone = read(bench, body([Step::Trailers]), 2)?;
    see(
        format!(
            "{}; 9 B, trailers, end; trailers, end",
            listed_fields(&trailers())
        ),
        format!(
            "{}; {}; {}",
            found_trailers(&whole),
            listed(&exact),
            listed(&alone)
        ),
    )
}

fn size_hint(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let known = [body([data(ONE), data(TWO)]).exact(), body([]).exact()];
    let known = hints(bench, known, |hints| &hints.size)?;
    let stream = hints(bench, [body([data(ONE)])], promised)?;
    see(
        format!(
            "exactly 20 B, exactly 11 B, exactly 0 B; exactly 0 B, exactly 0 B; \
             {NOTHING}, {NOTHING}"
        ),
        format!("{known}; {stream}"),
    )
}

fn end_stream(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let sent = [
        body([data(ONE), data(TWO)]).exact(),
        body([]).exact(),
        body([data(ONE), Step::Trailers]).exact(),
    ];
    see(
        "false, false, true; true, true; false, false, true",
        hints(bench, sent, |hints| &hints.is_end_stream)?,
    )
}

fn broken(bench: &Bench<'_>) -> Result<Option<Given>, Stop> {
    Ok(read(bench, body([data(ONE), Step::Error]), 2)?.pop())
}

fn error(bench: &Bench<'_>) -> Result<Sight, Stop> {
    see("error", listed(&broken(bench)?))
}

fn error_source(bench: &Bench<'_>) -> Result<Sight, Stop> {
    match broken(bench)? {
        Some(Given::Error(failure)) => see(Failure::SOURCE, failure.source()),
        other => unseen(format!("no error but {}", listed(&other))),
    }
}

fn after_end(bench: &Bench<'_>) -> Result<Sight, Stop> {
    see("end, end", listed(&read(bench, body([]), 2)?))
}

fn dropped(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let let_go = |handler: &[Do]| {
        let sent = body([data(ONE), Step::Wait]);
        let mut open = bench.stage(Script::asking(sent, handler))?.call()?;
        open.poll_head_until(|seen| seen.future.waits)?;
        let dropped = open.seen().request_body.dropped;
        Ok(if dropped { "dropped" } else { "kept" })
    };
    let unread = let_go(&[Do::LetGoAndWait])?;
    let begun = let_go(&[Do::Read, Do::LetGoAndWait])?;
    see(
        "unread: dropped, begun: dropped",
        format!("unread: {unread}, begun: {begun}"),
    )
}

/// Lets the service read what came after a wait, up to the next wait.
fn read_on_until_it_waits(open: &mut Open<'_>) -> Result<(), Stop> {
    for _ in 0..POLLS_AT_MOST {
        open.poll_head();
        if open.seen().request_body.waits {
            return Ok(());
        }
    }
    unseen("the request body was not polled on")
}

/// A service that waits for more of an upload.
fn waiting<'a>(bench: &Bench<'a>) -> Result<Open<'a>, Stop> {
    let sent = body([Step::Wait, data(ONE), Step::Wait, data(TWO)]);
    let mut open = bench.stage(Script::asking(sent, [Do::Read; 2]))?.call()?;
    open.poll_head_until(|seen| seen.request_body.waits)?;
    Ok(open)
}

fn idle(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let reading = idle_future(&mut waiting(bench)?);
    // What a response does by itself that waits has a check of its own.
    let itself = idle_future(&mut future_waits(bench)?).unwrap_or(0);
    see_idle(reading.map(|rings| rings.saturating_sub(itself)))
}

fn waker(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let mut open = waiting(bench)?;
    let first = woken(&open, |seen| &mut seen.request_body)?;
    open.alarm = Alarm::new();
    read_on_until_it_waits(&mut open)?;
    let second = woken(&open, |seen| &mut seen.request_body)?;
    see(
        "woken, woken by another",
        format!("{first}, {second} by another"),
    )
}
