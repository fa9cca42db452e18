//! What may happen, at random.

use std::{collections::VecDeque, task::Poll};

use http::{Response, StatusCode};
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::{Index, select},
};

use crate::{
    common::{
        End, Script, Size,
        Step::{self, Data, Error, Panic, Pending, Trailers},
    },
    drive::Does,
};

/// What happens next. What it happens to is one of those that there are.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Poll(Index, Readiness),
    /// Whether it is ready or not.
    Call(Index, Plan),
    Clone(Index),
    DropService(Index),
    /// The future or the body of an exchange is polled.
    Advance(Index),
    /// An exchange, or one clone of its tunnel.
    DropExchange(Index),
}

pub(super) type Readiness = Poll<Result<(), ()>>;

/// What a service does with a request.
#[derive(Debug, Clone)]
pub(super) enum Plan {
    Stream(VecDeque<Step>, End),
    Upgrade,
    Fail,
    Never,
    PanicInCall,
    PanicInFuture,
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    let index = any::<Index>;
    let ready = Poll::Ready(Ok(()));
    let readiness = prop_oneof![
        6 => Just(ready),
        1 => Just(Poll::Pending),
        1 => Just(Poll::Ready(Err(()))),
    ];
    prop_oneof![
        8 => (index(), readiness).prop_map(|(it, readiness)| Act::Poll(it, readiness)),
        4 => (index(), plan()).prop_map(|(it, plan)| Act::Call(it, plan)),
        2 => index().prop_map(Act::Clone),
        2 => index().prop_map(Act::DropService),
        6 => index().prop_map(Act::Advance),
        2 => index().prop_map(Act::DropExchange),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let step = select(vec![Data(3), Data(0), Pending, Trailers, Error, Panic]);
    let stream = (vec(step, 0..4), select(vec![End::Shown, End::Hidden]));
    prop_oneof![
        6 => stream.prop_map(|(steps, end)| Plan::Stream(steps.into(), end)),
        2 => Just(Plan::Upgrade),
        1 => Just(Plan::Fail),
        1 => Just(Plan::Never),
        1 => Just(Plan::PanicInCall),
        1 => Just(Plan::PanicInFuture),
    ]
}

impl Plan {
    pub(super) fn does(&self) -> Does {
        let (status, steps, end) = match self {
            Self::Stream(steps, end) => (StatusCode::OK, steps.clone(), *end),
            Self::Upgrade => {
                let steps = VecDeque::new();
                (StatusCode::SWITCHING_PROTOCOLS, steps, End::Hidden)
            }
            Self::Fail => return Does::Fail,
            Self::Never => return Does::NeverAnswer,
            Self::PanicInCall => return Does::PanicInCall,
            Self::PanicInFuture => return Does::PanicInFuture,
        };
        let mut response = Response::new(Script::new(steps, Size::Unknown, end));
        *response.status_mut() = status;
        Does::Answer(Box::new(response))
    }
}
