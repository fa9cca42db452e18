//! What must happen. Written from the docs of `tower_passthrough::observe`, above all from the
//! table there, on top of the bare service; it has nothing of the code under test but its names.
//!
//! It is one file, to be read from top to bottom beside that table.

use std::{sync::Arc, task::Context};

use http::{HeaderValue, Method, StatusCode};
use tower_passthrough::observe::Outcome;

use crate::{
    case::{Case, Fate, Hook, Kind, Length, Part},
    common::Hints,
    stack::field,
    stage::{
        AnyService, Bare, Event, Given, Incoming, Inner, Metric, Panic, Running, Stage, Subject,
        Summary, Told, Who,
    },
};

/// The bare service, and what each layer must make of it.
pub(crate) struct Oracle {
    case: Arc<Case>,
    stage: Arc<Stage>,
    bare: Running,
    /// From outside.
    layers: Vec<Exchange>,
    /// How many hold the tunnel that was offered to the service.
    holders: usize,
}

/// One layer's exchange.
struct Exchange {
    number: usize,
    kind: Kind,
    parts: Vec<Part>,
    stage: Arc<Stage>,
    method: Method,
    place: Place,
    head: Option<Facts>,
    frames: u64,
    bytes: u64,
    has_trailers: bool,
}

/// Where an exchange is under way, and so what ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Future,
    Body,
    Tunnel,
    /// It is over, or nobody watches it.
    Nowhere,
}

/// What the head says of how the exchange may end.
#[derive(Debug, Clone, Copy)]
struct Facts {
    status: StatusCode,
    has_no_content: bool,
    /// What `content-length` announces.
    length: Option<u64>,
    /// The body's exact size.
    exact: Option<u64>,
}

impl Facts {
    fn new(status: StatusCode, method: &Method, length: &Length, hints: &Hints) -> Self {
        Self {
            status,
            has_no_content: *method == Method::HEAD
                || status.is_informational()
                || status == 204
                || status == 304,
            length: match *length {
                Length::Is(length) => Some(length),
                Length::Repeated(first, second) => (first == second).then_some(first),
                Length::Malformed(_) | Length::None => None,
            },
            exact: Some(hints.lower).filter(|lower| hints.upper == Some(*lower)),
        }
    }
}

impl Exchange {
    fn who(&self, part: usize) -> Who {
        Who {
            layer: self.number,
            part,
        }
    }

    /// The parts that watch, with their numbers.
    fn watching(&self) -> Vec<(usize, Part)> {
        let parts = self.parts.iter().copied().enumerate();
        parts.filter(|(_, part)| part.watches).collect()
    }

    fn has_observer(&self) -> bool {
        self.kind != Kind::Headers && !self.watching().is_empty()
    }

    /// Tells each part of this, until one panics at it.
    fn tell(&self, told: &Told, is_it: impl Fn(Hook) -> bool) -> Result<(), Panic> {
        if !matches!(self.kind, Kind::Observe | Kind::Pair) {
            return Ok(());
        }
        for (part, plan) in self.watching() {
            let who = self.who(part);
            self.stage.write(Event::Told(who, told.clone()));
            if let Some(hook) = plan.bomb.filter(|hook| is_it(*hook)) {
                return Err(Panic::User(who, hook));
            }
        }
        Ok(())
    }

    /// "Called exactly once, last." All parts are told, also if one panics at it. The first panic
    /// goes on, unless another one unwinds already.
    fn end(&mut self, outcome: Outcome, unwinding: bool) -> Result<(), Panic> {
        self.place = Place::Nowhere;
        let mut panic = Ok(());
        for (part, plan) in self.watching() {
            let who = self.who(part);
            match self.kind {
                Kind::Observe | Kind::Pair => {
                    self.stage.write(Event::Told(who, Told::End(outcome)));
                }
                Kind::Capture => {
                    let summary = Told::Summary(self.summary(outcome));
                    self.stage.write(Event::Told(who, summary));
                }
                Kind::Metrics => self.end_metrics(outcome),
                Kind::Headers => {}
            }
            if plan.bomb == Some(Hook::End) && !unwinding && panic.is_ok() {
                panic = Err(Panic::User(who, Hook::End));
            }
        }
        panic
    }

