//! Bytes as they stand on the wire, for what no client or server of good manners sends.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::{Gateway, soon};

/// Sends these bytes, and reads until the gateway closes the connection.
pub(crate) async fn say(gateway: &Gateway, said: &[u8]) -> String {
    let mut tcp = gateway.tcp().await;
    soon("the gateway", tcp.write_all(said)).await.unwrap();
    read_answer(&mut tcp).await
}

/// Reads until the other side closes the connection.
pub(crate) async fn read_answer(tcp: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = soon("the answer and the end", tcp.read_to_end(&mut answer)).await;
    read.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Reads the head of a message, and leaves what follows.
pub(crate) async fn read_head(tcp: &mut TcpStream) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let byte = soon("a head", tcp.read_u8()).await.unwrap();
        head.push(byte.into());
    }
    head
}

/// Waits until the other side has gone, whatever it says before.
pub(crate) async fn gone(tcp: &mut TcpStream) {
    let mut rest = [0; 1024];
    let reading = async { while matches!(tcp.read(&mut rest).await, Ok(1..)) {} };
    soon("the end of a connection", reading).await;
}

/// What an HTTP/1.1 upstream was sent, byte for byte.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Whole(String),
    /// The connection ended before the message.
    Broken(String),
}

/// An upstream that answers each whole message with `ok`, and writes down all.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    heard: mpsc::UnboundedReceiver<Heard>,
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(record(tcp, sender.clone()));
            }
        });
        Self { address, heard }
    }

    pub(crate) async fn next(&mut self) -> Heard {
        let heard = soon("a message at the upstream", self.heard.recv()).await;
        heard.unwrap()
    }
}

async fn record(mut tcp: TcpStream, sender: mpsc::UnboundedSender<Heard>) {
    let mut heard = Vec::new();
    loop {
        while let Some(end) = end_of(&heard) {
            let rest = heard.split_off(end);
            let _ = sender.send(Heard::Whole(String::from_utf8(heard).unwrap()));
            heard = rest;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            if tcp.write_all(answer).await.is_err() {
                return;
            }
        }
        if !matches!(tcp.read_buf(&mut heard).await, Ok(1..)) {
            if !heard.is_empty() {
                let _ = sender.send(Heard::Broken(String::from_utf8(heard).unwrap()));
            }
            return;
        }
    }
}

/// Where a message ends by what its head says; hyper writes names in lower case.
fn end_of(bytes: &[u8]) -> Option<usize> {
    let find = |from: usize, sought: &[u8]| {
        let at = bytes[from..]
            .windows(sought.len())
            .position(|it| it == sought)?;
        Some(from + at + sought.len())
    };
    let body = find(0, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..body]);
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    match (field("transfer-encoding: "), field("content-length: ")) {
        (Some(coding), None) => {
            assert_eq!(coding, "chunked");
            find(body - 2, b"\r\n0\r\n\r\n")
        }
        (None, Some(length)) => {
            Some(body + length.parse::<usize>().unwrap()).filter(|end| *end <= bytes.len())
        }
        (None, None) => Some(body),
        (Some(_), Some(_)) => panic!("two framings: {head}"),
    }
}
