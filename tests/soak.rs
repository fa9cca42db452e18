//! Ten thousand event streams over many intervals, on tokio's clock, paused: what happens is the
//! same each time, and is counted exactly.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by a panic"
)]

#[path = "common/gate.rs"]
mod gate;
#[path = "common/net.rs"]
mod net;

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready as ready_or_pending},
    time::{Duration, Instant},
    vec,
};

use allocation_counter::measure;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::{
    runtime::Builder,
    task::{JoinHandle, spawn},
    time::{Sleep, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceBuilder};
use tower_passthrough::{
    sse::{DrainLayer, KeepAliveLayer},
    timeout::{IdleTimeoutError, IdleTimeoutLayer},
    timer::{Timer, TokioSleep, TokioTimer},
};

use crate::{
    gate::event_stream,
    net::{BoxError, Client, Proto, Served, Server, no_body, pipe, serve},
};

const STREAMS: usize = 10_000;
const INTERVAL: Duration = Duration::from_secs(15);
/// tokio's timer goes by milliseconds, and rounds up.
const LATE: Duration = Duration::from_millis(2);
/// Far more than any test takes, and less than for ever.
const LONG: Duration = Duration::from_secs(86_400);
const SECOND: Duration = Duration::from_secs(1);

/// What a client read, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    Event,
    KeepAlive,
    End,
    Broken,
}

type Story = Vec<(Read, Duration)>;

#[test]
fn each_quiet_interval_of_each_stream_has_one_keep_alive_and_all_is_given_back() {
    all_is_given_back(None, 31);
}

#[test]
fn so_it_is_on_ten_thousand_connections_of_http_1() {
    all_is_given_back(Some(Proto::H1), 2);
}

#[test]
fn so_it_is_on_a_hundred_connections_of_http_2() {
    all_is_given_back(Some(Proto::H2), 2);
}

fn all_is_given_back(proto: Option<Proto>, busy: u32) {
    // What is allocated once per thread.
    soak(1, proto, busy);
    let memory = measure(|| soak(STREAMS, proto, busy));
    assert_eq!((memory.count_current, memory.bytes_current), (0, 0));
}

/// Quiet for some intervals, busy for so many seconds, quiet again, and drained.
fn soak(streams: usize, proto: Option<Proto>, busy: u32) {
    let drained_at = INTERVAL * 6 + SECOND * busy;
    let world = World::default();
    let sleeps = Sleeps::default();
    let shutdown = CancellationToken::new();
    let layer = {
        let shutdown = shutdown.clone();
        ServiceBuilder::new()
            .layer(DrainLayer::new(move || shutdown.clone().cancelled_owned(), INTERVAL).unwrap())
            .layer(
                KeepAliveLayer::builder(INTERVAL, sleeps.clone())
                    .build()
                    .unwrap(),
            )
            .layer(IdleTimeoutLayer::new(LONG).unwrap())
    };
    let stories = paused(async {
        let service = layer.service(world.answer(move |stream| gaps(stream, busy)));
        let (connections, clients) = match proto {
            None => (Vec::new(), open(&service, streams)),
            Some(proto) => connect(proto, &service, streams).await,
        };
        // The last ones have had their third quiet interval, and the first ones not their fourth.
        sleep(drained_at).await;
        assert_eq!(world.dropped(), 0);
        shutdown.cancel();
        let stories = join_all(clients).await;
        for (client, server) in connections {
            drop(client);
            server.closed().await;
        }
        stories
    });
    for story in stories {
        let story = story.unwrap();
        assert_whole(&story, busy);
        assert_each_in_time(&story);
        let (_, end) = story[story.len() - 1];
        assert!((drained_at..drained_at + LATE).contains(&end), "{end:?}");
    }
    assert_eq!(world.dropped(), streams);
    // As many as keep-alives, one under way, and one each interval of the busy time. There are far
    // more frames.
    let most = 5 + 1 + (SECOND * busy).as_secs() / INTERVAL.as_secs() + 2;
    let sleeps = sleeps.0.load(Relaxed) as u64;
    assert!(sleeps <= most * streams as u64, "{sleeps} sleeps");
}

/// How long a stream waits for each of its events: no two streams at once, and each is quiet from
/// the head on.
fn gaps(stream: usize, busy: u32) -> Vec<Duration> {
    let first = INTERVAL * 2 + INTERVAL / 4 + Duration::from_millis(stream as u64);
    let mut gaps = vec![first];
    gaps.extend(vec![SECOND; busy as usize]);
    gaps
}

fn assert_whole(story: &Story, busy: u32) {
    let order: Vec<_> = story.iter().map(|(read, _)| *read).collect();
    let mut wanted = vec![Read::KeepAlive; 2];
    wanted.extend(vec![Read::Event; busy as usize + 1]);
    wanted.extend([Read::KeepAlive; 3]);
    wanted.push(Read::End);
    assert_eq!(order, wanted);
}

/// Each keep-alive comes as soon as the stream has been quiet for the interval, and not before.
fn assert_each_in_time(story: &Story) {
    let mut before = Duration::ZERO;
    for &(read, at) in story {
        if read == Read::KeepAlive {
            let quiet = at.checked_sub(before).unwrap();
            assert!((INTERVAL..INTERVAL + LATE).contains(&quiet), "{quiet:?}");
        }
        before = at;
    }
}

