//! What crosses between the nodes.

use anyhow::Context;
use weir_tests::lab::client::Loading;
use weir_tests::link::pcap;
use weir_tests::link::verdict::Verdict;
use weir_tests::steps::outcome::Outcome;
use weir_tests::steps::show::Show;

use crate::stage::{DRILL, Stage};

/// The port that every pod of the sample and of the drill listens on.
const APPLICATION_PORT: u16 = 9080;
/// Between pinned pods from each node to the other, and to the sample wherever its pods are.
const WAYS: [(&str, &str); 4] = [
    ("caller-1", "http://answerer-2.drill:9080/"),
    ("caller-2", "http://answerer-1.drill:9080/"),
    ("caller-1", "http://productpage.bookinfo:9080/productpage"),
    ("caller-2", "http://reviews-v2.bookinfo:9080/reviews/0"),
];

/// Brings up the sample and the drill, captured from before their first packet.
pub(crate) fn frames(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let capture = stage.capture_lan()?;
    for file in ["bookinfo.yaml", "gateway.yaml", "outside.yaml"] {
        stage.cluster.apply_file(&Stage::sample(file))?;
    }
    stage.bring_up(include_str!("../../../../cluster/manifests/drill.yaml"), DRILL)?;
    for namespace in ["bookinfo", "outside"] {
        stage.cluster.wait(namespace, &["--for=condition=Available", "deployment", "--all"], 90)?;
    }
    stage.find_drill()?;
    for namespace in [DRILL, "bookinfo"] {
        stage.await_captured(namespace)?;
    }
    let loads = WAYS.iter().map(|(from, url)| {
        let (node, pod) = stage.drill(from)?;
        Ok(node.start_load(pod, &["--requests", "300", "--concurrency", "8", url])?)
    });
    let loads: Vec<Loading> = loads.collect::<anyhow::Result<_>>()?;
    let mut outcome = Outcome::default();
    for (load, (from, url)) in loads.into_iter().zip(WAYS) {
        let load = load.report().with_context(|| format!("requests from {from} to {url}"))?;
        show.progress(&format!(
            "{from} to {url}: {} requests, {:?}, {:?}",
            load.requests, load.status, load.error_kinds
        ));
        outcome.claim(&format!("every request from {from} to {url} is answered"), load.is_all_200());
    }
    let frames = capture.stop()?;
    let file = stage.folder.join("lan.pcap");
    pcap::write(&file, &frames).with_context(|| format!("writing {}", file.display()))?;
    let place = |name| Ok::<_, anyhow::Error>(stage.drill(name)?.1.node.as_str());
    let crosses = place("caller-1")? != place("answerer-2")? && place("caller-2")? != place("answerer-1")?;
    outcome.claim("requests cross from each node to the other", crosses);
    let verdict = Verdict::of(&frames, &stage.addresses(&["bookinfo", DRILL])?);
    show.progress(&format!(
        "{} frames with {} bytes of payload, {} connections, {} of them TLS 1.3, ALPN {:?}, ports {:?}; in clear: {}; {}",
        verdict.frames_with_payload,
        verdict.payload_bytes,
        verdict.connections,
        verdict.tls13,
        verdict.alpn,
        verdict.server_ports,
        verdict.clear_in_words(),
        file.display()
    ));
    let all = verdict.connections > 0 && verdict.tls13 == verdict.connections;
    outcome.claim("every connection is TLS 1.3", all);
    outcome.claim("every stream consists of TLS records", verdict.foreign.is_empty());
    outcome.claim("not one payload holds HTTP", verdict.clear.is_empty());
    outcome.claim(
        "the destination port is the application's own",
        verdict.server_ports.iter().eq([&APPLICATION_PORT]),
    );
    outcome.claim("ALPN is weir/1 and nothing else", verdict.alpn.iter().eq(["weir/1"]));
    outcome.figure = format!(
        "{} frames, {} connections, {} of them TLS 1.3, {} with HTTP",
        verdict.frames_with_payload,
        verdict.connections,
        verdict.tls13,
        verdict.clear.len()
    );
    outcome.figure("framesWithPayload", verdict.frames_with_payload);
    outcome.figure("payloadBytes", verdict.payload_bytes);
    outcome.figure("connections", verdict.connections);
    outcome.figure("tls13Connections", verdict.tls13);
    outcome.figure("tlsRecords", verdict.records);
    outcome.figure("framesWithHttp", verdict.clear.len());
    outcome.figure("destinationPorts", serde_json::json!(verdict.server_ports));
    Ok(outcome)
}
