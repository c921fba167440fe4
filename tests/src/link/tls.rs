//! TLS as far as it is readable on the wire: records (RFC 8446, section 5.1) and the two hellos (section 4.1).

/// What a stream holds, record by record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    pub whole: usize,
    /// Where something else than a record begins.
    pub foreign_at: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub client: bool,
    /// What supported_versions offers, or the one it selects.
    pub versions: Vec<u16>,
    pub alpn: Vec<String>,
}

pub const TLS13: u16 = 0x0304;
const HANDSHAKE: u8 = 22;
const HEADER: usize = 5;
/// Section 5.2: 2^14 bytes and what encryption adds.
const MAX_RECORD: usize = (1 << 14) + 256;
const SUPPORTED_VERSIONS: u16 = 43;
const ALPN: u16 = 16;

/// Walks the records of a stream; a last one that is incomplete counts as one that is whole.
pub fn records(stream: &[u8]) -> Records {
    let mut records = Records::default();
    let mut at = 0;
    while at < stream.len() {
        // The four content types are change_cipher_spec, alert, handshake and application_data.
        let fits = matches!(stream[at], 20..=23)
            && stream.get(at + 1).is_none_or(|major| *major == 3)
            && stream.get(at + 2).is_none_or(|minor| matches!(minor, 1 | 3));
        let length =
            stream.get(at + 3..at + HEADER).map(|two| usize::from(two[0]) << 8 | usize::from(two[1]));
        if !fits || length.is_some_and(|length| length > MAX_RECORD) {
            records.foreign_at = Some(at);
            return records;
        }
        records.whole += 1;
        at += HEADER + length.unwrap_or(MAX_RECORD);
    }
    records
}

/// The hello that a stream begins with.
pub fn hello(stream: &[u8]) -> Option<Hello> {
    let mut bytes = Reader(stream);
    if bytes.u8()? != HANDSHAKE {
        return None;
    }
    bytes.take(2)?;
    let length = usize::from(bytes.u16()?);
    // The hellos of this mesh fit one record.
    let mut message = Reader(bytes.take(length)?);
    let client = match message.u8()? {
        1 => true,
        2 => false,
        _ => return None,
    };
    // Its length, the legacy version and the random.
    message.take(3 + 2 + 32)?;
    let session = usize::from(message.u8()?);
    message.take(session)?;
    if client {
        let suites = usize::from(message.u16()?);
        message.take(suites)?;
        let compressions = usize::from(message.u8()?);
        message.take(compressions)?;
    } else {
        message.take(2 + 1)?;
    }
    let length = usize::from(message.u16()?);
    let mut extensions = Reader(message.take(length)?);
    let mut hello = Hello { client, versions: Vec::new(), alpn: Vec::new() };
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let length = usize::from(extensions.u16()?);
        let mut body = Reader(extensions.take(length)?);
        match kind {
            SUPPORTED_VERSIONS if client => {
                body.u8()?;
                while let Some(version) = body.u16() {
                    hello.versions.push(version);
                }
            }
            SUPPORTED_VERSIONS => hello.versions.push(body.u16()?),
            ALPN => {
                body.u16()?;
                while let Some(length) = body.u8() {
                    let name = body.take(usize::from(length))?;
                    hello.alpn.push(String::from_utf8_lossy(name).into_owned());
                }
            }
            _ => {}
        }
    }
    Some(hello)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        let two = self.take(2)?;
        Some(u16::from_be_bytes([two[0], two[1]]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_end_where_something_else_begins() {
        let mut stream = vec![22, 3, 1, 0, 2, 0, 0, 23, 3, 3, 0, 1, 7];
        assert_eq!(records(&stream), Records { whole: 2, foreign_at: None });
        stream.extend(b"GET / HTTP/1.1");
        assert_eq!(records(&stream), Records { whole: 2, foreign_at: Some(13) });
        assert_eq!(records(&[23, 3, 3, 0xff, 0xff]).foreign_at, Some(0));
    }

    #[test]
    fn hellos_say_their_versions_and_protocols() {
        let mut body = vec![3, 3];
        body.extend([0; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        let extensions = [0, 43, 0, 3, 2, 3, 4, 0, 16, 0, 5, 0, 3, 2, b'h', b'2'];
        body.extend([0, 16]);
        body.extend(extensions);
        let length = u8::try_from(body.len()).unwrap();
        let mut stream = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
        stream.extend(&body);
        let expected = Hello { client: true, versions: vec![TLS13], alpn: vec!["h2".to_owned()] };
        assert_eq!(hello(&stream), Some(expected));
        for end in 0..stream.len() {
            assert_eq!(hello(&stream[..end]), None, "cut at {end}");
        }
    }
}
