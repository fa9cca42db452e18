//! Which route a path goes by.

use std::collections::BTreeMap;

use allocation_counter::measure;
use http::Method;
use http_body::SizeHint;
use proptest::{collection::vec, prelude::*, sample::select};
use tower_passthrough::buffering::{
    Buffering::{Auto, Off, On},
    BufferingControl, Policy,
};

use crate::{Answer, overriding, pass, values};

#[test]
fn exact_routes_win_then_the_longest_prefix_then_the_default() {
    let policies = [
        ("/", Policy::new(On)),
        ("/v1", overriding(On)),
        ("/v1/*", Policy::new(Off)),
        ("/v1/files/*", Policy::new(On)),
        ("/v1/files/tail", overriding(Off)),
        ("/v1/files-of-others/*", overriding(Auto)),
        ("/a%2Fb", Policy::new(On)),
        ("/~user!$&'()+,;=:@-._/*", Policy::new(Off)),
    ];
    let control = BufferingControl::new(Auto);
    for (route, policy) in policies {
        assert_eq!(control.set(route, policy), Ok(None), "{route}");
    }
    let default = Policy::new(Auto);
    for (path, expected) in [
        ("/", Policy::new(On)),
        ("", default),
        ("*", default),
        ("/v", default),
        ("/v1", overriding(On)),
        ("/v1/", Policy::new(Off)),
        ("/v1/chat", Policy::new(Off)),
        ("/v1/chat/", Policy::new(Off)),
        ("/v1//", Policy::new(Off)),
        ("/v1/files", Policy::new(Off)),
        ("/v1/files/", Policy::new(On)),
        ("/v1/files/7", Policy::new(On)),
        ("/v1/files/tail", overriding(Off)),
        ("/v1/files/tail/", Policy::new(On)),
        ("/v1/files-of-others/7", overriding(Auto)),
        ("/v1/files0", Policy::new(Off)),
        ("/v1/zzz", Policy::new(Off)),
        ("/v10", default),
        ("/v1-", default),
        ("/V1/chat", default),
        ("//v1/chat", default),
        ("/a%2Fb", Policy::new(On)),
        ("/a%2fb", default),
        ("/a/b", default),
        ("/~user!$&'()+,;=:@-._/\u{e9}", Policy::new(Off)),
    ] {
        assert_eq!(control.policy_for(path), expected, "{path}");
    }
}

#[test]
fn the_layer_looks_at_the_path_alone() {
    let control = BufferingControl::new(Auto);
    control.set("/v1/*", Off).unwrap();
    control.set("/", On).unwrap();
    for (target, expected) in [
        ("/v1/chat", &["no"][..]),
        ("/v1/?a=/", &["no"]),
        ("http://api.test/v1/chat?a", &["no"]),
        ("http://api.test", &["yes"]),
        ("http://api.test?v1/", &["yes"]),
        ("/?/v1/", &["yes"]),
        ("/v2?/v1/", &[]),
        ("*", &[]),
        ("api.test:80", &[]),
    ] {
        let sized = Answer::new(SizeHint::with_exact(5));
        let fields = pass(&control, &Method::OPTIONS, target, &sized);
        assert_eq!(values(&fields), expected, "{target}");
    }
}

#[test]
fn a_route_is_changed_and_removed() {
    let control = BufferingControl::new(Auto);
    let (auto, off, on) = (Policy::new(Auto), Policy::new(Off), overriding(On));
    for route in ["/a/b", "/a/b/*", "/a/*", "/*"] {
        let path = route.replace('*', "c");
        assert_eq!(control.policy_for(&path), auto, "{route}");
        assert_eq!(control.remove(route), None, "{route}");
        assert_eq!(control.set(route, off), Ok(None), "{route}");
        assert_eq!(control.policy_for(&path), off, "{route}");
        assert_eq!(control.set(route, on), Ok(Some(off)), "{route}");
        assert_eq!(control.policy_for(&path), on, "{route}");
        assert_eq!(control.routes(), [(route.to_owned(), on)], "{route}");
        assert_eq!(control.remove(route), Some(on), "{route}");
        assert_eq!(control.policy_for(&path), auto, "{route}");
        assert_eq!(control.routes(), [], "{route}");
    }
}

#[test]
fn the_default_is_changed() {
    let control = BufferingControl::new(Auto);
    control.set("/a", Off).unwrap();
    let other_handle = control.clone();
    other_handle.set_default(overriding(On));
    assert_eq!(control.default_policy(), overriding(On));
    assert_eq!(control.policy_for("/b"), overriding(On));
    assert_eq!(control.policy_for("/a"), Policy::new(Off));
}

#[test]
fn routes_are_listed_in_order_and_shown() {
    let control = BufferingControl::new(Auto);
    for route in ["/b", "/a/*", "/a/b", "/*", "/", "/a", "/a-"] {
        control.set(route, Off).unwrap();
    }
    control.remove("/b");
    let off = |route: &str| (route.to_owned(), Policy::new(Off));
    let routes = ["/", "/*", "/a", "/a-", "/a/*", "/a/b"].map(off);
    assert_eq!(control.routes(), routes);
    assert_eq!(
        format!("{control:?}"),
        format!(
            "BufferingControl {{ default: {:?}, routes: {routes:?} }}",
            Policy::new(Auto)
        )
    );
}

