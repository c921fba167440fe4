//! Which request headers travel on to the next service. A trace holds together, and a route by user works two hops
//! away, only because the applications pass these on; a mesh cannot know which request caused which.

use http::HeaderMap;

/// The headers that the original passes on, and with them `b3` (the one-header form) and `baggage`.
pub(crate) const FORWARDED: [&str; 22] = [
    "x-request-id",
    // W3C Trace Context and Baggage.
    "traceparent",
    "tracestate",
    "baggage",
    // B3, as one header and as many.
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    // Other tracers: Lightstep, Datadog, Google Cloud, gRPC's binary form, SkyWalking.
    "x-ot-span-context",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "sw8",
    // The user and the session.
    "end-user",
    "user-agent",
    "cookie",
    "authorization",
    "jwt",
];

/// The headers of an incoming request that belong on the requests it causes.
pub(crate) fn forwarded(incoming: &HeaderMap) -> HeaderMap {
    let mut outgoing = HeaderMap::new();
    for name in FORWARDED {
        for value in incoming.get_all(name) {
            outgoing.append(name, value.clone());
        }
    }
    outgoing
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn forward_keeps_repeated_values_and_drops_the_rest() {
        let mut incoming = HeaderMap::new();
        incoming.append("tracestate", HeaderValue::from_static("a=1"));
        incoming.append("tracestate", HeaderValue::from_static("b=2"));
        incoming.append("end-user", HeaderValue::from_static("jason"));
        incoming.append("x-version", HeaderValue::from_static("v3"));
        incoming.append("host", HeaderValue::from_static("bookinfo"));
        let outgoing = forwarded(&incoming);
        assert_eq!(outgoing.get_all("tracestate").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
        assert_eq!(outgoing["end-user"], "jason");
        assert_eq!(outgoing.len(), 3);
    }
}
