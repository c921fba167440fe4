//! Envoy, with what a mesh has it do: a connection manager with a router, its statistics and request IDs on; or a TCP proxy.
//! Between two of them goes TLS 1.3, where each checks the other's identity.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Value, json};

use super::Recipe;
use crate::keys::Keys;

const TYPE: &str = "type.googleapis.com/envoy.extensions";

/// What a hop understands of the bytes it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
    Tcp,
}

/// How a connection is secured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Security<'a> {
    Plaintext,
    /// The server shows a certificate.
    Server(&'a Keys),
    /// Both do.
    Mutual(&'a Keys),
}

/// One Envoy on a path: it listens, and sends what comes on to one place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hop<'a> {
    pub(crate) listen: SocketAddr,
    pub(crate) accepts: Security<'a>,
    pub(crate) to: SocketAddr,
    pub(crate) dials: Security<'a>,
    pub(crate) speaks: Speaks,
}

impl Hop<'_> {
    pub(crate) fn recipe(&self) -> anyhow::Result<Recipe> {
        let listeners = json!([{
            "name": "in",
            "address": address(self.listen),
            "filter_chains": [self.filter_chain()],
        }]);
        let resources = json!({"listeners": listeners, "clusters": [self.cluster()]});
        Ok(Recipe {
            name: "envoy",
            program: program()?,
            configuration: json!({"static_resources": resources}).to_string(),
            arguments: &[
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "warning",
                "--config-path",
                "CONFIGURATION",
            ],
            listens: self.listen,
        })
    }

    fn filter_chain(&self) -> Value {
        let mut chain = json!({"filters": [self.filter()]});
        let (keys, mutual) = match self.accepts {
            Security::Plaintext => return chain,
            Security::Server(keys) => (keys, false),
            Security::Mutual(keys) => (keys, true),
        };
        let mut context = json!({
            "@type": format!("{TYPE}.transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": common(keys, mutual),
            "require_client_certificate": mutual,
        });
        if !mutual {
            context["common_tls_context"]["alpn_protocols"] = json!(["h2", "http/1.1"]);
        }
        chain["transport_socket"] = transport_socket(&context);
        chain
    }

    fn filter(&self) -> Value {
        if self.speaks == Speaks::Tcp {
            return json!({
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                    "@type": format!("{TYPE}.filters.network.tcp_proxy.v3.TcpProxy"),
                    "stat_prefix": "in",
                    "cluster": "out",
                },
            });
        }
        json!({
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": format!("{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
                "stat_prefix": "in",
                "codec_type": "AUTO",
                "route_config": {"virtual_hosts": [{
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "out", "timeout": "0s"}}],
                }]},
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": format!("{TYPE}.filters.http.router.v3.Router")},
                }],
            },
        })
    }

    fn cluster(&self) -> Value {
        let mut cluster = json!({
            "name": "out",
            "type": "STATIC",
            "load_assignment": {"cluster_name": "out", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": address(self.to)}},
            ]}]},
            // The defaults refuse what a contest may ask for.
            "circuit_breakers": {"thresholds": [{
                "max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000,
            }]},
        });
        if self.speaks == Speaks::Http2 {
            cluster["typed_extension_protocol_options"] = json!({
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": format!("{TYPE}.upstreams.http.v3.HttpProtocolOptions"),
                    "explicit_http_config": {"http2_protocol_options": {}},
                },
            });
        }
        if let Security::Server(keys) | Security::Mutual(keys) = self.dials {
            cluster["transport_socket"] = transport_socket(&json!({
                "@type": format!("{TYPE}.transport_sockets.tls.v3.UpstreamTlsContext"),
                "common_tls_context": common(keys, true),
            }));
        }
        cluster
    }
}

/// The folder that `make bench-setup` puts programs into which are no packages of the system.
pub(crate) fn tool(name: &str) -> anyhow::Result<PathBuf> {
    let file = std::env::var_os("WEIR_BENCH_TOOLS").map(|folder| PathBuf::from(folder).join(name));
    let file =
        file.with_context(|| format!("WEIR_BENCH_TOOLS names no folder that holds {name}: use make bench"))?;
    anyhow::ensure!(file.exists(), "{} is not there: run make bench-setup", file.display());
    Ok(file)
}

fn program() -> anyhow::Result<PathBuf> {
    tool("envoy")
}

fn common(keys: &Keys, checks_peer: bool) -> Value {
    let file = |path: &std::path::Path| json!({"filename": path.display().to_string()});
    let mut common = json!({
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [{"certificate_chain": file(&keys.certificate), "private_key": file(&keys.key)}],
    });
    if checks_peer {
        common["validation_context"] = json!({
            "trusted_ca": file(&keys.root),
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": keys.peer}}],
        });
    }
    common
}

fn transport_socket(context: &Value) -> Value {
    json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
}

fn address(of: SocketAddr) -> Value {
    json!({"socket_address": {"address": of.ip().to_string(), "port_value": of.port()}})
}
