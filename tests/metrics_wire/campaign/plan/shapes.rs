//! The shapes of exchanges, one function each, and how often each is drawn.

use std::iter::repeat_n;

use tower_passthrough::observe::Outcome;

use super::{Answer, Ask, Does, Keeps, Leave, Plan, Step, Then, Upload, total};
use crate::{net::Proto, random::Random};

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
