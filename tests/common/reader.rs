//! How a browser reads an event stream: slow, and plainly what the standard says.
#![allow(dead_code, reason = "each test file uses a part")]

use std::time::Duration;

/// An event as a client is given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) event: String,
    pub(crate) id: String,
    pub(crate) data: String,
}

impl Message {
    pub(crate) fn new(event: &str, id: &str, data: &str) -> Self {
        let [event, id, data] = [event, id, data].map(str::to_owned);
        Self { event, id, data }
    }
}

/// All that a client knows of a stream that has come so far.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) events: Vec<Message>,
    /// The lines that are over, blank ones and comments included.
    pub(crate) lines: Vec<String>,
    /// The line that is not over.
    pub(crate) rest: String,
    /// Whether there is a field since the last blank line.
    pub(crate) is_mid_event: bool,
    pub(crate) last_event_id: String,
    /// The time to reconnect after, if it was told.
    pub(crate) retry: Option<Duration>,
}

impl Reading {
    /// Whether something was begun that is lost if the stream ends here, comments aside.
    pub(crate) fn is_under_way(&self) -> bool {
        self.is_mid_event || !self.rest.is_empty()
    }
}

/// Reads as HTML §9.2.5 and §9.2.6 say.
pub(crate) fn read(bytes: &[u8]) -> Reading {
    read_after("", bytes)
}

/// The same for a client that has come back with this id.
pub(crate) fn read_after(last_event_id: &str, bytes: &[u8]) -> Reading {
    // "UTF-8 decode": a leading mark is stripped, what is not UTF-8 becomes U+FFFD.
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    let mut lines = lines(&text);
    let rest = lines.pop().expect("the line that is not over");

    let mut reading = Reading::default();
    let (mut event, mut data) = (String::new(), String::new());
    let mut id = last_event_id.to_owned();
    reading.last_event_id.clone_from(&id);
    for line in &lines {
        if line.is_empty() {
            reading.last_event_id.clone_from(&id);
            if let Some(all_but_last) = data.strip_suffix('\n') {
                let kind = if event.is_empty() { "message" } else { &event };
                let event = Message::new(kind, &id, all_but_last);
                reading.events.push(event);
            }
            event.clear();
            data.clear();
            reading.is_mid_event = false;
            continue;
        }
        if line.starts_with(':') {
            continue;
        }
        reading.is_mid_event = true;
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut event),
            "data" => data = data + value + "\n",
            "id" if !value.contains('\0') => value.clone_into(&mut id),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                let millis = value.parse().ok();
                reading.retry = millis.map(Duration::from_millis).or(reading.retry);
            }
            _ => {}
        }
    }
    reading.lines = lines;
    reading.rest = rest;
    reading
}

/// The lines, and at last what comes after the last end of a line.
pub(crate) fn lines(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        if char == '\r' && chars.peek() == Some(&'\n') {
            continue; // The line ends with the pair.
        }
        if matches!(char, '\r' | '\n') {
            lines.push(String::new());
        } else {
            lines.last_mut().expect("one at least").push(char);
        }
    }
    lines
}
