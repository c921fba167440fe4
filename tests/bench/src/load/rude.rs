//! What a client may do that no client should: everything at once, and messages of a size that nobody expects.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Load;
use super::ask::Asked;
use crate::serve::http::BYTES_PATH;

/// An answer that is not there by then has failed.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const BIG: usize = 10_000_000;
const BLOCK: usize = 64 * 1024;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Rude {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long, value_enum)]
    how: Manner,
    /// How many do it at the same time.
    #[arg(long)]
    count: usize,
    /// They do it again and again for so long; once if it is 0.
    #[arg(long, default_value_t = 0.0)]
    seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Manner {
    /// A request on a connection of its own.
    Burst,
    /// A request with 10 MB of header fields, which is to be refused as such.
    Head,
    /// 10 MB in a request's body.
    Upload,
    /// 10 MB in an answer's body.
    Download,
    /// 10 MB in the body of a request that the backend answers before it has read them.
    Early,
}

impl Manner {
    fn name(self) -> &'static str {
        match self {
            Self::Burst => "burst",
            Self::Head => "head",
            Self::Upload => "upload",
            Self::Download => "download",
            Self::Early => "early",
        }
    }

    fn status(self) -> u16 {
        match self {
            Self::Head => 431,
            Self::Early => 413,
            _ => 200,
        }
    }

    /// Of a request, whose body of 10 MB comes after.
    fn head(self) -> String {
        let body = format!("content-length: {BIG}\r\n");
        let (line, more) = match self {
            Self::Burst => ("GET /", String::new()),
            Self::Head => ("GET /", "x-long: ".to_owned() + &"x".repeat(BIG) + "\r\n"),
            Self::Upload => ("POST /", body),
            Self::Download => return format!("GET {BYTES_PATH}{BIG} HTTP/1.1\r\nhost: bench\r\n\r\n"),
            Self::Early => ("POST /early", body),
        };
        format!("{line} HTTP/1.1\r\nhost: bench\r\n{more}\r\n")
    }

    fn sends_body(self) -> bool {
        matches!(self, Self::Upload | Self::Early)
    }
}

/// The arguments that make this program do it.
pub(crate) fn arguments(to: SocketAddr, how: Manner, count: usize, length: Duration) -> Vec<String> {
    let (to, count, seconds) = (to.to_string(), count.to_string(), length.as_secs_f64().to_string());
    let words = ["load", "rude", "--to", &to, "--how", how.name(), "--count", &count, "--seconds", &seconds];
    words.map(str::to_owned).into()
}

/// Counts as done what was answered as it should be.
pub(super) fn run(rude: &Rude) -> anyhow::Result<Load> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (to, how) = (rude.to, rude.how);
    let head: Rc<[u8]> = how.head().into_bytes().into();
    let begun = Instant::now();
    let until = begun + Duration::from_secs_f64(rude.seconds);
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let doers: Vec<_> = (0..rude.count)
            .map(|_| {
                let head = head.clone();
                tokio::task::spawn_local(async move {
                    let mut asked = Asked::default();
                    loop {
                        let sent = Instant::now();
                        match tokio::time::timeout(ANSWER_WITHIN, once(to, how, &head)).await {
                            Ok(Ok(status)) if status == how.status() => {
                                asked.microseconds.push(sent.elapsed().as_secs_f64() * 1e6);
                            }
                            _ => asked.failed += 1,
                        }
                        if Instant::now() >= until {
                            return asked;
                        }
                    }
                })
            })
            .collect();
        let mut all = Asked::default();
        for doer in doers {
            all.add(doer.await.context("a client")?);
        }
        Ok(Load {
            done: all.microseconds.len() as f64,
            failed: all.failed as f64,
            seconds: begun.elapsed().as_secs_f64(),
            p50_ms: all.percentile(50.0),
            p99_ms: all.percentile(99.0),
        })
    })
}

/// One exchange on a connection of its own; gives the answer's status once all of it is there.
async fn once(to: SocketAddr, how: Manner, head: &[u8]) -> anyhow::Result<u16> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (mut from, mut into) = stream.into_split();
    let send = async {
        into.write_all(head).await?;
        if how.sends_body() {
            let block = [0x5a; BLOCK];
            let mut left = BIG;
            while left > 0 {
                let length = left.min(BLOCK);
                into.write_all(&block[..length]).await?;
                left -= length;
            }
        }
        // Whoever answers early may stop reading, and the answer counts all the same.
        std::io::Result::Ok(())
    };
    let receive = async {
        let mut start = Vec::new();
        let mut buffer = vec![0; BLOCK];
        let mut received = 0;
        loop {
            let read = from.read(&mut buffer).await?;
            anyhow::ensure!(read > 0, "the connection ended before the answer did");
            received += read;
            if start.len() < BLOCK {
                start.extend_from_slice(&buffer[..read]);
            }
            if super::answer_length(&start)?.is_some_and(|length| received >= length) {
                let status = start.get(9..12).context("an answer without a status")?;
                return Ok(std::str::from_utf8(status)?.parse()?);
            }
        }
    };
    tokio::pin!(send, receive);
    tokio::select! {
        status = &mut receive => status,
        _ = &mut send => receive.await,
    }
}
