//! Heads and bodies as they go out. The framing follows from the body that is sent, never from the fields. No I/O.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{
    CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING,
};
use http::{Method, StatusCode, Version, request, response};
use http_body::Frame;

use super::Error;
use super::head::{Length, Reason};
use super::outbox::Outbox;
use crate::proxy::http::fields;

/// Fields that decide about framing, routing or the connection, and have no place behind a body (RFC 9110 §6.5.1).
const NO_TRAILERS: [HeaderName; 4] = [CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING];

/// Writes a request's head and says how its body goes.
pub(super) fn request(head: &request::Parts, length: Length, out: &mut BytesMut) -> Encoder {
    out.put_slice(head.method.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(head.uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
    fields_but_framing(&head.headers, out);
    let encoder = match length {
        Length::Empty => {
            // A server may expect a body with these methods (RFC 9110 §8.6), or where one was spoken of.
            let expected = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
            if expected || head.headers.contains_key(CONTENT_LENGTH) {
                content_length(0, out);
            }
            Encoder::Nothing
        }
        Length::Sized(length) => {
            content_length(length, out);
            Encoder::Sized(length)
        }
        Length::Chunked | Length::UntilClose => {
            out.put_slice(b"transfer-encoding: chunked\r\n");
            Encoder::Chunked { trailers: announced(&head.headers) }
        }
    };
    out.put_slice(b"\r\n");
    encoder
}

/// What a response answers, as far as its framing depends on it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) head: bool,
    pub(super) version: Version,
    pub(super) trailers: bool,
    pub(super) keep_alive: bool,
}

impl Asked {
    pub(super) fn of(head: &request::Parts, keep_alive: bool) -> Self {
        let trailers = fields::accepts_trailers(&head.headers);
        Self { head: head.method == Method::HEAD, version: head.version, trailers, keep_alive }
    }
}

/// Writes a response's head; says how its body goes, and whether the connection can go on behind it.
pub(super) fn response(
    head: &response::Parts,
    length: Length,
    asked: &Asked,
    out: &mut BytesMut,
) -> (Encoder, bool) {
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        interim(head, out);
        return (Encoder::Nothing, false);
    }
    status_line(head, asked.version, out);
    fields_but_framing(&head.headers, out);
    let mut keep_alive = asked.keep_alive;
    let encoder = if head.status == StatusCode::NO_CONTENT || head.status.is_informational() {
        Encoder::Nothing
    } else if asked.head || head.status == StatusCode::NOT_MODIFIED {
        // The length is that of the body which another request would have had.
        match (head.headers.get(CONTENT_LENGTH), length) {
            (Some(said), _) => field(&CONTENT_LENGTH, said, out),
            (None, Length::Sized(length)) => content_length(length, out),
            (None, _) => {}
        }
        Encoder::Nothing
    } else {
        match length {
            Length::Empty => {
                content_length(0, out);
                Encoder::Nothing
            }
            Length::Sized(length) => {
                content_length(length, out);
                Encoder::Sized(length)
            }
            Length::Chunked | Length::UntilClose if asked.version == Version::HTTP_11 => {
                out.put_slice(b"transfer-encoding: chunked\r\n");
                let trailers = if asked.trailers { announced(&head.headers) } else { Vec::new() };
                Encoder::Chunked { trailers }
            }
            Length::Chunked | Length::UntilClose => {
                keep_alive = false;
                Encoder::UntilClose
            }
        }
    };
    match (keep_alive, asked.version) {
        (true, Version::HTTP_10) => out.put_slice(b"connection: keep-alive\r\n"),
        (true, _) => {}
        (false, _) => out.put_slice(b"connection: close\r\n"),
    }
    out.put_slice(b"\r\n");
    (encoder, keep_alive)
}

/// Writes a response that has no body and says nothing of one: the final one comes behind it, or another protocol.
pub(super) fn interim(head: &response::Parts, out: &mut BytesMut) {
    status_line(head, Version::HTTP_11, out);
    fields_but_framing(&head.headers, out);
    out.put_slice(b"\r\n");
}

fn status_line(head: &response::Parts, version: Version, out: &mut BytesMut) {
    if version == Version::HTTP_11 && head.status == StatusCode::OK && head.extensions.is_empty() {
        return out.put_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.put_slice(if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.put_slice(head.status.as_str().as_bytes());
    out.put_u8(b' ');
    match head.extensions.get::<Reason>() {
        Some(Reason(words)) => out.put_slice(words),
        None => out.put_slice(head.status.canonical_reason().unwrap_or_default().as_bytes()),
    }
    out.put_slice(b"\r\n");
}

/// All but those that say how the body is framed.
fn fields_but_framing(headers: &HeaderMap, out: &mut BytesMut) {
    for (name, value) in headers {
        if *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING {
            field(name, value, out);
        }
    }
}

fn field(name: &HeaderName, value: &HeaderValue, out: &mut BytesMut) {
    out.put_slice(name.as_str().as_bytes());
    out.put_slice(b": ");
    out.put_slice(value.as_bytes());
    out.put_slice(b"\r\n");
}

fn content_length(length: u64, out: &mut BytesMut) {
    out.put_slice(b"content-length: ");
    number(length, out);
    out.put_slice(b"\r\n");
}

fn number(mut number: u64, out: &mut BytesMut) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        // A digit fits a byte.
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.put_slice(&digits[at..]);
        }
    }
}

/// The fields that a head announces for behind the body.
fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let names = fields::items(headers, &TRAILER).filter_map(|name| HeaderName::try_from(name).ok());
    names.filter(|name| !NO_TRAILERS.contains(name)).collect()
}

