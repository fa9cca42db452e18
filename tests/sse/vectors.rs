//! What the tests `eventsource/format-*` of web-platform-tests send, and the events that a browser
//! passes them by. Those that differ by their content type alone are with the layers' heads.

use tower_passthrough::sse::Scanner;

use crate::reader::{Message, read};

pub(crate) struct Vector {
    pub(crate) name: &'static str,
    pub(crate) stream: Vec<u8>,
    pub(crate) events: Vec<Message>,
}

/// The type, the id and the data of each event.
fn vector(name: &'static str, stream: &str, events: &[(&str, &str, &str)]) -> Vector {
    let event = |&(event, id, data): &(&str, &str, &str)| Message::new(event, id, data);
    Vector {
        name,
        stream: stream.into(),
        events: events.iter().map(event).collect(),
    }
}

/// Of messages without an id, all but the data go without saying.
fn messages(name: &'static str, stream: &str, data: &[&str]) -> Vector {
    let events: Vec<_> = data.iter().map(|data| ("message", "", *data)).collect();
    vector(name, stream, &events)
}

/// Where an exact sequence of bytes is sent it stands here whole. The others end with three LF.
pub(crate) fn vectors() -> Vec<Vector> {
    let mut vectors = marks_and_lines();
    vectors.extend(fields());
    vectors.extend(ids());
    vectors
}

fn marks_and_lines() -> Vec<Vector> {
    let long = "x".repeat(2 * 1024);
    let comments =
        format!("data:1\r:\0\n:\r\ndata:2\n:{long}\rdata:3\n:data:fail\r:{long}\ndata:4\n\n");
    vec![
        messages(
            "bom",
            "\u{feff}data:1\n\n\u{feff}data:2\n\ndata:3\n\n\n",
            &["1", "3"],
        ),
        messages(
            "bom-2",
            "\u{feff}\u{feff}data:1\n\ndata:2\n\ndata:3\n\n\n",
            &["2", "3"],
        ),
        messages("comments", &comments, &["1\n2\n3\n4"]),
        messages(
            "data-before-final-empty-line",
            "retry:1000\ndata:test1\n\nid:test\ndata:test2\n",
            &["test1"],
        ),
        messages(
            "leading-space",
            "data:\ttest\rdata: \ndata:test\n\n\n",
            &["\ttest\n\ntest"],
        ),
        messages(
            "newlines",
            "data:test\r\ndata\ndata:test\r\n\r\n",
            &["test\n\ntest"],
        ),
        messages("null-character", "data:\0\n\n\n\n\n", &["\0"]),
        messages("utf-8", "data:ok\u{2026}\n\n\n", &["ok\u{2026}"]),
    ]
}

fn fields() -> Vec<Vector> {
    vec![
        messages(
            "field-data",
            "data:\n\ndata\ndata\n\ndata:test\n\n\n",
            &["", "\n", "test"],
        ),
        messages("field-event-empty", "event: \ndata:data\n\n\n", &["data"]),
        vector(
            "field-event",
            "event:test\ndata:x\n\ndata:x\n\n\n",
            &[("test", "", "x"), ("message", "", "x")],
        ),
        messages(
            "field-parsing",
            "data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\n\
             data:3\rdata:\r\n data:32\ndata:4\n\n",
            &["\0\n 2\n1\n3\n\n4"],
        ),
        messages(
            "field-retry-bogus",
            "retry:3000\nretry:1000x\ndata:x\n\n\n",
            &["x"],
        ),
        messages("field-retry-empty", "retry\ndata:test\n\n\n", &["test"]),
        messages("field-retry", "retry:03000\ndata:x\n\n\n", &["x"]),
        messages(
            "field-unknown",
            "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n\n",
            &["test\n\ntest"],
        ),
    ]
}

/// A stream that is reconnected begins anew here: it is the client that remembers the last id.
fn ids() -> Vec<Vector> {
    let hello = "id: \u{2026}\nretry: 200\ndata: hello\n\n";
    vec![
        vector("field-id", hello, &[("message", "\u{2026}", "hello")]),
        messages(
            "field-id, field-id-2: reconnected",
            "data: \u{2026}\n\n",
            &["\u{2026}"],
        ),
        vector(
            "field-id-3: persists",
            "id: 1\ndata: 1\n\ndata:2\n\n",
            &[("message", "1", "1"), ("message", "1", "2")],
        ),
        vector(
            "field-id-3: changes and persists",
            "id: 1\ndata: 1\n\nid: 2\ndata:2\n\ndata:3\n\n",
            &[
                ("message", "1", "1"),
                ("message", "2", "2"),
                ("message", "2", "3"),
            ],
        ),
        vector(
            "field-id-3: resets",
            "id: 1\ndata: 1\n\nid:\ndata:2\n\ndata:3\n\n",
            &[
                ("message", "1", "1"),
                ("message", "", "2"),
                ("message", "", "3"),
            ],
        ),
        messages(
            "field-id-null",
            "id: \0\0\nretry: 200\ndata: hello\n\n",
            &["hello"],
        ),
    ]
}

#[test]
fn the_reference_reads_each_as_a_browser_does() {
    for Vector {
        name,
        stream,
        events,
    } in vectors()
    {
        assert_eq!(read(&stream).events, events, "{name}");
    }
}

#[test]
fn the_scanner_counts_the_events_of_each_whole_and_byte_by_byte() {
    for Vector {
        name,
        stream,
        events,
    } in vectors()
    {
        let events = events.len() as u64;
        let mut whole = Scanner::new();
        assert_eq!(whole.feed(&stream), events, "{name}");

        let mut bytewise = Scanner::new();
        let counts = stream.chunks(1).map(|byte| bytewise.feed(byte));
        assert_eq!(counts.sum::<u64>(), events, "{name}");
    }
}
