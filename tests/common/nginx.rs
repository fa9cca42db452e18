//! An nginx with a configuration of its own.
#![allow(dead_code, reason = "each test uses a part")]

use std::{
    env, fs,
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{sleep, timeout},
};

use crate::patience::soon;

/// How long nothing must come.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

/// A process that is killed when dropped.
pub(crate) struct Nginx {
    child: Child,
    folder: PathBuf,
}

impl Nginx {
    /// Serves these locations. `name` is not to be used twice at a time.
    pub(crate) async fn start(name: &str, locations: &str) -> Self {
        // A socket's path must be short: not in cargo's directory, which may be anywhere.
        let folder = env::temp_dir().join(format!("tower-passthrough-{}-{name}", process::id()));
        fs::create_dir_all(folder.join("temp")).unwrap();
        fs::write(folder.join("nginx.conf"), config(locations)).unwrap();
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

    pub(crate) async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.unwrap()
    }

    pub(crate) async fn ask(&self, path: &str) -> Answer {
        self.ask_with(path, "").await
    }

    /// With these lines in the head of the request.
    pub(crate) async fn ask_with(&self, path: &str, fields: &str) -> Answer {
        let mut client = self.connect().await;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{fields}\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        Answer {
            client,
            read: String::new(),
        }
    }

    pub(crate) fn was_never_reloaded(&mut self) {
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

/// What is read of an answer, head and all. Hangs up when dropped.
pub(crate) struct Answer {
    client: UnixStream,
    read: String,
}

impl Answer {
    /// Reads until it has this.
    pub(crate) async fn reads(&mut self, wanted: &str) {
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

    /// Reads until it has this, after all that was read by now.
    pub(crate) async fn reads_anew(&mut self, wanted: &str) {
        self.read.clear();
        self.reads(wanted).await;
    }

    /// What was read by now.
    pub(crate) fn read(&self) -> &str {
        &self.read
    }

    /// Not even the head, if nothing was read before.
    pub(crate) async fn reads_nothing(&mut self, nginx: &Nginx) {
        for _ in 0..3 {
            let other = nginx.ask("/ping").await.all().await;
            assert!(other.ends_with("\r\n\r\npong"), "{other}");
        }
        let mut byte = [0];
        let came = timeout(SILENCE, self.client.read(&mut byte)).await;
        assert!(came.is_err(), "{came:?} {byte:?} after {:?}", self.read);
    }

    /// All that was read, to the end of the connection.
    pub(crate) async fn all(mut self) -> String {
        let reading = self.client.read_to_string(&mut self.read);
        soon("the end", reading).await.unwrap();
        self.read
    }
}

/// Paths are relative to the folder.
fn config(locations: &str) -> String {
    format!(
        "
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
                location = /ping {{
                    return 200 pong;
                }}
                {locations}
            }}
        }}
        "
    )
}
