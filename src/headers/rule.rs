use std::{borrow::Cow, fmt};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{InvalidHeaderName, InvalidHeaderValue},
};

use crate::{BuildError, RequestHead, ResponseHead, media_type};

/// Whose header fields a [`Rule`] changes: [`OnRequest`] or [`OnResponse`].
pub trait Stage: sealed::Stage + Sized {
    /// The head that conditions look at, and that values are computed from.
    type Head<'a>;

    #[doc(hidden)]
    fn headers<'h>(head: &'h Self::Head<'_>) -> &'h HeaderMap;
}

/// Marks a [`Rule`] on requests.
#[derive(Debug)]
#[non_exhaustive]
pub struct OnRequest;

/// Marks a [`Rule`] on responses.
#[derive(Debug)]
#[non_exhaustive]
pub struct OnResponse;

/// Nobody else is to implement these.
mod sealed {
    #![allow(unnameable_types, reason = "so that nobody can")]

    use http::{HeaderName, HeaderValue};

    pub trait Stage {}
    impl Stage for super::OnRequest {}
    impl Stage for super::OnResponse {}

    pub trait Name {}
    impl Name for HeaderName {}
    impl Name for &'static str {}
    impl Name for String {}

    pub trait FixedValue {}
    impl FixedValue for HeaderValue {}
    impl FixedValue for &'static str {}
    impl FixedValue for String {}
}

impl Stage for OnRequest {
    type Head<'a> = RequestHead<'a>;

    fn headers<'h>(head: &'h RequestHead<'_>) -> &'h HeaderMap {
        head.headers
    }
}

impl Stage for OnResponse {
    type Head<'a> = ResponseHead<'a>;

    fn headers<'h>(head: &'h ResponseHead<'_>) -> &'h HeaderMap {
        head.headers
    }
}

/// A rule on the header fields of requests.
pub type RequestRule = Rule<OnRequest>;

/// A rule on the header fields of responses.
pub type ResponseRule = Rule<OnResponse>;

/// What to do with one header field, and when.
///
/// Written as [`RequestRule`] or [`ResponseRule`], so that conditions know which head they look at.
/// What is wrong with a rule is told by
/// [`HeadersLayerBuilder::build`](super::HeadersLayerBuilder::build).
///
/// A header map that is full, with tens of thousands of fields, stays as it is: nothing is added
/// to it, and the fields that it has may not be set either. They can be removed.
#[derive(Debug)]
pub struct Rule<S: Stage> {
    pub(super) checked: Result<Checked<S>, BuildError>,
}

impl<S: Stage> Rule<S> {
    /// Sets the field to this value, whatever it was.
    #[must_use]
    pub fn insert<N: Name, V: FixedValue>(name: N, value: V) -> Self {
        Self::fixed(name, Action::Insert, value)
    }

    /// Adds this value to those that the field has.
    #[must_use]
    pub fn append<N: Name, V: FixedValue>(name: N, value: V) -> Self {
        Self::fixed(name, Action::Append, value)
    }

    /// Sets the field to this value if the head has no such field.
    #[must_use]
    pub fn if_absent<N: Name, V: FixedValue>(name: N, value: V) -> Self {
        Self::fixed(name, Action::IfAbsent, value)
    }

    /// Removes the field with all its values.
    #[must_use]
    pub fn remove<N: Name>(name: N) -> Self {
        Self {
            checked: checked_name(name).map(|name| Checked::new(name, Action::Remove)),
        }
    }

