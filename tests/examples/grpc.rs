//! The example `grpc`.

use futures_util::{Stream, TryStreamExt, stream};
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tonic::{Code, Request, Status, Streaming, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use crate::{
    patience::soon,
    process::{Process, url},
    wire::{get, text},
};

/// What it says of the calls that it makes of itself, in the order in which they end.
const LOG: [&str; 8] = [
    "/demo.Echo/Say   status=200 outcome=complete grpc_status=OK trailers=true",
    "/demo.Echo/Spell status=200 outcome=complete grpc_status=OK trailers=true",
    "/demo.Echo/Join  status=200 outcome=complete grpc_status=OK trailers=true",
    "/demo.Echo/Chat  status=200 outcome=complete grpc_status=OK trailers=true",
    "/demo.Echo/Spell status=200 outcome=complete grpc_status=INVALID_ARGUMENT trailers=true",
    "/demo.Echo/Say   status=200 outcome=complete grpc_status=INVALID_ARGUMENT trailers=false",
    "/demo.Echo/Sing  status=200 outcome=complete grpc_status=UNIMPLEMENTED trailers=false",
    "/demo.Echo/Spell status=200 outcome=disconnected grpc_status=- trailers=false",
];

/// The example, once it has made its own calls.
struct Example {
    process: Process,
    metrics: String,
    client: Grpc<Channel>,
}

impl Example {
    async fn start() -> Self {
        let mut process = Process::start("grpc", &["127.0.0.1:0", "127.0.0.1:0"]);
        let grpc = url(&process.line(&["gRPC"]).await);
        let metrics = url(&process.line(&["metrics"]).await) + "/metrics";
        for line in LOG {
            assert_eq!(process.line(&[]).await, line);
        }
        let channel = Channel::from_shared(grpc).unwrap();
        let channel = soon("a connection", channel.connect()).await.unwrap();
        let client = Grpc::new(channel);
        Self {
            process,
            metrics,
            client,
        }
    }

    /// A `google.protobuf.StringValue`, which a `String` is here, is the same on the wire as the
    /// example's message.
    async fn call(
        &mut self,
        method: &'static str,
        texts: impl Stream<Item = String> + Send + 'static,
    ) -> Result<Streaming<String>, Status> {
        soon("the channel", self.client.ready()).await.unwrap();
        let method = PathAndQuery::from_static(method);
        let codec = ProstCodec::<String, String>::default();
        let answer = self.client.streaming(Request::new(texts), method, codec);
        Ok(soon("the response head", answer).await?.into_inner())
    }

    async fn samples(&self, name: &str) -> Vec<String> {
        let metrics = text(get(&self.metrics).await).await;
        let mut samples: Vec<_> = metrics
            .lines()
            .filter_map(|line| line.strip_prefix(name))
            .map(str::to_owned)
            .collect();
        samples.sort();
        samples
    }
}

fn texts<const N: usize>(texts: [&str; N]) -> impl Stream<Item = String> + use<N> {
    stream::iter(texts.map(str::to_owned))
}

async fn next(answers: &mut Streaming<String>) -> Result<Option<String>, Status> {
    soon("a message", answers.message()).await
}

async fn all(answers: Streaming<String>) -> Vec<String> {
    soon("all messages", answers.try_collect()).await.unwrap()
}

#[tokio::test]
async fn grpc_counts_calls_by_the_code_in_their_trailers() {
    let example = Example::start().await;
    let handled = |service, method, code, count| {
        format!(
            "{{service=\"echo\",method=\"POST\",grpc_service=\"{service}\",\
             grpc_method=\"{method}\",grpc_code=\"{code}\"}} {count}"
        )
    };
    assert_eq!(
        example.samples("grpc_server_handled_total").await,
        [
            handled("_other", "_other", "Unimplemented", 1),
            handled("demo.Echo", "Chat", "OK", 1),
            handled("demo.Echo", "Join", "OK", 1),
            handled("demo.Echo", "Say", "InvalidArgument", 1),
            handled("demo.Echo", "Say", "OK", 1),
            handled("demo.Echo", "Spell", "Canceled", 1),
            handled("demo.Echo", "Spell", "InvalidArgument", 1),
            handled("demo.Echo", "Spell", "OK", 1),
        ]
    );
}

#[tokio::test]
async fn grpc_answers_all_four_kinds_of_calls() {
    let mut example = Example::start().await;
    let say = example.call("/demo.Echo/Say", texts(["hello"])).await;
    assert_eq!(all(say.unwrap()).await, ["hello"]);
    let spell = example.call("/demo.Echo/Spell", texts(["abc"])).await;
    assert_eq!(all(spell.unwrap()).await, ["a", "b", "c"]);
    let join = example.call("/demo.Echo/Join", texts(["to", "ge", "ther"]));
    assert_eq!(all(join.await.unwrap()).await, ["together"]);

    let (said, sayings) = mpsc::channel(1);
    let sayings = stream::unfold(sayings, |mut sayings| async {
        sayings.recv().await.map(|it: String| (it, sayings))
    });
    let mut chat = example.call("/demo.Echo/Chat", sayings).await.unwrap();
    for word in ["one", "two", "three"] {
        said.send(word.to_owned()).await.unwrap();
        assert_eq!(next(&mut chat).await.unwrap().unwrap(), word);
        let in_flight = example.samples("http_requests_in_flight").await;
        assert_eq!(in_flight, ["{service=\"echo\",method=\"POST\"} 1"]);
    }
    drop(said);
    assert_eq!(next(&mut chat).await.unwrap(), None);
    for line in &LOG[..4] {
        assert_eq!(example.process.line(&[]).await, *line);
    }
    let in_flight = example.samples("http_requests_in_flight").await;
    assert_eq!(in_flight, ["{service=\"echo\",method=\"POST\"} 0"]);
}

#[tokio::test]
async fn grpc_fails_after_messages_and_before_any() {
    let mut example = Example::start().await;
    let mut spell = example
        .call("/demo.Echo/Spell", texts(["ab?"]))
        .await
        .unwrap();
    assert_eq!(next(&mut spell).await.unwrap().unwrap(), "a");
    assert_eq!(next(&mut spell).await.unwrap().unwrap(), "b");
    let status = next(&mut spell).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "'?' is no letter");

    for (method, said, code) in [
        ("/demo.Echo/Say", "", Code::InvalidArgument),
        ("/demo.Echo/Sing", "la", Code::Unimplemented),
    ] {
        let status = example.call(method, texts([said])).await.unwrap_err();
        assert_eq!(status.code(), code);
    }

    // Far more than there is time to wait for.
    let long = stream::iter(["a".repeat(10_000)]);
    let mut spell = example.call("/demo.Echo/Spell", long).await.unwrap();
    assert_eq!(next(&mut spell).await.unwrap().unwrap(), "a");
    drop(spell);
    for line in &LOG[4..] {
        assert_eq!(example.process.line(&[]).await, *line);
    }
}
