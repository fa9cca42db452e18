//! Random services and exchanges under one limit, and a model of who has a permit, who is next,
//! and who has been told.

mod acts;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use acts::{Act, Plan, Readiness, act};
use http::{Response, header::UPGRADE};
use http_body::Body as _;
use proptest::{
    collection::vec,
    test_runner::{Config, TestRunner},
};
use tower::{Layer, Service};
use tower_passthrough::{
    limit::{ConcurrencyLimit, ConcurrencyLimitLayer, Permit},
    observe::{ResponseBody, ResponseFuture, Tunnel},
};

use crate::{
    Bell, Incoming,
    common::{
        Broken, End, Script,
        Step::{self, Data, Error, Panic, Pending, Text, Trailers},
    },
    drive::Actor,
    free, limit,
};

const CASES: u32 = if cfg!(miri) { 8 } else { 1_000 };
const LENGTH: usize = if cfg!(miri) { 30 } else { 80 };

/// The service within. All are told by the same strings.
#[derive(Clone)]
struct Puppet(Rc<Strings>);

struct Strings {
    readiness: Cell<Readiness>,
    /// How often one was asked whether it is ready.
    asked: Cell<usize>,
    tunnel: RefCell<Option<Tunnel>>,
}

impl Service<Incoming> for Puppet {
    type Response = Response<Script>;
    type Error = Broken;
    type Future = <Actor as Service<Incoming>>::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.0.asked.set(self.0.asked.get() + 1);
        self.0.readiness.get().map_err(|()| Broken)
    }

    fn call(&mut self, mut request: Incoming) -> Self::Future {
        *self.0.tunnel.borrow_mut() = request.extensions_mut().remove();
        let does = request.extensions_mut().remove().expect("a plan");
        Actor::new(does).call(request)
    }
}

/// A service, and where the model says that it stands.
struct Asking {
    number: usize,
    service: ConcurrencyLimit<Puppet>,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Outside,
    /// With the bell of its last poll.
    Waiting(usize),
    Inside,
}

/// What is left of an exchange, and whether the model says that it has its permit.
struct Running {
    stage: Stage,
    has_permit: bool,
}

enum Stage {
    Future(
        Pin<Box<ResponseFuture<<Puppet as Service<Incoming>>::Future, Permit>>>,
        Plan,
        Option<Tunnel>,
    ),
    Body(Pin<Box<ResponseBody<Script, Permit>>>, VecDeque<Step>, End),
    Tunnels(Vec<Tunnel>),
    Nothing,
}

struct World {
    layer: ConcurrencyLimitLayer,
    strings: Rc<Strings>,
    max: usize,
    numbers: usize,
    asking: Vec<Asking>,
    running: Vec<Running>,

    // The model.
    taken: usize,
    queue: VecDeque<usize>,
    asked: usize,
    /// Each with how often it must have rung.
    bells: Vec<(Arc<Bell>, usize)>,
}

impl World {
    fn new(max: usize) -> Self {
        let mut world = Self {
            layer: limit(max),
            strings: Rc::new(Strings {
                readiness: Cell::new(Poll::Pending),
                asked: Cell::new(0),
                tunnel: RefCell::default(),
            }),
            max,
            numbers: 0,
            asking: Vec::new(),
            running: Vec::new(),
            taken: 0,
            queue: VecDeque::new(),
            asked: 0,
            bells: Vec::new(),
        };
        for _ in 0..3 {
            let service = world.layer.layer(Puppet(Rc::clone(&world.strings)));
            world.add(service);
        }
        world
    }

    fn add(&mut self, service: ConcurrencyLimit<Puppet>) {
        self.asking.push(Asking {
            number: self.numbers,
            service,
            standing: Standing::Outside,
        });
        self.numbers += 1;
    }

    /// A permit returns.
    fn release(&mut self) {
        if self.taken > self.max {
            self.taken -= 1;
        } else if let Some(number) = self.queue.pop_front() {
            let mut asking = self.asking.iter_mut();
            let first = asking.find(|it| it.number == number).expect("it waits");
            let Standing::Waiting(bell) = first.standing else {
                panic!("it waits");
            };
            first.standing = Standing::Inside;
            self.bells[bell].1 += 1;
        } else {
            self.taken -= 1;
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Poll(it, readiness) if !self.asking.is_empty() => {
                self.poll(it.index(self.asking.len()), readiness);
            }
            Act::Call(it, plan) if !self.asking.is_empty() => {
                self.call(it.index(self.asking.len()), plan);
            }
            Act::Clone(it) if !self.asking.is_empty() => {
                let service = it.get(&self.asking).service.clone();
                self.add(service);
            }
            Act::DropService(it) if self.asking.len() > 1 => {
                self.drop_service(it.index(self.asking.len()));
            }
            Act::Advance(it) if !self.running.is_empty() => {
                self.advance(it.index(self.running.len()));
            }
            Act::DropExchange(it) if !self.running.is_empty() => {
                self.drop_exchange(it.index(self.running.len()));
            }
            _ => {}
        }
    }

