//! Heads, from bytes to the types of the `http` crate, and how the body behind a head is framed (RFC 9112 §6.3).

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::{Method, Request, Response, StatusCode, Uri, Version, request, response};
use httparse::Header;

use crate::settings::Limits;

/// What a head may be at most.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy::http) struct HeadLimits {
    pub(in crate::proxy::http) bytes: usize,
    pub(in crate::proxy::http) fields: usize,
}

impl HeadLimits {
    pub(in crate::proxy::http) fn of(limits: &Limits) -> Self {
        Self { bytes: limits.max_head_bytes, fields: limits.max_headers }
    }
}

/// Fields that a proxy may add, for which the map of a head need not grow.
const ADDED: usize = 3;

/// The most fields that any limit allows: so many are parsed on the stack.
pub(super) const MAX_FIELDS: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::proxy) enum HeadError {
    #[error("the head is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the head has more than {0} fields")]
    TooManyFields(usize),
    #[error("the head is malformed: {0}")]
    Malformed(&'static str),
    #[error("the Transfer-Encoding is not `chunked` alone")]
    UnknownCoding,
}

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// There is none, or it has no bytes.
    Empty,
    Sized(u64),
    Chunked,
    UntilClose,
}

#[derive(Debug)]
pub(super) struct RequestHead {
    pub(super) parts: request::Parts,
    pub(super) length: Length,
    /// Whether the client would send another request on this connection.
    pub(super) keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
}

#[derive(Debug)]
pub(super) struct ResponseHead {
    pub(super) parts: response::Parts,
    pub(super) length: Length,
    pub(super) keep_alive: bool,
}

/// The words of a status line, where they are not the usual ones.
#[derive(Clone, Debug)]
pub(super) struct Reason(pub(super) Bytes);

/// How lines may end. In what a client sends, one that another reader could see elsewhere is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnds {
    CrLf,
    CrLfOrLf,
}

/// Takes a request's head off the buffer once it is whole. `searched` is how much of the buffer has been searched for
/// its end; it begins at 0 with each head.
pub(super) fn request(
    buffer: &mut BytesMut,
    searched: &mut usize,
    limits: HeadLimits,
) -> Result<Option<RequestHead>, HeadError> {
    // §2.2: an empty line before a request is overlooked.
    while *searched == 0 && buffer.starts_with(b"\r\n") {
        buffer.advance(2);
    }
    let first_look = *searched == 0;
    let Some(head) = whole(buffer, searched, limits, LineEnds::CrLf)? else {
        // What can be no request is refused before its sender is waited for.
        if first_look {
            let mut slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
            httparse::Request::new(&mut [])
                .parse_with_uninit_headers(buffer, &mut slots)
                .map_err(|error| problem(error, limits))?;
        }
        return Ok(None);
    };
    let mut slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let slots = &mut slots[..limits.fields.min(MAX_FIELDS)];
    let mut parsed = httparse::Request::new(&mut []);
    let status = parsed.parse_with_uninit_headers(&head, slots).map_err(|error| problem(error, limits))?;
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(HeadError::Malformed("the request line"));
    };
    if status != httparse::Status::Complete(head.len()) {
        return Err(HeadError::Malformed("a line end"));
    }
    let version = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let fields = Fields::read(&head, parsed.headers)?;
    let length = match fields.length(version)? {
        Some(length) => length,
        None => Length::Empty,
    };
    let uri = Uri::from_maybe_shared(head.slice_ref(target.as_bytes()));
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::from_bytes(method.as_bytes()).map_err(|_| HeadError::Malformed("the method"))?;
    parts.uri = uri.map_err(|_| HeadError::Malformed("the request target"))?;
    parts.version = version;
    let keep_alive = fields.keep_alive(version);
    let expects_continue = version == Version::HTTP_11 && expects_continue(&fields.headers);
    parts.headers = fields.headers;
    Ok(Some(RequestHead { parts, length, keep_alive, expects_continue }))
}

