//! A backend: it answers every HTTP/1.1 request with the same bytes, as cheaply as it can, so that it is not what is measured. Below
//! `/bytes/N` it answers with so many, below `/early` with a refusal before it has read the request's body, of which it then takes what comes.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request's head and body must fit, unless the body is read and thrown away.
const BUFFER: usize = 64 * 1024;
pub(crate) const BYTES_PATH: &str = "/bytes/";
const REFUSAL: &[u8] = b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

pub(super) fn run(listen: SocketAddr, bytes: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let body = "x".repeat(bytes);
    let answer: Arc<[u8]> =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{body}", bytes)
            .into_bytes()
            .into();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(listen).await;
        let listener = listener.with_context(|| format!("listening on {}", listen))?;
        loop {
            let (stream, _) = listener.accept().await.context("accepting")?;
            let answer = answer.clone();
            tokio::task::spawn_local(async move {
                // A client that goes away is no concern of a backend.
                let _ = answer_all(stream, &answer).await;
            });
        }
    })
}

async fn answer_all(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        while let Some(Request { length, wants }) = request(&buffer[..filled])? {
            if wants == Wants::Refusal {
                return refuse(stream).await;
            }
            let rest = length.saturating_sub(filled);
            buffer.copy_within(length.min(filled)..filled, 0);
            filled -= length.min(filled);
            discard(&mut stream, rest).await?;
            match wants {
                Wants::Bytes(count) => give(&mut stream, count).await?,
                _ => stream.write_all(answer).await?,
            }
        }
        if filled == buffer.len() {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
    }
}

struct Request {
    /// With its body.
    length: usize,
    wants: Wants,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    Answer,
    Bytes(usize),
    Refusal,
}

async fn give(stream: &mut TcpStream, count: usize) -> std::io::Result<()> {
    stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {count}\r\n\r\n").as_bytes()).await?;
    let block = [0x5a; BUFFER];
    let mut left = count;
    while left > 0 {
        let length = left.min(BUFFER);
        stream.write_all(&block[..length]).await?;
        left -= length;
    }
    Ok(())
}

/// Closing a socket with bytes unread would take the answer away again (RFC 9112, 9.6).
async fn refuse(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(REFUSAL).await?;
    stream.shutdown().await?;
    let mut buffer = vec![0; BUFFER];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// The first request, once its head is there.
fn request(bytes: &[u8]) -> std::io::Result<Option<Request>> {
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(bytes) {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(length)) => {
            let declared =
                head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
            let body =
                declared.and_then(|field| std::str::from_utf8(field.value).ok()?.parse::<usize>().ok());
            let path = head.path.unwrap_or_default();
            let wants = match path.strip_prefix(BYTES_PATH).map(str::parse) {
                Some(Ok(count)) => Wants::Bytes(count),
                _ if path.starts_with("/early") => Wants::Refusal,
                _ => Wants::Answer,
            };
            Ok(Some(Request { length: length + body.unwrap_or(0), wants }))
        }
        Err(_) => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

async fn discard(stream: &mut TcpStream, mut rest: usize) -> std::io::Result<()> {
    let mut buffer = vec![0; rest.min(BUFFER)];
    while rest > 0 {
        let most = rest.min(buffer.len());
        let read = stream.read(&mut buffer[..most]).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        rest -= read;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        let length = |bytes: &[u8]| request(bytes).unwrap().map(|request| request.length);
        let two = b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        assert_eq!(length(two), Some(27));
        assert_eq!(length(&two[..20]), None);
        assert_eq!(length(b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\n"), Some(43));
        let early = request(b"POST /early HTTP/1.1\r\n\r\n").unwrap().unwrap();
        assert_eq!((early.length, early.wants), (24, Wants::Refusal));
        assert!(request(b"\x16\x03\x01\x02\x00").is_err());
    }
}
