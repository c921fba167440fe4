//! What a Service's own fields say of its endpoints, for connections and for requests alike.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use weir_tests::lab::access_log::{Connection, Line};
use weir_tests::lab::client::Answer;
use weir_tests::lab::{Lab, Plan, can_run};
use weir_tests::wait;

use crate::{FORGOTTEN, SOON, has, run};

mod persistence;
mod servers;

use servers::Servers;

/// It runs on this node.
const CLIENT: &str = "services/client";
const NODE: &str = "node-1";

#[test]
fn lab_honours_the_fields_of_a_service() {
    if !can_run() || !has("mkfifo") {
        return;
    }
    let servers = Servers::new();
    let plan = Plan::new("services").sample("lab.yaml");
    let plan = plan.manifest("services.yaml", include_str!("manifests/services.yaml"));
    let lab = plan.manifest("servers.yaml", servers.manifest()).up().unwrap();
    let whole = |check: fn(&Lab, &Servers, Layer)| {
        let servers = &servers;
        move |lab: &Lab| {
            for layer in [Layer::Connections, Layer::Requests] {
                servers.all_stand(lab);
                check(lab, servers, layer);
            }
        }
    };
    run(
        lab,
        &[
            ("a client's session holds, and moves once", &whole(a_session_holds)),
            ("a local policy keeps to the node or refuses", &whole(a_local_policy_keeps_to_the_node)),
            ("a preference for the node gives way", &whole(a_preference_gives_way)),
            ("a pod may be its own server", &whole(a_pod_may_be_its_own_server)),
            ("who terminates serves if nobody is ready", &whole(who_terminates_serves_last)),
            ("a cookie leads back to its server", &|lab| persistence::a_cookie_leads_back(lab, &servers)),
            ("a header leads back to its server", &|lab| persistence::a_header_leads_back(lab, &servers)),
        ],
    );
}

/// What the mesh chooses an endpoint for.
#[derive(Clone, Copy, Debug)]
enum Layer {
    Connections,
    Requests,
}

impl Layer {
    fn port(self) -> u16 {
        match self {
            Self::Connections => 7000,
            Self::Requests => 80,
        }
    }

    /// By its address, so that which family the client takes is not left to chance.
    fn url(self, lab: &Lab, service: &str, v6: bool) -> String {
        let address = lab.service("services", service).unwrap().address(v6);
        format!("http://{}/", SocketAddr::new(address, self.port()))
    }

    /// The arguments of a load that has the mesh choose an endpoint for each request, one after another.
    fn arguments(self, url: &str) -> Vec<&str> {
        match self {
            Self::Connections => vec!["-H", "connection:close", url],
            Self::Requests => vec![url],
        }
    }
}

/// The pods that answered so many requests, all of them with success.
fn answering(lab: &Lab, service: &str, layer: Layer, requests: u32) -> BTreeSet<String> {
    let (url, requests) = (layer.url(lab, service, false), requests.to_string());
    let mut arguments = vec!["--requests", &requests];
    arguments.extend(layer.arguments(&url));
    let load = lab.load(CLIENT, &arguments).unwrap();
    assert!(load.is_all_200(), "{service}, {layer:?}: {load:?}");
    load.pods().into_keys().collect()
}

