//! Pods from the tree of cgroups (v2) that the kubelet makes, with their namespaces from the processes in it.
//!
//! ```text
//! ROOT/pod<UID>/<container>                             ROOT/kubepods-pod<UID>.slice/cri-containerd-<id>.scope
//! ROOT/burstable/pod<UID>/<container>                   ROOT/kubepods-burstable.slice/kubepods-burstable-pod<UID>.slice/…
//! ```
//! The kernel says when a cgroup is made (inotify on its parent) and when one gets its first process or loses its last
//! one (`cgroup.events`). It does not say when a process joins a namespace: the first process of a pod is in the node's
//! own until the runtime has moved it. So a pod whose processes are all there is looked at again a bounded number of
//! times, and whenever it gets another container. A pod with `hostNetwork` is looked at as often, and left alone.
//!
//! Where the CNI plugin is in place it hands over the namespace before any process is in it. What it says counts until
//! it says that the sandbox is gone, whether processes come and go meanwhile or not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_ir::name::Uid;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::Pods;
use crate::netns::Netns;

mod names;
mod processes;

use names::{Place, place};
use processes::{Found, find, is_populated};

/// When a pod without a namespace of its own is looked at again; each look waits twice as long as the one before.
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// Twelve looks are spread over four seconds, much longer than a runtime takes to start a process.
const LOOKS: u32 = 12;

/// What it takes to see the pods, when the kernel does not show them.
const DENIED: &str = "the kernel does not let this process open /proc/PID/ns/net of the processes of pods, so that \
these pods cannot be captured: mesh-node needs the capability CAP_SYS_PTRACE, and a security profile (AppArmor, SELinux) \
that allows it to be used; the chart asks for both";

/// What the CNI plugin says of the pods' sandboxes.
#[derive(Debug)]
pub enum Sandboxes {
    /// This one is about to start. Answered by whether the pod has a cgroup, which the kubelet makes before.
    Begun {
        uid: Uid,
        sandbox: String,
        netns: Netns,
        known: oneshot::Sender<bool>,
    },
    Ended(String),
    /// There are no others.
    Only(BTreeSet<String>),
}

/// Follows the pods below `root`, which must be there. The first value comes at once. It ends when `root` is removed.
/// `problem` is why there are pods that cannot be seen.
pub fn watch(
    root: &Path,
    sandboxes: mpsc::Receiver<Sandboxes>,
    problem: watch::Sender<Option<&'static str>>,
) -> io::Result<mpsc::Receiver<Pods>> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe, for types whose descriptor may change; this one's does not"
    )]
    let inotify = AsyncFd::new(Descriptor(inotify))?;
    let own = Netns::current()?;
    let mut tree = Tree { root: root.to_owned(), own, watches: HashMap::new(), pods: BTreeMap::new() };
    tree.scan(&inotify.get_ref().0, root)?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        if let Err(error) = follow(inotify, tree, sandboxes, sender, problem).await {
            tracing::error!(%error, "cannot follow the pods' cgroups");
        }
    });
    Ok(receiver)
}

async fn follow(
    inotify: AsyncFd<Descriptor>,
    mut tree: Tree,
    mut sandboxes: mpsc::Receiver<Sandboxes>,
    sender: mpsc::Sender<Pods>,
    problem: watch::Sender<Option<&'static str>>,
) -> io::Result<()> {
    let mut last: Option<Pods> = None;
    loop {
        tell(&problem, tree.pods.values().any(|pod| pod.denied));
        let pods = tree.present();
        if last.as_ref() != Some(&pods) {
            last = Some(pods.clone());
            if sender.send(pods).await.is_err() {
                return Ok(());
            }
        }
        let due = tree.pods.values().filter_map(|pod| pod.look).map(|look| look.at).min();
        let look_due = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ready = inotify.readable() => {
                let mut ready = ready?;
                match ready.try_io(|descriptor| Ok(descriptor.get_ref().0.read_events()?)) {
                    Ok(events) => tree.handle(&inotify.get_ref().0, events?)?,
                    // Woken for nothing: no event is there yet.
                    Err(_) => continue,
                }
            }
            Some(said) = sandboxes.recv() => tree.hear(&inotify.get_ref().0, said)?,
            () = look_due => tree.look_again(&inotify.get_ref().0, Instant::now()),
            () = sender.closed() => return Ok(()),
        }
    }
}

