//! Connections that are held until standard input ends: on which one request is answered and then nothing happens, or of whose answer
//! nothing but the beginning is ever read.

use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::serve::bytes::DOWN;

/// Connections that are opened at a time: as many as a listener's backlog takes with ease.
const AT_ONCE: usize = 100;
/// One that has no answer by then does not count.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Hold {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    count: usize,
    #[arg(long, value_enum)]
    what: What,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum What {
    /// One request was answered.
    Idle,
    /// Of 1 GB of an answer only the beginning is read.
    SlowHttp,
    /// Of bytes without end only the beginning is read.
    SlowBytes,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::SlowHttp => "slow-http",
            Self::SlowBytes => "slow-bytes",
        }
    }

    fn asks(self) -> &'static [u8] {
        match self {
            Self::Idle => b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n",
            Self::SlowHttp => b"GET /bytes/1000000000 HTTP/1.1\r\nhost: bench\r\n\r\n",
            Self::SlowBytes => &[DOWN],
        }
    }
}

/// The arguments that make this program do it.
pub(crate) fn arguments(to: SocketAddr, count: usize, what: What) -> [String; 8] {
    let (to, count) = (to.to_string(), count.to_string());
    ["load", "hold", "--to", &to, "--count", &count, "--what", what.name()].map(str::to_owned)
}

/// Prints how many connections stand, and holds them.
pub(super) fn run(hold: &Hold) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let held = runtime.block_on(async {
        let mut held = Vec::new();
        let mut opened = 0;
        while opened < hold.count {
            let batch = AT_ONCE.min(hold.count - opened);
            opened += batch;
            let mut opening: JoinSet<_> =
                (0..batch).map(|_| tokio::time::timeout(ANSWER_WITHIN, open(hold.to, hold.what))).collect();
            while let Some(result) = opening.join_next().await {
                // One that fails is missing from the count.
                if let Ok(Ok(Ok(stream))) = result {
                    held.push(stream);
                }
            }
        }
        held
    });
    crate::show::line(&held.len().to_string());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(held);
    Ok(())
}

async fn open(to: SocketAddr, what: What) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(what.asks()).await?;
    let mut answer = [0; 4096];
    match stream.read(&mut answer).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(stream),
    }
}
