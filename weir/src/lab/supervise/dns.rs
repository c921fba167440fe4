//! The DNS server of the lab, on the machine's address in the LAN: sockets only; the answers are
//! [`Names::answer`](crate::lab::decide::names::Names::answer)'s.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};

use crate::lab::decide::names::Names;

/// How many TCP connections are served at once, and how long one may be silent.
const MAX_CONNECTIONS: usize = 64;
const IDLE: Duration = Duration::from_secs(10);
/// An answer by UDP without EDNS is no longer than this (RFC 1035).
const MAX_UDP: usize = 512;

/// Opens the sockets on these addresses and answers until the process ends.
pub(crate) async fn serve(addresses: &[IpAddr], names: watch::Receiver<Arc<Names>>) -> io::Result<()> {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    for address in addresses {
        let address = SocketAddr::new(*address, 53);
        let taken = |error| {
            io::Error::other(format!(
                "the lab's DNS server cannot listen on {address}: {error}; which program does?"
            ))
        };
        let udp = UdpSocket::bind(address).await.map_err(taken)?;
        let tcp = TcpListener::bind(address).await.map_err(taken)?;
        tokio::spawn(datagrams(udp, names.clone()));
        tokio::spawn(streams(tcp, names.clone(), connections.clone()));
    }
    Ok(())
}

async fn datagrams(socket: UdpSocket, names: watch::Receiver<Arc<Names>>) {
    let mut buffer = vec![0; 4096];
    loop {
        // An error here is an earlier answer's, come back as an ICMP message, and says nothing about the next query.
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let Some((answer, limit)) = answer(&names, &buffer[..length]) else { continue };
        let bytes = match answer.to_vec() {
            Ok(bytes) if bytes.len() <= limit => bytes,
            Ok(_) => match answer.truncate().to_vec() {
                Ok(bytes) => bytes,
                Err(_) => continue,
            },
            Err(_) => continue,
        };
        let _ = socket.send_to(&bytes, peer).await;
    }
}

async fn streams(listener: TcpListener, names: watch::Receiver<Arc<Names>>, connections: Arc<Semaphore>) {
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let names = names.clone();
                tokio::spawn(async move {
                    // A connection that fails is its peer's trouble; a resolver opens another.
                    let _ = stream_of_queries(stream, &names).await;
                    drop(permit);
                });
            }
            // Out of descriptors, most likely: the pause keeps this from spinning until some are free.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn stream_of_queries(mut stream: TcpStream, names: &watch::Receiver<Arc<Names>>) -> io::Result<()> {
    let mut query = Vec::new();
    loop {
        let length = tokio::time::timeout(IDLE, stream.read_u16()).await??;
        query.resize(usize::from(length), 0);
        tokio::time::timeout(IDLE, stream.read_exact(&mut query)).await??;
        let Some((answer, _)) = answer(names, &query) else { return Ok(()) };
        let bytes = answer.to_vec().map_err(io::Error::other)?;
        let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend(bytes);
        tokio::time::timeout(IDLE, stream.write_all(&frame)).await??;
    }
}

/// The answer and how long it may be by UDP; none for what is no query at all.
fn answer(names: &watch::Receiver<Arc<Names>>, query: &[u8]) -> Option<(Message, usize)> {
    match Message::from_vec(query) {
        Ok(message) if message.metadata.message_type == MessageType::Query => {
            let limit =
                message.edns.as_ref().map_or(MAX_UDP, |_| usize::from(message.max_payload()).max(MAX_UDP));
            let names = names.borrow().clone();
            Some((names.answer(&message), limit))
        }
        Ok(_) => None,
        Err(_) => {
            let id = u16::from_be_bytes([*query.first()?, *query.get(1)?]);
            Some((Message::error_msg(id, OpCode::Query, ResponseCode::FormErr), MAX_UDP))
        }
    }
}
