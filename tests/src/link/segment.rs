//! TCP segments in Ethernet frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const IPV6_HEADER: usize = 40;
const TCP: u8 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub sequence: u32,
    pub syn: bool,
    pub ack: bool,
    pub payload: &'a [u8],
}

/// The segment in a frame; none where it holds something other than TCP over IP.
pub fn parse(frame: &[u8]) -> Option<Segment<'_>> {
    let packet = frame.get(ETHERNET..)?;
    let kind = frame.get(12..ETHERNET)?;
    let (source, destination, tcp) = if kind == IPV4 {
        let header = usize::from(packet.first()? & 0x0f) * 4;
        let length = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
        let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
        if *packet.get(9)? != TCP {
            return None;
        }
        // A frame may be longer than its packet: Ethernet pads the short ones.
        (IpAddr::from(address(12)?), IpAddr::from(address(16)?), packet.get(header..length)?)
    } else if kind == IPV6 {
        let length = usize::from(u16::from_be_bytes(packet.get(4..6)?.try_into().ok()?));
        let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
        // Nobody here sends extension headers before TCP.
        if *packet.get(6)? != TCP {
            return None;
        }
        // A packet of more than 64 KiB, which segmentation offload makes, says 0.
        let end = if length == 0 { packet.len() } else { IPV6_HEADER + length };
        (IpAddr::from(address(8)?), IpAddr::from(address(24)?), packet.get(IPV6_HEADER..end)?)
    } else {
        return None;
    };
    let port = |at: usize| Some(u16::from_be_bytes(tcp.get(at..at + 2)?.try_into().ok()?));
    let flags = *tcp.get(13)?;
    Some(Segment {
        source: SocketAddr::new(source, port(0)?),
        destination: SocketAddr::new(destination, port(2)?),
        sequence: u32::from_be_bytes(tcp.get(4..8)?.try_into().ok()?),
        syn: flags & 0x02 != 0,
        ack: flags & 0x10 != 0,
        payload: tcp.get(usize::from(tcp.get(12)? >> 4) * 4..)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of 10.0.0.1:80 to 10.0.0.2:9080 with this payload, padded as Ethernet pads.
    fn ipv4(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(IPV4);
        let length = u16::try_from(40 + payload.len()).unwrap();
        frame.extend([0x45, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, TCP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0, 80, 0x23, 0x78, 0, 0, 0, 7, 0, 0, 0, 0, 0x50, 0x12, 0, 0, 0, 0, 0, 0]);
        frame.extend(payload);
        frame.resize(frame.len().max(60), 0);
        frame
    }

    #[test]
    fn segments_hold_the_payload_without_the_frames_padding() {
        let frame = ipv4(b"x");
        let segment = parse(&frame).unwrap();
        assert_eq!(segment.source, "10.0.0.1:80".parse().unwrap());
        assert_eq!(segment.destination, "10.0.0.2:9080".parse().unwrap());
        assert_eq!((segment.sequence, segment.syn, segment.ack), (7, true, true));
        assert_eq!(segment.payload, b"x");
    }

    #[test]
    fn segments_that_are_cut_anywhere_are_none_and_no_panic() {
        let frame = ipv4(&[b'x'; 30]);
        for end in 0..frame.len() {
            assert_eq!(parse(&frame[..end]), None, "cut at {end}");
        }
    }
}
