//! Exchanges, and all that is recorded of each, in both styles. It is one table, so it is one file.

use http::{HeaderMap, Method};
use tower_passthrough::{
    metrics::{
        GRPC_SERVER_HANDLED_TOTAL, REQUEST_BODY_BYTES, REQUEST_DURATION_SECONDS,
        REQUESTS_IN_FLIGHT, REQUESTS_TOTAL, RESPONSE_BODY_BYTES, RESPONSE_FIRST_BYTE_SECONDS,
        RESPONSE_HEAD_SECONDS, RESPONSES_ENDED_TOTAL, semconv,
    },
    observe::Outcome,
};

use crate::{
    common::{End, OUTCOMES, Size, Step},
    drive::{Does, Exchange, Until, answer, answering, exchange, hinting},
    series::{Expected, Labels, Series, with},
};

/// The kinds of exchanges that the table is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    Unary,
    Stream,
    Grpc,
    Upgrade,
}

/// A gRPC status code: as `grpc_code`, as `rpc.response.status_code`, and whether it has an
/// `error.type`.
pub(crate) type Code = (&'static str, &'static str, bool);

pub(crate) const CODES: [Code; 17] = [
    ("OK", "OK", false),
    ("Canceled", "CANCELLED", false),
    ("Unknown", "UNKNOWN", true),
    ("InvalidArgument", "INVALID_ARGUMENT", false),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED", true),
    ("NotFound", "NOT_FOUND", false),
    ("AlreadyExists", "ALREADY_EXISTS", false),
    ("PermissionDenied", "PERMISSION_DENIED", false),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED", false),
    ("FailedPrecondition", "FAILED_PRECONDITION", false),
    ("Aborted", "ABORTED", false),
    ("OutOfRange", "OUT_OF_RANGE", false),
    ("Unimplemented", "UNIMPLEMENTED", true),
    ("Internal", "INTERNAL", true),
    ("Unavailable", "UNAVAILABLE", true),
    ("DataLoss", "DATA_LOSS", true),
    ("Unauthenticated", "UNAUTHENTICATED", false),
];

/// The bytes that the request of each row announces.
const REQUEST_BYTES: usize = 7;

/// An exchange, and what is recorded of it.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) exchange: Exchange,
    pub(crate) method: &'static str,
    /// The status and the kind, if there is a head.
    pub(crate) head: Option<(&'static str, &'static str)>,
    /// The status, if there is no head.
    pub(crate) otherwise: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) bytes: usize,
    /// Whether it is under way until what is left of it is dropped.
    pub(crate) is_held: bool,
    /// The code, if it is a gRPC call.
    pub(crate) call: Option<Code>,
}

impl Row {
    /// A GET with a response head.
    pub(crate) fn of(
        name: &'static str,
        exchange: Exchange,
        head: (&'static str, &'static str),
        outcome: Outcome,
        bytes: usize,
    ) -> Self {
        let mut row = Self {
            name,
            exchange,
            method: "GET",
            head: Some(head),
            otherwise: "none",
            outcome,
            bytes,
            is_held: false,
            call: None,
        };
        let length = REQUEST_BYTES.to_string().parse().unwrap();
        let fields = row.exchange.request.headers_mut();
        fields.insert("content-length", length);
        row
    }

    /// A GET without a response head.
    pub(crate) fn headless(
        name: &'static str,
        does: Exchange,
        status: &'static str,
        outcome: Outcome,
    ) -> Self {
        Self {
            head: None,
            otherwise: status,
            ..Self::of(name, does, ("", ""), outcome, 0)
        }
    }

    pub(crate) fn held(self) -> Self {
        Self {
            is_held: true,
            ..self
        }
    }

