//! Requests to the programs' admin sockets.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::error::Error;

const TIMEOUT: Duration = Duration::from_secs(10);

/// The body of what a GET of this path is answered with, if that is a 200.
///
/// # Errors
/// The socket cannot be reached, or answers otherwise.
pub fn get(socket: &Path, path: &str) -> Result<String, Error> {
    let what = || format!("asking {} for {path}", socket.display());
    let answer = exchange(socket, path).map_err(Error::io(what()))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.starts_with("HTTP/1.1 200 ") || head.starts_with("HTTP/1.0 200 ") {
        return Ok(body.to_owned());
    }
    Err(Error::unreadable(what(), answer))
}

fn exchange(socket: &Path, path: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // Version 1.0 has neither chunks nor connections that stay.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: admin\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
