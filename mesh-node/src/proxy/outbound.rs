//! Connections that a pod's applications make.

use std::rc::Rc;
use std::sync::Arc;

use mesh_ir::eval::endpoints::Origin;
use mesh_ir::eval::reach::Reach;
use mesh_ir::eval::{self, Target};
use mesh_ir::resource::AppProtocol;
use mesh_ir::view::Destination;
use tokio::net::TcpStream;

use super::choice::Client;
use super::conn::Conn;
use super::detect::{self, Spoken};
use super::dial::Way;
use super::http::{self, Inlet};
use super::tcp::Content;
use super::{Worker, tcp};
use crate::sockets;
use crate::state::LocalPod;

pub(super) async fn serve(worker: Rc<Worker>, stream: TcpStream, pod: Arc<LocalPod>) {
    let Ok(client) = stream.peer_addr().map(sockets::canonical) else { return };
    let Some(dialled) = worker.maps.borrow().origin(pod.netns.cookie(), client) else {
        // Someone dialled the proxy's port itself.
        worker.state.telemetry.refused("no-origin");
        return sockets::reset(stream);
    };
    let mut conn = Conn::from(stream);
    let view = worker.state.view.load_full();
    let v6 = dialled.is_ipv6();
    match view.destination(dialled.ip(), dialled.port()) {
        Destination::Service(port) => {
            let limits = &worker.state.settings.limits;
            let protocol = match eval::is_routed_whole(port, Some(&pod.identity.namespace)) {
                true => AppProtocol::Tcp,
                false => port.protocol,
            };
            let spoken = match protocol {
                AppProtocol::Tcp => Ok(Spoken::Other),
                // A declared protocol is believed; which version of it the client speaks is in its first bytes,
                // and those may come late.
                AppProtocol::Http | AppProtocol::Http2 => {
                    detect::protocol(&mut conn, limits.header_timeout).await
                }
                AppProtocol::Detect => detect::protocol(&mut conn, limits.detect_timeout).await,
            };
            let Ok(spoken) = spoken else { return };
            let (service, port) = (port.service.clone(), port.port);
            drop(view);
            match (spoken, protocol) {
                (Spoken::Undecided, AppProtocol::Http | AppProtocol::Http2) => {}
                (Spoken::Other | Spoken::Undecided, AppProtocol::Tcp | AppProtocol::Detect) => {
                    let namespace = Some(&pod.identity.namespace);
                    let target = Target::Service { client: namespace, service: &service, port };
                    let client = Client { address: pod.address(v6), origin: Origin::Pod, persistent: None };
                    tcp::routed(&worker, conn, &pod, client, target, Content::Wrapped, v6).await;
                }
                (spoken, _) => {
                    let inlet = Inlet::Service { pod, service, port, v6 };
                    Box::pin(http::serve(worker, conn, spoken == Spoken::Http2, inlet)).await;
                }
            }
        }
        Destination::Workload(workload) => {
            tcp::to_workload(&worker, conn, &pod, workload, dialled.port(), v6, &view).await;
        }
        Destination::Unknown => {
            // It was the mesh's a moment ago, or the connection would not have been captured.
            let way = Way { address: dialled, reach: Reach::Plaintext };
            tcp::along(&worker, conn, &pod, &way, &view, None).await;
        }
    }
}