pub(super) fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|what| what.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// As [`request`]; `method` is that of the request which is answered.
pub(super) fn response(
    buffer: &mut BytesMut,
    searched: &mut usize,
    limits: HeadLimits,
    method: &Method,
) -> Result<Option<ResponseHead>, HeadError> {
    let Some(head) = whole(buffer, searched, limits, LineEnds::CrLfOrLf)? else {
        // A response begins with these bytes; anything else need not be waited for.
        let begun = buffer.len().min(7);
        return if buffer[..begun] == b"HTTP/1."[..begun] {
            Ok(None)
        } else {
            Err(HeadError::Malformed("the status line"))
        };
    };
    let mut slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let slots = &mut slots[..limits.fields.min(MAX_FIELDS)];
    let mut parsed = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut parsed, &head, slots)
        .map_err(|error| problem(error, limits))?;
    let code = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let (Some(code), Some(minor)) = (code, parsed.version) else {
        return Err(HeadError::Malformed("the status line"));
    };
    if status != httparse::Status::Complete(head.len()) {
        return Err(HeadError::Malformed("a line end"));
    }
    let version = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let fields = Fields::read(&head, parsed.headers)?;
    let framed = fields.length(version)?;
    let bare = *method == Method::HEAD
        || code.is_informational()
        || matches!(code, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = if bare { Length::Empty } else { framed.unwrap_or(Length::UntilClose) };
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = code;
    parts.version = version;
    let keep_alive = fields.keep_alive(version) && length != Length::UntilClose;
    parts.headers = fields.headers;
    if let Some(reason) = parsed.reason.filter(|reason| Some(*reason) != code.canonical_reason()) {
        parts.extensions.insert(Reason(head.slice_ref(reason.as_bytes())));
    }
    Ok(Some(ResponseHead { parts, length, keep_alive }))
}

/// The fields behind a chunked body, up to and with the empty line; `None` while they are not all there.
pub(super) fn trailers(buffer: &mut BytesMut, limits: HeadLimits) -> Result<Option<HeaderMap>, HeadError> {
    let Some(block) = whole(buffer, &mut 0, limits, LineEnds::CrLf)? else { return Ok(None) };
    let mut slots = [httparse::EMPTY_HEADER; 64];
    let (_, parsed) = match httparse::parse_headers(&block, &mut slots) {
        Ok(httparse::Status::Complete(parsed)) => parsed,
        Ok(httparse::Status::Partial) => return Err(HeadError::Malformed("a line end")),
        Err(error) => return Err(problem(error, HeadLimits { fields: 64, ..limits })),
    };
    Ok(Some(Fields::read(&block, parsed)?.headers))
}

/// Splits off what ends with an empty line.
fn whole(
    buffer: &mut BytesMut,
    searched: &mut usize,
    limits: HeadLimits,
    ends: LineEnds,
) -> Result<Option<Bytes>, HeadError> {
    for at in memchr::memchr_iter(b'\n', &buffer[*searched..]) {
        let at = *searched + at;
        if ends == LineEnds::CrLf && (at == 0 || buffer[at - 1] != b'\r') {
            return Err(HeadError::Malformed("a line ends without a carriage return"));
        }
        let end = match &buffer[at + 1..] {
            [b'\r', b'\n', ..] => at + 3,
            [b'\n', ..] if ends == LineEnds::CrLfOrLf => at + 2,
            _ => continue,
        };
        if end > limits.bytes {
            return Err(HeadError::TooLarge(limits.bytes));
        }
        *searched = 0;
        return Ok(Some(buffer.split_to(end).freeze()));
    }
    if buffer.len() > limits.bytes {
        return Err(HeadError::TooLarge(limits.bytes));
    }
    // The line end before an empty line may have come already.
    *searched = buffer.len().saturating_sub(3);
    Ok(None)
}

fn problem(error: httparse::Error, limits: HeadLimits) -> HeadError {
    use httparse::Error;
    HeadError::Malformed(match error {
        Error::TooManyHeaders => return HeadError::TooManyFields(limits.fields.min(MAX_FIELDS)),
        Error::HeaderName => "the name of a field",
        Error::HeaderValue => "the value of a field",
        Error::NewLine => "a line end",
        Error::Status => "the status line",
        Error::Token => "the request line",
        Error::Version => "the version",
    })
}

#[derive(Debug)]
struct Fields {
    headers: HeaderMap,
    content_length: Option<u64>,
    coding: Option<Coding>,
    close: bool,
    keeps_alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Chunked,
    Other,
}

impl Fields {
    fn read(head: &Bytes, parsed: &[Header<'_>]) -> Result<Self, HeadError> {
        let mut fields = Self {
            headers: HeaderMap::with_capacity(parsed.len() + ADDED),
            content_length: None,
            coding: None,
            close: false,
            keeps_alive: false,
        };
        for Header { name, value } in parsed {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| HeadError::Malformed("the name of a field"))?;
            fields.note(&name, value)?;
            let value = HeaderValue::from_maybe_shared(head.slice_ref(value))
                .map_err(|_| HeadError::Malformed("the value of a field"))?;
            fields.headers.try_append(name, value).map_err(|_| HeadError::TooManyFields(parsed.len()))?;
        }
        Ok(fields)
    }

