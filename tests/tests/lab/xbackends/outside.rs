//! What is outside of the cluster: a DNS server and two hosts, on addresses of the machine that are beyond the lab's.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use tempfile::TempDir;
use weir_tests::lab::Lab;

use crate::output;
use crate::tls::Keys;

/// Before a lab is there, all that is known is where its nodes read which resolvers they ask.
pub(super) struct Outside {
    folder: TempDir,
}

pub(super) struct Serving {
    zone: Arc<Mutex<Zone>>,
    socket: Arc<UdpSocket>,
    hosts: [Ipv4Addr; 2],
    server: Child,
    outside: Outside,
}

/// The names below outside.example.
#[derive(Default)]
struct Zone {
    names: BTreeMap<String, Ipv4Addr>,
    fails: bool,
    /// Those that are answered later, and who has asked for them.
    held: BTreeSet<String>,
    waiting: Vec<(Vec<u8>, SocketAddr)>,
}

impl Outside {
    pub(super) fn new() -> Self {
        let outside = Self { folder: tempfile::tempdir().unwrap() };
        // Nobody answers there.
        outside.ask(Ipv4Addr::new(192, 0, 2, 1), 1);
        outside
    }

    /// Tells the nodes whom to ask, and for how many seconds to wait for the answer.
    fn ask(&self, resolver: Ipv4Addr, timeout: u32) {
        let text = format!("nameserver {resolver}\noptions timeout:{timeout} attempts:1\n");
        std::fs::write(self.resolv_conf(), text).unwrap();
    }

    pub(super) fn resolv_conf(&self) -> PathBuf {
        self.folder.path().join("resolv.conf")
    }

    /// Opens the servers, and tells the nodes where to ask.
    pub(super) fn serve(self, lab: &Lab, keys: &Keys) -> Serving {
        let view = lab.view().unwrap();
        let v4 = |addresses: &[IpAddr]| {
            addresses.iter().find_map(|address| match address {
                IpAddr::V4(v4) => Some(*v4),
                IpAddr::V6(_) => None,
            })
        };
        let node = v4(&view.nodes[0].addresses).unwrap();
        let pod = v4(&lab.pod("xbackends", "other").unwrap().addresses).unwrap();
        let [a, b, ..] = node.octets();
        let bridge = bridge(Ipv4Addr::new(a, b, 0, 1));
        // For tests of networks (RFC 2544), and no other lab's.
        let beyond = |last: u8| Ipv4Addr::new(198, 18, b, last);
        let (resolver, hosts) = (beyond(3), [beyond(4), beyond(5)]);
        for address in [resolver, hosts[0], hosts[1]] {
            let added =
                Command::new("ip").args(["addr", "add", &format!("{address}/32"), "dev", &bridge]).status();
            assert!(added.unwrap().success(), "{address} on {bridge}");
        }
        for (host, name) in hosts.into_iter().zip(["first", "second"]) {
            let listener = TcpListener::bind((host, 8080)).unwrap();
            thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, name)));
        }
        let names = [
            ("one", hosts[0]),
            ("secure", hosts[0]),
            ("wrong-name", hosts[0]),
            ("web-authority", hosts[0]),
            ("absent-authority", hosts[0]),
            ("loopback", Ipv4Addr::LOCALHOST),
            ("metadata", Ipv4Addr::new(169, 254, 169, 254)),
            ("inside", pod),
        ];
        let names = names.map(|(name, address)| (name.to_owned(), address)).into_iter().collect();
        let zone = Arc::new(Mutex::new(Zone { names, ..Zone::default() }));
        let socket = Arc::new(UdpSocket::bind((resolver, 53)).unwrap());
        let served = (socket.clone(), zone.clone());
        thread::spawn(move || resolve(&served.0, &served.1));
        let server = Command::new("openssl")
            .args(["s_server", "-quiet", "-www", "-accept", &format!("{}:8443", hosts[0])])
            .args(["-cert", &keys.file("server.pem"), "-key", &keys.file("server.key")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.ask(resolver, 1);
        Serving { zone, socket, hosts, server, outside: self }
    }
}

impl Serving {
    /// Gives a name the address of a host.
    pub(super) fn is(&self, name: &str, host: usize) {
        self.zone.lock().unwrap().names.insert(name.to_owned(), self.hosts[host]);
    }

    pub(super) fn fails(&self, fails: bool) {
        self.zone.lock().unwrap().fails = fails;
    }

    /// Answers nobody who asks for this name. The nodes wait for answers longer than anybody waits for them.
    pub(super) fn holds(&self, name: &str) {
        let IpAddr::V4(resolver) = self.socket.local_addr().unwrap().ip() else {
            panic!("it is bound to IPv4")
        };
        self.outside.ask(resolver, 30);
        self.zone.lock().unwrap().held.insert(name.to_owned());
    }

    /// Whether somebody waits for an answer.
    pub(super) fn is_waited_for(&self) -> bool {
        !self.zone.lock().unwrap().waiting.is_empty()
    }

    /// Answers all who wait, and from now on at once.
    pub(super) fn releases(&self) {
        let mut zone = self.zone.lock().unwrap();
        zone.held.clear();
        for (query, peer) in std::mem::take(&mut zone.waiting) {
            self.socket.send_to(&zone.answer(&query).unwrap(), peer).unwrap();
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The link that has this address.
fn bridge(address: Ipv4Addr) -> String {
    let links = output("ip", &["-o", "-4", "addr", "show", "to", &address.to_string()]);
    links.split_whitespace().nth(1).unwrap_or_else(|| panic!("no link has {address}")).to_owned()
}

/// One answer a connection: who answers, and for which host the request was.
fn answer(mut stream: TcpStream, name: &str) {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let host = head.iter().find_map(|line| line.strip_prefix("host: ").or(line.strip_prefix("Host: ")));
    let host = host.unwrap_or_default();
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nconnection: close\r\nx-bookinfo-pod: {name}\r\ncontent-length: {}\r\n\r\n{host}",
        host.len()
    );
}

fn resolve(socket: &UdpSocket, zone: &Mutex<Zone>) {
    let mut buffer = [0; 4096];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
        let query = &buffer[..length];
        let mut zone = zone.lock().unwrap();
        if zone.holds(query) {
            zone.waiting.push((query.to_vec(), peer));
        } else if let Some(answer) = zone.answer(query) {
            let _ = socket.send_to(&answer, peer);
        }
    }
}

impl Zone {
    fn holds(&self, query: &[u8]) -> bool {
        let asked = Message::from_vec(query).ok().and_then(|query| query.queries.first().cloned());
        asked.and_then(|asked| short(&asked)).is_some_and(|name| self.held.contains(&name))
    }

    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).ok()?;
        let asked = query.queries.first()?.clone();
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.add_query(asked.clone());
        match short(&asked).and_then(|name| self.names.get(&name)) {
            _ if self.fails => answer.metadata.response_code = ResponseCode::ServFail,
            None => answer.metadata.response_code = ResponseCode::NXDomain,
            Some(address) if asked.query_type() == RecordType::A => {
                let record = Record::from_rdata(asked.name().clone(), 1, RData::A(A(*address)));
                answer.add_answer(record);
            }
            Some(_) => {}
        }
        Some(answer.to_vec().unwrap())
    }
}

/// What is asked for, below the zone's own name.
fn short(asked: &Query) -> Option<String> {
    let name = asked.name().to_ascii().to_ascii_lowercase();
    name.strip_suffix(".outside.example.").map(str::to_owned)
}
