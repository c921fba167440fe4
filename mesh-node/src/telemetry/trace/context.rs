//! W3C Trace Context: which trace a request belongs to, as its client says it and as those behind the Gateway are told. What
//! `tracestate` says goes on as it is, where it goes with a trace that does.

use std::fmt::Write;

use http::header::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `VERSION-TRACE-SPAN-FLAGS`, in hexadecimal digits.
const LENGTH: usize = 55;
const SAMPLED: u8 = 0b01;
/// That the trace's name is a random one, which level 2 of the specification passes on.
const RANDOM: u8 = 0b10;
/// All that receivers must take of `tracestate`; of a longer one a span says nothing.
const MAX_STATE: usize = 512;

pub(super) type TraceId = [u8; 16];
pub(super) type SpanId = [u8; 8];

/// A span, as those that it caused are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) flags: u8,
}

impl Context {
    /// That of the client's span; `None` where the client says nothing, or what cannot be understood.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Self::parse(value.as_bytes()),
            _ => None,
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (known, more) = text.split_at_checked(LENGTH)?;
        let [version] = bytes(&known[..2])?;
        let valid = match version {
            0 => more.is_empty(),
            0xff => false,
            // What a later version adds comes behind what is known of it.
            _ => more.first().is_none_or(|byte| *byte == b'-'),
        };
        let separated = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        let (trace, span, [flags]) = (bytes(&known[3..35])?, bytes(&known[36..52])?, bytes(&known[53..])?);
        let named = trace != TraceId::default() && span != SpanId::default();
        (valid && separated && named).then_some(Self { trace, span, flags })
    }

    /// Of a new span: in the client's trace, or a new one.
    pub(super) fn begin(client: Option<Self>, sampled: bool) -> Self {
        let (trace, kept) =
            client.map_or_else(|| (random(), 0), |client| (client.trace, client.flags & RANDOM));
        Self { trace, span: random(), flags: kept | if sampled { SAMPLED } else { 0 } }
    }

    /// Of another span in the same trace.
    pub(super) fn beside(self) -> Self {
        Self { span: random(), ..self }
    }

    pub(super) fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Tells whoever gets a request with these headers that this span has caused it.
    pub(super) fn write(self, headers: &mut HeaderMap) {
        let mut text = String::with_capacity(LENGTH);
        text.push_str("00-");
        for part in [&self.trace[..], &self.span[..], &[self.flags]] {
            for byte in part {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
            }
            text.push('-');
        }
        text.pop();
        // Digits and hyphens are what a header may hold.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(TRACEPARENT, value);
        }
    }
}

/// Of a trace that begins here nobody before can have said anything.
pub(super) fn forget_state(headers: &mut HeaderMap) {
    headers.remove(TRACESTATE);
}

/// `tracestate`, as a span has it.
pub(super) fn state(headers: &HeaderMap) -> String {
    let values = headers.get_all(TRACESTATE).iter().filter_map(|value| value.to_str().ok());
    let state = values.collect::<Vec<_>>().join(",");
    if state.len() > MAX_STATE { String::new() } else { state }
}

/// Bytes in lower-case hexadecimal digits.
fn bytes<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(digits[0])? << 4 | value(digits[1])?;
    }
    Some(bytes)
}

/// A name that no other span or trace has; one of zeros alone would name none.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    while bytes == [0; N] {
        if aws_lc_rs::rand::fill(&mut bytes).is_err() {
            fastrand::fill(&mut bytes);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(values: &[&str]) -> Option<Context> {
        let values = values.iter().map(|value| (TRACEPARENT, HeaderValue::from_str(value).unwrap()));
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(name, value);
        }
        Context::read(&headers)
    }

    #[test]
    fn trace_context_is_written_as_it_is_read() {
        let context = read(&[TEXT]).unwrap();
        assert!(context.is_sampled());
        assert_eq!((context.trace[0], context.trace[15], context.span[7]), (0x0a, 0x9c, 0x31));
        let mut headers = HeaderMap::new();
        context.write(&mut headers);
        assert_eq!(headers[TRACEPARENT], TEXT);
    }

    #[test]
    fn trace_context_of_later_versions_is_read_as_far_as_it_is_known() {
        assert!(read(&[&TEXT.replacen("00", "01", 1)]).is_some());
        assert!(read(&[&format!("{}-more", TEXT.replacen("00", "cc", 1))]).is_some());
        assert!(read(&[&format!("{}more", TEXT.replacen("00", "cc", 1))]).is_none());
    }

    #[test]
    fn trace_context_that_is_none_is_not_read() {
        let zero_trace = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let zero_span = "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01";
        let capitals = TEXT.to_uppercase();
        let longer = format!("{TEXT}-00");
        let reserved = TEXT.replacen("00", "ff", 1);
        let joined = TEXT.replace("-b", "_b");
        for text in ["", "00", zero_trace, zero_span, &capitals, &longer, &reserved, &joined, &TEXT[..54]] {
            assert_eq!(read(&[text]), None, "{text}");
        }
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[TEXT, TEXT]), None);
    }

    #[test]
    fn trace_context_begins_in_the_clients_trace_or_a_new_one() {
        let client = Context { flags: 0xff, ..read(&[TEXT]).unwrap() };
        let within = Context::begin(Some(client), false);
        assert_eq!((within.trace, within.flags), (client.trace, RANDOM));
        assert_ne!(within.span, client.span);
        let (one, other) = (Context::begin(None, true), Context::begin(None, true));
        assert!(one.is_sampled() && one.trace != other.trace);
        assert_eq!(one.beside().trace, one.trace);
    }
}
