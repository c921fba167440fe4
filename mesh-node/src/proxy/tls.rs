//! TLS 1.3 between the mesh's proxies. rustls does the handshakes and keeps the secrets; the records of a connection that
//! stands are sealed and opened here, many at a time and in buffers of the worker's ([`buffers`]), so that each byte is copied
//! once at each end and a connection that waits holds no buffer.
//!
//! What must hold beyond the records themselves (RFC 8446):
//! - the stream ends with the peer's `close_notify`; an end of the connection without it is an error;
//! - a message of the handshake protocol may span records, but none spans a change of keys;
//! - a peer that asks for new keys is given them, and so is one that was sent much; how often it may ask is bounded;
//! - whatever is wrong ends the connection, after an alert.

use std::fmt;
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{AlertDescription, ContentType, Error, ExtractedSecrets, InvalidMessage, PeerMisbehaved};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use super::buffers;
use records::{OVERHEAD, Opener, Sealer, sealed_length};

pub(super) mod handshake;
mod records;

/// The most that is sealed at once: of so many bytes a large buffer holds the records.
pub(super) const MOST: usize = buffers::LARGE;
const _: () = assert!(MOST / records::FRAGMENT * OVERHEAD <= buffers::FRAMES);

/// Messages of the handshake protocol that are longer are refused, as rustls does.
const MAX_MESSAGE: usize = 0xffff;
/// Requests for new keys that are granted while no data comes.
const MAX_KEY_UPDATES: u8 = 32;
/// Records that carry nothing, one after the other.
const MAX_EMPTY: u8 = 32;

const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;
/// The header of a handshake message: type and length.
const MESSAGE_HEADER: usize = 4;

/// A connection whose handshake is done.
pub(super) struct Tls {
    tcp: TcpStream,
    keys: Keys,
    opener: Opener,
    sealer: Sealer,
    /// Records as they came, the last one perhaps in part.
    received: BytesMut,
    /// The last read took all that there was room for.
    large: bool,
    /// Records that the socket has not taken.
    to_send: BytesMut,
    /// A message of the handshake protocol that has come in part.
    message: Vec<u8>,
    key_updates: u8,
    empty: u8,
    peer: Peer,
    /// Nothing may follow the `close_notify` that was sealed.
    closed: bool,
}

/// What the secrets are made of when they change, and what keeps the tickets.
pub(super) enum Keys {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

/// How much of what was received has been opened, and how much of that is data, which was moved to the front.
#[derive(Clone, Copy, Debug, Default)]
struct Opened {
    records: usize,
    carried: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Peer {
    Open,
    /// It has sent `close_notify`.
    Closed,
    Failed(Error),
}

impl Tls {
    fn new(
        tcp: TcpStream,
        secrets: ExtractedSecrets,
        keys: Keys,
        received: BytesMut,
        to_send: BytesMut,
    ) -> Result<Self, Error> {
        let mut tls = Self {
            tcp,
            opener: Opener::new(keys.suite(), secrets.rx)?,
            sealer: Sealer::new(secrets.tx)?,
            keys,
            received,
            large: false,
            to_send,
            message: Vec::new(),
            key_updates: 0,
            empty: 0,
            peer: Peer::Open,
            closed: false,
        };
        tls.rest();
        Ok(tls)
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Receives until there is a record to open; false is the end of the stream.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            match &self.peer {
                Peer::Open => {}
                Peer::Closed => return Poll::Ready(Ok(false)),
                Peer::Failed(error) => return Poll::Ready(Err(io_error(error.clone()))),
            }
            let length = sealed_length(&self.received).map_err(|error| self.fail(cx, error))?;
            let missing = length.unwrap_or(OVERHEAD).saturating_sub(self.received.len());
            if missing == 0 {
                return Poll::Ready(Ok(true));
            }
            ready!(self.poll_read(cx, missing))?;
        }
    }