/// How a body goes out.
#[derive(Debug)]
pub(super) enum Encoder {
    Nothing,
    Sized(u64),
    /// Only these trailers are passed on.
    Chunked {
        trailers: Vec<HeaderName>,
    },
    UntilClose,
}

impl Encoder {
    /// Whether the body has nothing to add.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Nothing | Self::Sized(0))
    }

    pub(super) fn frame(&mut self, frame: Frame<Bytes>, out: &mut Outbox) -> Result<(), Error> {
        match frame.into_data() {
            Ok(data) => self.data(data, out),
            Err(frame) => {
                if let (Self::Chunked { trailers: announced }, Ok(trailers)) =
                    (&mut *self, frame.into_trailers())
                {
                    let out = out.gathered();
                    out.put_slice(b"0\r\n");
                    for (name, value) in trailers.iter().filter(|(name, _)| announced.contains(name)) {
                        field(name, value, out);
                    }
                    out.put_slice(b"\r\n");
                    *self = Self::Nothing;
                }
                Ok(())
            }
        }
    }

    fn data(&mut self, data: Bytes, out: &mut Outbox) -> Result<(), Error> {
        if data.is_empty() {
            return Ok(());
        }
        match self {
            // The answer to HEAD, for one.
            Self::Nothing => Ok(()),
            Self::Sized(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Error::Length)?;
                out.push(data, b"");
                Ok(())
            }
            Self::Chunked { .. } => {
                let gathered = out.gathered();
                hexadecimal(data.len(), gathered);
                gathered.put_slice(b"\r\n");
                out.push(data, b"\r\n");
                Ok(())
            }
            Self::UntilClose => {
                out.push(data, b"");
                Ok(())
            }
        }
    }

    /// The body has ended.
    pub(super) fn end(&mut self, out: &mut Outbox) -> Result<(), Error> {
        match std::mem::replace(self, Self::Nothing) {
            Self::Chunked { .. } => out.gathered().put_slice(b"0\r\n\r\n"),
            Self::Sized(1..) => return Err(Error::Length),
            Self::Nothing | Self::Sized(0) | Self::UntilClose => {}
        }
        Ok(())
    }
}

fn hexadecimal(number: usize, out: &mut BytesMut) {
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.put_u8(b"0123456789abcdef"[number >> (4 * place) & 0xf]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};

    fn text(out: &BytesMut) -> &str {
        std::str::from_utf8(out).unwrap()
    }

    #[test]
    fn encode_numbers() {
        for value in [0, 1, 9, 10, 15, 16, 255, 256, 4096, 65_535, 1 << 40, usize::MAX] {
            let mut out = BytesMut::new();
            number(value as u64, &mut out);
            out.put_u8(b' ');
            hexadecimal(value, &mut out);
            assert_eq!(text(&out), format!("{value} {value:x}"));
        }
    }

    #[test]
    fn encode_frames_by_the_body_and_not_by_the_fields() {
        let request = Request::post("http://a/b?c").header(CONTENT_LENGTH, "7").header("x", "y");
        let (head, ()) = request.header(TRANSFER_ENCODING, "gzip").body(()).unwrap().into_parts();
        for (length, expected) in [
            (Length::Empty, "content-length: 0\r\n"),
            (Length::Sized(5), "content-length: 5\r\n"),
            (Length::Chunked, "transfer-encoding: chunked\r\n"),
        ] {
            let mut out = BytesMut::new();
            super::request(&head, length, &mut out);
            assert_eq!(text(&out), format!("POST /b?c HTTP/1.1\r\nx: y\r\n{expected}\r\n"));
        }
    }

    #[test]
    fn encode_answers_as_it_was_asked() {
        let check = |status: u16, length, asked: &Asked, expected: &str, goes_on: bool| {
            let response = Response::builder().status(status).header(CONTENT_LENGTH, "7").body(()).unwrap();
            let mut out = BytesMut::new();
            let (_, keep_alive) = super::response(&response.into_parts().0, length, asked, &mut out);
            assert_eq!((text(&out), keep_alive), (expected, goes_on));
        };
        let get = Asked { head: false, version: Version::HTTP_11, trailers: false, keep_alive: true };
        let sized = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        check(200, Length::Sized(5), &get, sized, true);
        check(204, Length::Empty, &get, "HTTP/1.1 204 No Content\r\n\r\n", true);
        check(304, Length::Empty, &get, "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n", true);
        let head = Asked { head: true, ..get.clone() };
        check(200, Length::Empty, &head, "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n", true);
        let chunked = "HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n";
        check(404, Length::UntilClose, &get, chunked, true);
        let old = Asked { version: Version::HTTP_10, ..get.clone() };
        check(200, Length::Chunked, &old, "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\n", false);
        let kept = "HTTP/1.0 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\n";
        check(200, Length::Sized(5), &old, kept, true);
        let last = Asked { keep_alive: false, ..get };
        check(
            200,
            Length::Empty,
            &last,
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            false,
        );
    }

    #[test]
    fn encode_holds_a_body_to_its_length() {
        let mut out = Outbox::default();
        let data = |text: &'static str| Frame::data(Bytes::from_static(text.as_bytes()));
        assert!(Encoder::Sized(4).frame(data("hello"), &mut out).is_err());
        let mut encoder = Encoder::Sized(6);
        encoder.frame(data("hello"), &mut out).unwrap();
        assert!(!encoder.is_done() && encoder.end(&mut out).is_err());
    }
}
