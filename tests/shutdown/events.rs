//! Streams of events whose bytes are known from their number.

use std::str::from_utf8;

/// What there is to know of an event, once it is parsed.
fn plain(stream: usize, id: u64) -> String {
    format!("id: {id}\nevent: tick\ndata: event {id}\ndata: of stream {stream}")
}

/// The same as it is sent: line ends differ from event to event.
fn sent(stream: usize, id: u64) -> String {
    let line_end = match (stream as u64 + id) % 3 {
        0 => "\n",
        1 => "\r\n",
        _ => "\r",
    };
    let event = plain(stream, id).replace('\n', line_end);
    format!("{event}{line_end}{line_end}")
}

/// Some events follow a comment.
fn comment(id: u64) -> &'static str {
    if id % 4 == 0 { ": note\n" } else { "" }
}

/// All that is sent for this event.
pub(crate) fn bytes(stream: usize, id: u64) -> Vec<u8> {
    format!("{}{}", comment(id), sent(stream, id)).into()
}

/// How many bytes are sent up to the end of this event.
pub(crate) fn length(stream: usize, last: u64) -> usize {
    (1..=last).map(|id| bytes(stream, id).len()).sum()
}

/// The same for some place within this event.
pub(crate) fn length_within(stream: usize, id: u64) -> usize {
    // Before the line end that may belong to a blank line.
    let places = sent(stream, id).len() - 3;
    length(stream, id - 1) + comment(id).len() + 1 + 7 * stream % places
}

/// The ids of the events in all bytes that a client was sent, each of them whole.
pub(crate) fn ids(stream: usize, bytes: &[u8]) -> Vec<u64> {
    let text = from_utf8(bytes).unwrap();
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "stream {stream} ends within a line: {text:?}"
    );
    let counts = |line: &&str| !line.starts_with(':') && !line.starts_with("retry:");
    let lines: Vec<_> = text.split('\n').filter(counts).collect();
    let text = lines.join("\n");
    let mut events: Vec<_> = text.split("\n\n").collect();
    let rest = events.pop();
    assert_eq!(rest, Some(""), "stream {stream} ends within an event");
    let id = |event: &str| {
        let (first, _) = event.split_once('\n').unwrap();
        let id = first.strip_prefix("id: ").unwrap().parse().unwrap();
        assert_eq!(event, plain(stream, id), "stream {stream}");
        id
    };
    events.into_iter().map(id).collect()
}
