//! The demo's page, in Chromium, used by keyboard.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    CHAT_LABELS, Gateway,
    patience::soon,
    webdriver::Browser,
    wire::{get, text},
};

const TAB: char = '\u{e004}';
const ENTER: char = '\u{e007}';
const SPACE: char = ' ';

struct Page {
    gateway: Gateway,
    browser: Browser,
}

/// What is to be seen of one of the two answers.
#[derive(Debug)]
struct Answer {
    said: String,
    /// Milliseconds since it was asked for.
    sent: Vec<f64>,
    arrived: Vec<f64>,
}

impl Page {
    async fn open(name: &str) -> Self {
        Self::open_with(name, &[]).await
    }

    /// Of a gateway with these options.
    async fn open_with(name: &str, options: &[&str]) -> Self {
        let gateway = Gateway::start_with(options).await;
        let browser = Browser::start(name).await;
        browser.open(&gateway.url).await;
        let page = Self { gateway, browser };
        page.until(
            "the counts",
            "!!document.querySelector('#counted-complete')",
        )
        .await;
        page
    }

    async fn until(&self, what: &str, condition: &str) {
        let condition = format!("return {condition}");
        let fulfilled = async {
            while self.browser.run(&condition).await != true {
                sleep(Duration::from_millis(10)).await;
            }
        };
        soon(what, fulfilled).await;
    }

    /// From the beginning of the page.
    async fn ask(&self) {
        self.browser
            .run("document.querySelector('#prompt').focus()")
            .await;
        self.press(&[ENTER]).await;
    }

    async fn is_over(&self) {
        let condition = "!document.querySelector('#ask').disabled \
            && document.querySelector('#hang-up').disabled";
        self.until("the end of both answers", condition).await;
    }

    async fn answer(&self, section: &str) -> Answer {
        let script = format!(
            "const all = name => [...document.querySelectorAll('#{section} .token')]
                .map(token => Number(token.dataset[name]));
             const said = document.querySelector('#{section} .said').textContent;
             return {{ said, sent: all('sent'), arrived: all('arrived') }}"
        );
        let seen = self.browser.run(&script).await;
        let times = |name: &str| {
            let times = seen[name].as_array().unwrap().iter();
            times.map(|time| time.as_f64().unwrap()).collect()
        };
        Answer {
            said: seen["said"].as_str().unwrap().to_owned(),
            sent: times("sent"),
            arrived: times("arrived"),
        }
    }

    async fn text_of(&self, selector: &str) -> String {
        let script = format!("return document.querySelector('{selector}').textContent");
        let text = self.browser.run(&script).await;
        text.as_str().unwrap().to_owned()
    }

    async fn focused(&self) -> Value {
        let script = "return document.activeElement.id";
        self.browser.run(script).await
    }

    /// What the demo's server says of the answers, in the order in which they were begun.
    async fn sent(&self, number: u32) -> Value {
        let url = format!("{}/demo/answers/{number}", self.gateway.url);
        serde_json::from_str(&text(get(&url).await).await).unwrap()
    }

    async fn policies(&self) -> String {
        text(get(&format!("{}/buffering", self.gateway.admin)).await).await
    }

    async fn has_policies(&self, expected: &str) {
        let switched = async {
            while self.policies().await != expected {
                sleep(Duration::from_millis(10)).await;
            }
        };
        soon(expected, switched).await;
    }

