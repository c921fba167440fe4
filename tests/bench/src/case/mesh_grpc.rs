//! From pod to pod over two nodes, gRPC: calls of one message, and streams of many.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::Case;
use super::pods::{GRPC, Pods};
use crate::contest::{Contest, Drive, WEIR};
use crate::load::h2load::{self, STREAM_PATH, UNARY_PATH};
use crate::peer::envoy::Speaks;
use crate::report::Outcome;
use crate::serve::grpc::MESSAGE_BYTES;
use crate::stage::Scene;

pub(crate) const CASE: Case =
    Case { name: "mesh-grpc", about: "from pod to pod over two nodes, gRPC with messages of 1 KB", run };

const CONNECTIONS: usize = 8;
/// Messages of one stream.
const MESSAGES: usize = 100;

fn run(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let pods = Pods::up(scene)?;
    let base = Pods::base(scene)?;
    let envoys = pods.envoys(scene, Speaks::Http2, GRPC)?;
    let message = pods.stage.file("message");
    // An empty message in its frame.
    std::fs::write(&message, [0; 5]).context("writing a message")?;
    let mut outcome = Outcome::default();
    for (name, unit, path, streams, each) in [
        ("unary", "call", UNARY_PATH.to_owned(), 10, 1),
        ("streaming", "message", format!("{STREAM_PATH}{MESSAGES}"), 2, MESSAGES),
    ] {
        let drive = |pods, namespace, to: SocketAddr| {
            let call = Call { url: format!("http://{to}{path}"), streams, message: message.clone(), each };
            drive(pods, namespace, call)
        };
        let mut contenders =
            vec![pods.weir(WEIR, drive(&pods, "bench", pods.service("bench", "server", GRPC)?))];
        if let Some(base) = &base {
            contenders
                .push(base.weir("weir-base", drive(base, "bench", base.service("bench", "server", GRPC)?)));
        }
        contenders.push(envoys.contender("two-envoys", drive(&pods, "plain", envoys.entry)));
        let contest = Contest { name: name.to_owned(), unit, contenders };
        outcome.standings.push(scene.run(&contest)?);
    }
    Ok(outcome)
}

struct Call {
    url: String,
    streams: usize,
    message: PathBuf,
    each: usize,
}

fn drive<'a>(pods: &'a Pods, namespace: &'static str, call: Call) -> Drive<'a> {
    Box::new(move |length: Duration| {
        let mut command = pods.client(namespace, Path::new("h2load"));
        h2load::arrange(&mut command, CONNECTIONS, call.streams, &call.message, &call.url, length);
        h2load::read(command, call.each as f64, MESSAGE_BYTES)
    })
}
