//! A firewall between the nodes that admits pods' connections to the application's port and to no other, as a NetworkPolicy
//! would.

use weir_tests::cluster::command;
use weir_tests::cluster::node::Node;
use weir_tests::steps::outcome::Outcome;
use weir_tests::steps::show::Show;

use crate::load::in_words;
use crate::stage::Stage;

const TABLE: &str = "cluster_test";
const RULES: &str = "table inet cluster_test {
    chain between_nodes {
        type filter hook forward priority filter; policy accept;
        tcp dport 9080 accept
        tcp sport 9080 accept
        iifname eth0 ip saddr 10.244.0.0/16 ip daddr 10.244.0.0/16 meta l4proto tcp drop
    }
}";

/// Taken away when it is dropped.
#[derive(Debug)]
struct Firewall<'a>(Vec<&'a Node>);

impl<'a> Firewall<'a> {
    fn raise(nodes: impl Iterator<Item = &'a Node>) -> anyhow::Result<Self> {
        let mut firewall = Self(Vec::new());
        for node in nodes {
            command::said_to(node.command("nft").args(["--file", "-"]), RULES)?;
            firewall.0.push(node);
        }
        Ok(firewall)
    }
}

impl Drop for Firewall<'_> {
    fn drop(&mut self) {
        for node in &self.0 {
            // It is gone already where somebody has flushed the rules.
            let _ = node.said("nft", &["delete", "table", "inet", TABLE]);
        }
    }
}

pub(crate) fn only_the_applications(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let firewall = Firewall::raise(stage.nodes.values())?;
    let mut outcome = Outcome::default();
    let mut requests = 0;
    for (from, url) in
        [("caller-1", "http://answerer-2.drill:9080/"), ("caller-2", "http://answerer-1.drill:9080/")]
    {
        let (node, pod) = stage.drill(from)?;
        // More at once than there are connections already, so that new ones are made.
        let load = node.load(pod, &["--requests", "400", "--concurrency", "32", url])?;
        show.progress(&format!("{from} to {url}: {}", in_words(&load)));
        outcome.claim(&format!("every request from {from} is answered"), load.is_all_200());
        requests += load.requests;
    }
    let (node, pod) = stage.drill("caller-1")?;
    let other = node.get(pod, &["--timeout", "4", "http://answerer-2.drill:9081/"])?;
    show.progress(&format!(
        "another port: {}",
        if other.status() == 200 { "answered" } else { "not answered" }
    ));
    outcome.claim("the firewall holds: another port of the same pod is not reached", other.status() != 200);
    drop(firewall);
    let open = node.get(pod, &["--timeout", "5", "http://answerer-2.drill:9081/"])?;
    outcome.claim("without the firewall that port is reached", open.status() == 200);
    outcome.figure = format!("{requests} requests answered, port 9081 closed");
    outcome.figure("requests", requests);
    Ok(outcome)
}