    /// Presses these keys one after the other, whatever has the focus.
    async fn press(&self, keys: &[char]) {
        let presses = keys.iter().flat_map(|key| {
            ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }))
        });
        let presses: Vec<_> = presses.collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": presses });
        let actions = json!({ "actions": [keyboard] });
        self.browser.post("/actions", &actions).await;
    }

    /// Makes the page as large as on such a screen; windows cannot be as small as those of phones.
    async fn emulate(&self, width: u32, height: u32) {
        let mobile = width < 500;
        let screen =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.devtools("Emulation.setDeviceMetricsOverride", screen)
            .await;
    }

    /// Leaves a PNG in the target directory, in base64.
    async fn picture(&self, name: &str) {
        let picture = self.devtools("Page.captureScreenshot", json!({})).await;
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(path, picture["data"].as_str().unwrap()).unwrap();
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let command = json!({ "cmd": command, "params": parameters });
        self.browser.post("/goog/cdp/execute", &command).await
    }
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn tokens_arrive_one_by_one_and_the_plot_is_as_the_server_says() {
    // Slow, so that there is the time to see it in the middle.
    let page = Page::open_with("page-tokens", &["--demo-token", "0.4"]).await;
    page.ask().await;
    page.until(
        "the first token",
        "document.querySelectorAll('#through .token').length >= 1 \
            && document.querySelector('#counted-in-flight').textContent === '1'",
    )
    .await;
    // It is there, while the model is still at it; through the other middleware there is nothing.
    assert_eq!(page.answer("held").await.said, "");
    for number in [1, 2] {
        assert_eq!(page.sent(number).await["over"], false);
    }
    page.is_over().await;
    page.until(
        "the count",
        "document.querySelector('#counted-complete').textContent === '1'",
    )
    .await;

    let (held, through) = (page.answer("held").await, page.answer("through").await);
    assert!(through.said.starts_with("A stream is a promise"));
    assert!(through.said.ends_with("the model stops at once."));
    assert_eq!(held.said, through.said);
    assert_eq!(through.said.split(' ').count(), through.sent.len());

    // Which of the two came first to the server is up to the browser.
    let mut shown = [&held, &through].map(|answer| answer.sent.clone());
    let mut told = Vec::new();
    for number in [1, 2] {
        let record = page.sent(number).await;
        assert_eq!(record["over"], true);
        let sent = record["sent_ms"].as_array().unwrap();
        // The first and the last chunk have no token.
        let tokens = &sent[1..sent.len() - 1];
        told.push(tokens.iter().map(|ms| ms.as_f64().unwrap()).collect());
    }
    shown.sort_by(|one, other| one.partial_cmp(other).unwrap());
    told.sort_by(|one: &Vec<f64>, other| one.partial_cmp(other).unwrap());
    assert_eq!(shown.to_vec(), told);

    // Of the one none came before the last was made; of the other the first did.
    let last = *held.sent.last().unwrap();
    assert!(
        held.arrived.iter().all(|arrived| *arrived >= last),
        "{held:?}"
    );
    let last = *through.sent.last().unwrap();
    assert!(through.arrived[0] < last, "{through:?}");
    assert!(through.arrived.is_sorted(), "{through:?}");
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn a_hang_up_is_counted_as_disconnected_and_stops_the_model() {
    // Slow, so that there is the time to find the button.
    let page = Page::open_with("page-hang-up", &["--demo-token", "2"]).await;
    page.ask().await;
    page.until(
        "the third token",
        "document.querySelectorAll('#through .token').length >= 3",
    )
    .await;
    page.press(&[TAB, SPACE]).await;
    page.is_over().await;
    // Who uses a keyboard can go on from there.
    assert_eq!(page.focused().await, "ask");
    page.until(
        "what became of it",
        "document.querySelector('#hung-up').textContent.startsWith('The model')",
    )
    .await;

    let said = page.text_of("#hung-up").await;
    let made: usize = said.split(' ').nth(4).unwrap().parse().unwrap();
    let expected =
        format!("The model stopped after {made} tokens; the gateway counted 1 disconnected.");
    assert_eq!(said, expected);
    let seen = page.answer("through").await.sent.len();
    assert!((seen..50).contains(&made), "{seen}, {made}");
    page.until(
        "the count",
        "document.querySelector('#counted-disconnected').textContent === '1'",
    )
    .await;
    assert_eq!(page.text_of("#counted-complete").await, "0");
    assert_eq!(page.text_of("#counted-in-flight").await, "0");

    let metrics = page.gateway.metrics().await;
    let labels = [&CHAT_LABELS[..], &["outcome=\"disconnected\""]].concat();
    metrics.assert_has("http_responses_ended_total", &labels, 1);
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn the_switch_turns_proxy_buffering_on_and_off() {
    let page = Page::open("page-switch").await;
    let none = r#"{"default":"auto","routes":{}}"#;
    assert_eq!(page.policies().await, none);
    for (policies, field) in [
        (
            r#"{"default":"auto","routes":{"/v1/chat/completions":"on"}}"#,
            "x-accel-buffering: yes",
        ),
        (none, "x-accel-buffering: no"),
    ] {
        page.browser
            .run("document.querySelector('#buffering').focus()")
            .await;
        page.press(&[SPACE]).await;
        page.has_policies(policies).await;
        page.ask().await;
        page.is_over().await;
        assert_eq!(page.text_of("#field").await, field);
    }
}

/// What was asked before the switch was pressed and is answered after that is not shown.
#[tokio::test]
#[ignore = "needs Chromium"]
async fn an_answer_from_before_does_not_turn_the_switch_back() {
    let page = Page::open("page-late").await;
    let hold = "const ask = fetch;
        window.held = [];
        window.fetch = async (...asked) => {
            const answer = await ask(...asked);
            if (asked[0].endsWith('/buffering')) await new Promise(go => held.push(go));
            return answer;
        }";
    page.browser.run(hold).await;
    page.until("an answer", "held.length === 1").await;
    page.browser
        .run("document.querySelector('#buffering').focus()")
        .await;
    page.press(&[SPACE]).await;
    page.has_policies(r#"{"default":"auto","routes":{"/v1/chat/completions":"on"}}"#)
        .await;
    page.until("what is asked after that", "held.length === 2")
        .await;
    page.browser.run("held[0]()").await;
    page.until("what is asked after the late one", "held.length === 3")
        .await;
    let is_on = "return document.querySelector('#buffering').checked";
    assert_eq!(page.browser.run(is_on).await, true);
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn it_fits_a_desk_and_a_phone() {
    let page = Page::open("page-phone").await;
    // The README has the first one, of a release build.
    for (count, (width, height, name)) in [(1120, 820, "page"), (360, 740, "phone")]
        .into_iter()
        .enumerate()
    {
        page.emulate(width, height).await;
        page.ask().await;
        page.is_over().await;
        let counted = "document.querySelector('#counted-complete').textContent";
        page.until("the count", &format!("{counted} === '{}'", count + 1))
            .await;
        page.picture(&format!("{name}.png.base64")).await;
        let widths = "return [document.documentElement.scrollWidth, innerWidth]";
        let widths = page.browser.run(widths).await;
        assert_eq!(widths, json!([width, width]));
    }
    let sections = "return [...document.querySelectorAll('section')]
        .map(section => section.getBoundingClientRect().left)";
    let lefts = page.browser.run(sections).await;
    let lefts = lefts.as_array().unwrap();
    assert!(lefts.iter().all(|left| *left == lefts[0]), "{lefts:?}");
}
