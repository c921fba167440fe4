//! The backends of the cases. They do as little as they can, so that they are not what is measured.

use std::net::SocketAddr;

pub(crate) mod bytes;
pub(crate) mod grpc;
pub(crate) mod http;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Serve {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// Answers every HTTP/1.1 request with the same bytes.
    Http {
        #[arg(long)]
        listen: SocketAddr,
        /// The size of the answer's body.
        #[arg(long, default_value_t = 1024)]
        bytes: usize,
    },
    /// Takes or gives bytes on plain connections, as their first byte says.
    Bytes {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Answers gRPC calls with messages of 1 KB: one, or as many as the path says after /bench.Bench/Stream.
    Grpc {
        #[arg(long)]
        listen: SocketAddr,
    },
}

pub(crate) fn run(serve: &Serve) -> anyhow::Result<()> {
    match serve.what {
        What::Http { listen, bytes } => http::run(listen, bytes),
        What::Bytes { listen } => bytes::run(listen),
        What::Grpc { listen } => grpc::run(listen),
    }
}
