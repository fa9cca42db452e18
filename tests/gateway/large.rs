//! Bodies that are much larger than what the gateway may hold of them.
#![cfg(target_os = "linux")]

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

use crate::{
    Gateway, WAYS, soon,
    upstream::{Gate, Upstream, gated, send},
    wire::{Body, answer_of, ask, request},
};

const CHUNK: usize = 64 * 1024;
const CHUNKS: usize = 1024;

/// The most memory that the process has had, in kilobytes.
fn peak(gateway: &Gateway) -> usize {
    let id = gateway.process.child.id().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse().unwrap()
}

/// Sends as much as is taken.
fn pump(gate: Gate, chunks: usize) {
    tokio::spawn(async move {
        let chunk = Bytes::from(vec![b'x'; CHUNK]);
        for _ in 0..chunks {
            send(&gate, chunk.clone()).await;
        }
    });
}

async fn count(mut body: Incoming) -> usize {
    let mut count = 0;
    while let Some(frame) = soon("more", body.frame()).await {
        count += frame.unwrap().into_data().unwrap().len();
    }
    count
}

fn sized(body: Body, chunks: usize, is_sized: bool) -> (Body, Option<u64>) {
    let size = is_sized.then_some((chunks * CHUNK) as u64);
    (body, size)
}

async fn there_and_back(
    upstream: &mut Upstream,
    gateway: &Gateway,
    client: &hyper_util::client::legacy::Client<
        hyper_util::client::legacy::connect::HttpConnector,
        Body,
    >,
    chunks: usize,
    is_sized: bool,
) {
    let (gate, body) = gated();
    let (body, size) = sized(body, chunks, is_sized);
    let mut post = request(Method::POST, &gateway.chat(), body);
    if let Some(size) = size {
        post.headers_mut().insert("content-length", size.into());
    }
    let asked = ask(client, post);
    pump(gate, chunks);
    let arrival = upstream.arrival().await;
    assert_eq!(arrival.request.body().size_hint().exact(), size);
    let (gate, body) = gated();
    let mut answer = Response::new(body);
    if let Some(size) = size {
        answer.headers_mut().insert("content-length", size.into());
    }
    let upload = arrival.answer(answer).into_body();
    let response = answer_of(asked).await;
    assert_eq!(response.body().size_hint().exact(), size);
    assert_eq!(count(upload).await, chunks * CHUNK);
    pump(gate, chunks);
    assert_eq!(count(response.into_body()).await, chunks * CHUNK);
}

#[tokio::test]
async fn sixty_four_megabytes_each_way_take_no_memory() {
    for (protocol, spoken) in WAYS {
        let mut upstream = Upstream::start().await;
        let mut gateway = Gateway::speaking(spoken, upstream.address).await;
        let client = protocol.client();
        // What it needs once.
        for is_sized in [true, false] {
            there_and_back(&mut upstream, &gateway, &client, 32, is_sized).await;
        }
        let before = peak(&gateway);
        for is_sized in [true, false] {
            there_and_back(&mut upstream, &gateway, &client, CHUNKS, is_sized).await;
            gateway.logs(&["outcome=complete", "bytes=67108864"]).await;
        }
        let more = peak(&gateway) - before;
        println!("{protocol:?} {spoken:?} {before} kB and {more} kB more");
        assert!(more < 32 * 1024, "{protocol:?} {spoken:?}: {more} kB");
    }
}
