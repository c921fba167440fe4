//! `bookinfo udp`: one datagram and what answers it; and the server for it.

use std::io::{self, Write};

use serde_json::json;
use tokio::net::UdpSocket;

use crate::cli::UdpArgs;
use crate::instance::Instance;

/// More than a datagram can hold.
const MAX_DATAGRAM: usize = 65_536;

pub(crate) async fn run(args: &UdpArgs) -> Result<(), String> {
    let timeout = args.timeout();
    let outcome = match tokio::time::timeout(timeout, exchange(args)).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err(format!("timeout: nothing came back within {} s", timeout.as_secs())),
    };
    outcome.map_err(|reason| format!("udp {}: {reason}", args.target))
}

async fn exchange(args: &UdpArgs) -> io::Result<()> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host(&args.target).await? {
        let any = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any).await?;
        match socket.connect(address).await {
            Ok(()) => return converse(&socket, args.send.as_bytes()).await,
            // A family that this machine has no route for.
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn converse(socket: &UdpSocket, datagram: &[u8]) -> io::Result<()> {
    eprintln!(
        "{}",
        json!({ "local": socket.local_addr()?.to_string(), "peer": socket.peer_addr()?.to_string() })
    );
    socket.send(datagram).await?;
    let mut answer = vec![0; MAX_DATAGRAM];
    let length = socket.recv(&mut answer).await?;
    let mut stdout = io::stdout();
    stdout.write_all(&answer[..length]).and_then(|()| stdout.flush())
}

/// Sends every datagram back; an empty one is answered by the name of the pod.
pub(crate) async fn echo(socket: UdpSocket, instance: Instance, stop: impl Future<Output = ()>) {
    let answering = async {
        let mut datagram = vec![0; MAX_DATAGRAM];
        loop {
            // An error is about a datagram that was sent before, and whose receiver is gone.
            let Ok((length, peer)) = socket.recv_from(&mut datagram).await else { continue };
            let answer = if length == 0 { instance.pod().as_bytes() } else { &datagram[..length] };
            let _: io::Result<usize> = socket.send_to(answer, peer).await;
        }
    };
    tokio::select! {
        () = answering => {}
        () = stop => {}
    }
}
