//! Connections on which one request is answered and then nothing happens, until standard input ends.

use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

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
}

/// The arguments that make this program do it.
pub(crate) fn arguments(to: SocketAddr, count: usize) -> [String; 6] {
    ["load", "hold", "--to", &to.to_string(), "--count", &count.to_string()].map(str::to_owned)
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
                (0..batch).map(|_| tokio::time::timeout(ANSWER_WITHIN, open(hold.to))).collect();
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

async fn open(to: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n").await?;
    let mut answer = [0; 4096];
    match stream.read(&mut answer).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(stream),
    }
}