fn tell(problem: &watch::Sender<Option<&'static str>>, denied: bool) {
    let now = denied.then_some(DENIED);
    if problem.send_if_modified(|known| std::mem::replace(known, now) != now) {
        match now {
            Some(why) => tracing::error!("{why}"),
            None => tracing::info!("every pod's processes can be seen again"),
        }
    }
}

#[derive(Debug)]
struct Tree {
    root: PathBuf,
    /// The node's own namespace: a process in it is in no pod's.
    own: Netns,
    watches: HashMap<WatchDescriptor, Watched>,
    pods: BTreeMap<Uid, Pod>,
}

#[derive(Clone, Debug)]
enum Watched {
    /// A folder of pods, or of such folders.
    Folder(PathBuf),
    Pod(Uid),
}

#[derive(Debug)]
struct Pod {
    cgroup: PathBuf,
    watches: [WatchDescriptor; 2],
    /// By its processes.
    netns: Option<Netns>,
    /// By the CNI plugin.
    sandbox: Option<Sandbox>,
    look: Option<Look>,
    /// Whether the kernel does not show which namespace it is in.
    denied: bool,
}

#[derive(Debug)]
struct Sandbox {
    id: String,
    netns: Netns,
}

impl Pod {
    fn netns(&self) -> Option<&Netns> {
        self.sandbox.as_ref().map(|sandbox| &sandbox.netns).or(self.netns.as_ref())
    }
}

/// The next look at a pod without a namespace of its own.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    count: u32,
}

impl Tree {
    fn present(&self) -> Pods {
        self.pods.iter().filter_map(|(uid, pod)| Some((uid.clone(), pod.netns()?.clone()))).collect()
    }