    fn summary(&self, outcome: Outcome) -> Summary {
        Summary {
            method: self.method.clone(),
            status: self.head.map(|head| head.status),
            outcome,
            bytes: self.bytes,
            frames: self.frames,
            trailers: self.has_trailers,
            has_time_to_head: self.head.is_some(),
            has_time_to_first_byte: self.bytes > 0,
        }
    }

    fn end_metrics(&self, outcome: Outcome) {
        let status = match (&self.head, outcome) {
            (Some(head), _) => head.status.as_str(),
            (None, Outcome::Cancelled) => "499",
            (None, _) => "500",
        };
        let write = |metric| self.stage.metric(self.number, metric);
        if self.head.is_none() {
            write(Metric::Requests {
                status: status.to_owned(),
            });
        } else {
            write(Metric::Bytes(self.bytes));
        }
        write(Metric::Ended {
            status: status.to_owned(),
            outcome: outcome.to_string(),
        });
        write(Metric::InFlight(-1));
    }

    /// What a drop means in this place: the rows of the table that say "dropped".
    fn meaning_of_drop(&self) -> Outcome {
        let Some(head) = self.head else {
            return Outcome::Cancelled;
        };
        let has_come = |announced: Option<u64>| announced.is_some_and(|it| self.bytes >= it);
        if has_come(head.length) || has_come(head.exact) || head.has_no_content {
            Outcome::Complete
        } else {
            Outcome::Disconnected
        }
    }

    /// Tells of the request.
    fn on_request(&mut self) -> Result<(), Panic> {
        for (part, plan) in self.parts.clone().into_iter().enumerate() {
            let who = self.who(part);
            match self.kind {
                Kind::Metrics => self.stage.metric(self.number, Metric::InFlight(1)),
                Kind::Headers => {}
                _ => {
                    let told = Told::Request(self.method.clone());
                    self.stage.write(Event::Told(who, told));
                }
            }
            if plan.bomb == Some(Hook::Observe) {
                // Those before it in the pair were made by then.
                self.parts.truncate(part);
                let _ = self.end(Outcome::Panicked, true);
                return Err(Panic::User(who, Hook::Observe));
            }
        }
        if self.has_observer() {
            self.place = Place::Future;
        }
        Ok(())
    }
}

impl Oracle {
    pub(crate) fn new(case: &Arc<Case>, stage: &Arc<Stage>) -> Self {
        let layer = |(number, layer): (usize, &crate::case::Layer)| Exchange {
            number,
            kind: layer.kind,
            parts: layer.parts(),
            stage: Arc::clone(stage),
            method: case.method.clone(),
            place: Place::Nowhere,
            head: None,
            frames: 0,
            bytes: 0,
            has_trailers: false,
        };
        Self {
            case: Arc::clone(case),
            stage: Arc::clone(stage),
            bare: Running::new(stage, AnyService::new(Bare::new(case, stage))),
            layers: case.layers.iter().enumerate().map(layer).collect(),
            holders: 0,
        }
    }

    /// Ends the exchanges in this place, the innermost first, each as `outcome` says. The first
    /// panic is handed on.
    fn end_all(
        &mut self,
        place: Place,
        unwinding: bool,
        outcome: impl Fn(&Exchange) -> Outcome,
    ) -> Result<(), Panic> {
        let mut result = Ok(());
        for layer in self.layers.iter_mut().rev() {
            if layer.place == place {
                let ended = layer.end(outcome(layer), unwinding || result.is_err());
                result = result.and(ended);
            }
        }
        result
    }

    /// A panic unwinds through all layers around number `inner`, from a poll of what is in this
    /// place.
    fn unwind(&mut self, inner: usize, place: Place, panic: Panic) -> Panic {
        for layer in self.layers[..inner].iter_mut().rev() {
            if layer.place == place {
                let _ = layer.end(Outcome::Panicked, true);
            }
        }
        panic
    }

