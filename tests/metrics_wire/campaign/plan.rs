//! What a client asks for, what the service does, and when the client leaves.

use std::iter::repeat_n;

use http::Method;
use tower_passthrough::observe::Outcome;

use crate::net::Proto;

/// The service and the method of all gRPC calls.
pub(crate) const GRPC: (&str, &str) = ("pkg.Svc", "Get");

/// One exchange.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Its name, and the value of its label `path`.
    pub(crate) shape: &'static str,
    pub(crate) proto: Proto,
    pub(crate) ask: Ask,
    pub(crate) upload: Upload,
    pub(crate) does: Does,
    pub(crate) leave: Leave,
    /// How it ends if nothing is left to chance.
    pub(crate) certain: Option<Outcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Get,
    Head,
    Post,
    /// Of a gRPC method.
    Call,
    Upgrade,
    Connect,
}

/// The body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upload {
    Nothing,
    Sized(usize),
    /// As many frames of 100 bytes.
    Streamed(usize),
    /// As many frames, and then neither more nor an end.
    Open(usize),
}

/// What the service does.
#[derive(Debug, Clone)]
pub(crate) struct Does {
    pub(crate) reads_upload: bool,
    /// How often it yields before it goes on.
    pub(crate) waits: usize,
    pub(crate) then: Then,
}

#[derive(Debug, Clone)]
pub(crate) enum Then {
    Answer(Answer),
    Fail,
    Hang,
    Panic,
    PanicInCall,
}

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    /// The `content-length`.
    pub(crate) declares: Option<usize>,
    /// Whether the body tells its exact size.
    pub(crate) is_exact: bool,
    /// Whether the body shows that it is over as soon as it is.
    pub(crate) shows_end: bool,
    /// The `grpc-status` of the head.
    pub(crate) grpc_status: Option<usize>,
    pub(crate) steps: Vec<Step>,
    pub(crate) keeps: Keeps,
}

/// One step of a response body. `None` once they are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Data(usize),
    /// Pending, and awake again at once.
    Wait,
    /// Pending for ever.
    Hold,
    /// With a `grpc-status`, or with none.
    Trailers(Option<usize>),
    Error,
    Panic,
}

/// Who keeps the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    Nobody,
    /// The response body.
    Body,
    /// The task that serves the tunnel, until it has begun.
    ToBegin,
    /// The task that serves the tunnel, until it is over.
    ToEnd,
}

/// When the client leaves, if it does not wait for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    Never,
    /// The service has the request.
    Called,
    /// As many bytes of the response have come.
    Bytes(usize),
    /// Others were let go first as often.
    Yields(usize),
}

impl Ask {
    pub(crate) fn method(self) -> Method {
        match self {
            Self::Get | Self::Upgrade => Method::GET,
            Self::Head => Method::HEAD,
            Self::Post | Self::Call => Method::POST,
            Self::Connect => Method::CONNECT,
        }
    }

    /// The value of its label `method`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Get | Self::Upgrade => "GET",
            Self::Head => "HEAD",
            Self::Post | Self::Call => "POST",
            Self::Connect => "CONNECT",
        }
    }

    pub(crate) fn is_call(self) -> bool {
        self == Self::Call
    }

    fn may_upgrade(self) -> bool {
        matches!(self, Self::Upgrade | Self::Connect)
    }
}

impl Upload {
    /// The length that the request tells.
    pub(crate) fn announces(self) -> Option<u64> {
        match self {
            Self::Nothing => Some(0),
            Self::Sized(bytes) => Some(bytes as u64),
            Self::Streamed(_) | Self::Open(_) => None,
        }
    }
}

impl Answer {
    pub(crate) fn is_tunnel_to(&self, ask: Ask) -> bool {
        ask.may_upgrade() && matches!(self.status, 101 | 200)
    }

    pub(crate) fn has_no_content_to(&self, ask: Ask) -> bool {
        ask == Ask::Head || matches!(self.status, 204 | 304)
    }

    /// The length at which a server may let go of the body.
    pub(crate) fn announces(&self) -> Option<usize> {
        let exact = self.is_exact.then(|| total(&self.steps));
        match (self.declares, exact) {
            (Some(declared), Some(exact)) => Some(declared.min(exact)),
            (declared, exact) => declared.or(exact),
        }
    }
}

