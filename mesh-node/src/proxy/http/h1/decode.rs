//! Bodies as they come: from bytes to data and trailers. No I/O.
//!
//! ```text
//! Sized ──────────────── the last byte ───────────────────────────────▶ Done
//! ChunkSize ──▶ ChunkData ──▶ ChunkEnd ──▶ ChunkSize                      ▲
//!     └─ "0" ──▶ Trailers ──────────── an empty line ─────────────────────┤
//! UntilClose ────────── the end of the stream ────────────────────────────┘
//! any ─────────────────── a broken rule ──────────────────────────────▶ Broken
//! ```

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::Error;
use super::head::{self, HeadLimits, Length};

/// The line with a chunk's size, extensions and all.
const MAX_LINE: usize = 1024;
/// Chunk extensions of one body together: they cost work and carry nothing.
const MAX_EXTENSIONS: usize = 16 * 1024;
const TRAILER_LIMITS: HeadLimits = HeadLimits { bytes: 16 * 1024, fields: 64 };

#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    extensions: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Sized(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
    Done,
    /// It broke a rule: where it ends cannot be known any more.
    Broken,
}

#[derive(Debug)]
pub(super) enum Decoded {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    NeedsMore,
}

impl Decoder {
    pub(super) fn new(length: Length) -> Self {
        let state = match length {
            Length::Empty => State::Done,
            Length::Sized(length) => State::Sized(length),
            Length::Chunked => State::ChunkSize,
            Length::UntilClose => State::UntilClose,
        };
        Self { state, extensions: 0 }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many bytes are still to come, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self.state {
            State::Sized(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// What the buffer holds next of the body.
    pub(super) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, Error> {
        let decoded = self.advance(buffer);
        if decoded.is_err() {
            self.state = State::Broken;
        }
        decoded
    }

    fn advance(&mut self, buffer: &mut BytesMut) -> Result<Decoded, Error> {
        loop {
            match self.state {
                State::Done => return Ok(Decoded::End),
                State::Broken => return Err(Error::Body("it broke a rule before")),
                State::Sized(left) => {
                    let Some(data) = take(buffer, left) else { return Ok(Decoded::NeedsMore) };
                    let left = left - data.len() as u64;
                    self.state = if left == 0 { State::Done } else { State::Sized(left) };
                    return Ok(Decoded::Data(data));
                }
                State::UntilClose => {
                    let data = take(buffer, u64::MAX);
                    return Ok(data.map_or(Decoded::NeedsMore, Decoded::Data));
                }
                State::ChunkSize => {
                    let Some(line) = line(buffer)? else { return Ok(Decoded::NeedsMore) };
                    self.state = match self.chunk_size(&line)? {
                        0 => State::Trailers,
                        size => State::ChunkData(size),
                    };
                }
                State::ChunkData(left) => {
                    let Some(data) = take(buffer, left) else { return Ok(Decoded::NeedsMore) };
                    let left = left - data.len() as u64;
                    self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                    self.pass_usual_end(buffer);
                    return Ok(Decoded::Data(data));
                }
                State::ChunkEnd => match &buffer[..] {
                    [b'\r', b'\n', ..] => {
                        buffer.advance(2);
                        self.state = State::ChunkSize;
                    }
                    [] | [b'\r'] => return Ok(Decoded::NeedsMore),
                    _ => return Err(Error::Body("a chunk is longer than its size")),
                },
                State::Trailers => {
                    if buffer.starts_with(b"\r\n") {
                        buffer.advance(2);
                        self.state = State::Done;
                        continue;
                    }
                    let trailers =
                        if buffer.len() < 2 { None } else { head::trailers(buffer, TRAILER_LIMITS)? };
                    let Some(trailers) = trailers else { return Ok(Decoded::NeedsMore) };
                    self.state = State::Done;
                    return Ok(Decoded::Trailers(trailers));
                }
            }
        }
    }

    /// The stream has ended, and the buffer holds no more of the body.
    pub(super) fn end_of_stream(&mut self) -> Result<(), Error> {
        match self.state {
            State::UntilClose | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Error::CutOff),
        }
    }

    /// The last chunk is most often right behind the data; whoever has the data then knows that it is all.
    fn pass_usual_end(&mut self, buffer: &mut BytesMut) {
        const USUAL: &[u8] = b"\r\n0\r\n\r\n";
        if self.state == State::ChunkEnd && buffer.starts_with(USUAL) {
            buffer.advance(USUAL.len());
            self.state = State::Done;
        }
    }

    fn chunk_size(&mut self, line: &[u8]) -> Result<u64, Error> {
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, extension) = line.split_at(digits);
        // An extension begins with a semicolon, and spaces may be before it.
        let begins = extension.iter().find(|byte| !matches!(byte, b' ' | b'\t'));
        let none = extension.is_empty() || begins == Some(&b';');
        let text = std::str::from_utf8(digits).ok().filter(|_| none);
        let size = text.and_then(|text| u64::from_str_radix(text, 16).ok());
        let size = size.ok_or(Error::Body("the size of a chunk is no hexadecimal number"))?;
        self.extensions += extension.len();
        if self.extensions > MAX_EXTENSIONS {
            return Err(Error::Body("its chunk extensions are too long"));
        }
        if extension.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(Error::Body("a chunk extension holds a control character"));
        }
        Ok(size)
    }
}

