//! TCP connections put together again from their segments.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::segment::Segment;

/// A connection whose beginning was captured, or of which only later parts were.
#[derive(Clone, Debug)]
pub struct Connection {
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub sent: Stream,
    pub received: Stream,
}

/// One direction of a connection.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// The sequence number of its first byte, once its SYN was seen.
    first: Option<u32>,
    segments: BTreeMap<u32, Vec<u8>>,
    pub frames_with_payload: usize,
}

/// The connections among the segments, in the order of their beginning.
pub fn connections<'a>(segments: impl IntoIterator<Item = Segment<'a>>) -> Vec<Connection> {
    let mut all: Vec<Connection> = Vec::new();
    let mut latest: BTreeMap<(SocketAddr, SocketAddr), usize> = BTreeMap::new();
    for segment in segments {
        let (from, to) = (segment.source, segment.destination);
        let opens = segment.syn && !segment.ack;
        let forward = latest.get(&(from, to)).copied();
        // A SYN that is sent again belongs to the connection that it opened.
        let again = |at: usize| all[at].sent.first == Some(segment.sequence.wrapping_add(1));
        let at = match (forward, latest.get(&(to, from)).copied()) {
            (Some(at), _) if !opens || again(at) => at,
            (_, Some(at)) if !opens => at,
            _ => {
                all.push(Connection {
                    client: from,
                    server: to,
                    sent: Stream::default(),
                    received: Stream::default(),
                });
                latest.insert((from, to), all.len() - 1);
                latest.remove(&(to, from));
                all.len() - 1
            }
        };
        let connection = &mut all[at];
        let stream = if connection.client == from { &mut connection.sent } else { &mut connection.received };
        stream.take(&segment);
    }
    all
}

impl Stream {
    /// Its bytes from the first on, or nothing where the beginning was not captured; `false` where some are missing
    /// before captured ones.
    pub fn bytes(&self) -> (Vec<u8>, bool) {
        let Some(first) = self.first else { return (Vec::new(), self.segments.is_empty()) };
        let mut bytes = Vec::new();
        // Sequence numbers wrap; seen from the first byte they ascend.
        let mut ordered: Vec<(usize, &Vec<u8>)> =
            self.segments.iter().map(|(at, data)| (at.wrapping_sub(first) as usize, data)).collect();
        ordered.sort_by_key(|(at, _)| *at);
        for (at, data) in ordered {
            if at > bytes.len() {
                return (bytes, false);
            }
            // What was sent again is there already.
            bytes.extend(data.iter().skip(bytes.len() - at));
        }
        (bytes, true)
    }

    fn take(&mut self, segment: &Segment<'_>) {
        if segment.syn {
            self.first = Some(segment.sequence.wrapping_add(1));
        }
        if segment.payload.is_empty() {
            return;
        }
        self.frames_with_payload += 1;
        let held = self.segments.entry(segment.sequence).or_default();
        if segment.payload.len() > held.len() {
            *held = segment.payload.to_vec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment<'a>(ends: (&str, &str), sequence: u32, flags: &str, payload: &'a [u8]) -> Segment<'a> {
        Segment {
            source: ends.0.parse().unwrap(),
            destination: ends.1.parse().unwrap(),
            sequence,
            syn: flags.contains('S'),
            ack: flags.contains('A'),
            payload,
        }
    }

    #[test]
    fn streams_are_put_together_across_reordering_repetition_and_wrapping() {
        let there = ("10.0.0.1:5", "10.0.0.2:80");
        let back = ("10.0.0.2:80", "10.0.0.1:5");
        let found = connections([
            segment(there, u32::MAX - 1, "S", b""),
            segment(back, 9, "SA", b""),
            segment(there, 1, "A", b"cd"),
            segment(there, u32::MAX, "A", b"ab"),
            segment(there, u32::MAX, "A", b"abc"),
            segment(back, 10, "A", b"yes"),
            segment(back, 20, "A", b"late"),
            segment(there, 500, "S", b""),
            segment(there, 501, "A", b"again"),
        ]);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].sent.bytes(), (b"abcd".to_vec(), true));
        assert_eq!(found[0].received.bytes(), (b"yes".to_vec(), false));
        assert_eq!(found[0].sent.frames_with_payload, 3);
        assert_eq!(found[1].sent.bytes(), (b"again".to_vec(), true));
    }
}