impl Plan {
    /// The kind of the exchange, if it comes to a head.
    pub(crate) fn kind(&self) -> &'static str {
        let Then::Answer(answer) = &self.does.then else {
            unreachable!("there is no head");
        };
        if answer.is_tunnel_to(self.ask) {
            return "upgrade";
        }
        match answer.content_type {
            "application/grpc+proto" => "grpc",
            _ if answer.has_no_content_to(self.ask) => "unary",
            "text/event-stream" | "application/x-ndjson" => "stream",
            _ if answer.announces().is_none() => "stream",
            _ => "unary",
        }
    }

    /// Whether an HTTP/1 connection can go on after the response was read to its end.
    pub(crate) fn leaves_connection_open(&self) -> bool {
        !self.ask.may_upgrade() && (self.upload == Upload::Nothing || self.does.reads_upload)
    }
}

pub(crate) fn total(steps: &[Step]) -> usize {
    let bytes = |step: &Step| match step {
        Step::Data(bytes) => *bytes,
        _ => 0,
    };
    steps.iter().map(bytes).sum()
}

/// Numbers without any system to them, always the same ones from the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(crate) fn one_in(&mut self, all: usize) -> bool {
        self.below(all) == 0
    }

    /// Below 256, and as often small as large.
    pub(crate) fn early_or_late(&mut self) -> usize {
        let end = 1 << self.below(9);
        self.below(end)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// A plan for a connection of this protocol, which lasts or is cut at some time.
pub(crate) fn plan(random: &mut Random, proto: Proto, is_cut: bool) -> Plan {
    let mut plan = Plan {
        proto,
        ..shape(random, proto)
    };
    plan.does.waits = random.below(4);
    let leaves = !is_cut && plan.leave == Leave::Never && random.one_in(3);
    if leaves {
        plan.leave = Leave::Yields(random.early_or_late());
    }
    if is_cut || leaves {
        plan.certain = None;
        prolong(random, &mut plan.does);
    }
    plan
}

/// Makes it take longer, so that there is more to be interrupted.
fn prolong(random: &mut Random, does: &mut Does) {
    does.waits = random.early_or_late() / 4;
    if let Then::Answer(answer) = &mut does.then {
        let waits = random.early_or_late() / 4;
        let wait = |step| repeat_n(Step::Wait, waits).chain([step]);
        answer.steps = answer.steps.iter().copied().flat_map(wait).collect();
    }
}

type Shape = fn(&mut Random, Proto) -> Plan;

fn shape(random: &mut Random, proto: Proto) -> Plan {
    let shapes: [(usize, Shape); 17] = [
        (10, unary),
        (10, stream),
        (6, stream_of_known_length),
        (5, trailers),
        (12, grpc),
        (5, head),
        (5, no_content),
        (9, tunnel),
        (3, refused_tunnel),
        (8, upload),
        (4, service_error),
        (6, body_error),
        (6, panic),
        (6, gone_before_head),
        (9, gone_mid_body),
        (6, gone_at_length),
        (3, too_short),
    ];
    let mut ticket = random.below(shapes.iter().map(|(weight, _)| weight).sum());
    for (weight, shape) in shapes {
        match ticket.checked_sub(weight) {
            Some(rest) => ticket = rest,
            None => return shape(random, proto),
        }
    }
    unreachable!("a ticket beyond the last shape");
}

/// A GET that is answered so and read to the end.
fn answered(shape: &'static str, answer: Answer) -> Plan {
    Plan {
        shape,
        proto: Proto::H1,
        ask: Ask::Get,
        upload: Upload::Nothing,
        does: Does {
            reads_upload: false,
            waits: 0,
            then: Then::Answer(answer),
        },
        leave: Leave::Never,
        certain: Some(Outcome::Complete),
    }
}

/// A body of unknown size that shows its end to nobody.
fn ok(content_type: &'static str, steps: Vec<Step>) -> Answer {
    Answer {
        status: 200,
        content_type,
        declares: None,
        is_exact: false,
        shows_end: false,
        grpc_status: None,
        steps,
        keeps: Keeps::Nobody,
    }
}

fn bytes(random: &mut Random) -> usize {
    match random.below(40) {
        0 => 0,
        // More than HTTP/2 lets pass at once.
        1 => 70_000,
        2..6 => 2_000,
        _ => 1 + random.below(40),
    }
}

/// As many frames as `least` or more, some after a pause.
fn frames(random: &mut Random, least: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..least + random.below(5) {
        if random.one_in(3) {
            steps.push(Step::Wait);
        }
        steps.push(Step::Data(bytes(random)));
    }
    steps
}

fn streaming_type(random: &mut Random) -> &'static str {
    random.of(&["text/html", "text/event-stream", "application/x-ndjson"])
}

