//! The nginx, the server behind it, and streams that are seen from both ends.

use std::{
    env, fs,
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    time::Duration,
};

use axum::{Router, body::Body, response::IntoResponse, routing::get};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http_body_util::channel::{Channel, Sender};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::mpsc,
    task::yield_now,
    time::{sleep, timeout},
};
use tower_passthrough::buffering::{Buffering::Auto, BufferingControl, BufferingLayer};

use crate::patience::soon;

/// How long nothing must come.
pub(super) const SILENCE: Duration = Duration::from_millis(300);

/// An nginx, and the server behind it.
pub(super) struct Front {
    pub(super) nginx: Nginx,
    pub(super) control: BufferingControl,
    upstream: u16,
    /// The producer of each stream that was asked for.
    producers: mpsc::UnboundedReceiver<Sender<Bytes>>,
}

impl Front {
    pub(super) async fn start(name: &str) -> Self {
        let control = BufferingControl::new(Auto);
        let (opened, producers) = mpsc::unbounded_channel();
        let events = async move || {
            let (producer, body) = Channel::<Bytes>::new(1);
            opened.send(producer).unwrap();
            ([(CONTENT_TYPE, "text/event-stream")], Body::new(body)).into_response()
        };
        let router = Router::new()
            .route("/events", get(events.clone()))
            .route("/{location}/events", get(events.clone()));
        #[cfg(all(feature = "sse", feature = "tokio"))]
        let router = {
            let layer = tower_passthrough::sse::KeepAliveLayer::new(SILENCE).unwrap();
            router.route("/impatient/kept", get(events).layer(layer))
        };
        let router = router
            .route("/ping", get("pong"))
            .layer(BufferingLayer::new(control.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap().port();
        tokio::spawn(axum::serve(listener, router).into_future());
        Self {
            nginx: Nginx::start(name, upstream).await,
            control,
            upstream,
            producers,
        }
    }

    pub(super) async fn open(&mut self, path: &str) -> Stream {
        let client = self.nginx.ask(path).await;
        let producer = soon("the request to arrive", self.producers.recv()).await;
        Stream {
            client,
            read: String::new(),
            producer: producer.unwrap(),
        }
    }

    pub(super) async fn passes_each_event_on(&mut self, path: &str) {
        let mut stream = self.open(path).await;
        for number in 1..=5 {
            stream.event(number).await;
            // The next one is not made before this one was read.
            stream.reads(number).await;
        }
        stream.end().await;
    }

    pub(super) async fn holds_until_the_end(&mut self, path: &str) {
        let mut stream = self.open(path).await;
        for number in 1..=5 {
            stream.event(number).await;
        }
        stream.reads_nothing(self).await;
        let all = stream.end().await;
        for number in 1..=5 {
            assert!(all.contains(&event(number)), "{number} in {all}");
        }
    }

    /// The first event's response, as the server sends it.
    pub(super) async fn past_nginx(&mut self, path: &str) -> String {
        let mut client = TcpStream::connect(("127.0.0.1", self.upstream))
            .await
            .unwrap();
        client.write_all(request(path).as_bytes()).await.unwrap();
        drop(soon("the request to arrive", self.producers.recv()).await);
        let mut all = String::new();
        soon("the end", client.read_to_string(&mut all))
            .await
            .unwrap();
        all
    }
}

/// A stream of events, seen from both ends.
pub(super) struct Stream {
    client: UnixStream,
    read: String,
    producer: Sender<Bytes>,
}

impl Stream {
    pub(super) async fn event(&mut self, number: u32) {
        self.produce(event(number)).await;
    }

    pub(super) async fn produce(&mut self, text: String) {
        self.producer.send_data(text.into()).await.unwrap();
        // The task that takes it from the channel writes it to the socket before it yields: there is
        // only one thread.
        let taken = async {
            while self.producer.capacity() == 0 {
                yield_now().await;
            }
        };
        soon("the server to take it", taken).await;
    }

    /// How many of so many pieces are taken, if none may take longer than this.
    pub(super) async fn takes(&mut self, piece: &str, pieces: usize, limit: Duration) -> usize {
        for taken in 0..pieces {
            let produced = timeout(limit, self.produce(piece.to_owned())).await;
            if produced.is_err() {
                return taken;
            }
        }
        pieces
    }

    /// Waits for this event.
    pub(super) async fn reads(&mut self, number: u32) {
        self.reads_text(&event(number)).await;
    }

    pub(super) async fn reads_text(&mut self, wanted: &str) {
        let reading = async {
            while !self.read.contains(wanted) {
                let mut bytes = [0; 4096];
                let length = self.client.read(&mut bytes).await.unwrap();
                assert_ne!(length, 0, "ended without {wanted}: {}", self.read);
                self.read += std::str::from_utf8(&bytes[..length]).unwrap();
            }
        };
        soon(wanted, reading).await;
    }

    /// Not even the head, if nothing was read before.
    pub(super) async fn reads_nothing(&mut self, front: &Front) {
        for _ in 0..3 {
            let mut other = front.nginx.ask("/ping").await;
            let mut answer = String::new();
            soon("an answer", other.read_to_string(&mut answer))
                .await
                .unwrap();
            assert!(answer.ends_with("\r\n\r\npong"), "{answer}");
        }
        let mut byte = [0];
        let came = timeout(SILENCE, self.client.read(&mut byte)).await;
        assert!(came.is_err(), "{came:?} {byte:?} after {:?}", self.read);
    }

    /// Waits for this text, after all that was read by now.
    #[cfg(all(feature = "sse", feature = "tokio"))]
    pub(super) async fn reads_anew(&mut self, wanted: &str) {
        self.read.clear();
        self.reads_text(wanted).await;
    }

    /// Nginx gives the stream up. Nothing comes before that, and no last chunk.
    #[cfg(all(feature = "sse", feature = "tokio"))]
    pub(super) async fn waits_for_the_cut(mut self) {
        let mut rest = String::new();
        soon("the end", self.client.read_to_string(&mut rest))
            .await
            .unwrap();
        assert_eq!(rest, "", "after {}", self.read);
    }

    /// Ends the stream. All that was read of it.
    pub(super) async fn end(self) -> String {
        let Self {
            mut client,
            mut read,
            producer,
        } = self;
        drop(producer);
        soon("the end", client.read_to_string(&mut read))
            .await
            .unwrap();
        assert!(read.ends_with("\r\n0\r\n\r\n"), "{read}");
        read
    }
}

pub(super) fn event(number: u32) -> String {
    format!("data: {number}\n\n")
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
}

/// A process that is killed when dropped.
pub(super) struct Nginx {
    child: Child,
    folder: PathBuf,
}

impl Nginx {
    async fn start(name: &str, upstream: u16) -> Self {
        // A socket's path must be short: not in cargo's directory, which may be anywhere.
        let folder = env::temp_dir().join(format!("tower-passthrough-{}-{name}", process::id()));
        fs::create_dir_all(folder.join("temp")).unwrap();
        fs::write(folder.join("nginx.conf"), config(upstream)).unwrap();
        let child = Command::new("nginx")
            .arg("-p")
            .arg(&folder)
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx is in the PATH");
        let mut nginx = Self { child, folder };
        let listens = async {
            while let Err(error) = UnixStream::connect(nginx.socket()).await {
                assert_eq!(
                    nginx.child.try_wait().unwrap(),
                    None,
                    "{error} {}",
                    nginx.log()
                );
                sleep(Duration::from_millis(10)).await;
            }
        };
        soon("nginx to listen", listens).await;
        nginx
    }

    pub(super) async fn ask(&self, path: &str) -> UnixStream {
        let mut client = UnixStream::connect(self.socket()).await.unwrap();
        client.write_all(request(path).as_bytes()).await.unwrap();
        client
    }

    pub(super) fn was_never_reloaded(&mut self) {
        assert_eq!(self.child.try_wait().unwrap(), None, "{}", self.log());
        let pid = fs::read_to_string(self.folder.join("nginx.pid")).unwrap();
        assert_eq!(pid.trim(), self.child.id().to_string());
        // It notes this whenever it has read its configuration.
        let log = self.log();
        assert_eq!(
            log.matches("using the \"epoll\" event method").count(),
            1,
            "{log}"
        );
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("nginx.sock")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Paths are relative to the folder.
fn config(upstream: u16) -> String {
    format!(
        r#"
        daemon off;
        master_process off;
        pid nginx.pid;
        error_log error.log notice;
        events {{}}
        http {{
            access_log off;
            client_body_temp_path temp/body;
            proxy_temp_path temp/proxy;
            fastcgi_temp_path temp/fastcgi;
            uwsgi_temp_path temp/uwsgi;
            scgi_temp_path temp/scgi;
            server {{
                listen unix:nginx.sock;
                proxy_buffering on;
                location / {{
                    proxy_pass http://127.0.0.1:{upstream};
                }}
                location /http1.1/ {{
                    proxy_pass http://127.0.0.1:{upstream};
                    proxy_http_version 1.1;
                    proxy_set_header Connection "";
                }}
                location /impatient/ {{
                    proxy_pass http://127.0.0.1:{upstream};
                    proxy_read_timeout 2s;
                }}
                location /ignored/ {{
                    proxy_pass http://127.0.0.1:{upstream};
                    proxy_ignore_headers X-Accel-Buffering;
                }}
            }}
        }}
        "#
    )
}
