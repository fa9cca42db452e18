//! As much of the W3C's `WebDriver` as is needed to look into a page.

use std::{fs, path::PathBuf};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{process::Process, soon};

/// Chromium, with a driver at its side. Both are children of the test, and killed with it: one that
/// the driver had started would survive it.
pub(crate) struct Browser {
    client: Client<HttpConnector, Full<Bytes>>,
    session: String,
    _driver: Process,
    _chromium: Process,
    _profile: Profile,
}

/// Where Chromium keeps what it keeps.
struct Profile(PathBuf);

impl Drop for Profile {
    fn drop(&mut self) {
        // Chromium may be busy with it still. The next one begins anew in any case.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Browser {
    /// `name` is not to be used twice at a time.
    pub(crate) async fn start(name: &str) -> Self {
        let profile = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("chromium-{name}"));
        let _ = fs::remove_dir_all(&profile);
        let mut command = Command::new("chromium");
        command
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(["--headless", "--no-sandbox", "--disable-gpu"])
            .args(["--no-first-run", "--disable-background-networking"])
            .args(["--remote-debugging-port=0", "about:blank"]);
        let mut chromium = Process::spawn(command);
        let profile = Profile(profile);
        let line = chromium.line(&["DevTools listening on ws://"]).await;
        let address = line.split('/').nth(2).unwrap();

        let mut command = Command::new("chromedriver");
        command.arg("--port=0");
        let mut driver = Process::spawn(command);
        let line = driver.line(&["started successfully on port "]).await;
        let port = line.rsplit(' ').next().unwrap().trim_end_matches('.');

        let mut browser = Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            session: format!("http://127.0.0.1:{port}/session"),
            _driver: driver,
            _chromium: chromium,
            _profile: profile,
        };
        let options = json!({ "goog:chromeOptions": { "debuggerAddress": address } });
        let wanted = json!({ "capabilities": { "alwaysMatch": options } });
        let session = browser.post("", &wanted).await;
        let id = session["sessionId"].as_str().unwrap();
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    pub(crate) async fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url })).await;
    }

    /// What the script returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        let script = json!({ "script": script, "args": [] });
        self.post("/execute/sync", &script).await
    }

    /// Any command of the driver's.
    pub(crate) async fn post(&self, command: &str, parameters: &Value) -> Value {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{command}", self.session))
            .header("content-type", "application/json")
            .body(Full::from(parameters.to_string()))
            .unwrap();
        let answer = async {
            let response = self.client.request(request).await.unwrap();
            response.into_body().collect().await.unwrap().to_bytes()
        };
        let answer = soon("the driver", answer).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let value = answer["value"].clone();
        assert!(value["error"].is_null(), "{command} {parameters}: {value}");
        value
    }
}