    /// A panic takes the response along, and so the body.
    fn lose_body(&mut self) {
        let _ = self.bare.drop_body(false);
        let _ = self.end_all(Place::Body, true, Exchange::meaning_of_drop);
    }

    /// Somebody who holds the tunnel lets go of it.
    fn release_tunnel(&mut self, unwinding: bool) -> Result<(), Panic> {
        if self.holders == 0 {
            return Ok(());
        }
        self.holders -= 1;
        if self.holders > 0 {
            return Ok(());
        }
        self.end_all(Place::Tunnel, unwinding, |_| Outcome::Upgraded)
    }

    /// The head passes through layer `number`.
    fn on_head(&mut self, number: usize, head: &mut Given) -> Result<(), Panic> {
        let Given::Head { status, fields, .. } = head else {
            return Ok(());
        };
        let status = *status;
        let hints = self
            .bare
            .hints()
            .unwrap_or_else(|| unreachable!("a head has a body"));
        let layer = &mut self.layers[number];
        if layer.kind == Kind::Headers {
            if layer.parts[0].bomb == Some(Hook::Response) {
                self.lose_body();
                let who = self.layers[number].who(0);
                return Err(Panic::User(who, Hook::Response));
            }
            fields.insert(field(number), HeaderValue::from_static("response"));
            return Ok(());
        }
        // The future was polled on after its exchange was over, or had got another head.
        if layer.place != Place::Future {
            return Ok(());
        }

        let is_tunnel = status == 101 || (layer.method == Method::CONNECT && status.is_success());
        let told = Told::Response {
            status,
            fields: fields.len(),
            lower: hints.lower,
            upper: hints.upper,
            tunnel: is_tunnel,
        };
        if let Err(panic) = layer.tell(&told, |hook| hook == Hook::Response) {
            self.lose_body();
            let _ = self.layers[number].end(Outcome::Panicked, true);
            return Err(panic);
        }
        if layer.kind == Kind::Metrics {
            let status = status.as_str().to_owned();
            self.stage.metric(number, Metric::Requests { status });
        }
        let length = &self.case.head.length;
        layer.head = Some(Facts::new(status, &layer.method, length, &hints));

        let ended = if is_tunnel && self.holders > 0 {
            layer.place = Place::Tunnel;
            Ok(())
        } else if is_tunnel {
            layer.end(Outcome::Upgraded, false)
        } else if hints.is_end_stream {
            layer.end(Outcome::Complete, false)
        } else {
            layer.place = Place::Body;
            Ok(())
        };
        ended.inspect_err(|_| self.lose_body())
    }

    /// A frame, the end or an error passes through layer `number`.
    fn on_given(&mut self, number: usize, given: &Given, is_end: bool) -> Result<(), Panic> {
        let layer = &mut self.layers[number];
        if layer.place != Place::Body {
            return Ok(());
        }
        let told = match given {
            Given::Data { content, .. } => {
                let len = content.len();
                layer.frames += 1;
                layer.bytes += len as u64;
                let told = Told::Data {
                    len,
                    in_place: true,
                };
                let frame = layer.frames;
                layer.tell(
                    &told,
                    |hook| matches!(hook, Hook::Data(number) if number as u64 == frame),
                )
            }
            Given::Trailers(trailers) => {
                layer.has_trailers = true;
                let told = Told::Trailers(trailers.clone());
                layer.tell(&told, |hook| hook == Hook::Trailers)
            }
            _ => Ok(()),
        };
        if told.is_err() {
            let _ = layer.end(Outcome::Panicked, true);
            return told;
        }
        match given {
            Given::Data { .. } if is_end => layer.end(Outcome::Complete, false),
            Given::Trailers(_) | Given::End => layer.end(Outcome::Complete, false),
            Given::Failed => layer.end(Outcome::BodyError, false),
            _ => Ok(()),
        }
    }
}

