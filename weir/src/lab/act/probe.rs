//! One run of a probe, from the node's network namespace as a kubelet's would be. A failed probe is an error that says
//! what was seen.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use super::netns;

/// Connects, and that is all.
pub(crate) async fn tcp(netns: &Path, address: SocketAddr, timeout: Duration) -> io::Result<()> {
    netns::within(netns, move || TcpStream::connect_timeout(&address, timeout).map(drop)).await
}

/// What an HTTP probe asks for.
#[derive(Clone, Debug)]
pub(crate) struct HttpGet {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// Sends a GET and wants an answer of 200 to 399.
pub(crate) async fn http(netns: &Path, get: HttpGet, timeout: Duration) -> io::Result<()> {
    netns::within(netns, move || {
        let mut stream = TcpStream::connect_timeout(&get.address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        let mut request =
            format!("GET {} HTTP/1.1\r\nConnection: close\r\nUser-Agent: weir-lab-probe\r\n", get.path);
        if !get.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request.push_str(&format!("Host: {}\r\n", get.address));
        }
        for (name, value) in &get.headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream.take(1024)).read_line(&mut line)?;
        match line.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok()) {
            Some(200..=399) => Ok(()),
            Some(code) => Err(io::Error::other(format!("HTTP status {code}"))),
            None => Err(io::Error::other("the answer is not HTTP")),
        }
    })
    .await
}
