//! `WebSocket` by tokio-tungstenite.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        error::ProtocolError,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

use super::{ended, pair};
use crate::{
    Gateway, soon,
    upstream::{Upstream, full},
    wire::empty,
};

pub(super) type ServerSide = WebSocketStream<TokioIo<Upgraded>>;
type ClientSide = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Accepts a WebSocket at the upstream: the server's side, and what it was asked with.
pub(super) async fn accept(upstream: &mut Upstream) -> (ServerSide, HeaderMap) {
    let arrival = upstream.arrival().await;
    let asked = arrival.request.headers().clone();
    assert_eq!(asked[header::UPGRADE], "websocket");
    let accepted = derive_accept_key(asked[header::SEC_WEBSOCKET_KEY].as_bytes());
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accepted);
    if let Some(protocol) = asked.get(header::SEC_WEBSOCKET_PROTOCOL) {
        response = response.header(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let request = arrival.answer(response.body(empty()).unwrap());
    let upgraded = soon("the upgrade", hyper::upgrade::on(request)).await;
    let io = TokioIo::new(upgraded.unwrap());
    let server = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
    (server, asked)
}

fn url(gateway: &Gateway) -> String {
    gateway.chat().replacen("http", "ws", 1)
}

async fn open(upstream: &mut Upstream, gateway: &Gateway) -> (ClientSide, ServerSide) {
    let opening = async { tokio::join!(connect_async(url(gateway)), accept(upstream)) };
    let (client, (server, _)) = soon("both sides", opening).await;
    (client.unwrap().0, server)
}

pub(super) async fn next<S>(side: &mut WebSocketStream<S>) -> Option<Result<Message, Error>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    soon("a message", side.next()).await
}

/// Sends it from one side to the other.
pub(super) async fn passes<A, B>(
    message: Message,
    from: &mut WebSocketStream<A>,
    to: &mut WebSocketStream<B>,
) where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    // It may be more than the connections hold.
    let (sent, got) = tokio::join!(from.send(message.clone()), next(to));
    sent.unwrap();
    assert!(got.unwrap().unwrap() == message);
}

/// The closing handshake.
async fn closes<A, B>(
    frame: Option<CloseFrame>,
    from: &mut WebSocketStream<A>,
    to: &mut WebSocketStream<B>,
) where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let close = Message::Close(frame.clone());
    from.close(frame).await.unwrap();
    assert_eq!(next(to).await.unwrap().unwrap(), close);
    // tungstenite has made an answer to it. A server is through when it is sent.
    let answered = to.flush().await;
    assert!(matches!(answered, Ok(()) | Err(Error::ConnectionClosed)));
    assert_eq!(next(from).await.unwrap().unwrap(), close);
}

#[tokio::test]
async fn messages_pass_both_ways_one_by_one() {
    let large = (0..250_000_u32)
        .flat_map(u32::to_le_bytes)
        .collect::<Bytes>();
    let messages = [
        Message::text("hello"),
        Message::text(""),
        Message::text("na\u{ef}ve \u{1f600}"),
        Message::binary(vec![0, 255]),
        Message::binary(large),
    ];
    // What may be upgraded goes to the upstream over HTTP/1.1 in any case.
    for options in [&[][..], &["--upstream-h2"]] {
        let (mut upstream, mut gateway) = pair(options).await;
        let (mut client, mut server) = open(&mut upstream, &gateway).await;
        for message in &messages {
            passes(message.clone(), &mut client, &mut server).await;
            passes(message.clone(), &mut server, &mut client).await;
        }
        let metrics = gateway.metrics().await;
        metrics.assert("http_requests_in_flight", &[(&[], 1)]);
        metrics.assert("http_responses_ended_total", &[]);

        closes(None, &mut client, &mut server).await;
        drop(server);
        assert!(next(&mut client).await.is_none());
        drop(client);
        ended(&mut gateway, StatusCode::SWITCHING_PROTOCOLS, "upgraded").await;
    }
}

