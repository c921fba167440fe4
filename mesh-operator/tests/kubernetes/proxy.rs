//! A way to the API server that a test can cut.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use kube::{Client, Config};
use mesh_operator::ApiServer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Proxy {
    address: SocketAddr,
    open: Arc<watch::Sender<bool>>,
}

impl Proxy {
    pub(crate) async fn start() -> Self {
        let config = Config::infer().await.unwrap();
        let host = config.cluster_url.host().unwrap().to_owned();
        let port = config.cluster_url.port_u16().unwrap_or(443);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(watch::channel(true).0);
        let opened = open.clone();
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let mut open = opened.subscribe();
                if !*open.borrow_and_update() {
                    continue;
                }
                let Ok(mut to) = TcpStream::connect((host.as_str(), port)).await else { continue };
                tokio::spawn(async move {
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
                        _ = open.wait_for(|open| !*open) => {}
                    }
                });
            }
        });
        Self { address, open }
    }

    /// The API server by way of this.
    pub(crate) async fn server(&self) -> ApiServer {
        let mut config = Config::infer().await.unwrap();
        let host = config.cluster_url.host().unwrap().to_owned();
        config.tls_server_name.get_or_insert(host);
        config.cluster_url = format!("https://{}", self.address).parse().unwrap();
        Client::try_from(config).unwrap().into()
    }

    /// Ends every connection, and takes none.
    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn restore(&self) {
        self.open.send_replace(true);
    }
}
