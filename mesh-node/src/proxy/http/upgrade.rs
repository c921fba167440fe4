//! HTTP/1.1 Upgrade (WebSocket): when the backend agrees, the two connections become one stream.

use std::rc::Rc;

use http::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use super::forward::Guards;
use crate::proxy::Worker;

/// A client's wish to speak another protocol.
#[derive(Debug)]
pub(super) struct Requested {
    protocol: HeaderValue,
    client: OnUpgrade,
}

pub(super) fn requested(request: &mut Request<Incoming>) -> Option<Requested> {
    if request.version() != Version::HTTP_11 {
        return None;
    }
    let asked = request.headers().get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let mut options = asked.flat_map(|list| list.split(','));
    if !options.any(|option| option.trim().eq_ignore_ascii_case("upgrade")) {
        return None;
    }
    let protocol = request.headers().get(UPGRADE)?.clone();
    Some(Requested { protocol, client: hyper::upgrade::on(request) })
}

impl Requested {
    /// Says the wish to the backend.
    pub(super) fn say(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, self.protocol.clone());
    }

    /// Joins the two once the backend has agreed. Ends with the connections.
    pub(super) fn join(self, worker: &Rc<Worker>, response: &mut Response<Incoming>, guards: Guards) {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let backend = hyper::upgrade::on(response);
        let worker = worker.clone();
        tokio::task::spawn_local(async move {
            // Both counts as one request under way, as long as it lasts.
            let _held = (worker, guards);
            let (Ok(client), Ok(backend)) = (self.client.await, backend.await) else { return };
            let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
            if let Err(error) = copy_bidirectional(&mut client, &mut backend).await {
                tracing::debug!(%error, "an upgraded connection ended with an error");
            }
        });
    }
}
