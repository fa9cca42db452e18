//! When `KeepAliveLayer` puts in a comment, and what it leaves alone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake},
    time::Duration,
};

use bytes::Bytes;
use http_body::Body;
use tower_passthrough::sse::{KeepAliveBody, KeepAliveLayer};

use crate::{
    clock::Clock,
    common::{Given, Hints, hints, poll_body},
    events::{Fed, Feed, read, streamed},
};

const SECOND: Duration = Duration::from_secs(1);
const COMMENT: &str = ": keep-alive\n";

/// A layer that puts in a comment after ten seconds of this clock.
fn layer(clock: &Clock) -> KeepAliveLayer<Clock> {
    let builder = KeepAliveLayer::builder(10 * SECOND, clock.clone());
    builder.build().unwrap()
}

type Watched = std::pin::Pin<Box<KeepAliveBody<Fed, Clock>>>;

fn open() -> (Feed, Clock, Watched) {
    let (feed, clock) = (Feed::default(), Clock::default());
    let body = streamed(&layer(&clock), feed.body());
    (feed, clock, body)
}

enum Do {
    Send(&'static [u8]),
    Wait(u32),
}

fn send(text: &'static str) -> Do {
    Do::Send(text.as_bytes())
}

/// The frames that come out, each as soon as it is there.
fn frames(acts: &[Do]) -> Vec<String> {
    let (feed, clock, mut body) = open();
    let mut frames = read(&mut body);
    for act in acts {
        match act {
            Do::Send(bytes) => feed.data(*bytes),
            Do::Wait(seconds) => clock.pass(*seconds * SECOND),
        }
        frames.append(&mut read(&mut body));
    }
    frames
}

#[test]
fn comments_are_put_in_between_events_when_it_is_quiet() {
    use Do::Wait;
    type Row = (&'static str, Vec<Do>, &'static [&'static str]);
    let rows: [Row; 11] = [
        ("not before it is time", vec![Wait(9)], &[]),
        ("before the first event", vec![Wait(10)], &[COMMENT]),
        (
            "each interval",
            vec![Wait(10), Wait(9), Wait(1), Wait(10)],
            &[COMMENT; 3],
        ),
        ("late is once", vec![Wait(35), Wait(9)], &[COMMENT]),
        (
            "between two events",
            vec![send("data: 1\n\n"), Wait(10), send("data: 2\n\n")],
            &["data: 1\n\n", COMMENT, "data: 2\n\n"],
        ),
        (
            "a frame begins the quiet anew",
            vec![Wait(9), send("data: 1\n\n"), Wait(9), Wait(1)],
            &["data: 1\n\n", COMMENT],
        ),
        (
            "an empty frame does not",
            vec![Wait(9), send(""), Wait(1), Wait(9)],
            &["", COMMENT],
        ),
        (
            "after comments of the stream's own",
            vec![send("data: 1\n\n: own\n"), Wait(10)],
            &["data: 1\n\n: own\n", COMMENT],
        ),
        (
            "after CRLF",
            vec![send("data: 1\r\n\r\n"), Wait(10)],
            &["data: 1\r\n\r\n", COMMENT],
        ),
        (
            "once a CR has its LF",
            vec![
                send("data: 1\r\n\r"),
                Wait(10),
                send("\n"),
                Wait(9),
                Wait(1),
            ],
            &["data: 1\r\n\r", "\n", COMMENT],
        ),
        (
            "after a blank line without data",
            vec![send("id: 1\n\n"), Wait(10)],
            &["id: 1\n\n", COMMENT],
        ),
    ];
    for (name, acts, expected) in rows {
        assert_eq!(frames(&acts), expected, "{name}");
    }
}

#[test]
fn no_comment_is_put_in_where_it_could_be_read_as_something_else() {
    for begun in [
        "d",
        "data: 1",
        "data: 1\n",
        "data",
        "id: 1\n",
        "event: x\n",
        "retry: 1\n",
        "unknown\n",
        "data: 1\n: own\n",
        "data: 1\n\ndata: 2\n",
        "data: 1\n\n: ow",
        ":",
        "data: 1\n\r",
        "data: 1\r\r",
        "data: 1\r",
        "\r",
        "\u{feff}d",
    ] {
        let acts = [send(begun), Do::Wait(10), Do::Wait(10)];
        assert_eq!(frames(&acts), [begun], "{begun:?}");
    }
    // Nor within the mark itself.
    for begun in [b"\xEF".as_slice(), b"\xEF\xBB"] {
        let acts = [Do::Send(begun), Do::Wait(10)];
        assert_eq!(frames(&acts), [begun.escape_ascii().to_string()]);
    }
}

#[test]
fn no_comment_is_put_in_at_any_byte_of_an_event() {
    for event in [
        "id: 1\nevent: x\ndata: a\ndata\n\n",
        "id: 1\r\ndata: a\r\n\r\n",
        ": own\nretry: 5\nx\ndata: a\n\n",
    ] {
        let mut acts = Vec::new();
        let mut expected = Vec::new();
        for at in 0..event.len() {
            acts.extend([send(&event[at..=at]), Do::Wait(10)]);
            expected.push(&event[at..=at]);
            let own_comment_is_over = event[..=at].ends_with(": own\n");
            if at + 1 == event.len() || own_comment_is_over {
                expected.push(COMMENT);
            }
        }
        assert_eq!(frames(&acts), expected, "{event:?}");
    }
}

#[test]
fn a_stream_of_cr_alone_gets_comments_before_it_begins_only() {
    let acts = [
        Do::Wait(10),
        send("data: 1\r\r"),
        Do::Wait(10),
        send("data: 2\r\r"),
        Do::Wait(10),
    ];
    assert_eq!(frames(&acts), [COMMENT, "data: 1\r\r", "data: 2\r\r"]);
}

#[test]
fn the_comment_is_the_one_that_was_set() {
    for (text, expected) in [
        ("still here", ": still here\n"),
        ("", ": \n"),
        (" : ü", ":  : ü\n"),
    ] {
        let clock = Clock::default();
        let builder = KeepAliveLayer::builder(SECOND, clock.clone()).comment(text);
        let mut body = streamed(&builder.build().unwrap(), Feed::default().body());
        assert!(read(&mut body).is_empty());
        clock.pass(SECOND);
        assert_eq!(read(&mut body), [expected]);
    }
}

#[test]
fn layers_that_would_do_harm_are_not_built() {
    let refused = |interval, text| {
        let builder = KeepAliveLayer::builder(interval, Clock::default()).comment(text);
        builder.build().unwrap_err().to_string()
    };
    assert_eq!(
        refused(Duration::ZERO, "x"),
        "keep-alive: the interval is zero, comments would never cease"
    );
    for text in ["a\nb", "a\rb", "\n", "x\r\n"] {
        assert_eq!(
            refused(SECOND, text),
            format!(
                "keep-alive: the comment {text:?} is not one line, what follows its end would be \
                 read as a field"
            )
        );
    }
}

#[test]
fn frames_pass_at_the_poll_that_yields_them_from_their_own_memory() {
    let (feed, clock, mut body) = open();
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    for text in ["data: 1\n\n", "data", ": ", "2\r\n\r", "\n", ""] {
        let sent = Bytes::from(text);
        feed.data(sent.clone());
        let polls = feed.polls();
        let Given::Data(given) = poll_body(&mut body, cx) else {
            panic!("no data");
        };
        assert_eq!(feed.polls(), polls + 1);
        assert_eq!((given.as_ptr(), &given), (sent.as_ptr(), &sent));
        // One poll of the body is one of the inner one, in vain too.
        assert_eq!(poll_body(&mut body, cx), Given::Pending);
        assert_eq!(feed.polls(), polls + 2);
        clock.pass(SECOND);
    }
}

#[test]
fn a_stream_that_goes_on_touches_no_timer() {
    let (feed, clock, mut body) = open();
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    for _ in 0..10_000 {
        feed.data("data: 1\n\n");
        assert!(matches!(poll_body(&mut body, cx), Given::Data(_)));
        clock.pass(SECOND);
    }
    assert_eq!((clock.made(), clock.asked(), clock.polled()), (0, 0, 0));
}

#[test]
fn a_stream_that_stops_and_goes_arms_one_sleep_an_interval() {
    let (feed, clock, mut body) = open();
    for _ in 0..10_000 {
        assert!(read(&mut body).is_empty());
        clock.pass(SECOND / 100);
        feed.data("data: 1\n\n");
        assert_eq!(read(&mut body), ["data: 1\n\n"]);
    }
    // 100 s in all. Each is armed anew for what is left, when it is over.
    assert_eq!((clock.made(), clock.held()), (11, 1));
}

#[test]
fn who_waits_is_woken_when_a_comment_is_due() {
    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (feed, clock, mut body) = open();
    let count = Arc::new(Count::default());
    let waker = Arc::clone(&count).into();
    let cx = &mut Context::from_waker(&waker);
    let woken = || count.0.swap(0, Ordering::SeqCst);

    assert_eq!(poll_body(&mut body, cx), Given::Pending);
    clock.pass(9 * SECOND);
    assert_eq!(woken(), 0);
    clock.pass(SECOND);
    assert_eq!(woken(), 1);
    assert_eq!(poll_body(&mut body, cx), Given::Data(COMMENT.into()));
    assert_eq!(poll_body(&mut body, cx), Given::Pending);

    clock.pass(5 * SECOND);
    feed.data("data: 1\n\n");
    assert_eq!(woken(), 1);
    assert_eq!(poll_body(&mut body, cx), Given::Data("data: 1\n\n".into()));
    assert_eq!(poll_body(&mut body, cx), Given::Pending);
    // The sleep that was armed before is over, and armed anew.
    clock.pass(5 * SECOND);
    assert_eq!(woken(), 1);
    assert_eq!(poll_body(&mut body, cx), Given::Pending);
    clock.pass(5 * SECOND);
    assert_eq!(woken(), 1);
    assert_eq!(poll_body(&mut body, cx), Given::Data(COMMENT.into()));
}

#[test]
fn nothing_follows_trailers_an_error_or_the_end() {
    type End = fn(&Feed);
    let ends: [(&str, End); 3] = [
        ("trailers", Feed::trailers),
        ("error", Feed::error),
        ("end", Feed::end),
    ];
    for (expected, end) in ends {
        let (feed, clock, mut body) = open();
        feed.data("data: 1\n\n");
        end(&feed);
        feed.size(0, Some(0));
        assert_eq!(read(&mut body), ["data: 1\n\n", expected]);
        let over = Hints {
            lower: 0,
            upper: Some(0),
            is_end_stream: false,
        };
        assert_eq!(hints(&body), over, "{expected}");
        for _ in 0..3 {
            assert!(read(&mut body).is_empty(), "{expected}");
            clock.pass(10 * SECOND);
        }
        assert_eq!((clock.made(), clock.held()), (0, 0), "{expected}");
        feed.end();
        assert_eq!(read(&mut body), ["end"], "{expected}");
    }
}

#[test]
fn a_stream_that_may_be_added_to_has_no_upper_bound() {
    let feed = Feed::default();
    feed.size(7, Some(9));
    let clock = Clock::default();
    let body = streamed(&layer(&clock), feed.body());
    let at_least = |lower| Hints {
        lower,
        upper: None,
        is_end_stream: false,
    };
    assert_eq!(hints(&body), at_least(7));
    feed.size(2, Some(9));
    assert_eq!(hints(&body), at_least(2));
    feed.show_end();
    assert!(body.is_end_stream());
}
