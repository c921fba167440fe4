//! UDP at a Gateway: datagrams of clients on the machine, to pods on two nodes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use weir_tests::lab::access_log::{Line, Session};
use weir_tests::lab::{Lab, Plan, can_run};
use weir_tests::wait;

use crate::{SOON, run};

/// A client whose datagram is lost hears nothing for so long.
const ANSWER: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(6);
const MOST: usize = 64;

#[test]
fn lab_gateway_routes_datagrams() {
    if !can_run() {
        return;
    }
    let lab = Plan::new("datagrams")
        .sample("lab.yaml")
        .manifest("datagrams.yaml", include_str!("manifests/datagrams.yaml"))
        .manifest("weights.yaml", include_str!("manifests/weights.yaml"))
        .up_flag(format!("--node-flag=--udp-idle-timeout={}", IDLE.as_millis()))
        .up_flag(format!("--node-flag=--max-udp-sessions={MOST}"))
        .up()
        .unwrap();
    run(
        lab,
        &[
            ("datagrams of every size come back, by both families", &every_size_comes_back),
            ("clients are told apart, and keep their backend", &clients_are_told_apart),
            ("clients are spread by weight", &clients_are_spread_by_weight),
            ("a port of TCP has the same number", &a_port_of_tcp_has_the_same_number),
            ("a backend that refuses is gone around", &a_backend_that_refuses_is_gone_around),
            ("without a backend datagrams are dropped and counted", &without_a_backend_they_are_dropped),
            ("a session ends when it is idle, and is logged", &a_session_ends_when_idle),
            ("a flood of clients stays within the bound", &a_flood_stays_within_the_bound),
            (
                "a backend without weight loses its clients at once",
                &a_backend_without_weight_loses_its_clients,
            ),
            ("a pod that goes loses its clients at once", &a_pod_that_goes_loses_its_clients),
            ("a listener that goes ends its sessions", &a_listener_that_goes_ends_its_sessions),
        ],
    );
}

/// One client: a socket of its own.
struct Client(UdpSocket);

impl Client {
    fn of(address: SocketAddr) -> Self {
        let any = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any).unwrap();
        socket.connect(address).unwrap();
        socket.set_read_timeout(Some(ANSWER)).unwrap();
        Self(socket)
    }

    /// Of the port, by IPv4.
    fn new(lab: &Lab, port: u16) -> Self {
        Self::of(address(lab, port, false))
    }

    fn ask(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        self.0.send(datagram).ok()?;
        let mut answer = vec![0; 65_536];
        let length = self.0.recv(&mut answer).ok()?;
        answer.truncate(length);
        Some(answer)
    }

    /// The pod that answers.
    fn pod(&self) -> Option<String> {
        self.ask(b"").map(|name| String::from_utf8(name).unwrap())
    }

    /// The Deployment of the pod that answers.
    fn deployment(&self) -> Option<String> {
        Some(self.pod()?.split('-').next().unwrap_or_default().to_owned())
    }
}

fn address(lab: &Lab, port: u16, v6: bool) -> SocketAddr {
    let addresses = lab.gateway("datagrams", "front").unwrap();
    SocketAddr::new(*addresses.iter().find(|address| address.is_ipv6() == v6).unwrap(), port)
}

/// Summed over the nodes.
fn metric(lab: &Lab, name: &str, labels: &[(&str, &str)]) -> f64 {
    lab.view().unwrap().nodes.iter().map(|node| lab.metrics(&node.name).unwrap().sum(name, labels)).sum()
}

fn dropped(lab: &Lab, reason: &str) -> f64 {
    metric(lab, "weir_udp_datagrams_dropped_total", &[("reason", reason)])
}

fn wait_until_idle(lab: &Lab) {
    wait::until("all sessions to have ended", IDLE + SOON, || {
        Ok((metric(lab, "weir_udp_sessions_open", &[]) == 0.0).then_some(()))
    })
    .unwrap();
}

fn every_size_comes_back(lab: &Lab) {
    for v6 in [false, true] {
        let client = Client::of(address(lab, 5300, v6));
        for length in [1, 512, 1472, 9000, 65_507] {
            let sent: Vec<u8> = (0..length).map(|at: u32| at.wrapping_mul(31) as u8).collect();
            let heard = client.ask(&sent);
            assert!(heard.as_deref() == Some(&sent), "{length} bytes: {:?}", heard.map(|heard| heard.len()));
        }
    }
}