    /// Reads from the socket, with room for what is missing at least.
    fn poll_read(&mut self, cx: &mut Context<'_>, missing: usize) -> Poll<io::Result<()>> {
        // No buffer is lent to what has nothing to read, most often to wait.
        if self.tcp.poll_read_ready(cx)?.is_pending() {
            self.rest();
            return Poll::Pending;
        }
        let usual = if self.large { buffers::LARGE } else { buffers::SIZE };
        let room = self.received.capacity() - self.received.len();
        if self.received.is_empty() && room < usual || self.large && room < usual / 2 {
            let mut roomy = buffers::lend(self.large);
            roomy.extend_from_slice(&self.received);
            buffers::give_back(mem::replace(&mut self.received, roomy));
        } else if room < missing.max(usual / 2) {
            self.received.reserve(missing.max(usual / 2));
        }
        let room = self.received.capacity() - self.received.len();
        let read = pin!(self.tcp.read_buf(&mut self.received)).poll(cx)?;
        if read.is_pending() {
            self.rest();
        }
        let read = ready!(read);
        self.large = read == room && room >= buffers::SIZE / 2 || read > buffers::SIZE;
        if read > 0 {
            return Poll::Ready(Ok(()));
        }
        let why = "peer closed connection without sending TLS close_notify";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, why)))
    }

    /// Gives back the buffers that hold nothing.
    fn rest(&mut self) {
        for buffer in [&mut self.received, &mut self.to_send] {
            if buffer.is_empty() {
                buffers::give_back(mem::take(buffer));
            }
        }
    }

    /// Opens the whole records that have come, or as many of them as `into` has room for where it holds something already, at
    /// least one; says how many bytes came of it, which may be none where a record is not of data.
    pub(super) fn open(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> io::Result<usize> {
        let room = if into.is_empty() { usize::MAX } else { into.capacity() - into.len() };
        let mut done = Opened::default();
        while self.peer == Peer::Open {
            match self.open_one(&mut done, room) {
                Ok(true) => {}
                Ok(false) => break,
                // What came before is still good, and the error stays.
                Err(error) if done.carried > 0 => {
                    self.fail(cx, error);
                    break;
                }
                Err(error) => return Err(self.fail(cx, error)),
            }
        }
        self.hand_over(done, into);
        Ok(done.carried)
    }

    /// Whether there was one, and room for it.
    fn open_one(&mut self, done: &mut Opened, room: usize) -> Result<bool, Error> {
        let rest = &mut self.received[done.records..];
        let Some(length) = sealed_length(rest)?.filter(|length| *length <= rest.len()) else {
            return Ok(false);
        };
        if done.carried > 0 && room.saturating_sub(done.carried) < length.saturating_sub(OVERHEAD) {
            return Ok(false);
        }
        let (kind, carried) = self.opener.open(&mut rest[..length])?;
        if kind != ContentType::Handshake && !self.message.is_empty() {
            return Err(PeerMisbehaved::MessageInterleavedWithHandshakeMessage.into());
        }
        match kind {
            ContentType::ApplicationData if carried.is_empty() => {
                self.empty += 1;
                if self.empty > MAX_EMPTY {
                    return Err(PeerMisbehaved::TooManyEmptyFragments.into());
                }
            }
            ContentType::ApplicationData => {
                let begin = done.records + records::HEADER;
                let carried = begin..begin + carried.len();
                self.received.copy_within(carried.clone(), done.carried);
                done.carried += carried.len();
                (self.empty, self.key_updates) = (0, 0);
            }
            ContentType::Alert => match *carried {
                [_, description] => self.alert(description.into())?,
                _ => return Err(InvalidMessage::MessageTooShort.into()),
            },
            ContentType::Handshake => {
                if carried.is_empty() {
                    return Err(InvalidMessage::InvalidEmptyPayload.into());
                }
                self.message.extend_from_slice(carried);
                self.messages()?;
            }
            other => {
                return Err(Error::InappropriateMessage {
                    expect_types: vec![ContentType::ApplicationData],
                    got_type: other,
                });
            }
        }
        done.records += length;
        Ok(true)
    }

    /// Gives what opened records carried to whoever reads: the buffer itself where that is all that `into` is to hold, so that
    /// no second one is filled with the same.
    fn hand_over(&mut self, done: Opened, into: &mut BytesMut) {
        if done.carried == 0 || !into.is_empty() {
            into.extend_from_slice(&self.received[..done.carried]);
            self.received.advance(done.records);
            return;
        }
        let behind = &self.received[done.records..];
        let mut rest = if behind.is_empty() { BytesMut::new() } else { buffers::lend(false) };
        rest.extend_from_slice(behind);
        self.received.truncate(done.carried);
        buffers::give_back(mem::replace(into, mem::replace(&mut self.received, rest)));
    }

    fn alert(&mut self, description: AlertDescription) -> Result<(), Error> {
        match description {
            AlertDescription::CloseNotify => {
                self.peer = Peer::Closed;
                Ok(())
            }
            // It will be followed by `close_notify`; many of them are as good as records that carry nothing.
            AlertDescription::UserCanceled if self.empty < MAX_EMPTY => {
                self.empty += 1;
                Ok(())
            }
            AlertDescription::UserCanceled => Err(PeerMisbehaved::TooManyWarningAlertsReceived.into()),
            other => Err(Error::AlertReceived(other)),
        }
    }

    /// Takes the whole messages of the handshake protocol that have come.
    fn messages(&mut self) -> Result<(), Error> {
        let mut came = mem::take(&mut self.message);
        let mut rest = &came[..];
        while let [kind, a, b, c, ..] = *rest {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if length > MAX_MESSAGE {
                return Err(InvalidMessage::HandshakePayloadTooLarge.into());
            }
            let Some((message, later)) = rest[MESSAGE_HEADER..].split_at_checked(length) else { break };
            rest = later;
            match (kind, &mut self.keys) {
                (NEW_SESSION_TICKET, Keys::Client(keys)) => keys.handle_new_session_ticket(message)?,
                (KEY_UPDATE, _) if rest.is_empty() => self.key_update(message)?,
                (KEY_UPDATE, _) => return Err(PeerMisbehaved::KeyEpochWithPendingFragment.into()),
                _ => {
                    let what = "a message of the handshake protocol that has no place after the handshake";
                    return Err(InvalidMessage::UnexpectedMessage(what).into());
                }
            }
        }
        let taken = came.len() - rest.len();
        came.drain(..taken);
        if !came.is_empty() {
            self.message = came;
        }
        Ok(())
    }

    fn key_update(&mut self, message: &[u8]) -> Result<(), Error> {
        let asked = match message {
            [0] => false,
            [1] => true,
            _ => return Err(InvalidMessage::InvalidKeyUpdate.into()),
        };
        self.key_updates += 1;
        if self.key_updates > MAX_KEY_UPDATES {
            return Err(PeerMisbehaved::TooManyKeyUpdateRequests.into());
        }
        let secrets = match &mut self.keys {
            Keys::Client(keys) => keys.update_rx_secret()?,
            Keys::Server(keys) => keys.update_rx_secret()?,
        };
        self.opener = Opener::new(self.keys.suite(), secrets)?;
        if asked && !self.closed { self.change_key() } else { Ok(()) }
    }

    /// Tells the peer that another key follows, and takes it. It goes with what is written next.
    fn change_key(&mut self) -> Result<(), Error> {
        self.seal(ContentType::Handshake, &[KEY_UPDATE, 0, 0, 1, 0])?;
        let secrets = match &mut self.keys {
            Keys::Client(keys) => keys.update_tx_secret()?,
            Keys::Server(keys) => keys.update_tx_secret()?,
        };
        self.sealer = Sealer::new(secrets)?;
        Ok(())
    }

    fn seal(&mut self, kind: ContentType, content: &[u8]) -> Result<(), Error> {
        self.sealer.seal(kind, [content].into_iter(), content.len(), &mut self.to_send).map(|_| ())
    }

    /// Ends the connection for an error: nothing is read or written any more. The peer is told, if it can be.
    fn fail(&mut self, cx: &mut Context<'_>, error: Error) -> io::Error {
        if let Some(description) = alert_for(&error)
            && !self.closed
            && self.seal(ContentType::Alert, &[FATAL, description.into()]).is_ok()
        {
            // The connection has failed whether or not the peer hears of it.
            let _ = self.poll_send(cx);
        }
        self.closed = true;
        self.peer = Peer::Failed(error.clone());
        io_error(error)
    }

    /// Takes what the slices hold, as much as a large buffer does. It is sent as far as the socket takes it; for the rest
    /// `poll_flush` is called.
    pub(super) fn poll_write<'b>(
        &mut self,
        cx: &mut Context<'_>,
        slices: impl Iterator<Item = &'b [u8]> + Clone,
    ) -> Poll<io::Result<usize>> {
        if let Peer::Failed(error) = &self.peer {
            return Poll::Ready(Err(io_error(error.clone())));
        }
        if self.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let length = slices.clone().map(<[u8]>::len).sum::<usize>().min(MOST);
        if length == 0 {
            return Poll::Ready(Ok(0));
        }
        // So no more is held than two buffers.
        if self.to_send.len() >= buffers::SIZE {
            ready!(self.poll_send(cx))?;
        }
        if self.to_send.is_empty() {
            buffers::give_back(mem::take(&mut self.to_send));
            self.to_send = buffers::lend(length > buffers::SIZE - OVERHEAD);
        }
        if self.sealer.is_worn() {
            self.change_key().map_err(io_error)?;
        }
        let sealed = self.sealer.seal(ContentType::ApplicationData, slices, length, &mut self.to_send);
        let taken = sealed.map_err(io_error)?;
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken)),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    /// Says that nothing more will be sent, and closes this direction of the connection.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closed {
            self.closed = true;
            self.seal(ContentType::Alert, &[WARNING, AlertDescription::CloseNotify.into()])
                .map_err(io_error)?;
        }
        ready!(self.poll_send(cx))?;
        match ready!(Pin::new(&mut self.tcp).poll_shutdown(cx)) {
            // The peer was the first to end all of it.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.to_send.is_empty() {
            let count = ready!(Pin::new(&mut self.tcp).poll_write(cx, &self.to_send))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.to_send.advance(count);
        }
        self.rest();
        Poll::Ready(Ok(()))
    }
}

impl Keys {
    fn suite(&self) -> rustls::SupportedCipherSuite {
        match self {
            Self::Client(keys) => keys.negotiated_cipher_suite(),
            Self::Server(keys) => keys.negotiated_cipher_suite(),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("tcp", &self.tcp).field("peer", &self.peer).finish_non_exhaustive()
    }
}

const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// What the peer is told of an error; none answers an alert of its own.
fn alert_for(error: &Error) -> Option<AlertDescription> {
    match error {
        Error::AlertReceived(_) => None,
        Error::DecryptError => Some(AlertDescription::BadRecordMac),
        Error::PeerSentOversizedRecord => Some(AlertDescription::RecordOverflow),
        Error::InvalidMessage(InvalidMessage::UnexpectedMessage(_))
        | Error::InappropriateMessage { .. }
        | Error::PeerMisbehaved(_) => Some(AlertDescription::UnexpectedMessage),
        Error::InvalidMessage(_) => Some(AlertDescription::DecodeError),
        _ => Some(AlertDescription::InternalError),
    }
}

fn io_error(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;
