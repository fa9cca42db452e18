//! The checks. Each makes one exchange with a script of its own and looks at one thing, so that
//! one fault fails one check.

mod body;
mod cancellation;
mod head;
mod hints;
mod readiness;
mod request;
mod request_body;
mod wakers;

use std::fmt;

use bytes::Bytes;
use http::{Extensions, HeaderMap};

use super::{
    Capability,
    log::{Actor, ExchangeSeen, Given, Hints},
    open::Open,
    script::{Marker, Step},
    stage::{Bench, Stop},
};

/// One thing that a layer must leave as it is.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) capability: Capability,
    /// What it does to a user if it fails.
    pub(super) consequence: &'static str,
    pub(super) look: fn(&Bench<'_>) -> Result<Sight, Stop>,
}

/// What was to be seen, and what was seen. The check passes if they are the same.
pub(super) struct Sight {
    pub(super) expected: String,
    pub(super) observed: String,
}

#[allow(clippy::unnecessary_wraps, reason = "what each check ends with")]
fn see(expected: impl fmt::Display, observed: impl fmt::Display) -> Result<Sight, Stop> {
    Ok(Sight {
        expected: expected.to_string(),
        observed: observed.to_string(),
    })
}

/// All checks, in the order of an exchange.
pub(super) fn all() -> impl Iterator<Item = &'static Check> {
    [
        readiness::CHECKS,
        request::CHECKS,
        request_body::CHECKS,
        head::CHECKS,
        body::CHECKS,
        hints::CHECKS,
        cancellation::CHECKS,
        wakers::CHECKS,
    ]
    .into_iter()
    .flatten()
}

// What the scripted bodies yield: events, so that layers that read them have something to read.
const ONE: &str = "data: 1\n\n";
const TWO: &str = "data: two\n\n";
const THREE: &str = "data: three\n\n";

/// A frame so large that no layer leaves it alone for being small.
fn large(len: usize) -> Step {
    Step::Data(Bytes::from(vec![b'\n'; len]))
}

/// More than the steps of a script, for a layer that takes some more of them.
const POLLS_AT_MOST: usize = 20;

fn listed<'a>(given: impl IntoIterator<Item = &'a Given>) -> String {
    let mut given: Vec<_> = given.into_iter().map(Given::to_string).collect();
    if given.is_empty() {
        return "nothing".to_owned();
    }
    if given.len() > POLLS_AT_MOST {
        given.truncate(POLLS_AT_MOST);
        given.push("and so on".to_owned());
    }
    given.join(", ")
}

/// The bytes of all data.
fn content(given: &[Given]) -> Vec<u8> {
    let data = given.iter().filter_map(|given| match given {
        Given::Data { content, .. } => Some(content.as_slice()),
        _ => None,
    });
    data.collect::<Vec<_>>().concat()
}

fn listed_fields(fields: &HeaderMap) -> String {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.as_bytes().escape_ascii()))
        .collect();
    fields.join(", ")
}

fn found_trailers(given: &[Given]) -> String {
    let trailers = given.iter().find_map(|given| match given {
        Given::Trailers(trailers) => Some(listed_fields(trailers)),
        _ => None,
    });
    trailers.unwrap_or_else(|| listed(given.last()))
}

/// All values of these fields.
fn values(headers: &HeaderMap, names: &[&str]) -> String {
    let values: Vec<_> = names
        .iter()
        .map(|name| {
            let values = headers.get_all(*name).iter();
            let values: Vec<_> = values
                .map(|value| value.as_bytes().escape_ascii().to_string())
                .collect();
            format!("{name}: {}", values.join(" | "))
        })
        .collect();
    values.join(", ")
}

fn extension(extensions: &Extensions) -> &'static str {
    match extensions.get::<Marker>() {
        Some(_) => "extension",
        None => "no extension",
    }
}

/// Whether the one who polled last is woken when something scripted goes on.
fn woken(
    open: &Open<'_>,
    actor: fn(&mut ExchangeSeen) -> &mut Actor,
) -> Result<&'static str, Stop> {
    let rings = open.alarm.rings();
    if !open.release(actor) {
        return unseen("nothing waits");
    }
    Ok(open.alarm.rang_since(rings))
}

/// What a body of unknown size promises. A layer that cuts it at a limit may say so.
fn promised(hints: &Hints) -> &str {
    match hints.size.as_str() {
        "unknown" => NOTHING,
        size if size.starts_with("at most") => NOTHING,
        size => size,
    }
}

const NOTHING: &str = "no size promised";

fn unseen<T>(why: impl fmt::Display) -> Result<T, Stop> {
    Err(Stop::Unseen(why.to_string()))
}
