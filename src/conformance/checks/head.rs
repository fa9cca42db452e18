//! Does the response's head come as it is, and when it is there?

use http::{HeaderMap, StatusCode, Version, response};

use super::{Check, ONE, Sight, TWO, extension, large, see, values};
use crate::conformance::{
    Capability,
    script::{Script, Step, body, data},
    stage::{Bench, Stop},
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "head.at_once",
        capability: Capability::ResponseHead,
        consequence: "the head waits, in the worst case for the end of the stream: the client sees \
                      nothing until then",
        look: at_once,
    },
    Check {
        name: "head.status",
        capability: Capability::ResponseHead,
        consequence: "the client gets another status than the service's",
        look: status,
    },
    Check {
        name: "head.version",
        capability: Capability::ResponseHead,
        consequence: "the response was rebuilt: its version is lost",
        look: version,
    },
    Check {
        name: "head.fields",
        capability: Capability::ResponseHead,
        consequence: "header fields that the layer has no business with are lost, merged or changed",
        look: fields,
    },
    Check {
        name: "head.extensions",
        capability: Capability::ResponseHead,
        consequence: "the response was rebuilt: what the service left for the server or an outer \
                      layer is lost",
        look: extensions,
    },
    Check {
        name: "head.framing",
        capability: Capability::ResponseHead,
        consequence: "a stream gets fields that are for the server alone to set: HTTP/2 refuses \
                      the response, or its length is wrong",
        look: framing,
    },
    Check {
        name: "head.content_length",
        capability: Capability::SizeHint,
        consequence: "a stream of known length is sent without its `content-length`: clients show \
                      no progress and cannot tell a cut download",
        look: content_length,
    },
    Check {
        name: "upgrade.response",
        capability: Capability::Upgrades,
        consequence: "WebSockets cannot be opened: the 101 comes back changed",
        look: upgrade,
    },
    Check {
        name: "connect.response",
        capability: Capability::Upgrades,
        consequence: "CONNECT tunnels cannot be opened: the 200 comes back changed",
        look: connect,
    },
];

/// Fields that no layer may add to a stream. Those of the connection are the server's business in
/// HTTP/1.1, and malformed in HTTP/2 (RFC 9113 §8.2.2); a length is not known.
const FRAMING: [&str; 6] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// Which of them the layer has added to those that the service sent.
fn added(sent: &HeaderMap, got: &HeaderMap) -> String {
    let is_added = |name: &&str| got.contains_key(*name) && !sent.contains_key(*name);
    let added: Vec<_> = FRAMING.into_iter().filter(is_added).collect();
    if added.is_empty() {
        return NOTHING_ADDED.to_owned();
    }
    format!("added: {}", added.join(", "))
}

const NOTHING_ADDED: &str = "nothing added";

/// The head of the response as the service sent it, and as it comes out of the layer.
fn heads(bench: &Bench<'_>, script: Script) -> Result<[response::Parts; 2], Stop> {
    let mut stage = bench.stage(script)?;
    let sent = stage.journal.script.response(()).into_parts().0;
    let got = stage.call()?.head()?.clone();
    Ok([sent, got])
}

fn compare(
    heads: &[response::Parts; 2],
    what: impl Fn(&response::Parts) -> String,
) -> Result<Sight, Stop> {
    let [sent, got] = heads;
    see(what(sent), what(got))
}

fn at_once(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let stream = body([Step::Wait, data(ONE)]);
    let mut open = bench.stage(Script::answering(stream))?.call()?;
    see("a response", open.poll_head_until(|seen| seen.answered)?)
}

fn status(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let answered = |status| {
        let script = Script::answering(body([data(ONE)])).status(status);
        let [_, got] = heads(bench, script)?;
        Ok(got.status.as_str().to_owned())
    };
    let success = answered(StatusCode::ACCEPTED)?;
    // A layer may take it for an error of its own.
    let failure = answered(StatusCode::SERVICE_UNAVAILABLE).or_else(Stop::reason)?;
    see("202, 503", format!("{success}, {failure}"))
}

fn version(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let script = Script::answering(body([data(ONE)])).version(Version::HTTP_2);
    compare(&heads(bench, script)?, |head| format!("{:?}", head.version))
}

fn fields(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let script = Script::answering(body([data(ONE)]));
    compare(&heads(bench, script)?, |head| {
        values(&head.headers, &["etag", "set-cookie", "x-foreign"])
    })
}

fn extensions(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let script = Script::answering(body([data(ONE)]));
    compare(&heads(bench, script)?, |head| {
        extension(&head.extensions).to_owned()
    })
}

fn framing(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let stream = body([data(ONE), data(TWO)]);
    let [sent, got] = heads(bench, Script::answering(stream.clone()))?;
    let to_stream = added(&sent.headers, &got.headers);
    // Who knows the length may say it.
    let sized = Script::answering(stream.exact()).response_field("content-length", "20");
    let [sent, got] = heads(bench, sized)?;
    let to_sized = added(&sent.headers, &got.headers);
    see(
        format!("{NOTHING_ADDED}; {NOTHING_ADDED}"),
        format!("{to_stream}; {to_sized}"),
    )
}

fn content_length(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let script = Script::answering(body([large(4_096)])).response_field("content-length", "4096");
    compare(&heads(bench, script)?, |head| {
        values(&head.headers, &["content-length"])
    })
}

/// All that makes the connection a tunnel.
fn tunnel(bench: &Bench<'_>, script: Script) -> Result<Sight, Stop> {
    let heads = heads(bench, script)?;
    compare(&heads, |head| {
        format!(
            "{}, {}, {}, {}",
            head.status.as_str(),
            values(&head.headers, &["connection", "upgrade"]),
            added(&heads[0].headers, &head.headers),
            extension(&head.extensions)
        )
    })
}

fn upgrade(bench: &Bench<'_>) -> Result<Sight, Stop> {
    tunnel(bench, Script::upgrade())
}

fn connect(bench: &Bench<'_>) -> Result<Sight, Stop> {
    tunnel(bench, Script::connect())
}
