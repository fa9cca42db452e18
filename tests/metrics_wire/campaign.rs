//! Thousands of exchanges that end at random points, many at a time.
//!
//! ```sh
//! CAMPAIGN_SEED=7 cargo test --all-features --test metrics_wire   # the same plans again
//! ```
//!
//! The same plans are not the same exchanges: where a client leaves while the server goes on, the
//! machine decides what happens first. So it is the service that tells what is to be recorded: it
//! knows what it was asked for, what it has yielded, and where it was let go. Where nothing is left
//! to chance, it has to tell what the plan says.

mod client;
mod plan;
mod service;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    env,
    hash::{BuildHasher, RandomState},
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use futures_util::{StreamExt, future::join_all, stream};
use tokio::{spawn, task::yield_now};
use tower::Layer;
use tower_passthrough::{RequestHead, metrics::MetricsLayer, observe::Outcome};

use self::{
    client::{Seen, play, yields},
    plan::{Ask, Plan, plan},
    service::{Ledger, Story, service},
};
use crate::{
    books::{Call, Entry, Expected, Series, assert_agree, books},
    common::OUTCOMES,
    net::{Client, Proto, Server, loopback, serve, soon},
    random::Random,
};

/// How many exchanges reach the service.
const EXCHANGES: usize = 10_000;

/// How many are planned at once.
const ROUND: usize = 2_900;

/// How many share a connection, as long as it lasts. On HTTP/2 they are under way at once.
const BATCH: usize = 12;

/// How many batches are under way at once.
const BATCHES: usize = 24;

/// Which exchanges go over one connection, and when its client hangs up.
struct Batch {
    proto: Proto,
    plans: Range<usize>,
    cut_after: Option<usize>,
}

struct Connection {
    client: Client,
    server: Server,
}

impl Connection {
    async fn open(proto: Proto, layer: &MetricsLayer, ledger: &Arc<Ledger>) -> Self {
        let (near, far) = loopback().await;
        let server = serve(proto, far, layer.layer(service(Arc::clone(ledger))));
        let client = Client::connect(proto, near).await;
        Self { client, server }
    }

    /// Hangs up. Gives back how many tasks of the server panicked.
    async fn close(self) -> usize {
        drop(self.client);
        self.server.panics().await
    }
}

/// Plays a batch. Gives back how many tasks of the server panicked.
async fn play_batch(batch: Batch, layer: MetricsLayer, ledger: Arc<Ledger>) -> usize {
    match batch.proto {
        Proto::H1 => one_by_one(batch, &layer, &ledger).await,
        Proto::H2 => all_at_once(batch, &layer, &ledger).await,
    }
}

async fn one_by_one(batch: Batch, layer: &MetricsLayer, ledger: &Arc<Ledger>) -> usize {
    let mut panics = 0;
    let mut open = None;
    for index in batch.plans {
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => Connection::open(Proto::H1, layer, ledger).await,
        };
        let seen = play(&mut connection.client, index, ledger).await;
        ledger.records[index].saw(seen);
        if matches!(seen, Seen::Whole { .. }) && ledger.plans[index].leaves_connection_open() {
            open = Some(connection);
        } else {
            panics += connection.close().await;
        }
    }
    match open {
        Some(connection) => panics + connection.close().await,
        None => panics,
    }
}

async fn all_at_once(batch: Batch, layer: &MetricsLayer, ledger: &Arc<Ledger>) -> usize {
    let connection = Connection::open(Proto::H2, layer, ledger).await;
    let exchanges = join_all(batch.plans.clone().map(|index| {
        let mut client = connection.client.beside().unwrap();
        async move {
            let seen = play(&mut client, index, ledger).await;
            ledger.records[index].saw(seen);
        }
    }));
    if let Some(after) = batch.cut_after {
        tokio::select! {
            _ = exchanges => {}
            () = yields(after) => {}
        }
    } else {
        exchanges.await;
    }
    connection.close().await
}

/// Plans and plays as many exchanges as there are in a round. Gives back what became of them when
/// all are over.
async fn play_round(random: &mut Random, layer: &MetricsLayer) -> Arc<Ledger> {
    let mut plans = Vec::with_capacity(ROUND);
    let mut batches = Vec::new();
    while plans.len() < ROUND {
        let proto = [Proto::H1, Proto::H2][random.below(2)];
        let is_cut = proto == Proto::H2 && random.one_in(4);
        let begin = plans.len();
        plans.extend((0..BATCH).map(|_| plan(random, proto, is_cut)));
        batches.push(Batch {
            proto,
            plans: begin..plans.len(),
            cut_after: is_cut.then(|| random.early_or_late()),
        });
    }
    let ledger = Arc::new(Ledger::new(plans));
    let played = batches
        .into_iter()
        .map(|batch| spawn(play_batch(batch, layer.clone(), Arc::clone(&ledger))));
    // Lazily: a batch is spawned when it is its turn.
    let panics = stream::iter(played).buffer_unordered(BATCHES);
    let panics: usize = panics
        .map(Result::unwrap)
        .fold(0, async |all, it| all + it)
        .await;

    soon(async {
        while ledger.open_tunnels.load(Ordering::SeqCst) > 0 {
            yield_now().await;
        }
    })
    .await;
    let stories = ledger.stories();
    let panicked = |story: &&Story| story.outcome == Some(Outcome::Panicked);
    assert_eq!(panics, stories.iter().filter(panicked).count(), "panics");
    ledger
}

