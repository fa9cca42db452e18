//! Does the request's head reach the service as it is?

use std::sync::Arc;

use http::{Version, request};

use super::{Check, Sight, extension, see, unseen, values};
use crate::conformance::{
    Capability,
    script::{Script, body},
    stage::{Bench, Stop},
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "request.head",
        capability: Capability::RequestHead,
        consequence: "the service answers another request than the client's",
        look: head,
    },
    Check {
        name: "request.fields",
        capability: Capability::RequestHead,
        consequence: "header fields that the layer has no business with are lost or changed",
        look: fields,
    },
    Check {
        name: "request.extensions",
        capability: Capability::RequestHead,
        consequence: "what the server or an outer layer left for the service is lost: peer \
                      address, matched route, user",
        look: extensions,
    },
    Check {
        name: "upgrade.request",
        capability: Capability::Upgrades,
        consequence: "WebSockets cannot be opened: the service does not get the upgrade's fields \
                      or its extension",
        look: upgrade,
    },
    Check {
        name: "connect.request",
        capability: Capability::Upgrades,
        consequence: "CONNECT tunnels cannot be opened: the service does not get the target or \
                      the upgrade's extension",
        look: connect,
    },
];

/// The head of the request as it was sent, and as the service got it.
fn heads(bench: &Bench<'_>, script: Script) -> Result<(request::Parts, request::Parts), Stop> {
    let mut stage = bench.stage(script)?;
    let (sent, _) = stage.journal.script.request(Arc::default()).into_parts();
    let mut open = stage.call()?;
    open.answer()?;
    match open.seen().request.take() {
        Some(arrived) => Ok((sent, arrived)),
        None => unseen("the service was never called"),
    }
}

fn compare(
    (sent, arrived): (request::Parts, request::Parts),
    what: impl Fn(&request::Parts) -> String,
) -> Result<Sight, Stop> {
    see(what(&sent), what(&arrived))
}

fn request_line(head: &request::Parts) -> String {
    format!("{} {} {:?}", head.method, head.uri, head.version)
}

fn head(bench: &Bench<'_>) -> Result<Sight, Stop> {
    let script = Script::answering(body([])).version(Version::HTTP_2);
    compare(heads(bench, script)?, request_line)
}

fn fields(bench: &Bench<'_>) -> Result<Sight, Stop> {
    compare(heads(bench, Script::answering(body([])))?, |head| {
        values(&head.headers, &["host", "x-foreign"])
    })
}

fn extensions(bench: &Bench<'_>) -> Result<Sight, Stop> {
    compare(heads(bench, Script::answering(body([])))?, |head| {
        extension(&head.extensions).to_owned()
    })
}

fn upgrade(bench: &Bench<'_>) -> Result<Sight, Stop> {
    compare(heads(bench, Script::upgrade())?, |head| {
        let fields = values(&head.headers, &["connection", "upgrade"]);
        format!("{fields}; {}", extension(&head.extensions))
    })
}

fn connect(bench: &Bench<'_>) -> Result<Sight, Stop> {
    compare(heads(bench, Script::connect())?, |head| {
        format!("{}; {}", request_line(head), extension(&head.extensions))
    })
}
