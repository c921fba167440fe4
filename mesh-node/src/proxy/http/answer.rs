//! Responses: the proxy's own, and those of backends on their way back.

use std::pin::Pin;

use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::request::Parts;
use http::{Response, StatusCode, Version};
use mesh_ir::eval::filters::{Arrival, redirect_location};
use mesh_ir::eval::{Decision, cors};
use mesh_ir::resource::{Cors, Redirect};
use mesh_ir::view::Match;

use super::body::Body;
use super::{Inlet, fields};
use crate::telemetry::Exchange;

/// An answer of the proxy's own, in words.
pub(super) fn text(status: StatusCode, reason: &str, mut exchange: Exchange) -> Response<Body> {
    exchange.answered(status, Some(reason));
    let mut body = Body::whole(format!("{reason}\n"));
    body.held().exchange = Some(exchange);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

pub(super) fn redirect(
    redirect: &Redirect,
    decision: &Decision<'_>,
    inlet: &Inlet,
    head: &Parts,
    host: &str,
    exchange: Exchange,
) -> Response<Body> {
    let port = match inlet {
        Inlet::Service { port, .. } => *port,
        Inlet::Gateway { target_port, .. } => {
            decision.listener.map_or(*target_port, |listener| listener.port)
        }
    };
    let arrival = Arrival {
        scheme: inlet.scheme(),
        host,
        port,
        path: head.uri.path(),
        query: head.uri.query(),
        prefix: decision.matched.and_then(|Match { matcher, .. }| matcher.prefix()),
    };
    let location = HeaderValue::try_from(redirect_location(redirect, &arrival));
    let status = StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND);
    let Ok(location) = location else {
        return text(StatusCode::BAD_REQUEST, "the redirect's location is no header value", exchange);
    };
    let mut response = empty(status, exchange);
    response.headers_mut().insert(LOCATION, location);
    response
}

/// What a browser is told that asks before it sends its request.
pub(super) fn preflight(cors: &Cors, head: &Parts, exchange: Exchange) -> Response<Body> {
    let mut response = empty(StatusCode::NO_CONTENT, exchange);
    *response.headers_mut() = cors::preflight(cors, &head.headers);
    response
}

fn empty(status: StatusCode, mut exchange: Exchange) -> Response<Body> {
    exchange.answered(status, None);
    let mut body = Body::whole("");
    body.held().exchange = Some(exchange);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// A backend's response, in the version that the client speaks.
pub(super) fn pass_on(
    mut response: Response<Body>,
    version: Version,
    call: bool,
    mut exchange: Exchange,
) -> Response<Body> {
    exchange.answered(response.status(), None);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        fields::strip_hop_by_hop(response.headers_mut());
    }
    *response.version_mut() = version;
    let held = Pin::new(response.body_mut()).get_mut().held();
    held.exchange = Some(exchange);
    // There is no gRPC over HTTP/1, and so nothing that would be told there.
    held.call = call && version == Version::HTTP_2;
    response
}
