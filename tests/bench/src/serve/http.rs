//! A backend: it answers every HTTP/1.1 request with the same bytes, as cheaply as it can, so that it is not what is measured.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request's head and body must fit, unless the body is read and thrown away.
const BUFFER: usize = 64 * 1024;

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
        while let Some(length) = request(&buffer[..filled])? {
            let rest = length.saturating_sub(filled);
            buffer.copy_within(length.min(filled)..filled, 0);
            filled -= length.min(filled);
            discard(&mut stream, rest).await?;
            stream.write_all(answer).await?;
        }
        if filled == buffer.len() {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
    }
}

/// The length of the first request, body included, once its head is there.
fn request(bytes: &[u8]) -> std::io::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(bytes) {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(length)) => {
            let declared =
                head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
            let body =
                declared.and_then(|field| std::str::from_utf8(field.value).ok()?.parse::<usize>().ok());
            Ok(Some(length + body.unwrap_or(0)))
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
        let two = b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        assert_eq!(request(two).unwrap(), Some(27));
        assert_eq!(request(&two[..20]).unwrap(), None);
        assert_eq!(request(b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\n").unwrap(), Some(43));
        assert!(request(b"\x16\x03\x01\x02\x00").is_err());
    }
}