fn unary(random: &mut Random, _: Proto) -> Plan {
    let answer = Answer {
        status: random.of(&[200, 201, 404, 503]),
        is_exact: true,
        shows_end: !random.one_in(3),
        ..ok("text/html", vec![Step::Data(bytes(random))])
    };
    answered("unary", answer)
}

fn stream(random: &mut Random, _: Proto) -> Plan {
    let answer = Answer {
        shows_end: random.one_in(2),
        ..ok(streaming_type(random), frames(random, 0))
    };
    answered("stream", answer)
}

fn stream_of_known_length(random: &mut Random, _: Proto) -> Plan {
    let steps = frames(random, 1);
    let answer = Answer {
        declares: Some(total(&steps)),
        ..ok(streaming_type(random), steps)
    };
    answered("stream-of-known-length", answer)
}

fn trailers(random: &mut Random, _: Proto) -> Plan {
    let mut steps = frames(random, 1);
    steps.push(Step::Trailers(None));
    answered("trailers", ok("text/html", steps))
}

fn grpc_answer(random: &mut Random) -> Answer {
    let mut steps = frames(random, 1);
    // 17 has no name.
    let code = random.below(18);
    match random.below(5) {
        0 => Answer {
            grpc_status: Some(code),
            shows_end: true,
            ..ok("application/grpc+proto", vec![])
        },
        1 => ok("application/grpc+proto", steps),
        2 => Answer {
            status: 503,
            is_exact: true,
            ..ok("text/html", steps)
        },
        _ => {
            steps.push(Step::Trailers(Some(code)));
            ok("application/grpc+proto", steps)
        }
    }
}

fn grpc(random: &mut Random, _: Proto) -> Plan {
    let answer = grpc_answer(random);
    calling(random, answered("grpc", answer))
}

/// Makes it a gRPC call whose message is read.
fn calling(random: &mut Random, mut plan: Plan) -> Plan {
    plan.ask = Ask::Call;
    plan.upload = random.of(&[Upload::Sized(25), Upload::Streamed(3)]);
    plan.does.reads_upload = true;
    plan
}

/// Makes it a gRPC call, or leaves it as it is.
fn perhaps_calling(random: &mut Random, mut plan: Plan) -> Plan {
    if !random.one_in(3) {
        return plan;
    }
    if let Then::Answer(answer) = &mut plan.does.then {
        answer.content_type = "application/grpc+proto";
    }
    calling(random, plan)
}

fn head(random: &mut Random, _: Proto) -> Plan {
    let steps = frames(random, 1);
    let answer = Answer {
        is_exact: random.one_in(2),
        shows_end: random.one_in(2),
        ..ok(streaming_type(random), steps)
    };
    Plan {
        ask: Ask::Head,
        ..answered("head", answer)
    }
}

fn no_content(random: &mut Random, _: Proto) -> Plan {
    let answer = Answer {
        status: random.of(&[204, 304]),
        ..ok("text/html", frames(random, 0))
    };
    answered("no-content", answer)
}

fn asks_tunnel(random: &mut Random, proto: Proto) -> Ask {
    match proto {
        Proto::H1 => random.of(&[Ask::Upgrade, Ask::Connect]),
        Proto::H2 => Ask::Connect,
    }
}

fn tunnel(random: &mut Random, proto: Proto) -> Plan {
    let ask = asks_tunnel(random, proto);
    let answer = Answer {
        status: if ask == Ask::Upgrade { 101 } else { 200 },
        is_exact: true,
        shows_end: true,
        keeps: random.of(&[Keeps::Nobody, Keeps::ToBegin, Keeps::ToEnd]),
        ..ok("text/html", vec![])
    };
    Plan {
        ask,
        certain: Some(Outcome::Upgraded),
        ..answered("tunnel", answer)
    }
}