    /// Sets the field to what `value` makes of the head; leaves it as it is if that is `None`.
    #[must_use]
    pub fn insert_with<N: Name>(
        name: N,
        value: impl Fn(&S::Head<'_>) -> Option<HeaderValue> + Send + Sync + 'static,
    ) -> Self {
        Self::computed(name, Action::Insert, Box::new(value))
    }

    /// Adds what `value` makes of the head to the values of the field, if it makes anything.
    #[must_use]
    pub fn append_with<N: Name>(
        name: N,
        value: impl Fn(&S::Head<'_>) -> Option<HeaderValue> + Send + Sync + 'static,
    ) -> Self {
        Self::computed(name, Action::Append, Box::new(value))
    }

    /// Sets the field to what `value` makes of the head if the head has no such field. `value` is
    /// not called otherwise.
    #[must_use]
    pub fn if_absent_with<N: Name>(
        name: N,
        value: impl Fn(&S::Head<'_>) -> Option<HeaderValue> + Send + Sync + 'static,
    ) -> Self {
        Self::computed(name, Action::IfAbsent, Box::new(value))
    }

    /// Applies the rule only if `condition` holds for the head. Of several conditions all must
    /// hold.
    #[must_use]
    pub fn when(self, condition: impl Fn(&S::Head<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.changed(|rule| {
            rule.conditions.push(Box::new(condition));
            Ok(())
        })
    }

    /// Applies the rule only if the head's `content-type` is this media type, whatever its
    /// parameters; case means nothing (RFC 9110 §8.3.1).
    #[must_use]
    pub fn when_content_type(self, media_type: impl Into<Cow<'static, str>>) -> Self {
        let media_type = media_type.into();
        self.changed(|rule| {
            if !media_type::is_essence(&media_type) {
                return Err(BuildError::new(format_args!(
                    "header rule for `{}`: `{media_type}` is not a media type: \
                     write `type/subtype`, without parameters",
                    rule.name
                )));
            }
            rule.conditions.push(content_type::<S>(media_type));
            Ok(())
        })
    }

    fn fixed<N: Name, V: FixedValue>(name: N, action: fn(Value<S>) -> Action<S>, value: V) -> Self {
        let checked = checked_name(name).and_then(|name| match value.checked() {
            Ok(value) => Ok(Checked::new(name, action(Value::Fixed(value)))),
            Err(error) => Err(BuildError::new(format_args!(
                "header rule for `{name}`: {error}"
            ))),
        });
        Self { checked }
    }

    fn computed<N: Name>(name: N, action: fn(Value<S>) -> Action<S>, value: Compute<S>) -> Self {
        let new = |name| Checked::new(name, action(Value::Computed(value)));
        Self {
            checked: checked_name(name).map(new),
        }
    }

    fn changed(self, change: impl FnOnce(&mut Checked<S>) -> Result<(), BuildError>) -> Self {
        let checked = self.checked.and_then(|mut rule| {
            change(&mut rule)?;
            Ok(rule)
        });
        Self { checked }
    }
}

impl Rule<OnResponse> {
    /// Applies the rule only if `condition` holds for the head of the request, as it came to this
    /// layer. Of several conditions all must hold.
    #[must_use]
    pub fn when_request(
        self,
        condition: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.changed(|rule| {
            rule.request_conditions.push(Box::new(condition));
            Ok(())
        })
    }
}

/// What names a header field: a [`HeaderName`], a `&'static str` or a [`String`].
pub trait Name: sealed::Name {
    #[doc(hidden)]
    fn written(&self) -> &str;

    #[doc(hidden)]
    fn checked(self) -> Result<HeaderName, InvalidHeaderName>;
}

/// What gives a field's fixed value: a [`HeaderValue`], a `&'static str` or a [`String`].
pub trait FixedValue: sealed::FixedValue {
    #[doc(hidden)]
    fn checked(self) -> Result<HeaderValue, InvalidHeaderValue>;
}

impl Name for HeaderName {
    fn written(&self) -> &str {
        self.as_str()
    }

    fn checked(self) -> Result<HeaderName, InvalidHeaderName> {
        Ok(self)
    }
}

impl Name for String {
    fn written(&self) -> &str {
        self
    }

    fn checked(self) -> Result<HeaderName, InvalidHeaderName> {
        HeaderName::try_from(self)
    }
}

impl Name for &'static str {
    fn written(&self) -> &str {
        self
    }

    fn checked(self) -> Result<HeaderName, InvalidHeaderName> {
        let name = HeaderName::try_from(self)?;
        // Each response gets a clone, and one of a static name counts no references. It must be
        // written in lower case, though.
        Ok(if name.as_str() == self {
            HeaderName::from_static(self)
        } else {
            name
        })
    }
}

impl FixedValue for HeaderValue {
    fn checked(self) -> Result<HeaderValue, InvalidHeaderValue> {
        Ok(self)
    }
}

impl FixedValue for String {
    fn checked(self) -> Result<HeaderValue, InvalidHeaderValue> {
        HeaderValue::try_from(self)
    }
}

impl FixedValue for &'static str {
    fn checked(self) -> Result<HeaderValue, InvalidHeaderValue> {
        let value = HeaderValue::try_from(self)?;
        // As with names; a static value must be ASCII.
        Ok(if self.is_ascii() {
            HeaderValue::from_static(self)
        } else {
            value
        })
    }
}

pub(super) type Condition<S> = Box<dyn Fn(&<S as Stage>::Head<'_>) -> bool + Send + Sync>;
type Compute<S> = Box<dyn Fn(&<S as Stage>::Head<'_>) -> Option<HeaderValue> + Send + Sync>;

pub(super) fn content_type<S: Stage>(media_type: Cow<'static, str>) -> Condition<S> {
    Box::new(move |head| media_type::is(S::headers(head), &media_type))
}

fn checked_name<N: Name>(name: N) -> Result<HeaderName, BuildError> {
    let written = name.written().to_owned();
    let refused = |why: &dyn fmt::Display| {
        Err(BuildError::new(format_args!(
            "header rule for `{written}`: {why}"
        )))
    };
    let name = match name.checked() {
        Ok(name) => name,
        Err(error) => return refused(&error),
    };
    match name.as_str() {
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => {
            refused(
                &"the field is connection-specific: HTTP/2 forbids it (RFC 9113 section 8.2.2), on HTTP/1 it is the server's own",
            )
        }
        "te" => refused(
            &"the field is connection-specific: HTTP/2 allows nothing but `trailers` in it (RFC 9113 section 8.2.2), which is the client's own",
        ),
        "content-length" => {
            refused(&"the field tells the length of a body that this layer does not know")
        }
        "trailer" => {
            refused(&"the field announces the trailers of a body that this layer does not know")
        }
        _ => Ok(name),
    }
}

/// A rule in which nothing is wrong.
pub(super) struct Checked<S: Stage> {
    name: HeaderName,
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
