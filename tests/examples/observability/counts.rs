//! The example counts each exchange once, by how it ended, whether a Prometheus looks or not.

use std::collections::BTreeMap;

use super::load::Replica;
use crate::wire::{get, text};

#[tokio::test]
async fn observability_counts_each_exchange_by_how_it_ended() {
    let replica = Replica::start("demo").await;
    let mut expected = BTreeMap::new();
    for it in replica.one_of_each().await {
        let ended = [it.path, &it.status.to_string(), it.outcome.unwrap()].map(str::to_owned);
        *expected.entry(ended).or_insert(0) += 1;
    }

    let metrics = text(get(&format!("{}/metrics", replica.url)).await).await;
    let counted: BTreeMap<_, u32> = metrics
        .lines()
        .filter(|line| line.starts_with("http_responses_ended_total{"))
        .map(|line| {
            let ended = ["path", "status", "outcome"].map(|it| label(line, it));
            (ended, line.rsplit(' ').next().unwrap().parse().unwrap())
        })
        .collect();
    assert_eq!(counted, expected);
}

fn label(line: &str, name: &str) -> String {
    let (_, rest) = line.split_once(&format!("{name}=\"")).expect(line);
    rest.split('"').next().unwrap().to_owned()
}