/// What the plan and the client say of an exchange must be what the service says of it.
fn check(plan: &Plan, story: &Story) {
    let context = format!("{plan:#?}\n{story:#?}");
    assert!(story.calls <= 1, "{context}");
    if let Some(outcome) = plan.certain {
        assert_eq!(
            (story.calls, story.outcome),
            (1, Some(outcome)),
            "{context}"
        );
    }
    if let Some(Seen::Whole { status, bytes }) = story.seen {
        assert_eq!(story.status, Some(status), "{context}");
        if plan.ask != Ask::Head {
            assert_eq!(story.bytes, bytes, "{context}");
        }
    }
}

const GRPC_CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// How a gRPC call that ended so is counted.
fn call(story: &Story, outcome: Outcome) -> Call {
    let code = match (story.grpc_status, outcome) {
        (Some(code), _) => GRPC_CODES.get(code).copied().unwrap_or("Unknown"),
        (None, Outcome::Cancelled | Outcome::Disconnected) => "Canceled",
        (None, Outcome::BodyError | Outcome::ServiceError | Outcome::Panicked) => "Internal",
        (None, _) if story.status == Some(503) => "Unavailable",
        (None, _) => "Unknown",
    };
    let is_known = code != "Unimplemented";
    Call {
        service: if is_known { plan::GRPC.0 } else { "_other" },
        method: if is_known { plan::GRPC.1 } else { "_other" },
        code,
    }
}

/// What is to be recorded of an exchange that reached the service.
fn entry(plan: &Plan, story: &Story, outcome: Outcome) -> Entry {
    let otherwise = match outcome {
        Outcome::Cancelled => 499,
        _ => 500,
    };
    let kind = match story.status {
        Some(_) => plan.kind(),
        None if plan.ask.is_call() => "grpc",
        None => "unary",
    };
    Entry {
        base: vec![("method", plan.ask.label()), ("path", plan.shape)],
        status: story.status.unwrap_or(otherwise),
        has_head: story.status.is_some(),
        kind,
        outcome: Some(outcome),
        request_bytes: plan.upload.announces(),
        response_bytes: story.bytes,
        has_first_byte: matches!(kind, "stream" | "grpc") && story.bytes > 0,
        call: plan.ask.is_call().then(|| call(story, outcome)),
    }
}

fn shape<'a>(request: &RequestHead<'a>) -> Cow<'a, str> {
    request.headers["x-shape"].to_str().unwrap().into()
}

/// The same without the names of gRPC methods: which of them have been answered by then, and are
/// named, is left to chance.
fn nameless(series: &Series) -> Series {
    let mut nameless = Series::new();
    for (series, value) in series {
        let (name, labels) = series.split_once('{').unwrap();
        let labels: Vec<_> = labels
            .split(',')
            .filter(|label| !label.starts_with("grpc_service") && !label.starts_with("grpc_method"))
            .collect();
        *nameless
            .entry(format!("{name}{{{}", labels.join(",")))
            .or_default() += value;
    }
    nameless
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sums_agree_exactly_whenever_exchanges_end() {
    let seed = env::var("CAMPAIGN_SEED").map_or_else(
        |_| RandomState::new().hash_one(0),
        |seed| seed.parse().expect("a number"),
    );
    println!("CAMPAIGN_SEED={seed}");
    let begun = Instant::now();
    let mut random = Random::new(seed);
    let (builder, exporter) = books();
    let layer = builder.path(shape).build().unwrap();

    let (mut exchanges, mut certain) = (0, 0);
    let mut expected = Expected::default();
    let mut endings = BTreeMap::<_, usize>::new();
    while exchanges < EXCHANGES {
        let ledger = play_round(&mut random, &layer).await;
        for (plan, story) in ledger.plans.iter().zip(ledger.stories()) {
            check(plan, &story);
            if story.calls == 0 {
                continue;
            }
            let outcome = story.outcome.expect("an exchange that is over");
            expected.add(&entry(plan, &story, outcome));
            exchanges += 1;
            certain += usize::from(plan.certain.is_some());
            let ending = (plan.proto == Proto::H2, outcome.as_str());
            *endings.entry(ending).or_default() += 1;
        }
        let context = format!("CAMPAIGN_SEED={seed}");
        let [rendered, expected] = [&exporter.series(), expected.series()].map(nameless);
        assert_agree(&rendered, &expected, &context);
    }

    println!(
        "{exchanges} exchanges, {certain} of them certain, {:?}",
        begun.elapsed()
    );
    println!("how many ended so, false on HTTP/1, true on HTTP/2: {endings:?}");
    // They are worth something only if all that can happen does.
    for is_h2 in [false, true] {
        for outcome in OUTCOMES {
            let count = endings.get(&(is_h2, outcome.as_str()));
            assert!(count >= Some(&50), "{is_h2}, {outcome}: {count:?}");
        }
    }
}
