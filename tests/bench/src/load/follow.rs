//! Requests one after the other on one connection, to tell when a change of the configuration is seen: prints each new value of the
//! answers' field [`FIELD`].

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;

pub(crate) const FIELD: &str = "x-change";
/// Between two requests, so that what waits does not load what it waits for.
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Follow {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    seconds: f64,
}

/// The arguments that make this program do it.
pub(crate) fn arguments(to: SocketAddr, length: Duration) -> [String; 6] {
    let (to, seconds) = (to.to_string(), length.as_secs_f64().to_string());
    ["load", "follow", "--to", &to, "--seconds", &seconds].map(str::to_owned)
}

pub(super) fn run(follow: &Follow) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(follow.to).context("connecting")?;
    stream.set_nodelay(true)?;
    let until = Instant::now() + Duration::from_secs_f64(follow.seconds);
    let mut seen = None;
    let mut buffer = [0; 8192];
    while Instant::now() < until {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n").context("a request")?;
        let mut filled = 0;
        while super::answer_length(&buffer[..filled])?.is_none_or(|length| filled < length) {
            let read = stream.read(&mut buffer[filled..]).context("an answer")?;
            anyhow::ensure!(read > 0, "the connection ended before the answer did");
            filled += read;
        }
        let now = value(&buffer[..filled])?;
        if now.is_some() && now != seen {
            crate::show::line(now.as_deref().unwrap_or_default());
            seen = now;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn value(answer: &[u8]) -> anyhow::Result<Option<String>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    head.parse(answer).context("an answer's head")?;
    let field = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(FIELD));
    Ok(field.map(|field| String::from_utf8_lossy(field.value).into_owned()))
}
