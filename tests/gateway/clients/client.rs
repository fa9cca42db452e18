//! A client as a process.

use std::{path::PathBuf, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
    time::timeout,
};

use crate::{patience::PATIENCE, soon};

/// Killed when dropped.
pub(super) struct Client {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    complaints: JoinHandle<String>,
}

impl Client {
    pub(super) fn start(mut command: Command) -> Self {
        let mut child = command
            .env("NO_PROXY", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut errors = child.stderr.take().unwrap();
        let complaints = tokio::spawn(async move {
            let mut complaints = Vec::new();
            let _ = errors.read_to_end(&mut complaints).await;
            String::from_utf8_lossy(&complaints).into_owned()
        });
        Self {
            input: child.stdin.take(),
            lines: BufReader::new(child.stdout.take().unwrap()).lines(),
            complaints,
            child,
        }
    }

    /// Waits for its next line.
    pub(super) async fn line(&mut self) -> String {
        match timeout(PATIENCE, self.lines.next_line()).await {
            Ok(Ok(Some(line))) => line,
            other => panic!("no line but {other:?}: {}", self.complaints().await),
        }
    }

    /// Waits for its next line, which must be this one.
    pub(super) async fn says(&mut self, wanted: &str) {
        let line = self.line().await;
        if line != wanted {
            let complaints = self.complaints().await;
            panic!("wanted {wanted:?}, got {line:?}: {complaints}");
        }
    }

    /// Waits for a line that is not this one.
    pub(super) async fn line_but(&mut self, skipped: &str) -> String {
        loop {
            match self.line().await {
                line if line == skipped => {}
                line => return line,
            }
        }
    }

    /// Gives it a line to read.
    pub(super) async fn hears(&mut self, line: &str) {
        let line = format!("{line}\n");
        let written = self.input.as_mut().unwrap().write_all(line.as_bytes());
        soon("the client to listen", written).await.unwrap();
    }

    /// Ends its input.
    pub(super) fn hears_no_more(&mut self) {
        self.input = None;
    }

    /// Waits until it has ended, with nothing more to say, and this exit code.
    pub(super) async fn ends(mut self, code: i32) {
        self.hears_no_more();
        let line = soon("the end of the output", self.lines.next_line()).await;
        assert_eq!(line.unwrap(), None);
        let status = soon("the end of the client", self.child.wait()).await;
        let status = status.unwrap().code();
        assert_eq!(status, Some(code), "{}", self.complaints().await);
    }

    /// As a user does who has seen enough.
    pub(super) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    async fn complaints(&mut self) -> String {
        let _ = self.child.kill().await;
        (&mut self.complaints).await.unwrap()
    }
}

/// In cargo's directory, where `.ci/run` puts it.
pub(super) fn installed(path: &str) -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let installed = target.parent().unwrap().join(path);
    assert!(
        installed.exists(),
        "{}: `.ci/run` installs it",
        installed.display()
    );
    installed
}
