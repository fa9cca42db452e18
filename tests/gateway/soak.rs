//! Two thousand event streams at a time, for a minute, whose clients leave as they like: what the
//! gateway has counted is what they have seen, and nothing is left of them.
//!
//! `SOAK_SECONDS` makes it shorter or longer.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    env, fs,
    future::pending,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    CHAT_LABELS, Gateway, event_stream,
    patience::{PATIENCE, soon},
    random::random,
    wire::{Body, Protocol, empty, request},
};

const STREAMS: usize = 2_000;
/// A connection of HTTP/2 has so many.
const PER_CONNECTION: usize = 100;
/// An allocator that gives back to the system what is free, at once and from each thread, so that what
/// is in memory is in use. That of glibc keeps it, in pieces.
const GIVING_BACK: [(&str, &str); 2] = [
    ("LD_PRELOAD", "libjemalloc.so.2"),
    (
        "MALLOC_CONF",
        "dirty_decay_ms:0,muzzy_decay_ms:0,narenas:1,tcache:false",
    ),
];
const EVERY: Duration = Duration::from_millis(500);
const EVENT: &str = "data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n\n";

/// What becomes of a stream: nobody else ends it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The client leaves after so many events.
    Leaves(u64),
    /// The upstream ends it after so many.
    Ends(u64),
    /// The upstream breaks it after so many.
    Breaks(u64),
    /// The client leaves before there is a head.
    Unanswered,
}

impl Fate {
    fn of(number: u64) -> Self {
        let mixed = random(number);
        let events = mixed / 10 % 40 + 1;
        match mixed % 10 {
            0..6 => Self::Leaves(events),
            6..8 => Self::Ends(events),
            8 => Self::Breaks(events),
            _ => Self::Unanswered,
        }
    }

