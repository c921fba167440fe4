//! What the proxy of a client's node makes of what comes to a Service's port.

use mesh_ir::eval;
use mesh_ir::resource::AppProtocol;
use mesh_ir::view::{PortView, ServiceView};

use super::answer::HandledAs;
use super::decide::{Asking, UDP_ASIDE};
use super::question::Spoken;

impl Asking<'_> {
    /// What the proxy of the client's node does with a connection to this port.
    pub(super) fn handling(&self, service: &ServiceView, port: &PortView) -> (HandledAs, String) {
        let Some(pod) = self.source.pod() else {
            return (HandledAs::Refused, "a Service has no address outside the cluster".into());
        };
        if self.of_datagrams() {
            return (HandledAs::LeftAlone, UDP_ASIDE.into());
        }
        let node = pod.node.as_ref().map_or("its node".to_owned(), ToString::to_string);
        if !pod.meshed {
            let why = "the pod is not in the mesh, so that the cluster itself balances its connection and no route applies; \
                       label its namespace weir.dev/mesh: enabled to change that";
            return (HandledAs::LeftAlone, why.into());
        }
        if !service.is_captured(port) {
            let why = "no endpoint of the Service is in the mesh and no route or policy names it: the cluster itself \
                       balances the connection";
            return (HandledAs::LeftAlone, why.into());
        }
        let proxy = format!("by the proxy of {node}");
        if eval::is_routed_whole(port, Some(&pod.name.namespace)) {
            return (HandledAs::Tcp, format!("{proxy}, as bytes: the port has a route of connections"));
        }
        if self.question.spoken == Spoken::Bytes && !self.question.tls {
            return match port.protocol {
                AppProtocol::Tcp => {
                    (HandledAs::Tcp, format!("{proxy}, as bytes, into which it does not look"))
                }
                AppProtocol::Detect => {
                    let why = "as bytes: told from the first of them, which are not HTTP's";
                    (HandledAs::Tcp, format!("{proxy}, {why}"))
                }
                AppProtocol::Http | AppProtocol::Http2 => {
                    let why =
                        "the port is declared to speak HTTP, and who speaks something else is answered 400";
                    (HandledAs::Refused, format!("{proxy}: {why}; declare appProtocol: tcp"))
                }
            };
        }
        match (port.protocol, self.question.tls) {
            (AppProtocol::Tcp, _) => (
                HandledAs::Tcp,
                format!(
                    "{proxy}, as bytes: the port is declared or known not to speak HTTP (appProtocol, its name, or its number)"
                ),
            ),
            (AppProtocol::Detect, true) => (
                HandledAs::Tcp,
                format!(
                    "{proxy}, as bytes: the client begins TLS of its own, into which the proxy does not look"
                ),
            ),
            (AppProtocol::Http | AppProtocol::Http2, true) => (
                HandledAs::Refused,
                format!(
                    "{proxy}: the port is declared to speak HTTP in clear, and a client that begins TLS is answered 400; \
                         declare appProtocol: https, or dial http://"
                ),
            ),
            (AppProtocol::Detect, false) => (
                HandledAs::Http,
                format!("{proxy}, as HTTP: told from the first bytes, as the port declares nothing"),
            ),
            (AppProtocol::Http, false) => {
                (HandledAs::Http, format!("{proxy}, as HTTP, which the port declares"))
            }
            (AppProtocol::Http2, false) => (
                HandledAs::Http,
                format!(
                    "{proxy}, as HTTP; the port declares HTTP/2, which is what the endpoints are spoken to"
                ),
            ),
        }
    }
}
