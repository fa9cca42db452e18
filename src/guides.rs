//! Guides: prose that belongs to no item. There is nothing in here but documentation.

#[doc = include_str!("guides/why_wrappers_break_streams.md")]
pub mod why_wrappers_break_streams {}

#[doc = include_str!("guides/behind_a_proxy.md")]
pub mod behind_a_proxy {}

#[doc = include_str!("guides/coming_from.md")]
pub mod coming_from {}

#[doc = include_str!("guides/writing_an_observer.md")]
pub mod writing_an_observer {}
