//! Whoever reads what the gateway prints, and does not read on.
#![cfg(unix)]

use std::{os::fd::OwnedFd, os::unix::net::UnixStream, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
};

use crate::{
    ANY_PORTS,
    process::{built, url},
    raw::Recorder,
    shutdown::send_signal,
    soon,
};

fn printing_to(out: impl Into<Stdio>, arguments: &[&str]) -> Child {
    let mut gateway = Command::new(built("gateway"));
    gateway.args(ANY_PORTS).args(arguments).stdout(out);
    gateway.stderr(Stdio::piped()).kill_on_drop(true);
    gateway.spawn().unwrap()
}

async fn address(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    let line = soon("an address", lines.next_line()).await.unwrap();
    url(&line.unwrap()).split_off("http://".len())
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n";
const ANSWER_END: &[u8] = b"\r\n\r\nok";

/// A pipe takes about 400 lines of the log, and then none as long as nobody reads.
#[tokio::test]
async fn a_reader_that_stalls_holds_up_neither_an_exchange_nor_the_end() {
    let upstream = Recorder::start().await;
    let url = format!("http://{}", upstream.address);
    // What waits for the reader fits into the gateway's memory, or does not.
    for exchanges in [1_000, 12_000] {
        let mut gateway = printing_to(Stdio::piped(), &["--upstream", &url]);
        let mut lines = BufReader::new(gateway.stdout.take().unwrap()).lines();
        let mut client = TcpStream::connect(address(&mut lines).await).await.unwrap();
        for _ in 0..exchanges {
            client.write_all(GET).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(ANSWER_END) {
                let read = soon("an answer", client.read_buf(&mut answer)).await;
                assert_ne!(read.unwrap(), 0);
            }
        }
        send_signal(&gateway, "-TERM");
        let status = soon("the end", gateway.wait()).await.unwrap();
        assert_eq!(status.code(), Some(0));
    }
}

#[tokio::test]
async fn a_reader_that_is_gone_is_why_it_does_not_start() {
    let (reader, out) = UnixStream::pair().unwrap();
    drop(reader);
    let mut gateway = printing_to(OwnedFd::from(out), &[]);
    let status = soon("the end", gateway.wait()).await.unwrap();
    assert_eq!(status.code(), Some(1));
    let mut told = String::new();
    let mut stderr = gateway.stderr.take().unwrap();
    stderr.read_to_string(&mut told).await.unwrap();
    assert_eq!(told, "gateway: Broken pipe (os error 32)\n");
}
