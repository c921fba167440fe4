//! Copies of requests, sent beside the real ones and their answers thrown away.

use std::rc::Rc;
use std::time::Duration;

use http::request::Parts;
use http_body_util::BodyExt;
use mesh_ir::grpc::is_call;
use mesh_ir::name::ObjectName;
use mesh_ir::resource::{BackendTarget, Filter};

use super::Inlet;
use super::body::Body;
use super::forward::{Course, Outgoing, send};
use super::h1::Interim;
use super::incoming::Incoming;
use crate::proxy::Worker;
use crate::telemetry::Exchange;

/// A mirror that takes longer is given up.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The Service to which a copy of this request goes, if the filter is a mirror and the dice say so.
pub(super) fn wanted(filter: &Filter) -> Option<(ObjectName, u16)> {
    let Filter::Mirror(mirror) = filter else { return None };
    let BackendTarget::Service { service, port } = &mirror.target else { return None };
    let drawn = fastrand::u32(..mirror.fraction.denominator.max(1));
    (drawn < mirror.fraction.numerator).then(|| (service.clone(), *port))
}

/// Begins to send a copy to each mirror, and gives back the body for the request itself. The request does not wait
/// for its copies: one whose mirror takes its body more slowly is broken off.
pub(super) fn copies(
    worker: &Rc<Worker>,
    inlet: &Rc<Inlet>,
    mirrors: &[(ObjectName, u16)],
    head: &Parts,
    body: Incoming,
) -> Body {
    let (body, copies) = Body::copied(body, mirrors.len());
    for ((service, port), copy) in mirrors.iter().cloned().zip(copies) {
        let (worker, inlet) = (worker.clone(), inlet.clone());
        let mut head = head.clone();
        tokio::task::spawn_local(async move {
            let mut exchange = Exchange::mirror(&worker, &inlet);
            let view = worker.state.view.load_full();
            let call = is_call(&head.headers);
            let outgoing =
                Outgoing { head: &mut head, body: copy, upgrade: None, call, interim: Interim::default() };
            let mut course = Course::default();
            let sending =
                send(&worker, &view, &inlet, (&service, port), outgoing, &mut exchange, &mut course);
            match tokio::time::timeout(TIMEOUT, sending).await {
                Ok(Ok(response)) => {
                    exchange.answered(response.status(), None);
                    let mut body = response.into_body();
                    let drained = async { while let Some(Ok(_)) = body.frame().await {} };
                    if tokio::time::timeout(TIMEOUT, drained).await.is_err() {
                        exchange.broken(&"the mirror's answer did not end in time");
                    }
                }
                Ok(Err(failure)) => exchange.failed(&failure),
                Err(_) => exchange.broken(&"the mirror did not answer in time"),
            }
        });
    }
    body
}
