//! Routes, and which of them a path belongs to.

use std::{collections::HashMap, fmt, sync::Arc};

use super::Policy;
use crate::BuildError;

/// Which policy is for which path.
#[derive(Debug, Clone)]
pub(super) struct Routes {
    pub(super) default: Policy,
    exact: HashMap<Arc<str>, Policy>,
    /// In the order of their texts.
    prefixes: Vec<Prefix>,
}

#[derive(Debug, Clone)]
struct Prefix {
    /// Ends in `/`.
    text: Arc<str>,
    policy: Policy,
    /// The longest of the other prefixes that this one is under.
    parent: Option<usize>,
}

impl Routes {
    pub(super) fn new(default: Policy) -> Self {
        Self {
            default,
            exact: HashMap::new(),
            prefixes: Vec::new(),
        }
    }

    pub(super) fn set(&mut self, route: &Route<'_>, policy: Policy) -> Option<Policy> {
        match *route {
            Route::Exact(path) => self.exact.insert(path.into(), policy),
            Route::Under(prefix) => match self.place(prefix) {
                Ok(at) => Some(std::mem::replace(&mut self.prefixes[at].policy, policy)),
                Err(at) => {
                    let prefix = Prefix {
                        text: prefix.into(),
                        policy,
                        parent: None,
                    };
                    self.prefixes.insert(at, prefix);
                    self.find_parents();
                    None
                }
            },
        }
    }

    pub(super) fn remove(&mut self, route: &Route<'_>) -> Option<Policy> {
        match *route {
            Route::Exact(path) => self.exact.remove(path),
            Route::Under(prefix) => {
                let removed = self.prefixes.remove(self.place(prefix).ok()?);
                self.find_parents();
                Some(removed.policy)
            }
        }
    }

    pub(super) fn policy_for(&self, path: &str) -> Policy {
        let exact = self.exact.get(path).copied();
        exact
            .or_else(|| self.policy_above(path))
            .unwrap_or(self.default)
    }

    /// That of the longest prefix of the path.
    ///
    /// All texts between a prefix of the path and the path, in their order, begin with that prefix.
    /// So the last text before the path begins with the one that is sought, or is it.
    fn policy_above(&self, path: &str) -> Option<Policy> {
        let before = self.prefixes.partition_point(|it| &*it.text <= path);
        let mut at = before.checked_sub(1);
        while let Some(prefix) = at.map(|at| &self.prefixes[at]) {
            if path.starts_with(&*prefix.text) {
                return Some(prefix.policy);
            }
            at = prefix.parent;
        }
        None
    }

    /// All routes as they are written, in the order of their texts.
    pub(super) fn list(&self) -> Vec<(String, Policy)> {
        let exact = self.exact.iter().map(|(path, policy)| (&**path, *policy));
        let exact = exact.map(|(path, policy)| (Route::Exact(path).to_string(), policy));
        let under = self.prefixes.iter();
        let under = under.map(|it| (Route::Under(&it.text).to_string(), it.policy));
        let mut list: Vec<_> = exact.chain(under).collect();
        list.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        list
    }

    fn place(&self, prefix: &str) -> Result<usize, usize> {
        self.prefixes.binary_search_by(|it| (*it.text).cmp(prefix))
    }

    fn find_parents(&mut self) {
        for at in 0..self.prefixes.len() {
            let (before, rest) = self.prefixes.split_at_mut(at);
            let prefix = &mut rest[0];
            // As in `policy_above`.
            prefix.parent = at.checked_sub(1);
            while let Some(other) = prefix.parent.map(|at| &before[at]) {
                if prefix.text.starts_with(&*other.text) {
                    break;
                }
                prefix.parent = other.parent;
            }
        }
    }
}

/// A route that can be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// This path.
    Exact(&'a str),
    /// All paths that begin with this, which ends in `/`.
    Under(&'a str),
}

impl<'a> Route<'a> {
    pub(super) fn parse(written: &'a str) -> Result<Self, BuildError> {
        let refused = |why: &dyn fmt::Display| {
            Err(BuildError::new(format_args!(
                "buffering route `{}`: {why}",
                written.escape_debug()
            )))
        };
        let (path, route) = match written.strip_suffix('*') {
            Some(prefix) if prefix.ends_with('/') => (prefix, Self::Under(prefix)),
            _ => (written, Self::Exact(written)),
        };
        if path.is_empty() {
            return refused(
                &"there is nothing in it: write `/path`, or `/path/*` for all that is under it",
            );
        }
        if !path.starts_with('/') {
            return refused(&"a path starts with `/`");
        }
        match path.chars().find(|it| !is_of_a_path(*it)) {
            None => Ok(route),
            Some('*') => refused(
                &"`*` stands for all that is under a path, and only at the end of it, as in `/path/*`",
            ),
            Some('?') => refused(&"the query is not looked at: leave it out, `?` included"),
            Some('#') => refused(&"no client sends a fragment: leave it out, `#` included"),
            Some('{' | '}') => refused(
                &"there are no parameters: write the path as clients do, or `/path/*` for all that is under one",
            ),
            Some(other) => refused(&format_args!(
                "`{}` cannot be in a path (RFC 3986 section 3.3): clients send it percent-encoded",
                other.escape_debug()
            )),
        }
    }
}

impl fmt::Display for Route<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Under(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// RFC 3986 §3.3, but for `*`, which a path may have in it and a route has not.
fn is_of_a_path(it: char) -> bool {
    it.is_ascii_alphanumeric() || "/-._~%!$&'()+,;=:@".contains(it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffering::Buffering;

    /// With any other parents a search could take as many steps as there are routes, or go astray.
    fn assert_parents(routes: &Routes) {
        let texts: Vec<_> = routes.prefixes.iter().map(|it| &*it.text).collect();
        assert!(texts.is_sorted());
        for (at, prefix) in routes.prefixes.iter().enumerate() {
            let above =
                (0..texts.len()).filter(|it| *it != at && texts[at].starts_with(texts[*it]));
            let longest = above.max_by_key(|it| texts[*it].len());
            assert_eq!(prefix.parent, longest, "{} in {texts:?}", prefix.text);
        }
    }

    #[test]
    fn each_prefix_has_the_next_shorter_one_as_its_parent() {
        let written = [
            "/a/b/",
            "/",
            "/a/b/c/d/",
            "/a/",
            "/b/",
            "/a-/",
            "/a/b/c/",
            "/a/c/",
            "/ab/",
            "//",
            "/a//",
        ];
        let mut routes = Routes::new(Buffering::Auto.into());
        for prefix in written {
            routes.set(&Route::Under(prefix), Buffering::Off.into());
            assert_parents(&routes);
        }
        assert_eq!(routes.prefixes.len(), written.len());
        for prefix in written {
            assert!(routes.remove(&Route::Under(prefix)).is_some());
            assert_parents(&routes);
        }
    }
}