/// Up to `limit` bytes of what is there; `None` where nothing is.
fn take(buffer: &mut BytesMut, limit: u64) -> Option<Bytes> {
    let count = usize::try_from(limit).unwrap_or(usize::MAX).min(buffer.len());
    (count > 0).then(|| buffer.split_to(count).freeze())
}

/// The next line without its end.
fn line(buffer: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
    let Some(end) = memchr::memchr(b'\n', &buffer[..buffer.len().min(MAX_LINE)]) else {
        let too_long = buffer.len() >= MAX_LINE;
        return if too_long {
            Err(Error::Body("the line with a chunk's size is too long"))
        } else {
            Ok(None)
        };
    };
    let mut line = buffer.split_to(end + 1);
    if !line.ends_with(b"\r\n") {
        return Err(Error::Body("a line ends without a carriage return"));
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data, the trailers, and what is left over.
    fn all(length: Length, text: &str, piece: usize) -> Result<(String, Option<HeaderMap>, String), Error> {
        let (mut decoder, mut buffer) = (Decoder::new(length), BytesMut::new());
        let (mut data, mut trailers) = (Vec::new(), None);
        let mut pieces = text.as_bytes().chunks(piece);
        loop {
            match decoder.decode(&mut buffer)? {
                Decoded::Data(more) => data.extend_from_slice(&more),
                Decoded::Trailers(fields) => trailers = Some(fields),
                Decoded::End => break,
                Decoded::NeedsMore => match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => {
                        decoder.end_of_stream()?;
                        break;
                    }
                },
            }
        }
        pieces.for_each(|piece| buffer.extend_from_slice(piece));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok((text(&data), trailers, text(&buffer)))
    }

    #[test]
    fn body_is_read_in_pieces_of_any_size() {
        let chunked = "4;x=\"y\"\r\nTE: \r\nA \t;z\r\n0123456789\r\n0\r\n\r\nnext";
        for piece in 1..chunked.len() {
            let (data, trailers, rest) = all(Length::Chunked, chunked, piece).unwrap();
            assert_eq!((data.as_str(), rest.as_str()), ("TE: 0123456789", "next"), "in pieces of {piece}");
            assert!(trailers.is_none());
            let (data, _, rest) = all(Length::Sized(5), "hellonext", piece).unwrap();
            assert_eq!((data.as_str(), rest.as_str()), ("hello", "next"));
            assert_eq!(all(Length::UntilClose, "hello", piece).unwrap().0, "hello");
            let (_, trailers, rest) = all(Length::Chunked, "0\r\nA: b\r\nc:d\r\n\r\nnext", piece).unwrap();
            assert_eq!((trailers.unwrap()["a"].as_bytes(), rest.as_str()), (&b"b"[..], "next"));
        }
    }

    #[test]
    fn body_that_broke_a_rule_stays_broken() {
        let mut decoder = Decoder::new(Length::Chunked);
        let mut buffer = BytesMut::from("zz\r\n0\r\n\r\n");
        for _ in 0..3 {
            assert!(decoder.decode(&mut buffer).is_err() && !decoder.is_done());
        }
        assert!(decoder.end_of_stream().is_err());
    }

    #[test]
    fn body_that_breaks_the_rules_is_refused() {
        for text in [
            "zz\r\n",
            "\r\n",
            "-5\r\nhello",
            "0x5\r\nhello\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "3\r\nhello\r\n0\r\n\r\n",
            "fffffffffffffffff\r\nhello",
            "5\r\nhello\r\n0\r\nA : b\r\n\r\n",
            "5\r\nhello\r\n0\r\nA: b\n\r\n",
            "5\r\nhel",
            "5\r\nhello\r\n0\r\n",
        ] {
            for piece in [1, 3, text.len()] {
                assert!(all(Length::Chunked, text, piece).is_err(), "{text:?} in pieces of {piece}");
            }
        }
        let line = format!("5;{}\r\nhello\r\n", "x".repeat(MAX_LINE));
        assert!(all(Length::Chunked, &line, 100).is_err());
        let many = format!("1;{}\r\nx\r\n", "x".repeat(1000)).repeat(17);
        assert!(all(Length::Chunked, &many, 100).is_err());
        assert!(all(Length::Sized(5), "hell", 1).is_err());
    }
}
