//! Capturing the frames of a link in another network namespace, with a packet socket.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::error::Error;

/// The largest frame that segmentation offload makes, and some.
const MAX_FRAME: usize = 128 * 1024;
/// What the kernel may hold for a reader that is late.
const BUFFER: usize = 64 << 20;
/// A capture that holds more than this ends with an error.
const MAX_BYTES: usize = 512 << 20;
/// How often a quiet capture looks whether it is to end.
const PATIENCE_MS: i64 = 50;

#[derive(Clone, Debug)]
pub struct Frame {
    pub time: SystemTime,
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
}

/// A capture that runs.
#[derive(Debug)]
pub struct Capture {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Frame>, Error>>,
}

impl Capture {
    /// Begins to capture all frames of a link, both ways; it captures when this comes back.
    ///
    /// # Errors
    /// The namespace or the link is not there, or this process is not root.
    pub fn start(netns: &Path, link: &str) -> Result<Self, Error> {
        let netns_file =
            File::open(netns).map_err(Error::io(format!("opening the namespace {}", netns.display())))?;
        let link = link.to_owned();
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let (ready, readied) = mpsc::sync_channel(1);
        // A namespace is a property of a thread, so this one is given up to it.
        let thread = thread::Builder::new().name("capture".to_owned()).spawn(move || {
            let opened = open(&netns_file, &link).map_err(|errno| errno_error(&link, errno));
            let socket = match opened {
                Ok(socket) => socket,
                Err(error) => {
                    drop(ready);
                    return Err(error);
                }
            };
            // Whoever started it waits for this.
            let _ = ready.send(());
            receive(&socket, &ended).map_err(|errno| errno_error(&link, errno))
        });
        let thread = thread.map_err(Error::io("starting a thread"))?;
        if readied.recv().is_ok() {
            return Ok(Self { end, thread });
        }
        Err(joined(thread).err().unwrap_or_else(|| Error::unreadable("a capture", "it did not begin")))
    }

    /// Ends it.
    ///
    /// # Errors
    /// It could not go on.
    pub fn stop(self) -> Result<Vec<Frame>, Error> {
        self.end.store(true, Ordering::Relaxed);
        joined(self.thread)
    }
}

fn joined(thread: JoinHandle<Result<Vec<Frame>, Error>>) -> Result<Vec<Frame>, Error> {
    thread.join().unwrap_or_else(|_| Err(Error::unreadable("a capture", "its thread panicked")))
}

fn errno_error(link: &str, errno: Errno) -> Error {
    Error::Io { what: format!("capturing on {link}"), source: errno.into() }
}

fn open(netns: &File, link: &str) -> Result<OwnedFd, Errno> {
    setns(netns.as_fd(), CloneFlags::CLONE_NEWNET)?;
    let address = link_address(link)?;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(PATIENCE_MS))?;
    bind(socket.as_raw_fd(), &address)?;
    // Until it was bound it took the frames of every link.
    let mut buffer = vec![0; MAX_FRAME];
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(_) => {}
            Err(Errno::EAGAIN) => return Ok(socket),
            Err(errno) => return Err(errno),
        }
    }
}

fn link_address(link: &str) -> Result<LinkAddr, Errno> {
    let mut links = getifaddrs()?.filter(|entry| entry.interface_name == link);
    links.find_map(|entry| entry.address?.as_link_addr().copied()).ok_or(Errno::ENODEV)
}

fn receive(socket: &OwnedFd, ended: &AtomicBool) -> Result<Vec<Frame>, Errno> {
    let mut buffer = vec![0; MAX_FRAME];
    let (mut frames, mut held) = (Vec::new(), 0);
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => {
                held += length;
                if held > MAX_BYTES {
                    return Err(Errno::ENOBUFS);
                }
                frames.push(Frame { time: SystemTime::now(), bytes: buffer[..length].to_vec() });
            }
            Err(Errno::EAGAIN) if ended.load(Ordering::Relaxed) => return Ok(frames),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
