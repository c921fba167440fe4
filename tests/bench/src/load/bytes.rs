//! Plain connections to [`crate::serve`]'s bytes: much on one of them, or many that carry one byte.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Load;
use crate::serve::bytes::{BLOCK, DOWN, ECHO, UP};

const GB: f64 = 1e9;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Bytes {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    seconds: f64,
    #[arg(long, value_enum)]
    how: How,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum How {
    /// One connection that sends, in GB.
    Up,
    /// One connection that receives, in GB.
    Down,
    /// A connection after the other, each with a byte there and back.
    Connections,
}

impl How {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Connections => "connections",
        }
    }
}

/// The arguments that make this program do it.
pub(crate) fn arguments(to: SocketAddr, how: How, length: Duration) -> [String; 8] {
    let seconds = length.as_secs_f64().to_string();
    let words = ["load", "bytes", "--to", &to.to_string(), "--seconds", &seconds, "--how", how.name()];
    words.map(str::to_owned)
}

pub(super) fn run(bytes: &Bytes) -> anyhow::Result<Load> {
    let begun = Instant::now();
    let until = begun + Duration::from_secs_f64(bytes.seconds);
    let done = match bytes.how {
        How::Up => up(bytes.to, until).context("sending")? as f64 / GB,
        How::Down => down(bytes.to, until).context("receiving")? as f64 / GB,
        How::Connections => connections(bytes.to, until).context("a connection")? as f64,
    };
    Ok(Load { done, seconds: begun.elapsed().as_secs_f64(), ..Load::default() })
}

fn open(to: SocketAddr, kind: u8) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.write_all(&[kind])?;
    Ok(stream)
}

fn up(to: SocketAddr, until: Instant) -> anyhow::Result<u64> {
    let mut stream = open(to, UP)?;
    let buffer = vec![0x5a; BLOCK];
    let mut sent: u64 = 0;
    while Instant::now() < until {
        stream.write_all(&buffer)?;
        sent += buffer.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut taken = [0; 8];
    stream.read_exact(&mut taken)?;
    let taken = u64::from_be_bytes(taken);
    anyhow::ensure!(taken == sent, "{sent} bytes were sent and {taken} arrived");
    Ok(sent)
}

fn down(to: SocketAddr, until: Instant) -> anyhow::Result<u64> {
    let mut stream = open(to, DOWN)?;
    let mut buffer = vec![0; BLOCK];
    let mut received: u64 = 0;
    while Instant::now() < until {
        let read = stream.read(&mut buffer)?;
        anyhow::ensure!(read > 0, "the backend ended the connection");
        received += read as u64;
    }
    Ok(received)
}

fn connections(to: SocketAddr, until: Instant) -> anyhow::Result<u64> {
    let mut done = 0;
    while Instant::now() < until {
        let mut stream = open(to, ECHO)?;
        stream.write_all(&[1])?;
        let mut back = [0];
        stream.read_exact(&mut back)?;
        anyhow::ensure!(back == [1], "another byte came back");
        done += 1;
    }
    Ok(done)
}
