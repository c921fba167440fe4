//! The answers to the CNI plugin. The container runtime calls it when a pod's network has been made and before anything
//! of the pod runs; what the plugin brings is told to [`crate::pods::cgroup`], and it is answered once
//! [`crate::capture`] has done its part. Who is captured is not decided here.
//!
//! ```text
//! runtime ── ADD ──▶ plugin ── namespace ──▶ here ──▶ pods ──▶ capture
//!                       ◀── captured, or left alone ──┴─────────┘
//! ```

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use mesh_cni::wire::{Answer, MAX_MESSAGE, Pod, Request, receive};
use mesh_ir::name::Uid;
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::capture::{PodState, PodStates, why_unknown};
use crate::netns::Netns;
use crate::pods::cgroup::Sandboxes;
use crate::state::State;

pub mod install;

/// What the plugin has said and the pods' source has not heard yet.
pub const QUEUE: usize = 64;
/// Questions that are answered at once, more than a kubelet starts pods; further ones wait to be accepted.
const QUESTIONS: usize = 256;
/// How long the plugin, which is on this node, may take to say what it wants, and to take the answer.
const SPEAK: Duration = Duration::from_secs(5);
/// The longest that a pod may wait, whatever the plugin says.
const MAX_WAIT: Duration = Duration::from_secs(600);

struct Service {
    state: Arc<State>,
    pods: watch::Receiver<PodStates>,
    told: mpsc::Sender<Sandboxes>,
}

/// Binds at once, and serves for as long as the node runs; without a socket in the settings there is nothing to serve.
pub fn serve(
    state: Arc<State>,
    pods: watch::Receiver<PodStates>,
    told: mpsc::Sender<Sandboxes>,
) -> io::Result<impl Future<Output = ()>> {
    let listener = match &state.settings.cni.cni_socket {
        Some(path) => {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(path)?;
            fs::set_permissions(path, Permissions::from_mode(0o600))?;
            Some(listener)
        }
        None => None,
    };
    let service = Arc::new(Service { state, pods, told });
    Ok(async move {
        let Some(listener) = listener else { return std::future::pending().await };
        let places = Arc::new(Semaphore::new(QUESTIONS));
        loop {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _)) => {
                    let service = service.clone();
                    tokio::spawn(async move {
                        if let Err(error) = service.answer(stream).await {
                            tracing::warn!(%error, "a question of the CNI plugin was not answered");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of descriptors or memory: the wait is the only thing to do until some are free.
                    tracing::error!(%error, "the CNI plugin cannot be heard");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    })
}

impl Service {
    async fn answer(&self, mut stream: UnixStream) -> io::Result<()> {
        let (request, file) = timeout(SPEAK, hear(&stream)).await??;
        let answer = match request {
            Request::Add { pod, sandbox, wait_ms } => {
                let wait = Duration::from_millis(wait_ms).min(MAX_WAIT);
                match timeout(wait, self.add(&pod, sandbox, file)).await {
                    Ok(answer) => answer,
                    Err(_) => self.still_unknown(&pod, wait),
                }
            }
            Request::Check { pod } => self.check(&pod),
            Request::Del { sandbox } => self.tell(Sandboxes::Ended(sandbox)).await,
            Request::Gc { sandboxes } => self.tell(Sandboxes::Only(sandboxes.into_iter().collect())).await,
        };
        timeout(SPEAK, stream.write_all(&serde_json::to_vec(&answer)?)).await?
    }

    async fn add(&self, pod: &Pod, sandbox: String, file: Option<OwnedFd>) -> Answer {
        let (uid, netns) = match (Uid::new(&pod.uid), namespace(file)) {
            (Ok(uid), Ok(netns)) => (uid, netns),
            (Err(error), _) => return refused(error.to_string()),
            (_, Err(error)) => return refused(format!("its network namespace: {error}")),
        };
        if netns == self.state.node.netns {
            return Answer::LeftAlone;
        }
        let cookie = netns.cookie();
        let (known, is_known) = oneshot::channel();
        self.tell(Sandboxes::Begun { uid: uid.clone(), sandbox, netns, known }).await;
        if !is_known.await.unwrap_or(false) {
            let cgroup = self.state.settings.cgroup.display();
            return refused(format!("the kubelet has made no cgroup for it below {cgroup}"));
        }
        let mut pods = self.pods.clone();
        let decided = |states: &PodStates| states.get(&uid).is_some_and(|known| known.netns == cookie);
        match pods.wait_for(decided).await.map(|states| states.get(&uid).map(|known| known.state)) {
            Ok(Some(PodState::Captured)) => Answer::Captured,
            Ok(Some(PodState::NotMeshed)) => Answer::LeftAlone,
            Ok(None) | Err(_) => refused("mesh-node is ending".to_owned()),
        }
    }

    fn check(&self, pod: &Pod) -> Answer {
        let uid = match Uid::new(&pod.uid) {
            Ok(uid) => uid,
            Err(error) => return refused(error.to_string()),
        };
        match self.pods.borrow().get(&uid).map(|known| known.state) {
            Some(PodState::Captured) => Answer::Captured,
            Some(PodState::NotMeshed) => Answer::LeftAlone,
            None => refused(why_unknown(&self.state, &uid)),
        }
    }

    async fn tell(&self, said: Sandboxes) -> Answer {
        match self.told.send(said).await {
            Ok(()) => Answer::Done,
            Err(_) => refused("mesh-node is ending".to_owned()),
        }
    }

    fn still_unknown(&self, pod: &Pod, wait: Duration) -> Answer {
        let why = match Uid::new(&pod.uid) {
            Ok(uid) => why_unknown(&self.state, &uid),
            Err(error) => error.to_string(),
        };
        let (Pod { namespace, name, uid }, seconds) = (pod, wait.as_secs());
        tracing::warn!(pod = %format!("{namespace}/{name}"), uid, why, seconds, "a pod waits to start");
        refused(format!("after {seconds} s: {why}"))
    }
}

fn refused(why: String) -> Answer {
    Answer::Refused { why }
}

async fn hear(stream: &UnixStream) -> io::Result<(Request, Option<OwnedFd>)> {
    let (mut bytes, mut file) = (Vec::new(), None);
    loop {
        let (count, sent) = stream.async_io(Interest::READABLE, || receive(stream, &mut bytes)).await?;
        file = file.or(sent);
        if count == 0 {
            return Ok((serde_json::from_slice(&bytes)?, file));
        }
        if bytes.len() > MAX_MESSAGE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the question is too long"));
        }
    }
}

fn namespace(file: Option<OwnedFd>) -> io::Result<Netns> {
    let file = file.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it did not come"))?;
    if fstatfs(&file)?.filesystem_type() != NSFS_MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is no namespace"));
    }
    Netns::from_file(File::from(file))
}
