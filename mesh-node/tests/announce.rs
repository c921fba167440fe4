//! Announcing addresses on a real network: a LAN with a client, and two nodes that have an address one after the other.
#![allow(clippy::unwrap_used, reason = "clippy spares only the test functions themselves")]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use mesh_node::announce::{hold, withdraw};
use mesh_node::netns::Netns;
use tokio::sync::watch;

const SOON: Duration = Duration::from_secs(10);
const V4: &str = "10.98.0.200";
const V6: &str = "fd98::200";

/// Three namespaces, gone when dropped: the LAN's, whose bridge is the client, and those of nodes `a` and `b`.
struct Lan(String);

fn lan() -> Option<Lan> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    let lan = Lan(format!("weir-ann-{}", std::process::id()));
    lan.run(
        "ip netns add NAME && ip -n NAME link set lo up && ip -n NAME link add br0 type bridge \
         && ip -n NAME addr add 10.98.0.1/24 dev br0 && ip -n NAME addr add fd98::1/64 dev br0 nodad \
         && ip -n NAME link set br0 up",
    );
    for (node, last) in [("a", 11), ("b", 12)] {
        lan.run(&format!(
            "ip netns add NAME-{node} && ip -n NAME-{node} link set lo up \
             && ip -n NAME link add to-{node} type veth peer name eth0 netns NAME-{node} \
             && ip -n NAME link set to-{node} master br0 up \
             && ip -n NAME-{node} addr add 10.98.0.{last}/24 dev eth0 \
             && ip -n NAME-{node} addr add fd98::{last}/64 dev eth0 nodad && ip -n NAME-{node} link set eth0 up"
        ));
    }
    Some(lan)
}

impl Lan {
    /// Runs a command with `NAME` as the name of the LAN's namespace, and gives what it says.
    fn run(&self, command: &str) -> String {
        let command = command.replace("NAME", &self.0);
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether a machine answers at `address`: nobody listens there, so that it refuses.
    fn answers(&self, address: &str) -> bool {
        let address = SocketAddr::new(address.parse().unwrap(), 9);
        let dialled = Netns::open(&Path::new("/run/netns").join(&self.0))
            .unwrap()
            .enter(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)))
            .unwrap();
        dialled.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    }

    /// The Ethernet address that the client knows for `address`.
    fn knows(&self, address: &str) -> String {
        let shown = self.run(&format!("ip -n NAME neigh show {address}"));
        let mut words = shown.split_whitespace().skip_while(|word| *word != "lladdr");
        words.nth(1).unwrap_or_default().to_owned()
    }

    fn ethernet(&self, node: &str) -> String {
        let shown = self.run(&format!("ip -n NAME-{node} link show eth0"));
        shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap().to_owned()
    }

    fn addresses(&self, node: &str) -> String {
        self.run(&format!("ip -n NAME-{node} addr show"))
    }

    /// Announces from a node until the sender is dropped.
    fn announce(&self, node: &str, node_ip: &str) -> Announcing {
        let netns = self.netns(node);
        let node_ip = node_ip.parse().unwrap();
        let (wanted, addresses) = watch::channel(None);
        let thread = std::thread::spawn(move || netns.enter(|| block_on(hold(addresses, node_ip))).unwrap());
        Announcing { wanted, thread }
    }

    fn netns(&self, node: &str) -> Netns {
        Netns::open(&Path::new("/run/netns").join(format!("{}-{node}", self.0))).unwrap()
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for suffix in ["-a", "-b", ""] {
            let _ = Command::new("ip").args(["netns", "del", &format!("{}{suffix}", self.0)]).status();
        }
    }
}

struct Announcing {
    wanted: watch::Sender<Option<BTreeSet<IpAddr>>>,
    thread: std::thread::JoinHandle<()>,
}

impl Announcing {
    fn set(&self, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.wanted.send_replace(Some(addresses));
    }

    fn end(self) {
        drop(self.wanted);
        self.thread.join().unwrap();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn eventually(what: &str, fits: impl Fn() -> bool) {
    let start = Instant::now();
    while !fits() {
        assert!(start.elapsed() < SOON, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn announce_addresses_are_reached_and_move_between_nodes() {
    let Some(lan) = lan() else { return };
    lan.run("ip -n NAME-a addr add 10.98.0.77/32 dev lo");
    let a = lan.announce("a", "10.98.0.11");
    a.set(&[V4, V6]);
    for address in [V4, V6] {
        eventually("the client reaches it", || lan.answers(address));
        assert_eq!(lan.knows(address), lan.ethernet("a"));
    }

    // Node a ends without taking anything back, as a process that is killed does.
    a.end();
    lan.run("ip -n NAME-a link set eth0 down");
    let b = lan.announce("b", "10.98.0.12");
    b.set(&[V4, V6]);
    for address in [V4, V6] {
        eventually("the client is told of the new node", || lan.knows(address) == lan.ethernet("b"));
        assert!(lan.answers(address));
    }
    b.set(&[V4]);
    eventually("the other address is taken back", || !lan.addresses("b").contains(V6));
    assert!(lan.addresses("b").contains(V4));

    let again = lan.announce("a", "10.98.0.11");
    assert!(lan.addresses("a").contains(V4), "nothing is known yet, so what was announced stays");
    again.set(&[]);
    eventually("what an earlier process left is removed", || {
        let left = lan.addresses("a");
        !left.contains(V4) && !left.contains(V6)
    });
    assert!(lan.addresses("a").contains("10.98.0.77/32"), "what is not ours stays");
    again.end();
    b.end();
    lan.netns("b").enter(|| block_on(withdraw())).unwrap().unwrap();
    assert!(!lan.addresses("b").contains(V4));
    assert!(lan.addresses("b").contains("10.98.0.12"));
}
