//! Random exchanges under random servers, through random stacks of layers: what comes out is what
//! the bare service gives, and each layer's user is told what the table says, once.
//!
//! ```sh
//! cargo test --all-features --test model                          # some thousand exchanges
//! CAMPAIGN_SECONDS=1800 cargo test --release --all-features --test model -- --nocapture
//! CAMPAIGN_SEED=7 cargo test --all-features --test model          # the same ones again
//! ```
//!
//! A failure prints the least case that shows it, and the seed that leads to it. An abort, from a
//! panic that nobody caught while another one unwound, leaves only the seed that was begun with.
#![cfg(all(feature = "capture", feature = "headers", feature = "metrics"))]
#![allow(
    clippy::expect_used,
    reason = "clippy counts only functions that are `#[test]` as tests"
)]

mod case;
#[path = "../common/mod.rs"]
mod common;
mod oracle;
mod stack;
mod stage;
mod tally;

use std::{
    cell::RefCell,
    env,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, Instant},
};

use case::{Case, case};
use metrics::with_local_recorder;
use oracle::Oracle;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use stack::{Journal, stack};
use stage::{Act, Event, Metric, Running, Seen, Stage, Told, serve};
use tally::Tally;
use tower_passthrough::observe::Outcome;

/// How many exchanges are made from one seed.
const CASES_PER_SEED: u32 = 1024;

/// How many seeds there are if no time is given.
const ROUNDS: u64 = 4;

/// Plays the case twice, and compares all that happened.
fn play(case: Case) -> Result<(Arc<Case>, Vec<Event>), String> {
    let case = Arc::new(case);
    let stage = Arc::<Stage>::default();
    serve(&case, &stage, &mut Oracle::new(&case, &stage));
    let expected = std::mem::take(&mut *stage.seen());

    let stage = Arc::<Stage>::default();
    with_local_recorder(&Journal(Arc::clone(&stage)), || {
        serve(
            &case,
            &stage,
            &mut Running::new(&stage, stack(&case, &stage)),
        );
    });
    let seen = std::mem::take(&mut *stage.seen());

    compare("what happened", &seen.log, &expected.log)?;
    compare("metrics", &sorted(&seen), &sorted(&expected))?;
    check_moments(&seen)?;
    Ok((case, seen.log))
}

/// Within one act, the order of metrics means nothing.
fn sorted(seen: &Seen) -> Vec<(usize, usize, Metric)> {
    let mut metrics = seen.metrics.clone();
    metrics.sort();
    metrics
}

fn compare<T: PartialEq + std::fmt::Debug>(
    what: &str,
    seen: &[T],
    expected: &[T],
) -> Result<(), String> {
    let same = seen.iter().zip(expected).take_while(|(a, b)| a == b);
    let same = same.count();
    if same == seen.len() && same == expected.len() {
        return Ok(());
    }
    Err(format!(
        "{what}, number {same}: {:#?} instead of {:#?}, after {:#?}",
        seen.get(same),
        expected.get(same),
        &seen[..same]
    ))
}

/// One event has one moment, whoever is told of it. An exchange that was over before its body was
/// dropped ended when the last of it came.
fn check_moments(seen: &Seen) -> Result<(), String> {
    let acts = acts(&seen.log);
    for (index, now) in seen.timed.iter().enumerate() {
        let before = || seen.timed[..index].iter().rev();
        let at_drop = acts[now.act - 1] == Act::DropBody;
        let own = before().find(|it| it.who == now.who);
        let is_right = own.is_none_or(|own| {
            let is_same_event = own.act == now.act || at_drop;
            if now.told == Told::End(Outcome::Complete) && is_same_event {
                now.at == own.at
            } else {
                now.at >= own.at
            }
        });
        let in_this_act = before().take_while(|it| it.act == now.act);
        let mut of_the_pair = in_this_act.filter(|it| {
            it.who.layer == now.who.layer && it.who.part != now.who.part && it.told == now.told
        });
        if !is_right || of_the_pair.any(|other| other.at != now.at) {
            return Err(format!("moment {index} of {:#?}", seen.timed));
        }
    }
    Ok(())
}

fn acts(log: &[Event]) -> Vec<Act> {
    let act = |event: &Event| match event {
        Event::Does(act) => Some(*act),
        _ => None,
    };
    log.iter().filter_map(act).collect()
}

/// Plays as many cases as are made from this seed.
fn play_seed(seed: u64, tally: Option<&RefCell<Tally>>) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        cases: CASES_PER_SEED,
        failure_persistence: None,
        ..Config::default()
    };
    let played = TestRunner::new_with_rng(config, rng).run(&case(), |case| {
        let (case, log) = play(case).map_err(TestCaseError::fail)?;
        if let Some(tally) = tally {
            tally.borrow_mut().count(&case, &log);
        }
        Ok(())
    });
    if let Err(failure) = played {
        panic!("CAMPAIGN_SEED={seed}: {failure}");
    }
}

fn number(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

#[test]
fn stack_of_layers_changes_nothing_and_tells_each_outcome_once() {
    let base = number("CAMPAIGN_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let time = number("CAMPAIGN_SECONDS").map(Duration::from_secs);
    let start = Instant::now();
    println!("CAMPAIGN_SEED={base}");
    let tally = time.map(|_| RefCell::<Tally>::default());
    for round in 0.. {
        let is_over = match time {
            None => round == ROUNDS,
            Some(time) => start.elapsed() >= time,
        };
        if is_over {
            break;
        }
        play_seed(base.wrapping_add(round), tally.as_ref());
    }
    if let Some(tally) = tally {
        let tally = tally.into_inner();
        println!("{:?}\n{tally}", start.elapsed());
    }
}

/// The cases are worth something only if all that can happen does.
#[test]
fn cases_come_to_everything_that_can_happen() {
    let tally = RefCell::default();
    for seed in 0..ROUNDS {
        play_seed(seed, Some(&tally));
    }
    let rare = tally.into_inner().rarer_than(8);
    assert!(rare.is_empty(), "too rare: {rare:#?}");
}