fn refused_tunnel(random: &mut Random, proto: Proto) -> Plan {
    let answer = Answer {
        status: 403,
        keeps: random.of(&[Keeps::Nobody, Keeps::Body]),
        ..ok("text/html", frames(random, 1))
    };
    Plan {
        ask: asks_tunnel(random, proto),
        ..answered("refused-tunnel", answer)
    }
}

fn upload(random: &mut Random, _: Proto) -> Plan {
    let upload = random.of(&[
        Upload::Sized(0),
        Upload::Sized(500),
        Upload::Sized(100_000),
        Upload::Streamed(7),
        Upload::Open(2),
    ]);
    let mut plan = answered("upload", ok("text/html", frames(random, 0)));
    plan.ask = Ask::Post;
    plan.upload = upload;
    plan.does.reads_upload = random.one_in(2);
    if let Upload::Open(_) = upload {
        // Whoever reads it is told of the client's leaving, perhaps before it is let go.
        plan.leave = Leave::Called;
        plan.certain = None;
    } else if !plan.does.reads_upload {
        // On HTTP/1 the server may close the connection before the client has read the answer.
        plan.certain = None;
    }
    plan
}

fn service_error(random: &mut Random, _: Proto) -> Plan {
    let mut plan = answered("service-error", ok("text/html", vec![]));
    plan.does.then = Then::Fail;
    plan.certain = Some(Outcome::ServiceError);
    perhaps_calling(random, plan)
}

fn body_error(random: &mut Random, _: Proto) -> Plan {
    let mut steps = frames(random, 0);
    steps.push(Step::Error);
    let answer = Answer {
        declares: random.one_in(2).then(|| total(&steps) + 1),
        ..ok(streaming_type(random), steps)
    };
    let mut plan = answered("body-error", answer);
    plan.certain = Some(Outcome::BodyError);
    perhaps_calling(random, plan)
}

fn panic(random: &mut Random, _: Proto) -> Plan {
    let mut steps = frames(random, 0);
    steps.push(Step::Panic);
    let mut plan = answered("panic", ok(streaming_type(random), steps));
    match random.below(3) {
        0 => plan.does.then = Then::PanicInCall,
        1 => plan.does.then = Then::Panic,
        _ => {}
    }
    plan.certain = Some(Outcome::Panicked);
    perhaps_calling(random, plan)
}

fn gone_before_head(random: &mut Random, proto: Proto) -> Plan {
    let mut plan = answered("gone-before-head", ok("text/html", vec![]));
    plan.ask = match random.below(4) {
        0 => asks_tunnel(random, proto),
        1 => Ask::Head,
        _ => Ask::Get,
    };
    plan.does.then = Then::Hang;
    plan.leave = Leave::Called;
    plan.certain = Some(Outcome::Cancelled);
    if plan.ask == Ask::Get {
        plan = perhaps_calling(random, plan);
        // Who reads an upload is told of the client's leaving, perhaps before it is let go. And
        // while nobody reads it, a server on HTTP/1 does not see the client leave.
        plan.upload = Upload::Nothing;
        plan.does.reads_upload = false;
    }
    plan
}

fn gone_mid_body(random: &mut Random, _: Proto) -> Plan {
    let mut steps = frames(random, 0);
    let bytes = total(&steps);
    steps.push(Step::Hold);
    let answer = Answer {
        declares: random.one_in(3).then_some(bytes + 1),
        ..ok(streaming_type(random), steps)
    };
    let mut plan = answered("gone-mid-body", answer);
    plan.leave = Leave::Bytes(random.below(bytes + 1));
    plan.certain = Some(Outcome::Disconnected);
    perhaps_calling(random, plan)
}

fn gone_at_length(random: &mut Random, _: Proto) -> Plan {
    let mut steps = frames(random, 1);
    let bytes = total(&steps);
    steps.push(Step::Hold);
    let declares = random.one_in(2);
    let answer = Answer {
        declares: declares.then_some(bytes),
        is_exact: !declares,
        ..ok(streaming_type(random), steps)
    };
    let mut plan = answered("gone-at-length", answer);
    plan.leave = Leave::Bytes(bytes);
    perhaps_calling(random, plan)
}

/// The body ends before its announced length, which the client takes for an error.
fn too_short(random: &mut Random, _: Proto) -> Plan {
    let steps = frames(random, 0);
    let answer = Answer {
        declares: Some(total(&steps) + 1),
        ..ok("text/html", steps)
    };
    answered("too-short", answer)
}
