//! The mesh's own programs: started, waited for until ready, started again when they die, ended with the lab.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::capture;
use crate::lab::act::enter::Enter;
use crate::lab::act::process;

/// The pause before a program is started again: the first and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
const STEADY: Duration = Duration::from_secs(30);
/// How long a program may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// A program to run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Its log is `logs/NAME.log`.
    pub(crate) name: String,
    pub(crate) enter: Enter,
    /// What it sees besides the environment of all.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) log: PathBuf,
    pub(crate) ready: Readiness,
}

/// How one sees that a program is ready.
#[derive(Clone, Debug)]
pub(crate) enum Readiness {
    /// It has written this file and takes connections there.
    File(PathBuf, SocketAddr),
    /// Its admin socket says so.
    Admin(PathBuf),
}

#[derive(Debug)]
pub(crate) enum ProgramEvent {
    Started(u32),
    Ready,
    /// It ended without having been told to, or could not be started.
    Died(String),
}

#[derive(Debug)]
pub(crate) struct Handle {
    end: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Handle {
    /// Ends the program and waits until it has ended.
    pub(crate) async fn stop(self) {
        self.end.send_replace(true);
        let _ = self.task.await;
    }
}

pub(crate) fn start(
    program: Program,
    environment: BTreeMap<String, String>,
    events: mpsc::Sender<(String, ProgramEvent)>,
) -> Handle {
    let (end, ended) = watch::channel(false);
    let task = tokio::spawn(supervise(program, environment, events, ended));
    Handle { end, task }
}

async fn supervise(
    program: Program,
    mut environment: BTreeMap<String, String>,
    events: mpsc::Sender<(String, ProgramEvent)>,
    mut ended: watch::Receiver<bool>,
) {
    // The supervisor has ended where a message reaches nobody, and then no answer is needed.
    let tell = |event| events.send((program.name.clone(), event));
    environment.extend(program.environment.iter().cloned());
    let mut pause = PAUSES.0;
    loop {
        let started = Instant::now();
        let why = match process::spawn(&program.enter, &environment, &program.log) {
            Err(error) => format!("cannot be started: {error}"),
            Ok(mut child) => {
                let _ = tell(ProgramEvent::Started(child.id().unwrap_or_default())).await;
                let readiness = async {
                    until_ready(&program.ready).await;
                    let _ = tell(ProgramEvent::Ready).await;
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    status = child.wait() => match status {
                        Ok(status) => format!("ended by itself: {status}"),
                        Err(error) => format!("cannot be waited for: {error}"),
                    },
                    () = readiness => unreachable!("readiness is pending once it has been told"),
                    () = told_to_end(&mut ended) => {
                        let _ = process::terminate(&mut child, GRACE).await;
                        return;
                    }
                }
            }
        };
        tracing::error!(program = program.name, why, "program died; it is started again");
        let _ = tell(ProgramEvent::Died(why)).await;
        if started.elapsed() > STEADY {
            pause = PAUSES.0;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = told_to_end(&mut ended) => return,
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

async fn told_to_end(ended: &mut watch::Receiver<bool>) {
    let _ = ended.wait_for(|ended| *ended).await;
}

/// Another process's readiness is no event that could be awaited, so it is asked for again and again.
async fn until_ready(readiness: &Readiness) {
    loop {
        let ready = match readiness {
            Readiness::File(file, address) => file.exists() && TcpStream::connect(address).await.is_ok(),
            Readiness::Admin(socket) => capture::is_ready(socket).await,
        };
        if ready {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