fn clients_are_told_apart(lab: &Lab) {
    let addresses = [false, true].map(|v6| address(lab, 5300, v6));
    let clients: Vec<Client> = (0..12).map(|at| Client::of(addresses[at % 2])).collect();
    let pods: Vec<Option<String>> = clients.iter().map(Client::pod).collect();
    assert!(pods.iter().all(Option::is_some), "{pods:?}");
    for round in 0..5 {
        // All of them are on their way at once.
        for (at, client) in clients.iter().enumerate() {
            client.0.send(format!("client {at} round {round}").as_bytes()).unwrap();
        }
        for (at, client) in clients.iter().enumerate() {
            let mut answer = [0; 64];
            let length = client.0.recv(&mut answer).unwrap();
            assert_eq!(String::from_utf8_lossy(&answer[..length]), format!("client {at} round {round}"));
        }
    }
    assert_eq!(clients.iter().map(Client::pod).collect::<Vec<_>>(), pods);
}

fn clients_are_spread_by_weight(lab: &Lab) {
    let count = 200;
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let address = address(lab, 5300, false);
    for _ in 0..count {
        *counts.entry(Client::of(address).deployment().unwrap()).or_default() += 1;
    }
    let one = counts.get("one").copied().unwrap_or_default();
    assert!((135..=165).contains(&one), "{counts:?}, and three in four are to be of one");
    assert_eq!(counts.values().sum::<u32>(), count);
    assert_eq!(dropped(lab, "max-udp-sessions"), 0.0, "those that were answered give way");
}

fn a_port_of_tcp_has_the_same_number(lab: &Lab) {
    let mut stream = TcpStream::connect(address(lab, 5300, false)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"over TCP").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("hello ") && said.ends_with("\nover TCP"), "{said:?}");
    assert!(Client::new(lab, 5300).pod().is_some());
}

/// Of the Service's three pods one is deaf: who has been given to it hears nothing once.
fn a_backend_that_refuses_is_gone_around(lab: &Lab) {
    let mut lost = 0;
    let address = address(lab, 5301, false);
    for _ in 0..20 {
        let client = Client::of(address);
        client.0.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let first = client.deployment();
        lost += u32::from(first.is_none());
        let then = first.or_else(|| client.deployment());
        assert_eq!(then.as_deref(), Some("one"), "the second datagram goes around it");
        assert_eq!(client.deployment().as_deref(), Some("one"));
    }
    assert!(lost < 10, "it is avoided while it refuses: {lost} of 20 were given to it");
}