    fn note(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), HeadError> {
        if *name == CONTENT_LENGTH {
            let length = decimal(value).ok_or(HeadError::Malformed("the Content-Length is no number"))?;
            if self.content_length.replace(length).is_some() {
                return Err(HeadError::Malformed("more than one Content-Length"));
            }
        } else if *name == TRANSFER_ENCODING {
            let coding = if value.eq_ignore_ascii_case(b"chunked") { Coding::Chunked } else { Coding::Other };
            if self.coding.replace(coding).is_some() {
                return Err(HeadError::Malformed("more than one Transfer-Encoding"));
            }
        } else if *name == CONNECTION {
            for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        Ok(())
    }

    /// What the fields say of the body.
    fn length(&self, version: Version) -> Result<Option<Length>, HeadError> {
        match (self.coding, self.content_length) {
            (None, None) => Ok(None),
            (None, Some(0)) => Ok(Some(Length::Empty)),
            (None, Some(length)) => Ok(Some(Length::Sized(length))),
            (Some(_), Some(_)) => Err(HeadError::Malformed("both Content-Length and Transfer-Encoding")),
            (Some(_), None) if version == Version::HTTP_10 => {
                Err(HeadError::Malformed("a Transfer-Encoding in HTTP/1.0"))
            }
            (Some(Coding::Other), None) => Err(HeadError::UnknownCoding),
            (Some(Coding::Chunked), None) => Ok(Some(Length::Chunked)),
        }
    }

    fn keep_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::HTTP_11 || self.keeps_alive)
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    all_digits.then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 1000, fields: 8 };

    fn read(text: &str) -> Result<Option<RequestHead>, HeadError> {
        request(&mut BytesMut::from(text), &mut 0, LIMITS)
    }

    #[test]
    fn head_says_how_the_body_is_framed() {
        let check = |fields: &str, length, keep_alive| {
            let head = read(&format!("POST /a?b HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).unwrap().unwrap();
            assert_eq!((head.length, head.keep_alive), (length, keep_alive), "{fields}");
            assert_eq!(head.parts.uri.path_and_query().unwrap(), "/a?b");
        };
        check("", Length::Empty, true);
        check("Content-Length: 0\r\n", Length::Empty, true);
        check("content-length: 5 \r\nConnection: x, Close\r\n", Length::Sized(5), false);
        check("Transfer-Encoding: Chunked\r\n", Length::Chunked, true);
        let old = read("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap().unwrap();
        assert!(old.keep_alive && !read("GET / HTTP/1.0\r\n\r\n").unwrap().unwrap().keep_alive);
    }

    #[test]
    fn head_that_could_be_read_in_two_ways_is_refused() {
        for fields in [
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: \r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding:\r\n chunked\r\n",
            "Transfer-Encoding : chunked\r\n",
            "A: b\nTransfer-Encoding: chunked\r\n",
            "A: b\rTransfer-Encoding: chunked\r\n",
            "A: b\0\r\n",
        ] {
            assert!(read(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).is_err(), "{fields:?}");
        }
        assert!(read("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(read("GET / HTTP/1.1\r\nA: b\n\n").is_err());
    }

    #[test]
    fn head_is_bounded_in_bytes_and_fields() {
        let long = "h".repeat(1000);
        assert_eq!(read(&format!("GET /{long}")).unwrap_err(), HeadError::TooLarge(1000));
        let many = "A: b\r\n".repeat(9);
        assert_eq!(read(&format!("GET / HTTP/1.1\r\n{many}\r\n")).unwrap_err(), HeadError::TooManyFields(8));
    }

    #[test]
    fn head_comes_in_pieces_and_leaves_what_follows() {
        let text = "\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b";
        for piece in 1..text.len() {
            let (mut buffer, mut searched, mut found) = (BytesMut::new(), 0, None);
            for piece in text.as_bytes().chunks(piece) {
                buffer.extend_from_slice(piece);
                if found.is_none() {
                    found = request(&mut buffer, &mut searched, LIMITS).unwrap();
                }
            }
            assert_eq!(found.unwrap().parts.uri, "/a", "in pieces of {piece}");
            assert_eq!(buffer, "GET /b");
        }
        assert!(read("GE").unwrap().is_none());
        assert!(read("\0\x01 nothing that ends").is_err(), "refused before its end has come");
    }

    #[test]
    fn head_of_a_response_is_read_for_its_request() {
        let check = |method: Method, text: &str| {
            let head = response(&mut BytesMut::from(text), &mut 0, LIMITS, &method).unwrap().unwrap();
            (head.length, head.keep_alive)
        };
        let sized = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(check(Method::GET, sized), (Length::Sized(5), true));
        assert_eq!(check(Method::HEAD, sized), (Length::Empty, true));
        assert_eq!(
            check(Method::GET, "HTTP/1.1 304 Not Modified\nContent-Length: 5\n\n"),
            (Length::Empty, true)
        );
        assert_eq!(check(Method::GET, "HTTP/1.1 200 OK\r\n\r\n"), (Length::UntilClose, false));
        assert_eq!(
            check(Method::GET, "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n"),
            (Length::Sized(1), false)
        );
        for bad in ["SSH-2.0-x", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"]
        {
            assert!(response(&mut BytesMut::from(bad), &mut 0, LIMITS, &Method::GET).is_err(), "{bad}");
        }
    }
}