    pub(crate) fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        *self.exchange.request.method_mut() = method.parse().unwrap();
        self
    }

    /// Makes it a call of `/chat.v1.Chat/Say`.
    pub(crate) fn call(self, code: &str) -> Self {
        let mut row = self.method("POST");
        *row.exchange.request.uri_mut() = "/chat.v1.Chat/Say".parse().unwrap();
        let fields = row.exchange.request.headers_mut();
        fields.insert("content-type", "application/grpc".parse().unwrap());
        row.call = CODES.iter().copied().find(|known| known.0 == code);
        assert!(row.call.is_some(), "{code}");
        row
    }

    /// Whether it shows that the service knows the method. Each row has a layer of its own, to
    /// which it is new.
    fn is_answered_as_call(&self) -> bool {
        self.head.is_some_and(|(_, kind)| kind == "grpc")
    }

    fn kind(&self) -> &'static str {
        match (self.head, self.call) {
            (Some((_, kind)), _) => kind,
            (None, Some(_)) => "grpc",
            (None, None) => "unary",
        }
    }

    /// What the default style records, once the exchange is over or before.
    pub(crate) fn expected(&self, base: &Labels<'_>, is_over: bool) -> Series {
        let kind = self.kind();
        let status = self.head.map_or(self.otherwise, |(status, _)| status);
        let by_kind = with(base, [("kind", kind)]);
        let by_status = with(base, [("status", status)]);
        let mut expected = Expected::default()
            .value(REQUESTS_IN_FLIGHT, base, usize::from(!is_over))
            .bytes(REQUEST_BODY_BYTES, base, &[REQUEST_BYTES]);
        if self.head.is_some() {
            expected = expected.seconds(RESPONSE_HEAD_SECONDS, &by_kind, 1);
        }
        if matches!(kind, "stream" | "grpc") && self.bytes > 0 {
            expected = expected.seconds(RESPONSE_FIRST_BYTE_SECONDS, &by_kind, 1);
        }
        if self.head.is_some() || is_over {
            expected = expected.value(REQUESTS_TOTAL, &by_status, 1);
        }
        if is_over {
            let ended = with(&by_status, [("outcome", self.outcome.as_str())]);
            expected = expected.value(RESPONSES_ENDED_TOTAL, &ended, 1).seconds(
                REQUEST_DURATION_SECONDS,
                &by_kind,
                1,
            );
        }
        if self.head.is_some() && is_over {
            expected = expected.bytes(RESPONSE_BODY_BYTES, &by_kind, &[self.bytes]);
        }
        if let (Some((code, ..)), true) = (self.call, is_over) {
            let (service, method) = if self.is_answered_as_call() && code != "Unimplemented" {
                ("chat.v1.Chat", "Say")
            } else {
                ("_other", "_other")
            };
            let names = [
                ("grpc_service", service),
                ("grpc_method", method),
                ("grpc_code", code),
            ];
            expected = expected.value(GRPC_SERVER_HANDLED_TOTAL, &with(base, names), 1);
        }
        expected.0
    }

    /// What the OpenTelemetry style records, once the exchange is over or before.
    pub(crate) fn conventional(&self, is_over: bool) -> Series {
        let method = [("http.request.method", self.method), ("url.scheme", "http")];
        let mut expected =
            Expected::default().value(semconv::ACTIVE_REQUESTS, &method, usize::from(!is_over));
        if !is_over {
            return expected.0;
        }
        let mut labels = with(&method, [("network.protocol.version", "1.1")]);
        labels.extend(self.head.map(|(it, _)| ("http.response.status_code", it)));
        let is_whole = matches!(self.outcome, Outcome::Complete | Outcome::Upgraded);
        let failed = self.head.map(|(it, _)| it).filter(|it| it.starts_with('5'));
        labels.extend(match (is_whole, failed) {
            (false, _) => Some(("error.type", self.outcome.as_str())),
            (true, Some(status)) => Some(("error.type", status)),
            (true, None) => None,
        });
        expected = expected
            .seconds(semconv::REQUEST_DURATION, &labels, 1)
            .bytes(semconv::REQUEST_BODY_SIZE, &labels, &[REQUEST_BYTES]);
        if self.head.is_some() {
            expected = expected.bytes(semconv::RESPONSE_BODY_SIZE, &labels, &[self.bytes]);
        }
        if let Some((_, code, is_error)) = self.call {
            let method = if self.is_answered_as_call() && code != "UNIMPLEMENTED" {
                "chat.v1.Chat/Say"
            } else {
                "_OTHER"
            };
            let mut labels = vec![
                ("rpc.system.name", "grpc"),
                ("rpc.method", method),
                ("rpc.response.status_code", code),
            ];
            labels.extend(is_error.then_some(("error.type", code)));
            expected = expected.seconds(semconv::RPC_DURATION, &labels, 1);
        }
        expected.0
    }
}

