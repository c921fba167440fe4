//! What crosses between the nodes, and who each side took the other for.

use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use weir_tests::lab::access_log::{Connection, Line, Mark};
use weir_tests::link::pcap;
use weir_tests::link::verdict::Verdict;
use weir_tests::wait;

use crate::stage::{PRODUCTPAGE, Stage, addresses};
use weir_tests::steps::outcome::Outcome;
use weir_tests::steps::show::Show;

const LOGGED_WITHIN: Duration = Duration::from_secs(5);
/// The port that every service of the sample listens on.
const APPLICATION_PORT: u16 = 9080;

pub(crate) fn frames(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let source = stage.productpage()?;
    let (url, destination) = stage.across(&source.node)?;
    let load = stage.lab.load(PRODUCTPAGE, &["--requests", "500", "--concurrency", "16", &url])?;
    show.progress(&format!(
        "500 requests more from productpage on {} to {} on {}",
        source.node, destination.name, destination.node
    ));
    let capture = stage.capture.take().context("the capture has ended already")?;
    let frames = capture.stop()?;
    let file = stage.folder.join("link.pcap");
    pcap::write(&file, &frames).with_context(|| format!("writing {}", file.display()))?;
    let verdict = Verdict::of(&frames, &addresses(&stage.lab.view()?));
    show.progress(&format!(
        "captured since the first step: {} frames, {} of them with {} bytes of payload from or to the sample's pods",
        verdict.frames, verdict.frames_with_payload, verdict.payload_bytes
    ));
    show.progress(&format!(
        "{} connections, {} of them TLS 1.3 (offered by the ClientHello, selected by the ServerHello), {} TLS records, ALPN {:?}",
        verdict.connections, verdict.tls13, verdict.records, verdict.alpn
    ));
    show.progress(&format!(
        "destination ports {:?}; bytes outside of TLS records: {}; HTTP found: {}; the frames: {}",
        verdict.server_ports,
        if verdict.foreign.is_empty() { "none".to_owned() } else { verdict.foreign.join("; ") },
        verdict.clear_in_words(),
        file.display()
    ));
    let mut outcome = Outcome::default();
    outcome.claim("the requests across the link were all answered 200", load.is_all_200());
    outcome.claim("there were frames with payload", verdict.frames_with_payload > 0);
    outcome.claim(
        "every connection is TLS 1.3",
        verdict.connections > 0 && verdict.tls13 == verdict.connections,
    );
    outcome.claim("every stream consists of TLS records", verdict.foreign.is_empty());
    outcome.claim("not one payload holds HTTP", verdict.clear.is_empty());
    let ports = verdict.server_ports.iter().copied().collect::<Vec<_>>();
    outcome.claim("the destination port is the application's own", ports == [APPLICATION_PORT]);
    outcome.figure = format!(
        "{} frames, {} connections, all TLS 1.3, {} with HTTP",
        verdict.frames_with_payload,
        verdict.connections,
        verdict.clear.len()
    );
    outcome.figure("frames", verdict.frames);
    outcome.figure("framesWithPayload", verdict.frames_with_payload);
    outcome.figure("payloadBytes", verdict.payload_bytes);
    outcome.figure("connections", verdict.connections);
    outcome.figure("tls13Connections", verdict.tls13);
    outcome.figure("tlsRecords", verdict.records);
    outcome.figure("framesWithHttp", verdict.clear.len());
    outcome.figure("streamsNotOnlyTls", json!(verdict.foreign));
    outcome.figure("destinationPorts", json!(ports));
    outcome.figure("pcap", file.display().to_string());
    Ok(outcome)
}

pub(crate) fn identities(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let source = stage.productpage()?;
    let (url, destination) = stage.across(&source.node)?;
    let mark = stage.lab.mark()?;
    // So many at once need more connections than are pooled already, so that some begin now.
    let load = stage.lab.load(PRODUCTPAGE, &["--requests", "200", "--concurrency", "32", &url])?;
    let addresses = destination.addresses.clone();
    let at_source = wait::until("the source's node to log a request", LOGGED_WITHIN, || {
        let lines = stage.lab.access_log(&source.node, &mark)?;
        Ok(lines.iter().filter_map(Line::request).find(|r| r.source == source.full_name()).cloned())
    })?;
    let at_destination = wait::until("the destination's node to log a connection", LOGGED_WITHIN, || {
        // From the beginning: connections stay, and the one that was used may have been let in before.
        let lines = stage.lab.access_log(&destination.node, &Mark::beginning())?;
        let ours = |line: &&Connection| {
            let peer = line.peer.parse::<std::net::SocketAddr>();
            line.direction == "inbound"
                && line.pod == destination.full_name()
                && peer.is_ok_and(|peer| source.addresses.contains(&peer.ip()))
        };
        Ok(lines.iter().filter_map(Line::connection).find(ours).cloned())
    })?;
    let seen_by_source = at_source.peer_identity.clone().unwrap_or_default();
    let seen_by_destination = at_destination.peer_identity.clone().unwrap_or_default();
    show.progress(&format!(
        "{} ({}) took {} for {seen_by_source}",
        source.name,
        source.node,
        at_source.endpoint.as_deref().unwrap_or("nobody"),
    ));
    show.progress(&format!(
        "{} ({}) took {} for {seen_by_destination}",
        destination.name, destination.node, at_destination.peer
    ));
    let account = destination.name.split('-').next().unwrap_or_default();
    let expected = format!("spiffe://cluster.local/ns/bookinfo/sa/bookinfo-{account}");
    let own = "spiffe://cluster.local/ns/bookinfo/sa/bookinfo-productpage";
    let endpoint = at_source.endpoint.as_deref().and_then(|e| e.parse::<std::net::SocketAddr>().ok());
    let mut outcome = Outcome::default();
    outcome.claim("the requests were all answered 200", load.is_all_200());
    outcome.claim(
        "the source reached the destination's pod",
        endpoint.is_some_and(|e| addresses.contains(&e.ip())),
    );
    outcome.claim("the source saw the destination's identity", seen_by_source == expected);
    outcome.claim("the destination saw the source's identity", seen_by_destination == own);
    let both = [&at_source.security, &at_destination.security];
    outcome.claim("both sides say mutual TLS", both.iter().all(|security| *security == "mutual_tls"));
    let short = |identity: &str| identity.rsplit('/').next().unwrap_or_default().to_owned();
    outcome.figure = format!("{} ⇄ {}", short(&seen_by_destination), short(&seen_by_source));
    outcome.figure("seenBySource", seen_by_source);
    outcome.figure("seenByDestination", seen_by_destination);
    Ok(outcome)
}
