//! The `EventSource` of Chromium.

use crate::{EventSource, Seen, reader::Message, server::Server, stories, webdriver::Browser};

/// A page with an event source, which keeps what it is told.
pub(crate) const PAGE: &str = "<!doctype html><title>events</title><script>
const seen = { events: [], errors: 0 };
const source = new EventSource(location.pathname + '/events');
for (const kind of ['message', 'tick'])
  source.addEventListener(kind, ({ type, lastEventId, data }) =>
    seen.events.push({ type, lastEventId, data }));
source.onerror = () => {
  if (source.readyState !== EventSource.CONNECTING) throw 'it has given up';
  seen.errors++;
};
</script>";

struct Page(Browser);

impl Page {
    async fn open(test: &str, server: &Server, path: &str) -> Self {
        let browser = Browser::start(test).await;
        browser
            .open(&format!("http://{}{path}", server.address))
            .await;
        Self(browser)
    }
}

impl EventSource for Page {
    async fn seen(&self) -> Seen {
        let seen = self.0.run("return seen").await;
        let events = seen["events"].as_array().unwrap().iter().map(|event| {
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            Message {
                event: text("type"),
                id: text("lastEventId"),
                data: text("data"),
            }
        });
        Seen {
            events: events.collect(),
            errors: seen["errors"]
                .as_u64()
                .and_then(|it| it.try_into().ok())
                .unwrap(),
        }
    }
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn events_arrive_in_order_and_keep_alives_are_not_seen() {
    stories::events(async |server, path| Page::open("events", server, path).await).await;
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn lines_end_in_any_way_and_keep_alives_do_no_harm() {
    stories::line_ends(async |server, path| Page::open("line-ends", server, path).await).await;
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn a_drained_client_comes_back_with_its_last_event_id_when_it_was_told() {
    stories::drain(async |server, path| Page::open("drain", server, path).await).await;
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn a_client_of_an_idle_stream_finds_it_broken_and_comes_back() {
    stories::idle(async |server, path| Page::open("idle", server, path).await).await;
}
