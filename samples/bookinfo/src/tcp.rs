//! `bookinfo tcp`: one raw TCP exchange, and the addresses that the application sees for its own socket.

use std::io::Write;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cli::TcpArgs;

pub(crate) async fn run(args: &TcpArgs) -> Result<(), String> {
    let timeout = args.timeout();
    let outcome = match tokio::time::timeout(timeout, exchange(args)).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err(format!("timeout: the exchange did not end within {} s", timeout.as_secs())),
    };
    outcome.map_err(|reason| format!("tcp {}: {reason}", args.target))
}

async fn exchange(args: &TcpArgs) -> std::io::Result<()> {
    // Resolves by getaddrinfo, as the applications of a pod do.
    let mut stream = TcpStream::connect(&args.target).await?;
    let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
    eprintln!("{}", json!({ "local": local.to_string(), "peer": peer.to_string() }));

    let (mut from, mut to) = stream.split();
    let send = async {
        to.write_all(args.send.as_bytes()).await?;
        to.shutdown().await
    };
    // What came before a reset is printed too, so it is printed as it comes.
    let print = async {
        let mut chunk = vec![0; 16 * 1024];
        loop {
            let length = from.read(&mut chunk).await?;
            if length == 0 {
                return Ok(());
            }
            let mut stdout = std::io::stdout();
            stdout.write_all(&chunk[..length]).and_then(|()| stdout.flush())?;
        }
    };
    tokio::try_join!(send, print).map(|_| ())
}
