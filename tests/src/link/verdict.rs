//! What a capture shows of the connections between pods of different nodes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::capture::Frame;
use super::segment::{self, Segment};
use super::stream::{self, Connection};
use super::tls::{self, TLS13};

/// Bytes that none but HTTP and the sample's own answers hold.
const CLEAR: [&[u8]; 7] =
    [b"HTTP/1.1", b"GET /", b"x-bookinfo", b"end-user", b"Reviewer1", b"PRI * HTTP/2.0", b"Shakespeare"];

#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Frames of any kind.
    pub frames: usize,
    /// Frames with a TCP payload from or to one of the pods.
    pub frames_with_payload: usize,
    pub payload_bytes: usize,
    pub connections: usize,
    /// Connections whose client offered TLS 1.3 and whose server selected it.
    pub tls13: usize,
    pub records: usize,
    pub alpn: BTreeSet<String>,
    pub server_ports: BTreeSet<u16>,
    /// What was found in clear, with the place.
    pub clear: Vec<String>,
    /// Streams that hold something else than TLS records, or are not captured whole.
    pub foreign: Vec<String>,
}

impl Verdict {
    /// Judges the connections of which one end is one of these addresses.
    pub fn of(frames: &[Frame], pods: &BTreeSet<IpAddr>) -> Self {
        let mut verdict = Self { frames: frames.len(), ..Self::default() };
        let among = |segment: &Segment<'_>| {
            pods.contains(&segment.source.ip()) || pods.contains(&segment.destination.ip())
        };
        let segments: Vec<Segment<'_>> =
            frames.iter().filter_map(|frame| segment::parse(&frame.bytes)).filter(among).collect();
        for segment in &segments {
            verdict.look_for_clear(segment);
        }
        for connection in stream::connections(segments) {
            verdict.look_at(&connection);
        }
        verdict
    }

    /// Whether there was traffic, and all of it was TLS 1.3.
    pub fn holds_only_tls13(&self) -> bool {
        self.connections > 0
            && self.tls13 == self.connections
            && self.clear.is_empty()
            && self.foreign.is_empty()
    }

    /// What was found in clear, in a few words.
    pub fn clear_in_words(&self) -> String {
        match self.clear.as_slice() {
            [] => "none".to_owned(),
            [first, ..] => format!("{} times, first {first}", self.clear.len()),
        }
    }

    fn look_for_clear(&mut self, segment: &Segment<'_>) {
        if segment.payload.is_empty() {
            return;
        }
        self.frames_with_payload += 1;
        self.payload_bytes += segment.payload.len();
        for needle in CLEAR {
            if segment.payload.windows(needle.len()).any(|window| window == needle) {
                let found = String::from_utf8_lossy(needle);
                self.clear.push(format!("{found:?} from {} to {}", segment.source, segment.destination));
            }
        }
    }

    fn look_at(&mut self, connection: &Connection) {
        let carried = connection.sent.frames_with_payload + connection.received.frames_with_payload;
        if carried == 0 {
            // One that was refused, or that said nothing.
            return;
        }
        self.connections += 1;
        self.server_ports.insert(connection.server.port());
        let mut versions = Vec::new();
        for (stream, from) in
            [(&connection.sent, connection.client), (&connection.received, connection.server)]
        {
            let (bytes, whole) = stream.bytes();
            let records = tls::records(&bytes);
            self.records += records.whole;
            if !whole {
                self.foreign.push(format!("from {from}: not captured whole"));
            }
            if let Some(at) = records.foreign_at {
                self.foreign.push(format!("from {from}: no TLS record at byte {at}"));
            }
            if let Some(hello) = tls::hello(&bytes) {
                self.alpn.extend(hello.alpn);
                versions.push((hello.client, hello.versions));
            }
        }
        if let [(true, offered), (false, selected)] = versions.as_slice()
            && offered.contains(&TLS13)
            && selected == &[TLS13]
        {
            self.tls13 += 1;
        }
    }
}
