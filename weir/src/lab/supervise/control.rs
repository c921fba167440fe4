//! The supervisor's end of the control socket: one request a connection, given to the main loop with the way to answer.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::lab::control::{Answer, MAX_LINE, Request};

/// A request and the way to answer it.
pub(crate) type Asked = (Request, Reply);

/// The way to answer one request.
#[derive(Debug)]
pub(crate) struct Reply {
    answer: oneshot::Sender<Answer>,
    /// Ends when the answer has been written, or cannot be.
    written: oneshot::Receiver<()>,
}

impl Reply {
    /// Gives the answer; a client that has gone away needs none.
    pub(crate) fn send(self, answer: Answer) {
        let _ = self.answer.send(answer);
    }

    /// Gives the answer and waits until it has been written.
    pub(crate) async fn send_whole(self, answer: Answer) {
        let _ = self.answer.send(answer);
        let _ = tokio::time::timeout(PATIENCE, self.written).await;
    }
}

const MAX_CONNECTIONS: usize = 32;
/// How long a client may take to send its request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens on the socket until the process ends.
pub(crate) fn serve(socket: &Path) -> io::Result<mpsc::Receiver<Asked>> {
    let listener = UnixListener::bind(socket)?;
    let (send, receive) = mpsc::channel(MAX_CONNECTIONS);
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    tokio::spawn(async move {
        loop {
            let Ok(permit) = connections.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let send = send.clone();
                    tokio::spawn(async move {
                        if let Err(error) = exchange(stream, &send).await {
                            tracing::warn!(%error, "control connection failed");
                        }
                        drop(permit);
                    });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    Ok(receive)
}

async fn exchange(mut stream: UnixStream, requests: &mpsc::Sender<Asked>) -> io::Result<()> {
    if stream.peer_cred()?.uid() != 0 {
        return Err(io::Error::other("a peer that is not root was turned away"));
    }
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut reader = BufReader::new(read).take(MAX_LINE);
    tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await??;
    match serde_json::from_str(&line) {
        Ok(request) => {
            let (answer, answered) = oneshot::channel();
            let (done, written) = oneshot::channel();
            requests.send((request, Reply { answer, written })).await.map_err(io::Error::other)?;
            // Dropped without an answer when the supervisor ends first.
            let Ok(answer) = answered.await else { return Ok(()) };
            write_line(&mut write, &answer).await?;
            drop(done);
            Ok(())
        }
        Err(error) => write_line(&mut write, &Answer::Refused(format!("not a request: {error}"))).await,
    }
}

async fn write_line(write: &mut (impl AsyncWrite + Unpin), answer: &Answer) -> io::Result<()> {
    let mut text = serde_json::to_vec(answer)?;
    text.push(b'\n');
    write.write_all(&text).await
}