    /// Watches a folder before it lists it, so that nothing made meanwhile is missed; what is found twice counts once.
    fn scan(&mut self, inotify: &Inotify, folder: &Path) -> io::Result<()> {
        let flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_ONLYDIR;
        let watch = inotify.add_watch(folder, flags)?;
        self.watches.insert(watch, Watched::Folder(folder.to_owned()));
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir())
                && let Some(name) = entry.file_name().to_str()
            {
                self.appeared(inotify, folder, name);
            }
        }
        Ok(())
    }

    fn appeared(&mut self, inotify: &Inotify, folder: &Path, name: &str) {
        let path = folder.join(name);
        let result = match place(name) {
            Some(Place::Folder) => self.scan(inotify, &path),
            Some(Place::Pod(uid)) => self.add(inotify, uid, path.clone()),
            None => Ok(()),
        };
        match result {
            // Removed again before it was looked at.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(cgroup = %path.display(), %error, "cannot watch a cgroup"),
            Ok(()) => {}
        }
    }

    fn add(&mut self, inotify: &Inotify, uid: Uid, cgroup: PathBuf) -> io::Result<()> {
        if self.pods.get(&uid).is_none_or(|pod| pod.cgroup != cgroup) {
            self.remove(inotify, &uid);
            let containers =
                inotify.add_watch(&cgroup, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ONLYDIR)?;
            let events = inotify.add_watch(&cgroup.join("cgroup.events"), AddWatchFlags::IN_MODIFY)?;
            let watches = [containers, events];
            for watch in watches {
                self.watches.insert(watch, Watched::Pod(uid.clone()));
            }
            let pod = Pod { cgroup, watches, netns: None, sandbox: None, look: None, denied: false };
            self.pods.insert(uid.clone(), pod);
        }
        self.look(inotify, &uid, 0);
        Ok(())
    }

    fn hear(&mut self, inotify: &Inotify, said: Sandboxes) -> io::Result<()> {
        let gone = match said {
            Sandboxes::Begun { uid, sandbox, netns, known } => {
                if !self.pods.contains_key(&uid) {
                    // Its cgroup was made a moment ago, and the kernel's event is still to be read.
                    self.look_at_all(inotify)?;
                }
                let pod = self.pods.get_mut(&uid);
                // Whoever asks may have given up.
                let _ = known.send(pod.is_some());
                if let Some(pod) = pod {
                    (pod.sandbox, pod.look) = (Some(Sandbox { id: sandbox, netns }), None);
                    pod.denied = false;
                }
                return Ok(());
            }
            Sandboxes::Ended(id) => self.with_sandbox(|sandbox| sandbox.id == id),
            Sandboxes::Only(ids) => self.with_sandbox(|sandbox| !ids.contains(&sandbox.id)),
        };
        for uid in gone {
            if let Some(pod) = self.pods.get_mut(&uid) {
                pod.sandbox = None;
            }
            self.look(inotify, &uid, 0);
        }
        Ok(())
    }

    fn with_sandbox(&self, fits: impl Fn(&Sandbox) -> bool) -> Vec<Uid> {
        let fits = |pod: &Pod| pod.sandbox.as_ref().is_some_and(&fits);
        self.pods.iter().filter(|(_, pod)| fits(pod)).map(|(uid, _)| uid.clone()).collect()
    }

    fn remove(&mut self, inotify: &Inotify, uid: &Uid) {
        let Some(pod) = self.pods.remove(uid) else { return };
        for watch in pod.watches {
            // The kernel has removed it already where the cgroup is gone.
            let _ = inotify.rm_watch(watch);
            self.watches.remove(&watch);
        }
    }

    fn handle(&mut self, inotify: &Inotify, events: Vec<InotifyEvent>) -> io::Result<()> {
        for event in events {
            if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                tracing::warn!(
                    "more cgroups changed at once than the kernel remembers; looking at all of them"
                );
                self.look_at_all(inotify)?;
                continue;
            }
            let Some(watched) = self.watches.get(&event.wd).cloned() else { continue };
            if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                self.watches.remove(&event.wd);
                match watched {
                    Watched::Folder(folder) if folder == self.root => {
                        let text = format!("the cgroup {} was removed", folder.display());
                        return Err(io::Error::new(io::ErrorKind::NotFound, text));
                    }
                    Watched::Folder(_) => {}
                    Watched::Pod(uid) => self.remove(inotify, &uid),
                }
                continue;
            }
            match (watched, event.name.as_deref().and_then(|name| name.to_str())) {
                (Watched::Folder(folder), Some(name)) if event.mask.contains(AddWatchFlags::IN_CREATE) => {
                    self.appeared(inotify, &folder, name);
                }
                (Watched::Folder(folder), Some(name)) => {
                    if let Some(Place::Pod(uid)) = place(name)
                        && self.pods.get(&uid).is_some_and(|pod| pod.cgroup == folder.join(name))
                    {
                        self.remove(inotify, &uid);
                    }
                }
                (Watched::Pod(uid), _) => self.look(inotify, &uid, 0),
                (Watched::Folder(_), None) => {}
            }
        }
        Ok(())
    }

    fn look_at_all(&mut self, inotify: &Inotify) -> io::Result<()> {
        let root = self.root.clone();
        self.scan(inotify, &root)?;
        for uid in self.pods.keys().cloned().collect::<Vec<_>>() {
            self.look(inotify, &uid, 0);
        }
        Ok(())
    }

    fn look_again(&mut self, inotify: &Inotify, now: Instant) {
        let is_due = |pod: &Pod| pod.look.filter(|look| look.at <= now).map(|look| look.count);
        let due: Vec<(Uid, u32)> =
            self.pods.iter().filter_map(|(uid, pod)| Some((uid.clone(), is_due(pod)?))).collect();
        for (uid, count) in due {
            self.look(inotify, &uid, count);
        }
    }

    /// Looks which namespace the pod's processes are in; `count` looks came before without an event between them.
    fn look(&mut self, inotify: &Inotify, uid: &Uid, count: u32) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        if pod.sandbox.is_some() {
            return;
        }
        match is_populated(&pod.cgroup) {
            Ok(true) => {}
            Ok(false) => {
                // The kernel says so when the first process comes.
                (pod.netns, pod.look, pod.denied) = (None, None, false);
                return;
            }
            Err(_) => return self.remove(inotify, uid),
        }
        let held = pod.netns.as_ref().map(Netns::inode);
        let found = find(&pod.cgroup, held, self.own.inode());
        pod.denied = matches!(found, Found::Denied);
        match found {
            Found::Held => pod.look = None,
            Found::New(netns) => {
                tracing::debug!(%uid, cookie = netns.cookie(), "found a pod's network namespace");
                (pod.netns, pod.look) = (Some(netns), None);
            }
            Found::None | Found::Denied => {
                let next = Look { at: Instant::now() + FIRST_LOOK * 2u32.pow(count), count: count + 1 };
                pod.look = (count < LOOKS).then_some(next);
            }
        }
    }
}

/// An [`Inotify`] as tokio takes it.
#[derive(Debug)]
struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
