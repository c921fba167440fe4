//! The load client's figures, against servers in this process.

use super::*;
use crate::cli::{Cli, Command, LoadArgs};
use clap::Parser;

#[tokio::test]
async fn load_counts_every_answer_and_who_gave_it() {
    let shop = shop(Version::V2);
    let url = shop.reviews.at("/reviews/0").to_string();
    for protocol in [&[][..], &["--http2"]] {
        let args = load_args(&[&["--requests", "203", "--concurrency", "8", &url], protocol].concat());
        let report = tally_of(&args).await;
        assert_eq!(report["requests"], 203);
        assert_eq!(report["status"], serde_json::json!({ "200": 203 }));
        assert_eq!(report["errors"], 0);
        assert_eq!(report["headers"]["x-bookinfo-version"], serde_json::json!({ "reviews-v2": 203 }));
        assert_eq!(report["headers"]["x-bookinfo-pod"], serde_json::json!({ "reviews-pod": 203 }));
        assert!(
            report["p50_ms"].as_f64().unwrap() > 0.0
                && report["p99_ms"].as_f64() >= report["p50_ms"].as_f64()
        );
    }
}

#[tokio::test]
async fn load_tells_errors_from_answers() {
    let report =
        tally_of(&load_args(&["--requests", "7", "--concurrency", "3", &nowhere().to_string()])).await;
    assert_eq!((report["requests"].as_u64(), report["errors"].as_u64()), (Some(7), Some(7)));
    assert_eq!(report["error_kinds"], serde_json::json!({ "refused": 7 }));

    let shop = shop(Version::V1);
    let report = tally_of(&load_args(&["--requests", "4", &shop.reviews.at("/x").to_string()])).await;
    assert_eq!(report["status"], serde_json::json!({ "404": 4 }));
    assert_eq!(report["errors"], 0);
}

#[tokio::test]
async fn load_sends_headers_and_ends_early_when_stopped() {
    let (heard, mut hear) = tokio::sync::mpsc::channel(1);
    let server = start(Service::Echo, Version::V1, |_| {
        let answer = async move |headers: HeaderMap| {
            let _ = heard.try_send(headers);
        };
        Router::new().route("/", axum::routing::get(answer))
    });
    let args = load_args(&["--duration", "60", "-H", "end-user: jason", &server.url().to_string()]);
    let mut first = None;
    let stop = async { first = hear.recv().await };
    let (tally, took) = crate::load::measure(&args, stop).await.unwrap();
    assert_eq!(first.unwrap()["end-user"], "jason");
    assert!(tally.answered() >= 1 && tally.errors() == 0);
    assert!(took < Duration::from_secs(30));
}

async fn tally_of(args: &LoadArgs) -> Value {
    let (tally, took) = crate::load::measure(args, std::future::pending()).await.unwrap();
    tally.report(took)
}

fn load_args(words: &[&str]) -> LoadArgs {
    match Cli::try_parse_from([&["bookinfo", "load"], words].concat()).unwrap().command {
        Command::Load(args) => args,
        other => panic!("{other:?}"),
    }
}
