//! A client that asks for what is planned, and leaves when it is planned.

use std::pin::pin;

use bytes::Bytes;
use futures_util::{StreamExt, future::pending, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{body::Incoming, upgrade};
use hyper_util::rt::TokioIo;
use tokio::{io::AsyncWriteExt, task::yield_now};

use super::{
    plan::{Ask, GRPC, Leave, Plan, Upload},
    service::Ledger,
};
use crate::net::{Client, Proto, RequestBody, no_body, soon};

/// What a client has seen of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It left.
    Left,
    /// The exchange broke.
    Broken,
    Tunnel,
    Whole {
        status: u16,
        bytes: u64,
    },
}

pub(crate) async fn play(client: &mut Client, index: usize, ledger: &Ledger) -> Seen {
    let plan = &ledger.plans[index];
    let exchange = pin!(exchange(client, index, plan));
    let leaves = async {
        match plan.leave {
            Leave::Never | Leave::Bytes(_) => pending().await,
            Leave::Called => soon(ledger.records[index].called.notified()).await,
            Leave::Yields(times) => yields(times).await,
        }
    };
    tokio::select! {
        biased;
        () = leaves => Seen::Left,
        seen = exchange => seen.unwrap_or(Seen::Broken),
    }
}

/// Lets others go first as often.
pub(crate) async fn yields(times: usize) {
    for _ in 0..times {
        yield_now().await;
    }
}

async fn exchange(client: &mut Client, index: usize, plan: &Plan) -> hyper::Result<Seen> {
    let mut response = client.send(request(index, plan)).await?;
    let status = response.status().as_u16();
    let is_tunnel = match plan.ask {
        Ask::Upgrade => status == 101,
        Ask::Connect => status == 200,
        _ => false,
    };
    if is_tunnel {
        return tunnel(response).await;
    }
    let mut bytes = 0;
    loop {
        if matches!(plan.leave, Leave::Bytes(enough) if bytes >= enough as u64) {
            return Ok(Seen::Left);
        }
        match soon(response.body_mut().frame()).await {
            Some(frame) => bytes += frame?.data_ref().map_or(0, Bytes::len) as u64,
            None => return Ok(Seen::Whole { status, bytes }),
        }
    }
}

async fn tunnel(response: Response<Incoming>) -> hyper::Result<Seen> {
    let upgraded = soon(upgrade::on(response)).await?;
    let mut io = TokioIo::new(upgraded);
    // Nobody may be there to read it.
    let _ = io.write_all(b"ping").await;
    let _ = io.shutdown().await;
    Ok(Seen::Tunnel)
}

fn request(index: usize, plan: &Plan) -> Request<RequestBody> {
    let (service, method) = GRPC;
    let uri = match (plan.ask, plan.proto) {
        (Ask::Connect, _) => "a:443".to_owned(),
        (Ask::Call, _) => format!("http://a/{service}/{method}"),
        (_, Proto::H1) => "/".to_owned(),
        (_, Proto::H2) => "http://a/".to_owned(),
    };
    let mut request = Request::builder()
        .method(plan.ask.method())
        .uri(uri)
        .header("x-index", index)
        .header("x-shape", plan.shape);
    match plan.ask {
        Ask::Call => request = request.header("content-type", "application/grpc"),
        Ask::Upgrade => {
            request = request.header("connection", "upgrade");
            request = request.header("upgrade", "test");
        }
        _ => {}
    }
    request.body(upload(plan.upload)).unwrap()
}

fn upload(upload: Upload) -> RequestBody {
    let frames = |count| {
        let frame = || Ok(Frame::data(Bytes::from_static(&[b'x'; 100])));
        stream::iter((0..count).map(move |_| frame()))
    };
    match upload {
        Upload::Nothing => no_body(),
        Upload::Sized(bytes) => Full::from(vec![b'x'; bytes])
            .map_err(|never| match never {})
            .boxed_unsync(),
        Upload::Streamed(count) => StreamBody::new(frames(count)).boxed_unsync(),
        Upload::Open(count) => {
            StreamBody::new(frames(count).chain(stream::pending())).boxed_unsync()
        }
    }
}
