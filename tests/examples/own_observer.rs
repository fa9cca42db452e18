//! The example `own_observer`.

use http::{Method, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::{
    patience::soon,
    process::{Process, url},
    until,
    wire::{BOTH, Protocol, answer_of, ask, empty, get, read, request, text},
};

async fn ask_as(tenant: &'static str, protocol: Protocol, url: String) -> Response<Incoming> {
    let mut request = request(Method::GET, &url, empty());
    let tenant = tenant.parse().unwrap();
    request.headers_mut().insert("x-tenant", tenant);
    answer_of(ask(&protocol.client(), request)).await
}

#[tokio::test]
async fn own_observer_bills_what_was_given_and_only_to_tenants() {
    let mut example = Process::start("own_observer", &["127.0.0.1:0"]);
    let url = url(&example.line(&["/accounts"]).await);

    for (protocol, trailers) in BOTH.into_iter().zip([None, Some("3")]) {
        let answer = ask_as("acme", protocol, format!("{url}/answer")).await;
        let answer = soon("all of it", answer.into_body().collect())
            .await
            .unwrap();
        let tokens = answer.trailers().map(|it| it["x-tokens"].to_str().unwrap());
        assert_eq!(tokens, trailers, "{protocol:?}");
        assert_eq!(answer.to_bytes(), "one two three\n");

        let mut stuck = ask_as("umbrella", protocol, format!("{url}/stuck")).await;
        read(stuck.body_mut(), "one ").await;
        drop(stuck);

        let refused = ask_as("acme", protocol, format!("{url}/refused")).await;
        assert_eq!(refused.status(), 403);
        let stranger = ask_as("nobody", protocol, format!("{url}/answer")).await;
        assert_eq!(text(stranger).await, "one two three\n");
    }
    assert_eq!(
        text(get(&format!("{url}/answer")).await).await,
        "one two three\n"
    );

    // It takes a while until a hang-up is noticed, and what it has to add is added one by one.
    until("the accounts", async || {
        let accounts = text(get(&format!("{url}/accounts")).await).await;
        match accounts.as_str() {
            "acme: 2 complete, 0 broken, 28 bytes, 6 tokens\n\
             umbrella: 0 complete, 2 broken, 8 bytes, 0 tokens\n" => Ok(()),
            _ => Err(accounts),
        }
    })
    .await;
}
