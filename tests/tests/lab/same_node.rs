//! Pods of one node: joined in its proxy, and over the pod network where a NetworkPolicy selects one of the two.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use weir_tests::lab::access_log::{Line, Mark};
use weir_tests::lab::client::Answer;
use weir_tests::lab::view::Pod;
use weir_tests::lab::{Lab, Plan, can_run};
use weir_tests::link::capture::{Capture, Frame};
use weir_tests::link::segment::{self, Segment};
use weir_tests::wait;

use crate::{SOON, has, output, run};

const CLIENT: &str = "together/deploy/client";
const NODE: &str = "node-1";
const CLIENT_IDENTITY: &str = "spiffe://cluster.local/ns/together/sa/client";
const SERVER_IDENTITY: &str = "spiffe://cluster.local/ns/together/sa/server";
const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: guard, namespace: together}
spec:
  podSelector:
    matchExpressions: [{key: guard, operator: Exists}]
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]
";

#[test]
fn lab_joins_pods_of_one_node_except_where_a_network_policy_selects() {
    if !can_run() || !has("nft") || !has("ip") {
        return;
    }
    let plan = Plan::new("same-node").sample("lab.yaml");
    let lab = plan.manifest("same-node.yaml", include_str!("manifests/same-node.yaml")).up().unwrap();
    run(
        lab,
        &[
            ("without a policy the pods are joined", &pods_are_joined),
            ("a policy puts the pair on the pod network", &a_policy_puts_the_pair_on_the_pod_network),
            ("what the network drops does not get through", &what_the_network_drops_does_not_get_through),
            ("without the policy the pods are joined again", &pods_are_joined_again),
        ],
    );
}

fn pods_are_joined(lab: &Lab) {
    for service in ["guarded", "open"] {
        let (line, frames) = request(lab, service, "/joined");
        assert_eq!(line.0, "node", "{service}");
        assert!(between(lab, service, &frames).is_empty(), "{service} is reached over the pod network");
    }
}

fn a_policy_puts_the_pair_on_the_pod_network(lab: &Lab) {
    lab.apply(POLICY).unwrap();
    let (line, frames) = request(lab, "guarded", "/in-clear");
    assert_eq!(line, ("pod_network".to_owned(), Some(SERVER_IDENTITY.to_owned())));
    let segments = between(lab, "guarded", &frames);
    let holds = |segment: &Segment<'_>| segment.payload.windows(9).any(|bytes| bytes == b"/in-clear");
    assert!(segments.iter().any(holds), "the request is not seen in clear");
    assert!(segments.iter().all(|s| s.source.port() == 9080 || s.destination.port() == 9080));
    // The mode is strict: who came in without an identity would have been reset.
    let guarded = lab.pod("together", "guarded").unwrap();
    let seen = wait::until("the server's side to log who came in", SOON, || {
        let lines = lab.access_log(NODE, &Mark::beginning())?;
        let mut inbound =
            lines.iter().filter_map(Line::connection).filter(|line| line.pod == guarded.full_name());
        let line = inbound.find(|line| line.direction == "inbound" && line.security == "pod_network");
        Ok(line.cloned())
    });
    assert_eq!(seen.unwrap().peer_identity.as_deref(), Some(CLIENT_IDENTITY));

    let capture = capture(lab, "guarded");
    let load = lab.load(CLIENT, &["--requests", "200", "--concurrency", "2", "http://guarded/"]).unwrap();
    assert!(load.is_all_200(), "{load:?}");
    let frames = capture.stop().unwrap();
    let begun = between(lab, "guarded", &frames).iter().filter(|s| s.syn && !s.ack).count();
    assert!(begun <= 8, "200 requests took {begun} connections");

    let (line, frames) = request(lab, "open", "/still-joined");
    assert_eq!(line.0, "node");
    assert!(between(lab, "open", &frames).is_empty());
}

fn what_the_network_drops_does_not_get_through(lab: &Lab) {
    let (client, guarded) = (lab.pod("together", "client").unwrap(), lab.pod("together", "guarded").unwrap());
    let netns = netns(lab);
    let rule = |v6: bool| {
        let family = if v6 { "ip6" } else { "ip" };
        format!("{family} saddr {} {family} daddr {} drop", client.address(v6), guarded.address(v6))
    };
    let ruleset = format!(
        "table inet guard {{ chain forward {{ type filter hook forward priority 0; {}; {}; }}; }}",
        rule(false),
        rule(true)
    );
    let nft = |arguments: &[&str]| {
        let entered: Vec<&str> =
            ["netns", "exec", netns.as_str(), "nft"].iter().chain(arguments).copied().collect();
        output("ip", &entered)
    };
    nft(&[&ruleset]);
    assert!(nft(&["list", "table", "inet", "guard"]).contains("drop"), "the rule is not there");
    let url = "http://guarded/dropped";
    let answer = lab.get(CLIENT, &["--timeout", "5", url]).unwrap();
    assert!(!matches!(&answer, Answer::Http(response) if response.status < 500), "{answer:?}");
    let open = lab.get(CLIENT, &["http://open/"]).unwrap();
    assert_eq!(open.response().unwrap().status, 200);

    nft(&["delete", "table", "inet", "guard"]);
    wait::until("the pair to talk again", SOON, || {
        Ok(matches!(lab.get(CLIENT, &["--timeout", "5", url])?, Answer::Http(r) if r.status == 200)
            .then_some(()))
    })
    .unwrap();
}

fn pods_are_joined_again(lab: &Lab) {
    lab.delete(POLICY).unwrap();
    pods_are_joined(lab);
}

/// The security and the peer's identity that the client's side logged of a request, and what was on the server's link.
fn request(lab: &Lab, service: &str, path: &str) -> ((String, Option<String>), Vec<Frame>) {
    let mark = lab.mark().unwrap();
    let capture = capture(lab, service);
    let answer = lab.get(CLIENT, &[&format!("http://{service}{path}")]).unwrap().response().unwrap();
    assert_eq!(answer.status, 200, "{service}: {}", answer.body);
    let line = wait::until("the request to be logged", SOON, || {
        let lines = lab.access_log(NODE, &mark)?;
        Ok(lines.iter().filter_map(Line::request).find(|line| line.path == path).cloned())
    })
    .unwrap();
    ((line.security, line.peer_identity), capture.stop().unwrap())
}

fn capture(lab: &Lab, deployment: &str) -> Capture {
    // The node's end of a pod's link is called after the last byte of the pod's address.
    let IpAddr::V4(address) = lab.pod("together", deployment).unwrap().address(false) else {
        panic!("no IPv4 address")
    };
    let link = format!("pod{}", address.octets()[3]);
    Capture::start(&Path::new("/run/netns").join(netns(lab)), &link).unwrap()
}

/// The TCP segments between the client and a server.
fn between<'f>(lab: &Lab, deployment: &str, frames: &'f [Frame]) -> Vec<Segment<'f>> {
    let (client, server) = (lab.pod("together", "client").unwrap(), lab.pod("together", deployment).unwrap());
    let is = |pod: &Pod, end: SocketAddr| pod.addresses.contains(&end.ip());
    let ours = |s: &Segment<'_>| {
        is(&client, s.source) && is(&server, s.destination)
            || is(&server, s.source) && is(&client, s.destination)
    };
    frames.iter().filter_map(|frame| segment::parse(&frame.bytes)).filter(ours).collect()
}

fn netns(lab: &Lab) -> String {
    let nodes = lab.view().unwrap().nodes;
    nodes.into_iter().find(|node| node.name == NODE).unwrap().netns
}
