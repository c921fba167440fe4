//! Requests at a steady pace from few connections, for the time that each answer takes.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior};

/// An answer that is not there by then has failed.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Ask {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    connections: usize,
    /// Requests a second, over all connections.
    #[arg(long)]
    rate: f64,
    /// Answers count from this moment on, in milliseconds of Unix time: several of these programs can begin as one.
    #[arg(long)]
    from: u64,
    #[arg(long)]
    seconds: f64,
}

/// What was asked, and how long the answers took.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Asked {
    pub(crate) microseconds: Vec<f64>,
    pub(crate) failed: usize,
}

/// The arguments that make this program do it.
pub(crate) fn arguments(
    to: SocketAddr,
    connections: usize,
    rate: f64,
    from: u64,
    length: Duration,
) -> [String; 12] {
    let (connections, rate) = (connections.to_string(), rate.to_string());
    let (to, from, seconds) = (to.to_string(), from.to_string(), length.as_secs_f64().to_string());
    let words = ["load", "ask", "--to", &to, "--connections", &connections, "--rate", &rate];
    let times = ["--from", &from, "--seconds", &seconds];
    std::array::from_fn(|at| words.get(at).or_else(|| times.get(at - words.len())).unwrap_or(&"").to_string())
}

/// Unix time in milliseconds, so long from now.
pub(crate) fn soon(after: Duration) -> anyhow::Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(u64::try_from((now + after).as_millis())?)
}

impl Asked {
    pub(crate) fn read(printed: &[u8]) -> anyhow::Result<Self> {
        serde_json::from_slice(printed)
            .with_context(|| format!("a program that asks printed `{}`", String::from_utf8_lossy(printed)))
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.microseconds.extend(other.microseconds);
        self.failed += other.failed;
    }

    /// In milliseconds. None where nothing was answered, or more than one in a thousand failed.
    pub(crate) fn percentile(&self, percent: f64) -> Option<f64> {
        if self.failed * 1000 > self.microseconds.len() {
            return None;
        }
        let mut sorted = self.microseconds.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
        sorted.get(at.saturating_sub(1)).map(|microseconds| microseconds / 1000.0)
    }
}

/// Asks from now on, and counts what is asked from the given moment.
pub(super) fn run(ask: &Ask) -> anyhow::Result<Asked> {
    let begin = Instant::now() + Duration::from_millis(ask.from.saturating_sub(soon(Duration::ZERO)?));
    let until = begin + Duration::from_secs_f64(ask.seconds);
    let pause = Duration::from_secs_f64(ask.connections as f64 / ask.rate);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        // The connections take turns within a pause.
        let first = |number: usize| Instant::now() + pause.mul_f64(number as f64 / ask.connections as f64);
        let to = ask.to;
        let connections: Vec<_> = (0..ask.connections)
            .map(|number| tokio::task::spawn_local(one(to, first(number), pause, begin, until)))
            .collect();
        let mut all = Asked::default();
        for connection in connections {
            all.add(connection.await.context("a connection")?);
        }
        Ok(all)
    })
}

async fn one(to: SocketAddr, first: Instant, pause: Duration, begin: Instant, until: Instant) -> Asked {
    let mut asked = Asked::default();
    let mut stream = None;
    let mut turns = tokio::time::interval_at(first, pause);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let sent = Instant::now();
        if sent >= until {
            return asked;
        }
        match tokio::time::timeout(ANSWER_WITHIN, request(to, &mut stream)).await {
            Ok(Ok(())) if sent >= begin => asked.microseconds.push(sent.elapsed().as_secs_f64() * 1e6),
            Ok(Ok(())) => {}
            _ => {
                stream = None;
                asked.failed += usize::from(sent >= begin);
            }
        }
    }
}

async fn request(to: SocketAddr, stream: &mut Option<TcpStream>) -> anyhow::Result<()> {
    let stream = match stream {
        Some(stream) => stream,
        none => {
            let opened = TcpStream::connect(to).await?;
            opened.set_nodelay(true)?;
            none.insert(opened)
        }
    };
    stream.write_all(b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n").await?;
    let mut buffer = [0; 8192];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        anyhow::ensure!(read > 0, "the connection ended");
        filled += read;
        if let Some(length) = super::answer_length(&buffer[..filled])? {
            anyhow::ensure!(length == filled, "more than one answer came");
            return Ok(());
        }
        anyhow::ensure!(filled < buffer.len(), "the answer is too long");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_answered() {
        let asked =
            Asked { microseconds: (1..=100).rev().map(|n| f64::from(n) * 1000.0).collect(), failed: 0 };
        assert_eq!((asked.percentile(50.0), asked.percentile(99.0)), (Some(50.0), Some(99.0)));
        assert_eq!(Asked { failed: 1, ..asked }.percentile(50.0), None);
        assert_eq!(Asked::default().percentile(50.0), None);
    }

    #[test]
    fn arguments_are_all_there() {
        let words = arguments("127.0.0.1:80".parse().unwrap(), 2, 10.0, 5, Duration::from_secs(3));
        let expected = "load ask --to 127.0.0.1:80 --connections 2 --rate 10 --from 5 --seconds 3";
        assert_eq!(words.join(" "), expected);
    }
}
