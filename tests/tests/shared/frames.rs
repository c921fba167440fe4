//! Frames of HTTP/2 and header blocks, as bytes.

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block without compression (RFC 7541 §6.2.2).
pub(crate) fn block(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let first = [(":method", method), (":scheme", "http"), (":authority", "shop.example"), (":path", path)];
    let mut block = Vec::new();
    for (name, value) in first.iter().chain(fields) {
        block.push(0);
        for text in [name, value] {
            let mut length = text.len();
            if length < 127 {
                block.push(length as u8);
            } else {
                block.push(127);
                length -= 127;
                while length >= 128 {
                    block.push((length % 128 + 128) as u8);
                    length /= 128;
                }
                block.push(length as u8);
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

/// Kind, stream and payload of each whole frame.
pub(crate) fn parse(mut data: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while data.len() >= 9 {
        let length = u32::from_be_bytes([0, data[0], data[1], data[2]]) as usize;
        let stream = u32::from_be_bytes([data[5], data[6], data[7], data[8]]);
        let Some(payload) = data.get(9..9 + length) else { break };
        frames.push((data[3], stream, payload.to_vec()));
        data = &data[9 + length..];
    }
    frames
}

/// The status of a response, where it is in the static table or a literal that follows the index of one (RFC 7541
/// appendix A), as a server says the first time.
pub(crate) fn status((kind, _, payload): &(u8, u32, Vec<u8>)) -> Option<u16> {
    const STATIC: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    if *kind != HEADERS {
        return None;
    }
    match *payload.first()? {
        index @ 0x88..=0x8e => Some(STATIC[usize::from(index - 0x88)]),
        // A literal of three digits, plain or in Huffman's code: 10 bits or more for each of these.
        0x48 if payload.get(1) == Some(&3) => std::str::from_utf8(payload.get(2..5)?).ok()?.parse().ok(),
        0x48 if payload.get(1)? & 0x80 != 0 => {
            huffman_digits(payload.get(2..2 + usize::from(payload[1] & 0x7f))?)
        }
        _ => None,
    }
}

/// Three digits in HPACK's Huffman code: `0`, `1` and `2` have 5 bits, the others 6 (RFC 7541 appendix B).
fn huffman_digits(code: &[u8]) -> Option<u16> {
    let bits: u32 = code.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
    let (mut left, mut number) = (8 * u32::try_from(code.len()).ok()?, 0);
    for _ in 0..3 {
        let five = bits >> left.checked_sub(5)? & 0x1f;
        let digit = if five < 3 {
            left -= 5;
            five
        } else {
            let six = bits >> left.checked_sub(6)? & 0x3f;
            left -= 6;
            six.checked_sub(0x19)? + 3
        };
        number = number * 10 + digit;
    }
    u16::try_from(number).ok()
}