/// What a body of each sort answers with, and the last that it yields.
fn answered(
    sort: Sort,
) -> (
    (&'static str, &'static str),
    &'static str,
    Size,
    &'static [Step],
) {
    match sort {
        Sort::Unary => (("201", "unary"), "text/html", Size::Exact, &[]),
        Sort::Stream => (("200", "stream"), "text/html", Size::Unknown, &[]),
        Sort::Grpc => (
            ("200", "grpc"),
            "application/grpc+proto",
            Size::Unknown,
            &[Step::Trailers],
        ),
        Sort::Upgrade => unreachable!("its body is not looked at"),
    }
}

/// An exchange of this sort with this outcome, or why there is none.
pub(crate) fn row(sort: Sort, outcome: Outcome) -> Result<Row, &'static str> {
    use Outcome::{BodyError, Cancelled, Complete, Disconnected, Panicked, ServiceError, Upgraded};
    let is_call = sort == Sort::Grpc;
    let called = |row: Row, code| if is_call { row.call(code) } else { row };
    match (sort, outcome) {
        (Sort::Stream | Sort::Upgrade, ServiceError | Cancelled) => {
            Err("without a head nobody knows that it would have been one")
        }
        (Sort::Unary | Sort::Grpc, ServiceError) => {
            let row = Row::headless("failed", exchange(Does::Fail), "500", outcome);
            Ok(called(row, "Internal"))
        }
        (Sort::Unary | Sort::Grpc, Cancelled) => {
            let row = Row::headless("pending", exchange(Does::NeverAnswer), "499", outcome);
            Ok(called(row.held(), "Canceled"))
        }
        (Sort::Upgrade, Upgraded) => {
            let switching = answering(answer(101, &[], [])).upgrade().keeping_tunnel();
            Ok(Row::of("101", switching, ("101", "upgrade"), outcome, 0).held())
        }
        (Sort::Upgrade, _) => Err("the tunnel has the exchange: its body, if any, has no say"),
        (_, Upgraded) => Err("what is upgraded is an upgrade"),
        (_, Complete | BodyError | Disconnected | Panicked) => {
            let (head, content_type, size, last) = answered(sort);
            let (steps, until, bytes, code) = match outcome {
                Complete => (
                    [&[Step::Data(3), Step::Pending, Step::Data(2)], last].concat(),
                    Until::End,
                    5,
                    "OK",
                ),
                BodyError => (
                    vec![Step::Data(0), Step::Data(4), Step::Error, Step::Data(20)],
                    Until::End,
                    4,
                    "Internal",
                ),
                Panicked => (
                    vec![Step::Data(16), Step::Data(1), Step::Panic, Step::Data(20)],
                    Until::End,
                    17,
                    "Internal",
                ),
                _ => (
                    vec![Step::Data(3), Step::Pending, Step::Data(2), Step::Data(1)],
                    Until::Polls(2),
                    3,
                    "Canceled",
                ),
            };
            let response = answer(
                head.0.parse().unwrap(),
                &[("content-type", content_type)],
                steps,
            );
            let mut response = hinting(response, size, End::Hidden);
            response.body_mut().trailers = status("0");
            let exchange = answering(response).until(until);
            let row = Row::of("with a body", exchange, head, outcome, bytes);
            let row = if outcome == Disconnected {
                row.held()
            } else {
                row
            };
            Ok(called(row, code))
        }
        _ => Err("an outcome that the table does not know"),
    }
}

pub(crate) fn status(code: &str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert("grpc-status", code.parse().unwrap());
    fields
}

/// What the table has, and more ways to the same ends.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = possible();
    rows.extend(headless_rows());
    rows.extend(streamed_rows());
    rows.extend(complete_when_dropped_rows());
    rows.extend(upgrade_rows());
    rows
}

