//! An example as a process.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    env::{consts::EXE_SUFFIX, current_exe},
    path::PathBuf,
    process::{ExitStatus, Stdio},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::mpsc,
};

use crate::soon;

/// Killed when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    seen: Vec<String>,
}

impl Process {
    pub(crate) fn start(example: &str, arguments: &[&str]) -> Self {
        Self::start_with(example, arguments, &[])
    }

    /// With variables of the environment.
    pub(crate) fn start_with(
        example: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new(built(example));
        command
            .args(arguments)
            .env("NO_COLOR", "1")
            .env_remove("RUST_LOG")
            .envs(environment.iter().copied());
        Self::spawn(command)
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = mpsc::unbounded_channel();
        collect(child.stdout.take().unwrap(), sender.clone());
        collect(child.stderr.take().unwrap(), sender);
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Waits for a line that it prints and that has all these parts.
    pub(crate) async fn line(&mut self, parts: &[&str]) -> String {
        let search = async {
            while let Some(line) = self.lines.recv().await {
                self.seen.push(line.clone());
                if parts.iter().all(|part| line.contains(part)) {
                    return Some(line);
                }
            }
            None
        };
        match tokio::time::timeout(crate::PATIENCE, search).await {
            Ok(Some(line)) => line,
            _ => panic!(
                "no line with {parts:?} in what it printed: {:#?}",
                self.seen
            ),
        }
    }

    /// Waits until it has ended: how it did, and the lines that nobody has waited for.
    pub(crate) async fn end(mut self) -> (ExitStatus, String) {
        let status = soon("the end of the process", self.child.wait()).await;
        let mut rest = String::new();
        while let Some(line) = soon("the last lines", self.lines.recv()).await {
            rest.push_str(&line);
            rest.push('\n');
        }
        (status.unwrap(), rest)
    }
}

fn collect(pipe: impl AsyncRead + Send + Unpin + 'static, lines: mpsc::UnboundedSender<String>) {
    tokio::spawn(async move {
        let mut read = BufReader::new(pipe).lines();
        while let Ok(Some(line)) = read.next_line().await {
            let _ = lines.send(line);
        }
    });
}

/// Where cargo puts examples: beside the directory of this test.
pub(crate) fn built(example: &str) -> PathBuf {
    let mut path = current_exe().unwrap();
    path.pop();
    path.pop();
    path.extend(["examples", &format!("{example}{EXE_SUFFIX}")]);
    assert!(
        path.exists(),
        "{} is not built: `cargo test --all-features` builds it, `--test examples` alone does not",
        path.display()
    );
    path
}

/// The `http://ADDRESS` in a line.
pub(crate) fn url(line: &str) -> String {
    let at = line.find("http://").expect(line);
    let url = &line[at..];
    let end = url[7..].find(|c: char| c == '/' || c.is_whitespace());
    url[..end.map_or(url.len(), |end| end + 7)].to_owned()
}
