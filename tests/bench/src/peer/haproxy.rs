//! HAProxy as a reverse proxy with a pool of connections to its backend.

use std::net::SocketAddr;

use super::Recipe;

/// A plaintext reverse proxy.
pub(crate) fn http(listen: SocketAddr, backend: SocketAddr) -> Recipe {
    let configuration = format!(
        "global\n  nbthread 1\n  maxconn 4096\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  http-reuse always\n\
         frontend in\n  bind {listen}\n  default_backend out\n\
         backend out\n  server one {backend} pool-max-conn -1\n"
    );
    Recipe {
        name: "haproxy",
        program: "haproxy".into(),
        configuration,
        arguments: &["-db", "-f", "CONFIGURATION"],
        listens: listen,
    }
}