#[tokio::test]
async fn pings_are_answered_by_the_other_side() {
    let (mut upstream, gateway) = pair(&[]).await;
    let (mut client, mut server) = open(&mut upstream, &gateway).await;
    let ping = Message::Ping("1".into());
    let answer = Message::Pong("1".into());
    passes(ping.clone(), &mut client, &mut server).await;
    server.flush().await.unwrap(); // tungstenite has queued its pong
    assert_eq!(next(&mut client).await.unwrap().unwrap(), answer);
    passes(ping, &mut server, &mut client).await;
    client.flush().await.unwrap();
    assert_eq!(next(&mut server).await.unwrap().unwrap(), answer);
}

#[tokio::test]
async fn close_codes_and_reasons_pass_both_ways() {
    for from_client in [true, false] {
        for (code, reason) in [(1000, ""), (1012, "restarting"), (4321, "\u{fc}ber")] {
            let (mut upstream, mut gateway) = pair(&[]).await;
            let (mut client, mut server) = open(&mut upstream, &gateway).await;
            let frame = CloseFrame {
                code: CloseCode::from(code),
                reason: reason.into(),
            };
            if from_client {
                closes(Some(frame), &mut client, &mut server).await;
            } else {
                closes(Some(frame), &mut server, &mut client).await;
            }
            // It is for the server to close the connection, and the client waits for it.
            drop(server);
            assert!(next(&mut client).await.is_none());
            drop(client);
            ended(&mut gateway, StatusCode::SWITCHING_PROTOCOLS, "upgraded").await;
        }
    }
}

/// Without a closing handshake, as when it has crashed.
#[tokio::test]
async fn when_one_side_vanishes_the_other_sees_a_broken_connection() {
    fn is_broken(end: Option<Result<Message, Error>>) -> bool {
        let reset = ProtocolError::ResetWithoutClosingHandshake;
        matches!(end, Some(Err(Error::Protocol(error))) if error == reset)
    }
    let (mut upstream, mut gateway) = pair(&[]).await;
    let (client, mut server) = open(&mut upstream, &gateway).await;
    drop(client);
    assert!(is_broken(next(&mut server).await));
    drop(server);
    ended(&mut gateway, StatusCode::SWITCHING_PROTOCOLS, "upgraded").await;

    let (mut upstream, mut gateway) = pair(&[]).await;
    let (mut client, server) = open(&mut upstream, &gateway).await;
    drop(server);
    assert!(is_broken(next(&mut client).await));
    drop(client);
    ended(&mut gateway, StatusCode::SWITCHING_PROTOCOLS, "upgraded").await;
}

#[tokio::test]
async fn the_subprotocol_is_agreed_upon_end_to_end() {
    let (mut upstream, gateway) = pair(&[]).await;
    let mut request = url(&gateway).into_client_request().unwrap();
    let chat = HeaderValue::from_static("chat.v2");
    let name = header::SEC_WEBSOCKET_PROTOCOL;
    request.headers_mut().insert(&name, chat.clone());
    let (client, (_server, asked)) = tokio::join!(connect_async(request), accept(&mut upstream));
    assert_eq!(asked[&name], chat);
    let (_client, response) = client.unwrap();
    assert_eq!(response.headers()[&name], chat);
}

#[tokio::test]
async fn a_refusal_is_an_answer_like_any_other() {
    let (mut upstream, mut gateway) = pair(&[]).await;
    let connecting = tokio::spawn(connect_async(url(&gateway)));
    let forbidden = Response::builder().status(StatusCode::FORBIDDEN);
    let arrival = upstream.arrival().await;
    arrival.answer(forbidden.body(full("members only")).unwrap());
    let refused = soon("the refusal", connecting).await.unwrap();
    let Err(Error::Http(response)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(response.body().as_deref(), Some(&b"members only"[..]));
    ended(&mut gateway, StatusCode::FORBIDDEN, "complete").await;
}
