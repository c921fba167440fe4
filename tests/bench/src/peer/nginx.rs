//! nginx as a reverse proxy with a pool of connections to its backend.

use std::net::SocketAddr;

use super::Recipe;

/// A plaintext reverse proxy.
pub(crate) fn http(listen: SocketAddr, backend: SocketAddr) -> Recipe {
    let configuration = format!(
        "worker_processes 1;\ndaemon off;\npid off;\nerror_log stderr;\n\
         events {{ worker_connections 16384; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000000;\n\
         \x20 upstream backend {{ server {backend}; keepalive 256; keepalive_requests 1000000000; }}\n\
         \x20 server {{\n    listen {listen};\n\
         \x20   location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}\n\
         \x20 }}\n}}\n"
    );
    Recipe {
        name: "nginx",
        program: "nginx".into(),
        configuration,
        arguments: &["-e", "stderr", "-c", "CONFIGURATION"],
        listens: listen,
    }
}
