//! Rules in which nothing is wrong, and how they are applied.

use std::{borrow::Cow, fmt};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Body;

use super::rule::{OnRequest, OnResponse, Stage};
use crate::{BuildError, RequestHead, ResponseHead, head::Asked, media_type};

pub(super) type Condition<S> = Box<dyn Fn(&<S as Stage>::Head<'_>) -> bool + Send + Sync>;
pub(super) type Compute<S> =
    Box<dyn Fn(&<S as Stage>::Head<'_>) -> Option<HeaderValue> + Send + Sync>;

pub(super) fn content_type<S: Stage>(media_type: Cow<'static, str>) -> Condition<S> {
    Box::new(move |head| media_type::is(S::headers(head), &media_type))
}

/// A rule in which nothing is wrong.
pub(super) struct Checked<S: Stage> {
    pub(super) name: HeaderName,
    action: Action<S>,
    pub(super) conditions: Vec<Condition<S>>,
    /// Only response rules have these.
    pub(super) request_conditions: Vec<Condition<OnRequest>>,
}

pub(super) enum Action<S: Stage> {
    Insert(Value<S>),
    Append(Value<S>),
    IfAbsent(Value<S>),
    Remove,
}

pub(super) enum Value<S: Stage> {
    Fixed(HeaderValue),
    Computed(Compute<S>),
}

impl<S: Stage> Checked<S> {
    pub(super) fn new(name: HeaderName, action: Action<S>) -> Self {
        Self {
            name,
            action,
            conditions: Vec::new(),
            request_conditions: Vec::new(),
        }
    }

    pub(super) fn has_request_conditions(&self) -> bool {
        !self.request_conditions.is_empty()
    }

    /// Does to the message what the rule says. Its `head` is looked at only if need be.
    pub(super) fn apply<M>(
        &self,
        message: &mut M,
        fields: impl Fn(&mut M) -> &mut HeaderMap,
        head: impl Fn(&M) -> S::Head<'_>,
    ) {
        if !self.conditions.is_empty() {
            let head = head(message);
            if !self.conditions.iter().all(|holds| holds(&head)) {
                return;
            }
        }
        // A full map refuses the field; there is no better answer on a request path.
        match &self.action {
            Action::Remove => drop(fields(message).remove(&self.name)),
            Action::IfAbsent(_) if fields(message).contains_key(&self.name) => {}
            Action::Insert(value) | Action::IfAbsent(value) => {
                if let Some(value) = value.get(|| head(message)) {
                    drop(fields(message).try_insert(&self.name, value));
                }
            }
            Action::Append(value) => {
                if let Some(value) = value.get(|| head(message)) {
                    drop(fields(message).try_append(&self.name, value));
                }
            }
        }
    }
}

impl<S: Stage> Value<S> {
    #[inline]
    fn get<'h>(&self, head: impl FnOnce() -> S::Head<'h>) -> Option<HeaderValue> {
        match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::Computed(value) => value(&head()),
        }
    }
}

impl<S: Stage> fmt::Debug for Checked<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match &self.action {
            Action::Insert(_) => "insert",
            Action::Append(_) => "append",
            Action::IfAbsent(_) => "if_absent",
            Action::Remove => "remove",
        };
        let conditions = self.conditions.len() + self.request_conditions.len();
        f.debug_struct("Rule")
            .field("action", &format_args!("{action}"))
            .field("name", &self.name)
            .field("conditions", &conditions)
            .finish_non_exhaustive()
    }
}

/// All rules of a layer.
#[derive(Debug)]
pub(super) struct Rules {
    request: Vec<Checked<OnRequest>>,
    response: Vec<Checked<OnResponse>>,
    /// The media type that each of the response rules is for; looked at once.
    media_type: Option<&'static str>,
    /// How many of the response rules have conditions on the request.
    judged: usize,
}

/// Which of the response rules with conditions on the request, counted in their order, are out.
/// They are judged while there is a request to look at.
#[derive(Debug, Clone, Copy)]
#[allow(unnameable_types, reason = "noted, by a trait that is sealed")]
pub struct Unmet(u64);

impl Unmet {
    const BITS: usize = u64::BITS as usize;
}

impl Rules {
    /// Of responses of this media type, on no other condition.
    pub(super) fn of_type(media_type: &'static str, response: Vec<Checked<OnResponse>>) -> Self {
        Self {
            request: Vec::new(),
            response,
            media_type: Some(media_type),
            judged: 0,
        }
    }

    /// # Errors
    ///
    /// More than 64 response rules have conditions on the request.
    pub(super) fn new(
        request: Vec<Checked<OnRequest>>,
        response: Vec<Checked<OnResponse>>,
    ) -> Result<Self, BuildError> {
        let is_judged = |rule: &&Checked<_>| rule.has_request_conditions();
        let judged = response.iter().filter(is_judged).count();
        if judged > Unmet::BITS {
            return Err(BuildError::new(format_args!(
                "more than {} response rules have conditions on the request: \
                 put some of them into a second layer",
                Unmet::BITS
            )));
        }
        Ok(Self {
            request,
            response,
            media_type: None,
            judged,
        })
    }

    pub(super) fn on_request<B: Body>(&self, request: &mut Request<B>) -> Unmet {
        let unmet = match self.judged {
            0 => Unmet(0),
            _ => self.unmet(&RequestHead::from(&*request)),
        };
        for rule in &self.request {
            rule.apply(request, Request::headers_mut, |request| {
                RequestHead::from(request)
            });
        }
        unmet
    }

    fn unmet(&self, head: &RequestHead<'_>) -> Unmet {
        let judged = self
            .response
            .iter()
            .filter(|rule| rule.has_request_conditions());
        Unmet(judged.enumerate().fold(0, |unmet, (bit, rule)| {
            let met = rule.request_conditions.iter().all(|holds| holds(head));
            unmet | (u64::from(!met) << bit)
        }))
    }

    pub(super) fn on_response<B: Body>(
        &self,
        response: &mut Response<B>,
        unmet: Unmet,
        asked: Asked,
    ) {
        let is = |media_type| media_type::is(response.headers(), media_type);
        if !self.media_type.is_none_or(is) {
            return;
        }
        let mut unmet = unmet.0;
        for rule in &self.response {
            if rule.has_request_conditions() {
                let out = unmet & 1 == 1;
                unmet >>= 1;
                if out {
                    continue;
                }
            }
            rule.apply(response, Response::headers_mut, |response| {
                ResponseHead::new(response, asked)
            });
        }
    }
}
