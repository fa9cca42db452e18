//! What a tap must tell of a stream: slow, and by what a browser reads.

use tower_passthrough::{
    observe::Outcome,
    sse::{self, Tapped},
};

use crate::reader::{Message, lines, read};

/// [`Tapped`], to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Event(Message),
    Skipped(u64),
    Lost,
    End(Outcome),
}

impl From<Tapped<'_>> for Told {
    fn from(tapped: Tapped<'_>) -> Self {
        match tapped {
            Tapped::Event(sse::Event {
                event, id, data, ..
            }) => Self::Event(Message::new(event, id, data)),
            Tapped::Skipped { bytes } => Self::Skipped(bytes),
            Tapped::Lost => Self::Lost,
            Tapped::End(outcome) => Self::End(outcome),
            _ => panic!("there is no other"),
        }
    }
}

/// What is told of a stream that has come so far: events whose lines are longer are not read, but
/// for ids that are not longer themselves.
pub(crate) fn tap(bytes: &[u8], max_event_bytes: usize) -> Vec<Told> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    // One character for each byte.
    let mut lines = lines(&bytes.iter().copied().map(char::from).collect::<String>());
    lines.pop();

    let mut told = Vec::new();
    // No mark behind this is a leading one.
    let mut read_so_far = b":\n".to_vec();
    let mut event = Vec::new();
    for line in lines {
        let is_blank = line.is_empty();
        let is_comment = line.starts_with(':');
        let bytes: Vec<u8> = line.chars().map(|char| char as u8).collect();
        event.extend((!is_comment).then_some(bytes));
        if !is_blank {
            continue;
        }
        let events_before = read(&read_so_far).events.len();
        let with = |event: &[Vec<u8>]| [&read_so_far[..], &event.join(&b'\n'), b"\n"].concat();
        let length: usize = event.iter().map(Vec::len).sum();
        if length > max_event_bytes {
            if read(&with(&event)).events.len() > events_before {
                told.push(Told::Skipped(length as u64));
            }
            let is_short_id =
                |line: &Vec<u8>| line.starts_with(b"id") && line.len() <= max_event_bytes;
            event.retain(|line| line.is_empty() || is_short_id(line));
        }
        read_so_far = with(&event);
        let events = read(&read_so_far).events;
        told.extend(events.into_iter().skip(events_before).map(Told::Event));
        event.clear();
    }
    told
}
