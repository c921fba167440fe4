//! TLS handshakes of the mesh's connections: rustls says what to send, and is shown one record at a time, so that whatever
//! follows the handshake is still sealed when it is done.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, Error, ExtractedSecrets, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::records;
use super::{Keys, Tls, io_error};
use crate::proxy::buffers;
use crate::proxy::conn::Conn;

/// A handshake that is done. What the peer's certificate says is still to be asked.
pub(in crate::proxy) struct Done<S> {
    tcp: TcpStream,
    side: S,
    received: BytesMut,
    to_send: BytesMut,
}

/// One end of a handshake.
pub(in crate::proxy) trait Side {
    type Data;

    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn state(&self) -> &CommonState;

    fn split(self) -> Result<(ExtractedSecrets, Keys), Error>;
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(records)
    }

    fn state(&self) -> &CommonState {
        self
    }

    fn split(self) -> Result<(ExtractedSecrets, Keys), Error> {
        let (secrets, keys) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, Keys::Client(keys)))
    }
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(records)
    }

    fn state(&self) -> &CommonState {
        self
    }

    fn split(self) -> Result<(ExtractedSecrets, Keys), Error> {
        let (secrets, keys) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, Keys::Server(keys)))
    }
}

pub(in crate::proxy) async fn connect(
    conn: Conn,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
) -> io::Result<Done<UnbufferedClientConnection>> {
    let side = UnbufferedClientConnection::new(config, name).map_err(io_error)?;
    let mut done = shake(conn, side).await?;
    // The server waits for it.
    done.tcp.write_all_buf(&mut done.to_send).await?;
    Ok(done)
}

/// What this end has to say at last (the tickets) goes with the first bytes that are written.
pub(in crate::proxy) async fn accept(
    conn: Conn,
    config: Arc<ServerConfig>,
) -> io::Result<Done<UnbufferedServerConnection>> {
    let side = UnbufferedServerConnection::new(config).map_err(io_error)?;
    shake(conn, side).await
}

impl<S: Side> Done<S> {
    pub(in crate::proxy) fn state(&self) -> &CommonState {
        self.side.state()
    }

    pub(in crate::proxy) fn into_tls(self) -> io::Result<Tls> {
        let (secrets, keys) = self.side.split().map_err(io_error)?;
        Tls::new(self.tcp, secrets, keys, self.received, self.to_send).map_err(io_error)
    }
}

enum Next {
    Process,
    Receive,
    Done,
}

async fn shake<S: Side>(conn: Conn, mut side: S) -> io::Result<Done<S>> {
    let (mut tcp, mut received) = conn.into_tcp()?;
    let mut to_send = buffers::lend(false);
    // Of what was received, the records that rustls has been shown.
    let mut shown = 0;
    loop {
        let UnbufferedStatus { discard, state, .. } = side.process(&mut received[..shown]);
        let next = match state {
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut to_send).map(|()| Next::Process),
            // It is sent before anything is waited for.
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Ok(Next::Process)
            }
            Ok(ConnectionState::BlockedHandshake) => Ok(Next::Receive),
            Ok(ConnectionState::WriteTraffic(_)) => Ok(Next::Done),
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => return Err(ended()),
            Ok(_) => Err(Error::HandshakeNotComplete),
            Err(error) => Err(error),
        };
        received.advance(discard);
        shown -= discard;
        match next {
            Ok(Next::Process) => {}
            Ok(Next::Done) => return Ok(Done { tcp, side, received, to_send }),
            Ok(Next::Receive) => match records::length(&received[shown..]) {
                Some(length) if received.len() - shown >= length => shown += length,
                _ => {
                    tcp.write_all_buf(&mut to_send).await?;
                    received.reserve(buffers::SIZE);
                    if tcp.read_buf(&mut received).await? == 0 {
                        return Err(ended());
                    }
                }
            },
            Err(error) => {
                tell(&mut side, &mut received[..shown], &mut tcp, to_send).await;
                return Err(io_error(error));
            }
        }
    }
}

fn encode<D>(mut data: EncodeTlsData<'_, D>, to_send: &mut BytesMut) -> Result<(), Error> {
    let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) else { return Ok(()) };
    let begin = to_send.len();
    to_send.resize(begin + needed.required_size, 0);
    data.encode(&mut to_send[begin..]).map(|_| ()).map_err(|error| Error::General(error.to_string()))
}

/// Sends the alert that says why this end does not go on, and what came before it. rustls is shown again what it still refers to,
/// and only for as long as it has something to say: after that it would read once more what it has failed over.
async fn tell<S: Side>(side: &mut S, shown: &mut [u8], tcp: &mut TcpStream, mut to_send: BytesMut) {
    while side.state().wants_write() {
        let Ok(ConnectionState::EncodeTlsData(data)) = side.process(shown).state else { break };
        if encode(data, &mut to_send).is_err() {
            break;
        }
    }
    // The handshake has failed whether or not the peer hears of it.
    let _ = tcp.write_all_buf(&mut to_send).await;
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof")
}
