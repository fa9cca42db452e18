//! Rules, as they are written.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue};

use super::{
    checked::{Action, Checked, Compute, Value, content_type},
    field::{FixedValue, Name, checked_name},
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

/// Nobody else is to implement it.
mod sealed {
    #![allow(unnameable_types, reason = "so that nobody can")]

    pub trait Stage {}
    impl Stage for super::OnRequest {}
    impl Stage for super::OnResponse {}
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
/// Written as [`RequestRule`] or [`ResponseRule`]: after a plain `Rule::insert(..)` the compiler does
/// not know yet which head a closure is to look at. What is wrong with a rule is told by
/// [`HeadersLayerBuilder::build`](super::HeadersLayerBuilder::build).
///
/// A header map that is full, with tens of thousands of fields, stays as it is: nothing is added
/// to it, and the fields that it has may not be set either. They can be removed.
#[derive(Debug)]
#[must_use = "a rule does nothing until it is given to a builder"]
pub struct Rule<S: Stage> {
    pub(super) checked: Result<Checked<S>, BuildError>,
}

impl<S: Stage> Rule<S> {
    /// Sets the field to this value, whatever it was.
    pub fn insert<N: Name, V: FixedValue>(name: N, value: V) -> Self {
        Self::fixed(name, Action::Insert, value)
    }

    /// Adds this value to those that the field has.
    pub fn append<N: Name, V: FixedValue>(name: N, value: V) -> Self {
        Self::fixed(name, Action::Append, value)
    }

    /// Sets the field to this value if the head has no such field.
    pub fn if_absent<N: Name, V: FixedValue>(name: N, value: V) -> Self {
        Self::fixed(name, Action::IfAbsent, value)
    }

    /// Removes the field with all its values.
    pub fn remove<N: Name>(name: N) -> Self {
        Self {
            checked: checked_name(name).map(|name| Checked::new(name, Action::Remove)),
        }
    }

    /// Sets the field to what `value` makes of the head; leaves it as it is if that is `None`.
    pub fn insert_with<N: Name>(
        name: N,
        value: impl Fn(&S::Head<'_>) -> Option<HeaderValue> + Send + Sync + 'static,
    ) -> Self {
        Self::computed(name, Action::Insert, Box::new(value))
    }

    /// Adds what `value` makes of the head to the values of the field, if it makes anything.
    pub fn append_with<N: Name>(
        name: N,
        value: impl Fn(&S::Head<'_>) -> Option<HeaderValue> + Send + Sync + 'static,
    ) -> Self {
        Self::computed(name, Action::Append, Box::new(value))
    }

    /// Sets the field to what `value` makes of the head if the head has no such field. `value` is
    /// not called otherwise.
    pub fn if_absent_with<N: Name>(
        name: N,
        value: impl Fn(&S::Head<'_>) -> Option<HeaderValue> + Send + Sync + 'static,
    ) -> Self {
        Self::computed(name, Action::IfAbsent, Box::new(value))
    }

    /// Applies the rule only if `condition` holds for the head. Of several conditions all must
    /// hold.
    pub fn when(self, condition: impl Fn(&S::Head<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.changed(|rule| {
            rule.conditions.push(Box::new(condition));
            Ok(())
        })
    }

    /// Applies the rule only if the head's `content-type` is this media type, whatever its
    /// parameters; case means nothing (RFC 9110 §8.3.1).
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