    fn poll(&mut self, index: usize, readiness: Readiness) {
        let bell = Arc::<Bell>::default();
        let waker = Waker::from(Arc::clone(&bell));
        self.bells.push((bell, 0));
        self.strings.readiness.set(readiness);
        let asking = &mut self.asking[index];

        match asking.standing {
            Standing::Inside => {}
            Standing::Waiting(_) => asking.standing = Standing::Waiting(self.bells.len() - 1),
            Standing::Outside if self.taken < self.max => {
                self.taken += 1;
                asking.standing = Standing::Inside;
            }
            Standing::Outside => {
                self.queue.push_back(asking.number);
                asking.standing = Standing::Waiting(self.bells.len() - 1);
            }
        }
        let expected = match asking.standing {
            Standing::Inside => readiness.map_err(|()| Broken),
            _ => Poll::Pending,
        };
        let is_inside = asking.standing == Standing::Inside;
        self.asked += usize::from(is_inside);
        let polled = asking.service.poll_ready(&mut Context::from_waker(&waker));
        assert_eq!(polled, expected);
        if is_inside && matches!(readiness, Poll::Ready(Err(()))) {
            asking.standing = Standing::Outside;
            self.release();
        }
    }

    fn call(&mut self, index: usize, plan: Plan) {
        let asking = &mut self.asking[index];
        if asking.standing != Standing::Inside {
            self.queue.retain(|it| *it != asking.number);
            self.taken += 1;
        }
        asking.standing = Standing::Outside;
        let mut request = Incoming::default();
        if let Plan::Upgrade = plan {
            let websocket = "websocket".parse().unwrap();
            request.headers_mut().insert(UPGRADE, websocket);
        }
        request.extensions_mut().insert(plan.does());
        let called = catch_unwind(AssertUnwindSafe(|| asking.service.call(request)));
        match called {
            Err(_) => self.release(),
            Ok(future) => {
                let tunnel = self.strings.tunnel.take();
                self.running.push(Running {
                    stage: Stage::Future(Box::pin(future), plan, tunnel),
                    has_permit: true,
                });
            }
        }
    }

    fn drop_service(&mut self, index: usize) {
        let gone = self.asking.swap_remove(index);
        self.queue.retain(|it| *it != gone.number);
        drop(gone.service);
        if gone.standing == Standing::Inside {
            self.release();
        }
    }

    fn advance(&mut self, index: usize) {
        let cx = &mut Context::from_waker(Waker::noop());
        let running = &mut self.running[index];
        let is_over = match &mut running.stage {
            Stage::Future(future, plan, tunnel) => {
                let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
                let (stage, is_over) = match (polled, &*plan) {
                    (Ok(Poll::Pending), Plan::Never) => return,
                    (Ok(Poll::Ready(Ok(response))), Plan::Stream(steps, end)) => {
                        let is_over = *end == End::Shown && steps.is_empty();
                        let body = Box::pin(response.into_body());
                        (Stage::Body(body, steps.clone(), *end), is_over)
                    }
                    (Ok(Poll::Ready(Ok(_))), Plan::Upgrade) => {
                        let tunnel = tunnel.take().expect("it was offered");
                        (Stage::Tunnels(vec![tunnel.clone(), tunnel]), false)
                    }
                    (Ok(Poll::Ready(Err(Broken))), Plan::Fail) | (Err(_), Plan::PanicInFuture) => {
                        (Stage::Nothing, true)
                    }
                    (polled, plan) => panic!("{plan:?}: {polled:?}"),
                };
                running.stage = stage;
                is_over
            }
            Stage::Body(body, steps, end) => {
                let polled = catch_unwind(AssertUnwindSafe(|| body.as_mut().poll_frame(cx)));
                drop(polled);
                match steps.pop_front() {
                    Some(Data(_) | Text(_)) => *end == End::Shown && steps.is_empty(),
                    Some(Pending) => false,
                    Some(Trailers | Error | Panic) | None => true,
                }
            }
            Stage::Tunnels(_) | Stage::Nothing => false,
        };
        if is_over && running.has_permit {
            running.has_permit = false;
            self.release();
        }
    }

    fn drop_exchange(&mut self, index: usize) {
        if let Stage::Tunnels(tunnels) = &mut self.running[index].stage {
            tunnels.pop();
            if !tunnels.is_empty() {
                return;
            }
        }
        let gone = self.running.swap_remove(index);
        drop(gone.stage);
        if gone.has_permit {
            self.release();
        }
    }

    #[track_caller]
    fn check(&self) {
        let rung: Vec<_> = self.bells.iter().map(|(bell, _)| bell.rung()).collect();
        let expected: Vec<_> = self.bells.iter().map(|(_, expected)| *expected).collect();
        assert_eq!(rung, expected, "told");
        assert_eq!(self.strings.asked.get(), self.asked, "asked");
    }

    /// Lets go of all, and looks what is left.
    fn end(mut self) {
        while !self.asking.is_empty() {
            self.drop_service(0);
            self.check();
        }
        while !self.running.is_empty() {
            self.drop_exchange(0);
            self.check();
        }
        assert_eq!(self.taken, 0);
        assert_eq!(free(&self.layer, self.max), self.max);
    }
}

#[test]
fn random_services_and_exchanges_do_as_the_model_says() {
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let played =
        TestRunner::new(config).run(&(1_usize..4, vec(act(), 0..LENGTH)), |(max, acts)| {
            let mut world = World::new(max);
            for act in acts {
                world.act(act);
                world.check();
            }
            world.end();
            Ok(())
        });
    if let Err(failure) = played {
        panic!("{failure}");
    }
}
