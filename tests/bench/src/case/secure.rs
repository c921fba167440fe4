//! A Gateway that ends TLS in a lab of pods. The cases about HTTPS share it.

use std::net::SocketAddr;

use super::pods::{HTTP, Pods};
use crate::keys::{self, Keys};
use crate::stage::Scene;

/// The name that the Gateway's certificate is for.
pub(crate) const NAME: &str = "bench.example";

#[derive(Debug)]
pub(crate) struct Secure {
    pub(crate) pods: Pods,
    /// Where it listens on the first node for what goes to a backend in the mesh, and to one outside of it.
    pub(crate) to_mesh: SocketAddr,
    pub(crate) to_plain: SocketAddr,
    /// The Gateway's certificate, for peers to show as well.
    pub(crate) keys: Keys,
}

impl Secure {
    pub(crate) fn up(scene: &Scene<'_>) -> anyhow::Result<Self> {
        let (certificate, key) = keys::serving(NAME)?;
        let pods = Pods::up_with(scene, &manifest(&certificate, &key))?;
        let at = |gateway: &str| -> anyhow::Result<SocketAddr> {
            Ok(SocketAddr::new(pods.nodes[0].address, pods.stage.target_port("bench", gateway, 443)?))
        };
        Ok(Self {
            to_mesh: at("to-mesh")?,
            to_plain: at("to-plain")?,
            keys: Keys::write(pods.stage.folder(), NAME, &certificate, &key)?,
            pods,
        })
    }
}

fn manifest(certificate: &str, key: &str) -> String {
    let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let mut text = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: certificate, namespace: bench}}\ntype: kubernetes.io/tls\n\
         stringData:\n  tls.crt: |\n{}  tls.key: |\n{}\
         ---\napiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\n\
         metadata: {{name: bench, namespace: plain}}\nspec:\n  \
         from: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: bench}}]\n  to: [{{group: '', kind: Service}}]\n",
        indented(certificate),
        indented(key)
    );
    for (name, namespace) in [("to-mesh", "bench"), ("to-plain", "plain")] {
        text += &format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: bench}}\n\
             spec:\n  gatewayClassName: weir\n  listeners:\n  - name: https\n    protocol: HTTPS\n    port: 443\n    \
             tls: {{certificateRefs: [{{name: certificate}}]}}\n\
             ---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: bench}}\n\
             spec:\n  parentRefs: [{{name: {name}}}]\n  rules:\n  \
             - backendRefs: [{{name: server, namespace: {namespace}, port: {HTTP}}}]\n"
        );
    }
    text
}