#[test]
fn each_idle_stream_breaks_at_its_limit_however_many_keep_alives_it_has() {
    const LIMIT: Duration = Duration::from_secs(50);
    let world = World::default();
    let layer = ServiceBuilder::new()
        .layer(KeepAliveLayer::new(INTERVAL).unwrap())
        .layer(IdleTimeoutLayer::new(LIMIT).unwrap());
    // The first gap is almost too long, and the last is too long by a little.
    let gaps = |_| vec![SECOND * 49, SECOND, LIMIT + LATE];
    let service = layer.service(world.answer(gaps));
    let stories = paused(async { join_all(open(&service, STREAMS)).await });
    let quiet = [Read::KeepAlive; 3];
    for story in stories {
        let story = story.unwrap();
        let order: Vec<_> = story.iter().map(|(read, _)| *read).collect();
        let wanted = [&quiet[..], &[Read::Event; 2], &quiet, &[Read::Broken]].concat();
        assert_eq!(order, wanted);
        assert_each_in_time(&story);
        let [.., (Read::Broken, at)] = story[..] else {
            panic!("{story:?}");
        };
        let idle = at.checked_sub(LIMIT).unwrap();
        assert!((LIMIT..LIMIT + LATE).contains(&idle), "{idle:?}");
    }
    assert_eq!(world.dropped(), STREAMS);
}

fn paused<F: Future>(future: F) -> F::Output {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    // If nothing else is to come, this is what the clock skips to.
    let whole = async { timeout(SECOND * 3_600, future).await };
    runtime.unwrap().block_on(whole).expect("goes on for ever")
}

/// The service's side: how many of its bodies are gone.
#[derive(Clone, Default)]
struct World(Arc<AtomicUsize>);

impl World {
    fn dropped(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// The service: streams with an event after each of their gaps.
    fn answer<G>(&self, gaps: G) -> Answer<G> {
        Answer {
            gaps,
            world: self.clone(),
        }
    }
}

/// Opens so many streams, and a client for each.
fn open<S, B>(service: &S, streams: usize) -> Vec<JoinHandle<Story>>
where
    S: Service<Request<()>, Response = Response<B>, Future: Send + 'static> + Clone,
    B: Body<Data = Bytes, Error = BoxError> + Send + 'static,
{
    let open = |stream| {
        let called = service.clone().call(request(stream, ()));
        spawn(async {
            let response = called.await.ok().expect("an answer");
            read(response.into_body()).await
        })
    };
    (0..streams).map(open).collect()
}

/// The same over connections, both ends of which are given back.
async fn connect(
    proto: Proto,
    service: &impl Served,
    streams: usize,
) -> (Vec<(Client, Server)>, Vec<JoinHandle<Story>>) {
    let per_connection = match proto {
        Proto::H1 => 1,
        Proto::H2 => 100,
    };
    let (mut connections, mut stories) = (Vec::new(), Vec::new());
    for first in (0..streams).step_by(per_connection) {
        let (near, far) = pipe();
        let server = serve(proto, far, service.clone());
        let mut client = Client::connect(proto, near).await;
        for stream in first..streams.min(first + per_connection) {
            let response = client.send(request(stream, no_body())).await.unwrap();
            stories.push(spawn(read(response.into_body())));
        }
        connections.push((client, server));
    }
    (connections, stories)
}

fn request<B>(stream: usize, body: B) -> Request<B> {
    let request = Request::get(format!("http://localhost/{stream}"));
    request.body(body).unwrap()
}

async fn read<B>(body: B) -> Story
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let mut body = pin!(body);
    let start = TokioTimer.now();
    let mut story = Story::new();
    loop {
        let read = match body.frame().await {
            None => Read::End,
            Some(Err(error)) => {
                let error = error.into();
                assert!(error.is::<IdleTimeoutError>(), "{error}");
                Read::Broken
            }
            Some(Ok(frame)) => match &frame.into_data().unwrap()[..] {
                b"data: x\n\n" => Read::Event,
                b": keep-alive\n" => Read::KeepAlive,
                // HTTP/2 may end with an empty frame.
                b"" => continue,
                other => panic!("{other:?}"),
            },
        };
        story.push((read, TokioTimer.now() - start));
        if matches!(read, Read::End | Read::Broken) {
            assert!(body.frame().await.is_none(), "more after {read:?}");
            return story;
        }
    }
}

#[derive(Clone)]
struct Answer<G> {
    gaps: G,
    world: World,
}

impl<G, B> Service<Request<B>> for Answer<G>
where
    G: Fn(usize) -> Vec<Duration>,
{
    type Response = Response<Source>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Source>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let stream = request.uri().path().trim_start_matches('/');
        ready(Ok(event_stream(Source {
            gaps: (self.gaps)(stream.parse().unwrap()).into_iter(),
            sleep: None,
            world: self.world.clone(),
        })))
    }
}

/// An event after each gap, then nothing for ever.
struct Source {
    gaps: vec::IntoIter<Duration>,
    sleep: Option<Pin<Box<Sleep>>>,
    world: World,
}

impl Body for Source {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.sleep.is_none() {
            self.sleep = self.gaps.next().map(|gap| Box::pin(sleep(gap)));
        }
        let Some(sleep) = &mut self.sleep else {
            return Poll::Pending;
        };
        ready_or_pending!(sleep.as_mut().poll(cx));
        self.sleep = None;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"data: x\n\n")))))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.world.0.fetch_add(1, Relaxed);
    }
}

/// tokio's timer, and how often it was asked to sleep.
#[derive(Clone, Default)]
struct Sleeps(Arc<AtomicUsize>);

impl Timer for Sleeps {
    type Sleep = TokioSleep;

    fn sleep(&self, duration: Duration) -> TokioSleep {
        self.0.fetch_add(1, Relaxed);
        TokioTimer.sleep(duration)
    }

    fn now(&self) -> Instant {
        TokioTimer.now()
    }
}
