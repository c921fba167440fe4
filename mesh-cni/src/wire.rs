//! What the plugin and mesh-node say to each other over a Unix socket: one connection, one request, one answer, each a
//! JSON document that ends where the sender stops writing. An `Add` carries the pod's network namespace as an open
//! file: its path means nothing in mesh-node's own mount namespace.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, sendmsg,
    socket_with, sockopt,
};
use serde::{Deserialize, Serialize};

/// The longest request or answer in bytes. A list of all sandboxes of a node is the longest there is: 64 characters each.
pub const MAX_MESSAGE: usize = 256 * 1024;
/// What is read at once.
const CHUNK: usize = 16 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Request {
    /// Capture this pod, and answer when that has been done or need not be. Comes with the pod's network namespace.
    Add { pod: Pod, sandbox: String, wait_ms: u64 },
    /// Is this pod still captured, where it should be?
    Check { pod: Pod },
    /// This sandbox is going.
    Del { sandbox: String },
    /// There are no sandboxes but these.
    Gc { sandboxes: Vec<String> },
}

/// A Pod, as the container runtime calls it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Answer {
    Captured,
    /// Not in the mesh: left alone.
    LeftAlone,
    /// Heard.
    Done,
    /// Not now; asking again later may help.
    Refused {
        why: String,
    },
}

/// Asks mesh-node at `socket`; gives up when it does not take the request, or does not answer, within `limit`.
pub fn ask(
    socket: &Path,
    request: &Request,
    netns: Option<BorrowedFd<'_>>,
    limit: Duration,
) -> io::Result<Answer> {
    let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Also bounds how long to wait for a place in the queue of a listener that accepts nothing.
    sockopt::set_socket_timeout(&stream, sockopt::Timeout::Send, Some(limit))?;
    sockopt::set_socket_timeout(&stream, sockopt::Timeout::Recv, Some(limit))?;
    connect(&stream, &SocketAddrUnix::new(socket)?)?;
    let mut stream = UnixStream::from(stream);
    send(&mut stream, &serde_json::to_vec(request)?, netns)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    Read::by_ref(&mut stream).take(MAX_MESSAGE as u64).read_to_end(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "mesh-node closed the connection"));
    }
    serde_json::from_slice(&answer).map_err(io::Error::from)
}

fn send(stream: &mut UnixStream, bytes: &[u8], netns: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = netns.as_slice();
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::other("no room for one open file beside a message"));
    }
    let sent = sendmsg(&*stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    stream.write_all(&bytes[sent..])
}

/// Reads on once: appends what has come to `bytes`, and gives the open file that came with it. 0 bytes are the end.
pub fn receive(from: impl AsFd, bytes: &mut Vec<u8>) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut chunk = [0; CHUNK];
    let count =
        recvmsg(from, &mut [IoSliceMut::new(&mut chunk)], &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    bytes.extend_from_slice(&chunk[..count]);
    let file = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    Ok((count, file))
}