impl Subject for Oracle {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Result<Given, Panic> {
        self.bare.poll_ready(cx)
    }

    fn call(&mut self, mut request: Incoming) -> Result<(), Panic> {
        for number in 0..self.layers.len() {
            let layer = &mut self.layers[number];
            if let Err(panic) = layer.on_request() {
                return Err(self.unwind(number, Place::Future, panic));
            }
            if layer.kind == Kind::Headers {
                let value = HeaderValue::from_static("request");
                request.headers_mut().insert(field(number), value);
            }
        }
        let is_watched = self.layers.iter().any(Exchange::has_observer);
        let is_offered = is_watched && self.case.may_upgrade();
        let called = self.bare.call(request);
        if is_offered {
            self.stage.seen().log.iter_mut().for_each(offer_tunnel);
        }
        called.map_err(|panic| self.unwind(self.layers.len(), Place::Future, panic))?;
        self.holders = match self.case.tunnel {
            _ if !is_offered => 0,
            Fate::DroppedInCall => 0,
            Fate::Cloned => 2,
            _ => 1,
        };
        Ok(())
    }

    fn poll_future(&mut self, cx: &mut Context<'_>) -> Result<Given, Panic> {
        let given = self.bare.poll_future(cx);
        let mut given =
            given.map_err(|panic| self.unwind(self.layers.len(), Place::Future, panic))?;
        if given == Given::Failed {
            let mut panic = Ok(());
            for layer in self.layers.iter_mut().rev() {
                if layer.place == Place::Future {
                    let outcome = match panic {
                        Ok(()) => Outcome::ServiceError,
                        Err(_) => Outcome::Panicked,
                    };
                    panic = panic.clone().and(layer.end(outcome, panic.is_err()));
                }
            }
            panic?;
        }
        if matches!(given, Given::Head { .. }) && self.case.tunnel == Fate::DroppedWithHead {
            self.holders = 0;
        }
        for number in (0..self.layers.len()).rev() {
            self.on_head(number, &mut given)
                .map_err(|panic| self.unwind(number, Place::Future, panic))?;
        }
        Ok(given)
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Result<Given, Panic> {
        let given = self.bare.poll_body(cx);
        let given = given.map_err(|panic| self.unwind(self.layers.len(), Place::Body, panic))?;
        let is_end = self.bare.hints().is_some_and(|hints| hints.is_end_stream);
        for number in (0..self.layers.len()).rev() {
            self.on_given(number, &given, is_end)
                .map_err(|panic| self.unwind(number, Place::Body, panic))?;
        }
        Ok(given)
    }

    fn hints(&self) -> Option<Hints> {
        self.bare.hints()
    }

    fn drop_future(&mut self, unwinding: bool) -> Result<(), Panic> {
        self.bare.drop_future(false)?;
        let released = match self.case.tunnel {
            Fate::DroppedWithHead | Fate::KeptByFuture => self.release_tunnel(unwinding),
            _ => Ok(()),
        };
        let ended = self.end_all(Place::Future, unwinding || released.is_err(), |_| {
            Outcome::Cancelled
        });
        by_server(released.and(ended), unwinding)
    }

    fn drop_body(&mut self, unwinding: bool) -> Result<(), Panic> {
        self.bare.drop_body(false)?;
        let ended = self.end_all(Place::Body, unwinding, Exchange::meaning_of_drop);
        by_server(ended, unwinding)
    }

    fn drop_tunnel(&mut self, unwinding: bool) -> Result<(), Panic> {
        let released = self.release_tunnel(unwinding);
        by_server(released, unwinding)
    }
}

/// If the server drops while it unwinds, that panic is the one that goes on.
fn by_server(result: Result<(), Panic>, unwinding: bool) -> Result<(), Panic> {
    if unwinding {
        Err(Panic::Server)
    } else {
        result
    }
}

fn offer_tunnel(event: &mut Event) {
    if let Event::Inner(Inner::Called { has_tunnel, .. }) = event {
        *has_tunnel = true;
    }
}