/// Each outcome of each sort that can be.
pub(crate) fn possible() -> Vec<Row> {
    [Sort::Unary, Sort::Stream, Sort::Grpc, Sort::Upgrade]
        .into_iter()
        .flat_map(|sort| OUTCOMES.map(|outcome| row(sort, outcome)))
        .filter_map(Result::ok)
        .collect()
}

fn headless_rows() -> [Row; 4] {
    let unpolled = || answering(answer(200, &[], [])).until(Until::Called);
    let row = Row::headless;
    let in_call = exchange(Does::PanicInCall);
    let in_future = || exchange(Does::PanicInFuture);
    [
        row("never polled", unpolled(), "499", Outcome::Cancelled).held(),
        row("panicked in the call", in_call, "500", Outcome::Panicked),
        row(
            "panicked in the future",
            in_future(),
            "500",
            Outcome::Panicked,
        ),
        row("call panicked", in_future(), "500", Outcome::Panicked).call("Internal"),
    ]
}

/// What is a stream by its content type, whatever its length; and bodies that nobody polled.
fn streamed_rows() -> [Row; 5] {
    let typed = |content_type| {
        let fields = [("content-type", content_type)];
        hinting(
            answer(206, &fields, [Step::Data(5)]),
            Size::Exact,
            End::Hidden,
        )
    };
    let plain = || answer(200, &[], [Step::Data(5)]);
    let unpolled = answering(plain()).until(Until::Head);
    let empty = answering(answer(200, &[], [Step::Data(0)]));
    let events = answering(typed("text/event-stream; charset=utf-8"));
    let lines = answering(typed("application/x-ndjson"));
    let sized = hinting(plain(), Size::Exact, End::Hidden);
    let sized = answering(sized).until(Until::Head);
    let stream = ("200", "stream");
    [
        Row::of("events", events, ("206", "stream"), Outcome::Complete, 5),
        Row::of("lines", lines, ("206", "stream"), Outcome::Complete, 5),
        Row::of("an empty frame", empty, stream, Outcome::Complete, 0),
        Row::of("unpolled", unpolled, stream, Outcome::Disconnected, 0).held(),
        Row::of("sized", sized, ("200", "unary"), Outcome::Disconnected, 0).held(),
    ]
}

/// Bodies that are dropped before they are polled to the end, and are complete all the same.
fn complete_when_dropped_rows() -> [Row; 6] {
    let five = |status| answer(status, &[], [Step::Data(5)]);
    let sized = answer(200, &[("content-length", "5")], [Step::Data(5)]);
    let sized = answering(sized).until(Until::Polls(1));
    let exact = hinting(five(200), Size::Exact, End::Hidden);
    let exact = answering(exact).until(Until::Polls(1));
    let shown = hinting(five(200), Size::Unknown, End::Shown);
    let shown = answering(shown).until(Until::Polls(1));
    let unpolled = |status| answering(five(status)).until(Until::Head);
    let unary = ("200", "unary");
    let row = |name, exchange, head, bytes| Row::of(name, exchange, head, Outcome::Complete, bytes);
    [
        row("at the content-length", sized, unary, 5).held(),
        row("at the exact size", exact, unary, 5).held(),
        row("at the shown end", shown, ("200", "stream"), 5),
        row("204", unpolled(204), ("204", "unary"), 0).held(),
        row("304", unpolled(304), ("304", "unary"), 0).held(),
        row("HEAD", unpolled(503), ("503", "unary"), 0)
            .method("HEAD")
            .held(),
    ]
}

pub(crate) fn upgrade_rows() -> [Row; 4] {
    let switching = || answering(answer(101, &[], [])).upgrade();
    let connected = || answering(answer(200, &[], [])).method(Method::CONNECT);
    let row =
        |name, exchange, status| Row::of(name, exchange, (status, "upgrade"), Outcome::Upgraded, 0);
    [
        row("101", switching(), "101"),
        row("101, kept", switching().keeping_tunnel(), "101").held(),
        row("CONNECT", connected(), "200").method("CONNECT"),
        row("CONNECT, kept", connected().keeping_tunnel(), "200")
            .method("CONNECT")
            .held(),
    ]
}
