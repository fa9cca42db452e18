//! What clients make of an event stream: one as the standard has it, and a published parser.

use sse_parse::SseParser;

use crate::reader::{Message, read};

/// What the published parser makes of it: the events, the last id and the time to reconnect after.
pub(crate) fn parsed(bytes: &[u8]) -> (Vec<Message>, String, Option<std::time::Duration>) {
    let mut parser = SseParser::new();
    parser.feed(bytes);
    parser.finish();
    let mut events = Vec::new();
    while let Some(event) = parser.next_event() {
        events.push(Message {
            event: event.event,
            data: event.data,
            id: event.id,
        });
    }
    (events, parser.last_event_id().to_owned(), parser.retry())
}

#[test]
fn the_reader_reads_as_the_standard_has_it() {
    let data = |bytes: &[u8]| -> Vec<String> {
        let events = read(bytes).events.into_iter();
        events.map(|event| event.data).collect()
    };
    let rows: [(&[u8], &[&str]); 12] = [
        (b"data: 1\n\n", &["1"]),
        (b"data: 1\n", &[]),
        (b"data\n\n", &[""]),
        (b"data:  1\ndata:2\n\n", &[" 1\n2"]),
        (b"data: 1\r\rdata: 2\r\n\r\n", &["1", "2"]),
        (b"data: 1\r\n\n", &["1"]),
        (b"\xEF\xBB\xBFdata: 1\n\n", &["1"]),
        (b": x\n\xEF\xBB\xBFdata: 1\n\n", &[]),
        (b"id: 1\n\n\n", &[]),
        (b"data: 1\n: x\n\n", &["1"]),
        (b"Data: 1\n\n", &[]),
        (b"data: \xFF\n\n", &["\u{fffd}"]),
    ];
    for (bytes, expected) in rows {
        assert_eq!(data(bytes), expected, "{}", bytes.escape_ascii());
    }
    for (bytes, expected) in [
        ("", false),
        (": x\n", false),
        (": x", true),
        ("data", true),
        ("data: 1\n", true),
        ("data: 1\n\n", false),
        ("data: 1\n\n: x\r", false),
    ] {
        let reading = read(bytes.as_bytes());
        assert_eq!(reading.is_under_way(), expected, "{bytes:?}");
    }
}
