//! The calls that the example makes of itself.

use std::error::Error;

use futures_util::{TryStreamExt, stream};
use http::uri::PathAndQuery;
use tonic::{Request, Status, Streaming, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use crate::echo::Text;

pub(crate) async fn all(url: &str) -> Result<(), Box<dyn Error>> {
    let channel = Channel::from_shared(url.to_owned())?.connect().await?;
    let mut client = Grpc::new(channel);
    for (method, texts) in [
        ("/demo.Echo/Say", &["hello"][..]),
        ("/demo.Echo/Spell", &["abc"]),
        ("/demo.Echo/Join", &["to", "ge", "ther"]),
        ("/demo.Echo/Chat", &["one", "two"]),
        ("/demo.Echo/Spell", &["ab?"]), // fails after two messages
        ("/demo.Echo/Say", &[""]),      // fails at once
        ("/demo.Echo/Sing", &["la"]),   // there is no such method
    ] {
        client.ready().await?;
        // That it fails is in the log; here it is as if a client did not care.
        if let Ok(answers) = call(&mut client, method, texts).await {
            let _ = answers.try_collect::<Vec<_>>().await;
        }
    }

    client.ready().await?;
    let long = "z".repeat(1000);
    let mut letters = call(&mut client, "/demo.Echo/Spell", &[&long]).await?;
    letters.message().await?;
    drop(letters); // hangs up
    Ok(())
}

/// On the wire all four kinds are the same: messages go there, and messages come back.
async fn call(
    client: &mut Grpc<Channel>,
    method: &'static str,
    texts: &[&str],
) -> Result<Streaming<Text>, Status> {
    let texts = texts.iter().map(|&text| Text { text: text.into() });
    let texts: Vec<_> = texts.collect();
    let request = Request::new(stream::iter(texts));
    let method = PathAndQuery::from_static(method);
    let answers = client.streaming(request, method, ProstCodec::default());
    Ok(answers.await?.into_inner())
}