fn without_a_backend_they_are_dropped(lab: &Lab) {
    let before = dropped(lab, "invalid-backend");
    let client = Client::new(lab, 5302);
    for _ in 0..3 {
        client.0.send(b"to nobody").unwrap();
    }
    wait::until("three datagrams to be dropped", SOON, || {
        Ok((dropped(lab, "invalid-backend") == before + 3.0).then_some(()))
    })
    .unwrap();
    // The client was told nothing either: its port of the node is open.
    client.0.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let error = client.0.recv(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

fn a_session_ends_when_idle(lab: &Lab) {
    wait_until_idle(lab);
    let mark = lab.mark().unwrap();
    let client = Client::new(lab, 5300);
    let begun = Instant::now();
    let pod = client.pod().unwrap();
    client.ask(&[7; 100]).unwrap();
    assert_eq!(metric(lab, "weir_udp_sessions_open", &[]), 1.0);
    wait_until_idle(lab);
    assert!(begun.elapsed() >= IDLE, "after {:?}", begun.elapsed());
    let name = client.0.local_addr().unwrap().port();
    let session: Session = wait::until("the session to be logged", SOON, || {
        let nodes = lab.view()?.nodes;
        let mut lines = Vec::new();
        for node in nodes {
            lines.extend(lab.access_log(&node.name, &mark)?);
        }
        let ours = |line: &&Session| line.client.ends_with(&format!(":{name}"));
        Ok(lines.iter().filter_map(Line::session).find(ours).cloned())
    })
    .unwrap();
    assert_eq!((session.datagrams_sent, session.datagrams_received), (2, 2), "{session:?}");
    assert_eq!((session.bytes_sent, session.bytes_received), (100, 100 + pod.len() as u64), "{session:?}");
    assert!(session.service.is_some_and(|name| name.starts_with("datagrams/")) && session.error.is_none());
    // It begins anew.
    assert!(client.pod().is_some());
}

fn a_flood_stays_within_the_bound(lab: &Lab) {
    wait_until_idle(lab);
    let before = dropped(lab, "max-udp-sessions");
    // They talk on, so that none of them gives way to another.
    let address = address(lab, 5300, false);
    let clients: Vec<Client> = (0..5 * MOST).map(|_| Client::of(address)).collect();
    let mut answered = 0;
    for clients in clients.chunks(MOST / 2) {
        for client in clients {
            client.0.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            answered += usize::from(client.ask(b"first").is_some() && client.ask(b"second").is_some());
        }
        assert!(metric(lab, "weir_udp_sessions_open", &[]) <= MOST as f64);
    }
    assert!(answered >= MOST / 2, "{answered} were served");
    assert!(dropped(lab, "max-udp-sessions") > before, "the others were counted");
    wait_until_idle(lab);
    assert!(Client::new(lab, 5300).pod().is_some(), "there is room again");
}

fn a_backend_without_weight_loses_its_clients(lab: &Lab) {
    let address = address(lab, 5300, false);
    let clients: Vec<Client> = (0..16).map(|_| Client::of(address)).collect();
    let of_two = |client: &&Client| client.deployment().as_deref() == Some("two");
    assert!((1..16).contains(&clients.iter().filter(of_two).count()));
    let before = lab.sessions().unwrap();
    lab.edit("weights.yaml", |text| text.replace("weight: 3", "weight: 0")).unwrap();
    lab.wait_configured(&before).unwrap();
    assert_eq!(clients.iter().filter(of_two).count(), 16, "those that were there have gone over");
    let before = lab.sessions().unwrap();
    lab.edit("weights.yaml", |text| {
        text.replace("weight: 0", "weight: 1").replace("two, port: 53, weight: 1", "two, port: 53, weight: 0")
    })
    .unwrap();
    lab.wait_configured(&before).unwrap();
    assert_eq!(clients.iter().filter(of_two).count(), 0);
}

fn a_pod_that_goes_loses_its_clients(lab: &Lab) {
    let address = address(lab, 5300, false);
    let clients: Vec<Client> = (0..16).map(|_| Client::of(address)).collect();
    let pods: Vec<String> = clients.iter().map(|client| client.pod().unwrap()).collect();
    assert!(pods.iter().any(|pod| *pod != pods[0]), "both pods have clients: {pods:?}");
    lab.edit("datagrams.yaml", |text| text.replace("replicas: 2", "replicas: 1")).unwrap();
    let left = wait::until("one pod to be left", SOON, || {
        let pods = lab.view()?.pods;
        let ones: Vec<_> = pods.into_iter().filter(|pod| pod.name.starts_with("one-")).collect();
        Ok(match ones.as_slice() {
            [only] if !only.terminating => Some(only.name.clone()),
            _ => None,
        })
    })
    .unwrap();
    for client in &clients {
        client.0.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let answered = (0..3).find_map(|_| client.pod());
        assert_eq!(answered.as_deref(), Some(&*left));
    }
}

fn a_listener_that_goes_ends_its_sessions(lab: &Lab) {
    wait_until_idle(lab);
    let client = Client::new(lab, 5301);
    assert!((0..2).find_map(|_| client.pod()).is_some());
    let before = lab.sessions().unwrap();
    lab.edit("datagrams.yaml", |text| text.replace("    - {name: half, protocol: UDP, port: 5301}\n", ""))
        .unwrap();
    lab.wait_configured(&before).unwrap();
    wait::until("its session to end", SOON, || {
        Ok((metric(lab, "weir_udp_sessions_open", &[]) == 0.0).then_some(()))
    })
    .unwrap();
    client.0.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(client.pod(), None);
    assert!(Client::new(lab, 5300).pod().is_some(), "the other listener serves on");
}
