//! The example `hyper_service`.

use http::Method;

use crate::{
    process::{Process, url},
    wire::{BOTH, answer_of, ask, empty, get, read, request, text},
};

#[tokio::test]
async fn hyper_service_keeps_lengths_and_streams_over_both_protocols() {
    let mut example = Process::start("hyper_service", &["127.0.0.1:0"]);
    let url = url(&example.line(&["/metrics"]).await);

    for protocol in BOTH {
        let client = protocol.client();
        let ask = |path| {
            answer_of(ask(
                &client,
                request(Method::GET, &(url.clone() + path), empty()),
            ))
        };

        let fixed = ask("/").await;
        assert_eq!(fixed.headers()["content-length"], "18");
        assert!(!fixed.headers().contains_key("x-accel-buffering"));
        assert_eq!(text(fixed).await, "Hello from hyper.\n");
        example
            .line(&["GET", "complete", "18 bytes in 1 frames"])
            .await;

        let mut ticks = ask("/ticks").await;
        assert_eq!(ticks.headers()["x-accel-buffering"], "no");
        read(ticks.body_mut(), "data: 1\n\ndata: 2\n\n").await;
        drop(ticks);
        example.line(&["GET", "disconnected"]).await;
    }

    let metrics = text(get(&format!("{url}/metrics")).await).await;
    for outcome in ["complete", "disconnected"] {
        let counted = format!("outcome=\"{outcome}\"}} 2\n");
        assert!(metrics.contains(&counted), "{metrics}");
    }
}
