//! A client that keeps all bytes it reads.

use std::{fs, str::from_utf8};

use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::{
    net::{Client, Proto, RequestBody, no_body, soon},
    server::Server,
};

pub(crate) async fn connect(proto: Proto, server: &Server) -> Client {
    Client::connect(proto, server.socket().await).await
}

/// For the stream of that number, after this event.
pub(crate) fn request(stream: usize, last_event_id: u64) -> Request<RequestBody> {
    Request::get(format!("http://localhost/{stream}"))
        .header("last-event-id", last_event_id)
        .body(no_body())
        .unwrap()
}

/// Of each HTTP/2 connection.
const STREAMS: usize = 100;
/// So many connections are made at a time: more might not be waited for.
const AT_A_TIME: usize = 50;

/// How many connections may be over sockets at once. Each takes two descriptors, of which tests
/// beside this one need some.
pub(crate) fn most_sockets() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let descriptors: usize = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|limits| limits.split_whitespace().next())
        .map_or(256, |soft| soft.parse().unwrap_or(usize::MAX));
    descriptors.saturating_sub(100) / 2
}

/// Opens stream 0, 1, and so on, each after this event, on as few connections as can be: over
/// sockets, and over pipes if there may not be as many. These are cut when dropped.
pub(crate) async fn open(
    proto: Proto,
    server: &Server,
    last_event_ids: impl IntoIterator<Item = u64>,
) -> (Vec<Client>, Vec<Reader>) {
    let streams: Vec<_> = last_event_ids.into_iter().enumerate().collect();
    let per_connection = match proto {
        Proto::H1 => 1,
        Proto::H2 => STREAMS,
    };
    let sockets = most_sockets();
    let opened: Vec<_> = stream::iter(streams.chunks(per_connection).enumerate())
        .map(async |(connection, streams)| {
            let mut client = if connection < sockets {
                connect(proto, server).await
            } else {
                Client::connect(proto, server.pipe()).await
            };
            let mut readers = Vec::new();
            for &(stream, last) in streams {
                let response = client.send(request(stream, last)).await.unwrap();
                assert_eq!(response.status(), 200);
                readers.push(Reader::new(response));
            }
            (client, readers)
        })
        .buffered(AT_A_TIME)
        .collect()
        .await;
    let (clients, readers): (_, Vec<_>) = opened.into_iter().unzip();
    (clients, readers.into_iter().flatten().collect())
}

/// The same for one.
pub(crate) async fn open_one(proto: Proto, server: &Server) -> (Client, Reader) {
    let mut client = connect(proto, server).await;
    let response = client.send(request(0, 0)).await.unwrap();
    assert_eq!(response.status(), 200);
    (client, Reader::new(response))
}

/// A response body that is read.
pub(crate) struct Reader {
    body: Incoming,
    pub(crate) bytes: Vec<u8>,
}

impl Reader {
    pub(crate) fn new(response: Response<Incoming>) -> Self {
        Self {
            body: response.into_body(),
            bytes: Vec::new(),
        }
    }

    /// Reads the line that tells how many milliseconds to wait, and takes it off.
    pub(crate) async fn read_retry(&mut self) -> u64 {
        while !self.bytes.contains(&b'\n') {
            assert!(self.read().await.unwrap());
        }
        let end = self.bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let line: Vec<_> = self.bytes.drain(..=end).collect();
        let millis = line.strip_prefix(b"retry: ").unwrap().trim_ascii_end();
        from_utf8(millis).unwrap().parse().unwrap()
    }

    /// Reads on until there are so many bytes, or more.
    pub(crate) async fn read_to(&mut self, length: usize) {
        while self.bytes.len() < length {
            let more = self.read().await.unwrap();
            assert!(more, "ended after {} of {length} bytes", self.bytes.len());
        }
    }

    /// Reads on to the end. An error if that is no proper one.
    pub(crate) async fn read_to_end(&mut self) -> hyper::Result<()> {
        while self.read().await? {}
        Ok(())
    }

    async fn read(&mut self) -> hyper::Result<bool> {
        let Some(frame) = soon(self.body.frame()).await else {
            return Ok(false);
        };
        self.bytes.extend(frame?.into_data().unwrap());
        Ok(true)
    }
}
