//! The eBPF programs in the kernel: loaded, attached to a cgroup and a network namespace of the test's own, and seen
//! to capture connections.
#![allow(clippy::unwrap_used, reason = "clippy spares only the test functions themselves")]

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fs, process};

use mesh_bpf_abi::{Bypass, EVERY_PORT, LISTED_PORTS, OwnDial, mapped};
use mesh_ir::name::Uid;
use mesh_node::datapath::plan::MapImage;
use mesh_node::datapath::{Announcement, ConnectionMaps, Datapath, OwnAddresses};
use mesh_node::netns::Netns;
use mesh_node::pods::root;
use mesh_node::sockets;

/// A cgroup, a bpffs and a network namespace, gone when dropped.
struct Scratch {
    name: String,
    folder: PathBuf,
    cgroup: PathBuf,
}

const POD_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const POD_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 2);
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 99, 200, 1);

fn run(command: &str) {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `None`, said on stderr, where the test cannot run.
fn scratch() -> Option<Scratch> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    let Some(mount) = root::mounts().unwrap().into_iter().next() else {
        eprintln!("skipped: needs cgroup v2");
        return None;
    };
    let name = format!("weir-bpf-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(&name);
    fs::create_dir(&folder).unwrap();
    let cgroup = mount.join(&name);
    fs::create_dir(&cgroup).unwrap();
    let scratch = Scratch { name, folder, cgroup };
    let name = &scratch.name;
    run(&format!(
        "ip netns add {name} && ip -n {name} link set lo up && ip -n {name} addr add {POD_V4}/32 dev lo \
         && ip -n {name} addr add {POD_V6}/128 dev lo && ip -n {name} route add default dev lo \
         && ip -n {name} -6 route add default dev lo"
    ));
    Some(scratch)
}

impl Scratch {
    fn pins(&self) -> PathBuf {
        self.folder.join("bpf")
    }

    fn netns(&self) -> Netns {
        Netns::open(&Path::new("/run/netns").join(&self.name)).unwrap()
    }

    /// A shell in the pod: in its cgroup and its network namespace.
    fn in_pod(&self, script: &str) -> Child {
        let procs = self.cgroup.join("cgroup.procs");
        let enter = format!(
            "echo $$ > {} && exec nsenter --net=/run/netns/{} bash -c \"$0\"",
            procs.display(),
            self.name
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", &enter, script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::write(self.cgroup.join("cgroup.kill"), "1");
        let _ = Command::new("umount").arg(self.pins()).stderr(Stdio::null()).status();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
        // The kernel takes a moment to empty the cgroup of what it killed; it says so by allowing the removal.
        for _ in 0..200 {
            if fs::remove_dir(&self.cgroup).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

struct Captured {
    datapath: Datapath,
    netns: Netns,
    uid: Uid,
    slot: u32,
    inbound: TcpListener,
    outbound: TcpListener,
    outbound6: TcpListener,
}

fn capture(scratch: &Scratch) -> Captured {
    let mut datapath = Datapath::load(&scratch.pins(), &scratch.cgroup).unwrap();
    let netns = scratch.netns();
    let listen = |address: &str| {
        let address: SocketAddr = address.parse().unwrap();
        let listener = netns.enter(|| sockets::listener(address)).unwrap().unwrap();
        listener.set_nonblocking(false).unwrap();
        listener
    };
    let (inbound, inbound6) = (listen("127.0.0.1:15006"), listen("[::1]:15006"));
    let (outbound, outbound6) = (listen("127.0.0.1:15001"), listen("[::1]:15001"));
    let uid = Uid::new("pod-a").unwrap();
    let slot = datapath.take_slot(&uid).unwrap();
    let addresses = [IpAddr::V4(POD_V4), IpAddr::V6(POD_V6)];
    datapath.capture(&uid, &netns, slot, &addresses, (&inbound, Some(&inbound6))).unwrap();
    let mut image = MapImage::default();
    image.addresses.insert(mapped(SERVICE.octets()), LISTED_PORTS);
    image.ports.insert((mapped(SERVICE.octets()), 80));
    image.addresses.insert("fd99::99".parse::<Ipv6Addr>().unwrap().octets(), EVERY_PORT);
    datapath.planned.hold_image(image).unwrap();
    Captured { datapath, netns, uid, slot, inbound, outbound, outbound6 }
}

#[test]
fn bpf_outbound_connections_to_the_mesh_reach_the_proxy_with_their_origin() {
    let Some(scratch) = scratch() else { return };
    let captured = capture(&scratch);
    let maps = ConnectionMaps::open(captured.datapath.pins()).unwrap();
    for (listener, dial, expected) in [
        (&captured.outbound, "10.99.200.1/80", "10.99.200.1:80"),
        (&captured.outbound, "::ffff:10.99.200.1/80", "10.99.200.1:80"),
        (&captured.outbound6, "fd99::99/4242", "[fd99::99]:4242"),
    ] {
        let mut pod = scratch.in_pod(&format!("exec 3<>/dev/tcp/{dial}; cat <&3"));
        let (mut stream, peer) = listener.accept().unwrap();
        let origin = maps.origin(captured.netns.cookie(), sockets::canonical(peer));
        assert_eq!(origin, Some(expected.parse().unwrap()), "{dial}");
        stream.write_all(b"hello").unwrap();
        drop(stream);
        let mut said = String::new();
        pod.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(pod.wait().unwrap().success());
        assert_eq!(said, "hello");
        assert_eq!(
            maps.origin(captured.netns.cookie(), sockets::canonical(peer)),
            None,
            "kept after the close"
        );
    }
}

#[test]
fn bpf_applications_are_shown_the_addresses_they_expect() {
    let Some(scratch) = scratch() else { return };
    let captured = capture(&scratch);
    let script = "import socket\n\
        for family, address in ((socket.AF_INET, '10.99.200.1'), (socket.AF_INET6, '::ffff:10.99.200.1')):\n\
        \x20   s = socket.socket(family); s.connect((address, 80)); print(s.getpeername()[:2], s.getsockname()[0])\n";
    let mut pod = scratch.in_pod(&format!("exec python3 -c \"{script}\""));
    let first = captured.outbound.accept().unwrap();
    let second = captured.outbound.accept().unwrap();
    let mut said = String::new();
    pod.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(pod.wait().unwrap().success());
    drop((first, second));
    let expected = "('10.99.200.1', 80) 10.99.0.2\n('::ffff:10.99.200.1', 80) ::ffff:10.99.0.2\n";
    assert_eq!(said, expected);
}

#[test]
fn bpf_a_port_that_is_not_the_meshs_is_left_alone() {
    let Some(scratch) = scratch() else { return };
    let captured = capture(&scratch);
    captured.outbound.set_nonblocking(true).unwrap();
    // Nothing listens there, and the route leads back to the pod: the kernel itself refuses it at once.
    let mut pod = scratch.in_pod("exec 3<>/dev/tcp/10.99.0.2/81");
    assert!(!pod.wait().unwrap().success());
    let error = captured.outbound.accept().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn bpf_inbound_connections_reach_the_proxy_and_its_own_pass_to_the_application() {
    let Some(scratch) = scratch() else { return };
    let captured = capture(&scratch);
    let client: IpAddr = "10.99.0.77".parse().unwrap();
    let to = SocketAddr::new(POD_V4.into(), 8080);
    let application = captured.netns.enter(|| sockets::listener(to)).unwrap().unwrap();
    application.set_nonblocking(false).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(mesh_node::pods::routing::prepare(&captured.netns)).unwrap();
    let dial = |bypass: bool| {
        let (socket, local) = sockets::application_socket(&captured.netns, client, to).unwrap();
        let entry = Announcement::Application(Bypass {
            remote: mapped([10, 99, 0, 77]),
            local: mapped(POD_V4.octets()),
            remote_port: u32::from(local.port()),
            local_port: 8080,
            slot: captured.slot,
        });
        let mut maps = ConnectionMaps::open(captured.datapath.pins()).unwrap();
        if bypass {
            maps.announce(entry).unwrap();
        }
        let stream = runtime.block_on(sockets::connect(socket, to, Duration::from_secs(5))).unwrap();
        maps.conclude(&entry);
        (stream, local)
    };
    let (_kept, local) = dial(false);
    let (stream, peer) = captured.inbound.accept().unwrap();
    assert_eq!((peer, stream.local_addr().unwrap()), (local, to));
    let (_kept, local) = dial(true);
    let (stream, peer) = application.accept().unwrap();
    assert_eq!((peer, stream.local_addr().unwrap()), (local, to));
}

/// Dials the pod from outside of it, from this address; gives that with its port.
fn dial_from(
    netns: &Netns,
    client: IpAddr,
    to: SocketAddr,
) -> io::Result<(tokio::net::TcpStream, SocketAddr)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(mesh_node::pods::routing::prepare(netns))?;
    let (socket, local) = sockets::application_socket(netns, client, to)?;
    Ok((runtime.block_on(sockets::connect(socket, to, Duration::from_secs(2)))?, local))
}

#[test]
fn bpf_what_the_node_itself_sends_meets_the_application_with_and_without_a_process() {
    let Some(scratch) = scratch() else { return };
    let captured = capture(&scratch);
    let netns = scratch.netns();
    let mut own = OwnAddresses::open(captured.datapath.pins()).unwrap();
    let pairs: [(IpAddr, IpAddr); 2] =
        [("10.99.0.1".parse().unwrap(), POD_V4.into()), ("fd99::1".parse().unwrap(), POD_V6.into())];
    own.hold(&pairs.map(|(node, _)| node).into()).unwrap();
    let kind =
        |result: io::Result<_>| result.map(|_: (tokio::net::TcpStream, SocketAddr)| ()).unwrap_err().kind();
    let applications = pairs.map(|(node, pod)| {
        let to = SocketAddr::new(pod, 8080);
        let application = captured.netns.enter(|| sockets::listener(to)).unwrap().unwrap();
        application.set_nonblocking(false).unwrap();
        let (_kept, local) = dial_from(&netns, node, to).unwrap();
        assert_eq!(application.accept().unwrap().1, local);
        let silent = SocketAddr::new(pod, 9999);
        assert_eq!(kind(dial_from(&netns, node, silent)), io::ErrorKind::ConnectionRefused, "{node}");
        application
    });
    // Another peer meets the proxy wherever it dials.
    let silent = SocketAddr::new(POD_V4.into(), 9999);
    let (_kept, local) = dial_from(&netns, "10.99.0.77".parse().unwrap(), silent).unwrap();
    assert_eq!(captured.inbound.accept().unwrap().0.local_addr().unwrap(), silent);
    assert_eq!(local.ip().to_string(), "10.99.0.77");
    // As if the process had died.
    drop((captured, own));
    for ((node, pod), application) in pairs.into_iter().zip(&applications) {
        let to = SocketAddr::new(pod, 8080);
        let (_kept, local) = dial_from(&netns, node, to).unwrap();
        assert_eq!(application.accept().unwrap().1, local, "{node} without a process");
    }
    let to = SocketAddr::new(POD_V4.into(), 8080);
    assert_eq!(kind(dial_from(&netns, "10.99.0.77".parse().unwrap(), to)), io::ErrorKind::ConnectionRefused);
    // What is no address of the node's any more is a peer like any other.
    let mut own = OwnAddresses::open(&scratch.pins()).unwrap();
    own.hold(&BTreeSet::from([pairs[1].0])).unwrap();
    assert_eq!(kind(dial_from(&netns, pairs[0].0, to)), io::ErrorKind::ConnectionRefused);
    dial_from(&netns, pairs[1].0, SocketAddr::new(POD_V6.into(), 8080)).unwrap();
}

#[test]
fn bpf_what_the_nodes_gateways_announce_reaches_the_proxy() {
    let Some(scratch) = scratch() else { return };
    let captured = capture(&scratch);
    let node: IpAddr = "10.99.0.1".parse().unwrap();
    OwnAddresses::open(captured.datapath.pins()).unwrap().hold(&BTreeSet::from([node])).unwrap();
    let to = SocketAddr::new(POD_V4.into(), 8080);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(mesh_node::pods::routing::prepare(&captured.netns)).unwrap();
    let (socket, local) = sockets::application_socket(&captured.netns, node, to).unwrap();
    let dial = Announcement::OwnDial(OwnDial {
        local: mapped(POD_V4.octets()),
        remote_port: u32::from(local.port()),
        local_port: 8080,
    });
    let mut maps = ConnectionMaps::open(captured.datapath.pins()).unwrap();
    maps.announce(dial).unwrap();
    let _kept = runtime.block_on(sockets::connect(socket, to, Duration::from_secs(5))).unwrap();
    assert_eq!(captured.inbound.accept().unwrap().1, local);
    maps.conclude(&dial);
    let again = dial_from(&captured.netns, node, to).unwrap_err();
    assert_eq!(
        again.kind(),
        io::ErrorKind::ConnectionRefused,
        "the next one meets the application, and there is none"
    );
}

#[test]
fn bpf_what_a_killed_process_had_announced_is_forgotten_by_the_next() {
    let Some(scratch) = scratch() else { return };
    let captured = capture(&scratch);
    let node: IpAddr = "10.99.0.1".parse().unwrap();
    OwnAddresses::open(captured.datapath.pins()).unwrap().hold(&BTreeSet::from([node])).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(mesh_node::pods::routing::prepare(&captured.netns)).unwrap();
    let to = SocketAddr::new(POD_V4.into(), 8080);
    let announce = |client: IpAddr| {
        let (socket, local) = sockets::application_socket(&captured.netns, client, to).unwrap();
        (socket, u32::from(local.port()))
    };
    let (from_node, node_port) = announce(node);
    let (from_client, client_port) = announce("10.99.0.77".parse().unwrap());
    let mut maps = ConnectionMaps::open(captured.datapath.pins()).unwrap();
    let pod = mapped(POD_V4.octets());
    let dial = OwnDial { local: pod, remote_port: node_port, local_port: 8080 };
    maps.announce(Announcement::OwnDial(dial)).unwrap();
    let bypass = Bypass {
        remote: mapped([10, 99, 0, 77]),
        local: pod,
        remote_port: client_port,
        local_port: 8080,
        slot: captured.slot,
    };
    maps.announce(Announcement::Application(bypass)).unwrap();
    // As if the process had died between the two: nothing is concluded.
    drop((maps, captured));
    let again = capture(&scratch);
    let connect = |socket| runtime.block_on(sockets::connect(socket, to, Duration::from_secs(5)));
    let refused = connect(from_node).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "the application is met, and there is none");
    let _kept = connect(from_client).unwrap();
    assert_eq!(u32::from(again.inbound.accept().unwrap().1.port()), client_port);
}

#[test]
fn bpf_without_a_process_captured_traffic_is_refused_and_a_new_one_takes_over() {
    let Some(scratch) = scratch() else { return };
    let captured = capture(&scratch);
    let (uid, slot_before) = (captured.uid.clone(), captured.slot);
    // As if the process had died: its sockets close, the pins stay.
    drop(captured);
    let mut pod = scratch.in_pod("exec 3<>/dev/tcp/10.99.200.1/80");
    assert!(!pod.wait().unwrap().success(), "nobody listens, so the connection must be refused");
    let again = capture(&scratch);
    let mut pod = scratch.in_pod("exec 3<>/dev/tcp/10.99.200.1/80; cat <&3");
    drop(again.outbound.accept().unwrap());
    assert!(pod.wait().unwrap().success());
    assert_eq!(again.slot, slot_before, "its pinned program goes on using this slot");
    let Captured { mut datapath, netns, slot, .. } = again;
    assert_ne!(datapath.take_slot(&Uid::new("pod-b").unwrap()).unwrap(), slot);
    datapath.release(&uid, netns.cookie(), slot).unwrap();
    let left: Vec<_> = fs::read_dir(scratch.pins()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("pod-")), "{left:?}");
}

#[test]
fn bpf_a_proxy_that_runs_among_the_pods_is_not_captured_itself() {
    let Some(scratch) = scratch() else { return };
    let captured = capture(&scratch);
    captured.outbound.set_nonblocking(true).unwrap();
    let pin = aya::maps::MapData::from_pin(scratch.pins().join("OWN_CGROUP")).unwrap();
    let map = aya::maps::Map::from_map_data(pin).unwrap();
    let mut own = aya::maps::Array::<_, u64>::try_from(map).unwrap();
    assert_eq!(own.get(&0, 0).unwrap(), 0, "this process is not below the cgroup");
    own.set(0, std::os::unix::fs::MetadataExt::ino(&fs::metadata(&scratch.cgroup).unwrap()), 0).unwrap();
    // Left alone the connection goes on to an address where nobody is, and would wait for an answer.
    let dial = "exec timeout 1 bash -c 'exec 3<>/dev/tcp/10.99.200.1/80'";
    assert!(!scratch.in_pod(dial).wait().unwrap().success());
    assert_eq!(captured.outbound.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    own.set(0, 0, 0).unwrap();
    assert!(scratch.in_pod(dial).wait().unwrap().success(), "no longer the proxy's, it is captured");
}
