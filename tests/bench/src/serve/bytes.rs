//! Plain connections. Their first byte says what happens: `u` takes all that comes and then says how much it was, `d` gives as much as
//! the client takes, `e` sends each block back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::Context;

pub(crate) const UP: u8 = b'u';
pub(crate) const DOWN: u8 = b'd';
pub(crate) const ECHO: u8 = b'e';
/// What is read or written at once.
pub(crate) const BLOCK: usize = 256 * 1024;

pub(super) fn run(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("listening on {listen}"))?;
    for stream in listener.incoming() {
        let stream = stream.context("accepting")?;
        // A client that goes away is no concern of a backend.
        thread::spawn(|| drop(serve(stream)));
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0];
    stream.read_exact(&mut first)?;
    match first[0] {
        UP => {
            let mut buffer = vec![0; BLOCK];
            let mut taken: u64 = 0;
            loop {
                match stream.read(&mut buffer)? {
                    0 => return stream.write_all(&taken.to_be_bytes()),
                    read => taken += read as u64,
                }
            }
        }
        DOWN => {
            let buffer = vec![0x5a; BLOCK];
            loop {
                stream.write_all(&buffer)?;
            }
        }
        _ => {
            let mut buffer = [0; 4096];
            loop {
                match stream.read(&mut buffer)? {
                    0 => return Ok(()),
                    read => stream.write_all(&buffer[..read])?,
                }
            }
        }
    }
}