#[test]
fn what_is_no_route_is_refused_and_changes_nothing() {
    const NOTHING: &str =
        "there is nothing in it: write `/path`, or `/path/*` for all that is under it";
    const START: &str = "a path starts with `/`";
    const STAR: &str =
        "`*` stands for all that is under a path, and only at the end of it, as in `/path/*`";
    const QUERY: &str = "the query is not looked at: leave it out, `?` included";
    const FRAGMENT: &str = "no client sends a fragment: leave it out, `#` included";
    const PARAMETER: &str = "there are no parameters: write the path as clients do, or `/path/*` for all that is under one";
    let cannot = |it: &str| {
        format!(
            "`{it}` cannot be in a path (RFC 3986 section 3.3): clients send it percent-encoded"
        )
    };

    let control = BufferingControl::new(Auto);
    control.set("/a", Off).unwrap();
    let before = control.routes();
    for (route, shown, why) in [
        ("", "", NOTHING),
        ("a", "a", START),
        ("a/*", "a/*", START),
        ("*", "*", START),
        (" /a", " /a", START),
        ("http://a/b", "http://a/b", START),
        ("/a*", "/a*", STAR),
        ("/*/a", "/*/a", STAR),
        ("/a/**", "/a/**", STAR),
        ("/a/*/*", "/a/*/*", STAR),
        ("/a?b", "/a?b", QUERY),
        ("/a/*?b", "/a/*?b", STAR),
        ("/a?b/*", "/a?b/*", QUERY),
        ("/a#b", "/a#b", FRAGMENT),
        ("/a/{id}", "/a/{id}", PARAMETER),
        ("/a}/*", "/a}/*", PARAMETER),
        ("/a b", "/a b", &cannot(" ")),
        ("/a\nb/*", "/a\\nb/*", &cannot("\\n")),
        ("/a\0", "/a\\0", &cannot("\\0")),
        ("/a\u{7f}", "/a\\u{7f}", &cannot("\\u{7f}")),
        ("/caf\u{e9}/*", "/caf\u{e9}/*", &cannot("\u{e9}")),
        ("/a\\b", "/a\\\\b", &cannot("\\\\")),
        ("/\"a\"", "/\\\"a\\\"", &cannot("\\\"")),
        ("/a|b", "/a|b", &cannot("|")),
        ("/[a]", "/[a]", &cannot("[")),
        ("/a^", "/a^", &cannot("^")),
        ("/<a>", "/<a>", &cannot("<")),
        ("/a`", "/a`", &cannot("`")),
    ] {
        let error = control.set(route, On).unwrap_err().to_string();
        assert_eq!(error, format!("buffering route `{shown}`: {why}"));
        assert_eq!(control.remove(route), None, "{route}");
    }
    assert_eq!(control.routes(), before);
}

#[test]
fn looking_a_policy_up_allocates_nothing() {
    let control = BufferingControl::new(Auto);
    for number in 0..100 {
        control.set(&format!("/a/{number}"), Off).unwrap();
        control.set(&format!("/a/{number}/*"), On).unwrap();
    }
    for path in ["/a/7", "/a/7/b", "/b"] {
        let look_up = || assert!(!control.policy_for(path).is_overriding());
        assert_eq!(measure(look_up).count_total, 0, "{path}");
    }
}

/// What the control is asked to do.
#[derive(Debug, Clone)]
enum Do {
    Default(Policy),
    Set(String, Policy),
    Remove(String),
}

/// Few and short, so that they meet.
fn path() -> impl Strategy<Value = String> {
    let segment = select(vec!["", "a", "b", "ab", "a-", "."]);
    vec(segment, 1..6).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn route() -> impl Strategy<Value = String> {
    (path(), any::<bool>()).prop_map(|(path, all_under)| match all_under {
        true if path.ends_with('/') => format!("{path}*"),
        true => format!("{path}/*"),
        false => path,
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let policies = [Off, On, Auto].map(|it| [Policy::new(it), overriding(it)]);
    select(policies.as_flattened().to_vec())
}

fn step() -> impl Strategy<Value = Do> {
    prop_oneof![
        1 => policy().prop_map(Do::Default),
        6 => (route(), policy()).prop_map(|(route, policy)| Do::Set(route, policy)),
        2 => route().prop_map(Do::Remove),
    ]
}

/// The same, plainly.
struct Model {
    default: Policy,
    routes: BTreeMap<String, Policy>,
}

impl Model {
    fn policy_for(&self, path: &str) -> Policy {
        let above = |route: &&String| {
            let prefix = route.strip_suffix('*');
            prefix.is_some_and(|prefix| path.starts_with(prefix))
        };
        let longest = || {
            let routes = self.routes.keys().filter(above);
            Some(self.routes[routes.max_by_key(|route| route.len())?])
        };
        let exact = self.routes.get(path).copied();
        exact.or_else(longest).unwrap_or(self.default)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_path_goes_by_the_route_that_a_plain_search_finds(
        steps in vec(step(), 0..60),
        paths in vec(path(), 1..20),
    ) {
        let control = BufferingControl::new(Auto);
        let mut model = Model { default: Policy::new(Auto), routes: BTreeMap::new() };
        for step in steps {
            match step {
                Do::Default(policy) => {
                    control.set_default(policy);
                    model.default = policy;
                }
                Do::Set(route, policy) => {
                    let before = control.set(&route, policy).unwrap();
                    prop_assert_eq!(before, model.routes.insert(route, policy));
                }
                Do::Remove(route) => {
                    prop_assert_eq!(control.remove(&route), model.routes.remove(&route));
                }
            }
            for path in &paths {
                prop_assert_eq!(control.policy_for(path), model.policy_for(path), "{}", path);
            }
        }
        let routes: Vec<_> = model.routes.into_iter().collect();
        prop_assert_eq!(control.routes(), routes);
    }
}