/// Waits until each of these pods has answered, and nobody else does.
fn all_answer<const N: usize>(lab: &Lab, service: &str, layer: Layer, pods: [&str; N]) {
    let (pods, mut seen) = (names(pods), BTreeSet::new());
    wait::until(&format!("each of {pods:?} to answer for {service}"), FORGOTTEN, || {
        seen.append(&mut answering(lab, service, layer, 30));
        assert!(seen.is_subset(&pods), "{service}, {layer:?}: {seen:?}");
        Ok((seen == pods).then_some(()))
    })
    .unwrap();
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

/// The only pod that answered.
fn sole(pods: BTreeSet<String>) -> String {
    let mut pods = pods.into_iter();
    match (pods.next(), pods.next()) {
        (Some(pod), None) => pod,
        (first, second) => panic!("one pod should have answered: {first:?}, {second:?}, {pods:?}"),
    }
}

fn a_session_holds(lab: &Lab, servers: &Servers, layer: Layer) {
    // Another Service over the same pods has no affinity, or the rest would show nothing.
    all_answer(lab, "any", layer, ["near", "far-1", "far-2"]);
    let mark = lab.mark().unwrap();
    let first = sole(answering(lab, "sticky", layer, 50));
    if let Layer::Connections = layer {
        let made = wait::until("50 connections to be logged", SOON, || {
            let lines = lab.access_log(NODE, &mark)?;
            let made = outbound(&lines, "services/sticky").count();
            Ok((made >= 50).then_some(made))
        });
        assert_eq!(made.unwrap(), 50);
    }

    let url = layer.url(lab, "sticky", false);
    let mut arguments = vec!["--duration", "60"];
    arguments.extend(layer.arguments(&url));
    let (mark, load) = (lab.mark().unwrap(), lab.start_load(CLIENT, &arguments).unwrap());
    let until_endpoints = |number: usize| {
        wait::until(&format!("{number} endpoints to have served"), SOON, || {
            let mut served = endpoints(&lab.access_log(NODE, &mark)?, "services/sticky");
            served.dedup();
            Ok((served.len() >= number).then_some(served))
        })
        .unwrap()
    };
    until_endpoints(1);
    servers.drain(lab, &first);
    until_endpoints(2);
    servers.let_go(lab, &first);
    let load = load.finish().unwrap();
    assert!(load.is_all_200(), "{load:?}");
    let served = until_endpoints(2);
    assert_eq!(served.len(), 2, "the session moved more than once: {served:?}");
    let second = sole(load.pods().into_keys().filter(|pod| *pod != first).collect());

    assert_eq!(sole(answering(lab, "sticky", layer, 50)), second);
    servers.start(lab, &first);
    assert_eq!(sole(answering(lab, "sticky", layer, 50)), second, "{first} is back, and the session stays");
}

/// The connections that the client made through a Service.
fn outbound<'l>(lines: &'l [Line], service: &'l str) -> impl Iterator<Item = &'l Connection> {
    let ours = move |line: &&Connection| {
        line.pod == CLIENT && line.direction == "outbound" && line.service.as_deref() == Some(service)
    };
    lines.iter().filter_map(Line::connection).filter(ours)
}

/// Where the client's connections and requests through a Service went, one after another as they began.
fn endpoints(lines: &[Line], service: &str) -> Vec<String> {
    let port = format!("{service}:");
    let of = |line: &Line| match line {
        Line::Request(line) => {
            let ours = line.source == CLIENT && line.destination.as_deref()?.starts_with(&port);
            line.endpoint.clone().filter(|_| ours)
        }
        line => outbound(std::slice::from_ref(line), service).next().map(|line| line.peer.clone()),
    };
    let mut endpoints: Vec<_> =
        lines.iter().filter_map(|line| Some((line.begun().unwrap(), of(line)?))).collect();
    endpoints.sort();
    endpoints.into_iter().map(|(_, endpoint)| endpoint).collect()
}

fn a_local_policy_keeps_to_the_node(lab: &Lab, servers: &Servers, layer: Layer) {
    assert_eq!(answering(lab, "local", layer, 20), names(["near"]));
    // Those that are ready are on the other node, and no choice.
    servers.drain(lab, "near");
    assert_eq!(answering(lab, "local", layer, 20), names(["near"]));
    servers.let_go(lab, "near");

    let mark = lab.mark().unwrap();
    let answer = lab.get(CLIENT, &["--timeout", "5", &layer.url(lab, "local", false)]).unwrap();
    let reason = "has no ready endpoint on the client's node, and its internalTrafficPolicy is Local";
    match layer {
        Layer::Connections => {
            assert!(matches!(&answer, Answer::None(why) if why.contains("reset")), "{answer:?}");
            let error = wait::until("the refusal to be logged", SOON, || {
                let lines = lab.access_log(NODE, &mark)?;
                let mut lines = lines.iter().filter_map(Line::connection);
                Ok(lines.find_map(|line| line.error.clone()))
            });
            assert_eq!(error.unwrap(), format!("Service services/local {reason}"));
        }
        Layer::Requests => {
            let answer = answer.response().unwrap();
            assert_eq!(answer.status, 503);
            assert_eq!(answer.body.trim(), format!("Service services/local port 80 {reason}"));
        }
    }
    assert_eq!(answering(lab, "any", layer, 1).len(), 1, "the others do serve");
    servers.start(lab, "near");
    assert_eq!(answering(lab, "local", layer, 20), names(["near"]));
}

fn a_preference_gives_way(lab: &Lab, servers: &Servers, layer: Layer) {
    assert_eq!(answering(lab, "preferring", layer, 20), names(["near"]));
    servers.drain(lab, "near");
    let far = names(["far-1", "far-2"]);
    let draining = answering(lab, "preferring", layer, 20);
    assert!(draining.is_subset(&far), "others are ready: {draining:?}");
    servers.let_go(lab, "near");
    let gone = answering(lab, "preferring", layer, 20);
    assert!(gone.is_subset(&far), "{gone:?}");
    servers.start(lab, "near");
    assert_eq!(answering(lab, "preferring", layer, 20), names(["near"]));
}

fn a_pod_may_be_its_own_server(lab: &Lab, _servers: &Servers, layer: Layer) {
    all_answer(lab, "itself", layer, ["client", "near"]);
    assert_eq!(answering(lab, "alone", layer, 30), names(["client"]));
    let client = lab.view().unwrap().pods.into_iter().find(|pod| pod.full_name() == CLIENT).unwrap();
    for v6 in [false, true] {
        let answer = lab.get(CLIENT, &[&layer.url(lab, "alone", v6)]).unwrap().response().unwrap();
        let seen: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let peer: SocketAddr = seen["peer"].as_str().unwrap().parse().unwrap();
        assert_eq!(peer.ip(), client.address(v6), "whom the application sees");
    }
}

fn who_terminates_serves_last(lab: &Lab, servers: &Servers, layer: Layer) {
    servers.drain(lab, "near");
    let ready = answering(lab, "any", layer, 30);
    assert!(ready.is_subset(&names(["far-1", "far-2"])), "{ready:?}");
    servers.drain(lab, "far-1");
    assert_eq!(answering(lab, "any", layer, 30), names(["far-2"]));
    servers.drain(lab, "far-2");
    // None is ready, and all three still serve.
    all_answer(lab, "any", layer, ["near", "far-1", "far-2"]);
    servers.let_go(lab, "far-1");
    servers.let_go(lab, "far-2");
    assert_eq!(answering(lab, "any", layer, 30), names(["near"]));
    servers.start(lab, "far-1");
    assert_eq!(answering(lab, "any", layer, 30), names(["far-1"]));
    servers.let_go(lab, "near");
    assert_eq!(answering(lab, "any", layer, 30), names(["far-1"]));
}