    fn outcome(self) -> &'static str {
        match self {
            Self::Leaves(_) => "disconnected",
            Self::Ends(_) => "complete",
            Self::Breaks(_) => "body_error",
            Self::Unanswered => "cancelled",
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a minute, and jemalloc"]
async fn a_minute_of_two_thousand_streams_is_counted_exactly_and_leaves_nothing() {
    let seconds = env::var("SOAK_SECONDS").map_or(60, |seconds| seconds.parse().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let gateway = Gateway::start_in(&GIVING_BACK, &["--upstream", &upstream]).await;
    let crowd = Arc::new(Crowd::new(&gateway));
    let maps = fs::read_to_string(format!("/proc/{}/maps", crowd.gateway)).unwrap();
    assert!(maps.contains(GIVING_BACK[0].1), "there is no jemalloc");
    tokio::spawn(Arc::clone(&crowd).serve(listener));

    let start = resident(crowd.gateway);
    // Of what the streams take, a third may be what is made at the first use and kept.
    let kept = |peak: u64| start + peak.saturating_sub(start) / 3;
    let mut rss = vec![start];
    // After the first wave all is there that is allocated once.
    let mut most = u64::MAX;
    for wave in [seconds / 4, seconds] {
        let peak = crowd.clone().stream(Duration::from_secs(wave)).await;
        gateway.is_idle().await;
        most = most.min(kept(peak));
        let left = settled(crowd.gateway, most).await;
        rss.extend([peak, left, most]);
        most = left + left / 2;
    }
    println!("KiB resident: {rss:?} (start; peak, after, at most; of the long wave the same)");

    let seen = crowd.seen.lock().unwrap().clone();
    let total: u64 = seen.values().sum();
    println!("streams, as the clients have seen them end: {total} {seen:?}");
    let metrics = gateway.metrics().await;
    for (outcome, count) in &seen {
        let outcome = format!("outcome=\"{outcome}\"");
        let labels = [&CHAT_LABELS[..], &[&outcome]].concat();
        metrics.assert_has("http_responses_ended_total", &labels, *count);
    }
    metrics.assert_has("http_requests_in_flight", &CHAT_LABELS, 0);
    assert_eq!(seen.len(), 4);
    assert_eq!(metrics.samples("http_responses_ended_total").len(), 4);
    // Each of them has come to the upstream, and come once.
    assert!(crowd.arrivals.lock().unwrap().is_empty());
    assert_eq!(crowd.begun.load(Relaxed), total);
    assert!(rss[5] <= rss[6], "{rss:?}");
}

impl Gateway {
    async fn is_idle(&self) {
        let start = Instant::now();
        loop {
            let metrics = self.metrics().await;
            let samples = metrics.samples("http_requests_in_flight");
            if samples.iter().all(|sample| sample.ends_with(" 0")) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{samples:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

struct Crowd {
    chat: String,
    begun: AtomicU64,
    /// How many streams ended which way, as their clients have seen it.
    seen: Mutex<BTreeMap<&'static str, u64>>,
    gateway: u32,
    /// Told when the request of this number has come to the upstream.
    arrivals: Mutex<HashMap<u64, oneshot::Sender<()>>>,
}

impl Crowd {
    fn new(gateway: &Gateway) -> Self {
        Self {
            chat: gateway.chat(),
            begun: AtomicU64::new(0),
            seen: Mutex::default(),
            gateway: gateway.process.child.id().unwrap(),
            arrivals: Mutex::default(),
        }
    }

    /// All stream for so long, one stream after the other. Gives the memory amid it.
    async fn stream(self: Arc<Self>, wave: Duration) -> u64 {
        let end = Instant::now() + wave;
        let http1 = [(Protocol::Http1, STREAMS / 2)];
        let http2 = [(Protocol::Http2, PER_CONNECTION); STREAMS / 2 / PER_CONNECTION];
        let mut clients = JoinSet::new();
        for (protocol, streams) in http1.into_iter().chain(http2) {
            let client = protocol.client();
            for _ in 0..streams {
                clients.spawn(Arc::clone(&self).one_by_one(client.clone(), end));
            }
        }
        sleep(wave / 2).await;
        let peak = resident(self.gateway);
        let ended = timeout(wave + PATIENCE, clients.join_all()).await;
        ended.expect("all streams end");
        peak
    }

    async fn one_by_one(self: Arc<Self>, client: Client<HttpConnector, Body>, end: Instant) {
        while Instant::now() < end {
            self.one(&client).await;
        }
    }

    async fn one(&self, client: &Client<HttpConnector, Body>) {
        let number = self.begun.fetch_add(1, Relaxed);
        let fate = Fate::of(number);
        let (tell, arrived) = oneshot::channel();
        self.arrivals.lock().unwrap().insert(number, tell);
        let url = format!("{}?{number}", self.chat);
        let mut answer = client.request(request(Method::GET, &url, empty()));
        if fate == Fate::Unanswered {
            tokio::select! {
                _ = &mut answer => panic!("an answer to {number}"),
                arrived = soon("a request at the upstream", arrived) => arrived.unwrap(),
            }
        } else {
            match soon("an answer", answer).await {
                Ok(answer) => read(answer.into_body(), fate).await,
                // The head may be lost with the break, too.
                Err(error) => assert!(matches!(fate, Fate::Breaks(_)), "{fate:?}: {error:?}"),
            }
        }
        *self.seen.lock().unwrap().entry(fate.outcome()).or_default() += 1;
    }

    /// The upstream.
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((tcp, _)) = listener.accept().await {
            tcp.set_nodelay(true).unwrap();
            let crowd = Arc::clone(&self);
            let service = service_fn(move |request: Request<Incoming>| {
                let number = request.uri().query().unwrap().parse().unwrap();
                let told = crowd.arrivals.lock().unwrap().remove(&number);
                let _ = told
                    .unwrap_or_else(|| panic!("{number} comes twice"))
                    .send(());
                answer(Fate::of(number))
            });
            tokio::spawn(async move {
                let mut server = auto::Builder::new(TokioExecutor::new());
                // Else the gateway keeps connections for a while, and their memory.
                server.http1().keep_alive(false);
                // The gateway leaves when its client does.
                let _ = server.serve_connection(TokioIo::new(tcp), service).await;
            });
        }
    }
}

async fn answer(fate: Fate) -> Result<Response<Body>, Infallible> {
    let (events, end) = match fate {
        Fate::Leaves(_) => (u64::MAX, None),
        Fate::Ends(events) => (events, None),
        Fate::Breaks(events) => (events, Some(Err(io::Error::other("broken on purpose")))),
        Fate::Unanswered => pending().await,
    };
    let events = stream::unfold(events, |left| async move {
        sleep(EVERY).await;
        let left = left.checked_sub(1)?;
        Some((Ok(Frame::data(Bytes::from_static(EVENT.as_bytes()))), left))
    });
    let body = StreamBody::new(events.chain(stream::iter(end)));
    Ok(event_stream(BodyExt::boxed(body)))
}

/// Reads as much as the client wants, and checks that it is what was sent.
async fn read(mut body: Incoming, fate: Fate) {
    let mut bytes = 0;
    let is_clean = loop {
        match soon("more, or the end", body.frame()).await {
            None => break true,
            Some(Err(_)) => break false,
            Some(Ok(frame)) => bytes += frame.into_data().unwrap().len() as u64,
        }
        if matches!(fate, Fate::Leaves(events) if bytes >= events * EVENT.len() as u64) {
            return;
        }
    };
    let (Fate::Ends(events) | Fate::Breaks(events)) = fate else {
        panic!("{fate:?} after {bytes} bytes");
    };
    let whole = events * EVENT.len() as u64;
    match fate {
        Fate::Ends(_) => assert_eq!((is_clean, bytes), (true, whole)),
        // What was not flushed before the break may be lost with it.
        _ => assert!(!is_clean && bytes <= whole, "{fate:?}: {is_clean}, {bytes}"),
    }
}

/// What a process has in memory once that is no more than it may be and falls no more, or at last:
/// connections end after what was asked on them.
async fn settled(process: u32, most: u64) -> u64 {
    let start = Instant::now();
    let mut before = u64::MAX;
    loop {
        let now = resident(process);
        if now <= most && now >= before || start.elapsed() > PATIENCE {
            return now;
        }
        before = now;
        sleep(Duration::from_secs(1)).await;
    }
}

/// In KiB, what a process has in memory, but for its code: that is read in as it is first run.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let size = line.unwrap().split_whitespace().nth(1);
    size.unwrap().parse().unwrap()
}
