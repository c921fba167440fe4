//! Finding pods in real cgroups, with real processes and namespaces.
#![allow(clippy::unwrap_used, reason = "clippy spares only the test functions themselves")]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mesh_ir::name::Uid;
use mesh_node::netns::Netns;
use mesh_node::pods::cgroup::Sandboxes;
use mesh_node::pods::{Pods, addresses, cgroup, root};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use tokio::sync::{mpsc, oneshot, watch};

const SOON: Duration = Duration::from_secs(10);
/// Longer than it takes to see what is to be seen, and to be sure that nothing is.
const QUIET: Duration = Duration::from_millis(300);

/// A tree as the kubelet makes it, gone when dropped with the processes in it.
struct Kubepods(PathBuf);

/// `None`, said on stderr, where the test cannot run.
fn kubepods() -> Option<Kubepods> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    let Some(mount) = root::mounts().unwrap().into_iter().next() else {
        eprintln!("skipped: needs cgroup v2");
        return None;
    };
    let name = format!("weir-pods-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let kubepods = Kubepods(mount.join(name));
    fs::create_dir(&kubepods.0).unwrap();
    Some(kubepods)
}

impl Kubepods {
    fn create(&self, path: &str) {
        fs::create_dir_all(self.0.join(path)).unwrap();
    }

    /// Puts a process into the cgroup that does what a runtime's does: comes from the node's namespace, and joins the
    /// pod's by `script`, a command that ends with a placeholder for the process itself.
    fn start(&self, cgroup: &str, script: &str) -> Child {
        let procs = self.0.join(cgroup).join("cgroup.procs");
        let script = format!("echo $$ > {} && {script}", procs.display());
        Command::new("sh").args(["-c", &script]).spawn().unwrap()
    }

    fn kill(&self, cgroup: &str) {
        fs::write(self.0.join(cgroup).join("cgroup.kill"), "1").unwrap();
    }

    /// Removes a cgroup and what is below it once the kernel allows it.
    fn remove(&self, cgroup: &str) {
        remove_tree(&self.0.join(cgroup));
    }
}

impl Drop for Kubepods {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        remove_tree(&self.0);
    }
}

fn remove_tree(path: &std::path::Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    // The kernel takes a moment to empty the cgroup of what it killed; it says so by allowing the removal.
    for _ in 0..400 {
        if fs::remove_dir(path).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Where no CNI plugin says anything.
fn follow(tree: &Kubepods) -> std::io::Result<mpsc::Receiver<Pods>> {
    cgroup::watch(&tree.0, mpsc::channel(1).1, watch::Sender::default())
}

fn uid(last: u8) -> Uid {
    Uid::new(&format!("0f3e2d1c-89ab-4cde-8f01-2345678900{last:02x}")).unwrap()
}

async fn until(pods: &mut mpsc::Receiver<Pods>, what: &str, fits: impl Fn(&Pods) -> bool) -> Pods {
    let seen = async {
        loop {
            let now = pods.recv().await.expect("the source ended");
            if fits(&now) {
                return now;
            }
        }
    };
    tokio::time::timeout(SOON, seen).await.unwrap_or_else(|_| panic!("never: {what}"))
}

async fn nothing(pods: &mut mpsc::Receiver<Pods>) {
    let seen = tokio::time::timeout(QUIET, pods.recv()).await;
    assert!(seen.is_err(), "{seen:?}");
}

fn reap(mut children: Vec<Child>) {
    for child in &mut children {
        child.wait().unwrap();
    }
}

#[tokio::test]
async fn pods_in_cgroups_are_found_whichever_driver_made_them() {
    let Some(tree) = kubepods() else { return };
    let before = format!("pod{}/sandbox", uid(1));
    tree.create(&before);
    let mut children = vec![tree.start(&before, "exec unshare -n sleep 1000")];
    let mut pods = follow(&tree).unwrap();
    until(&mut pods, "a pod that was there before", |pods| pods.contains_key(&uid(1))).await;

    let slice = format!(
        "kubepods-burstable.slice/kubepods-burstable-pod{}.slice/cri-containerd-1.scope",
        uid(2).to_string().replace('-', "_")
    );
    tree.create(&slice);
    children.push(tree.start(&slice, "exec unshare -n sleep 1000"));
    let found = until(&mut pods, "a pod of the systemd driver", |pods| pods.contains_key(&uid(2))).await;
    assert_ne!(found[&uid(1)], found[&uid(2)]);
    let expected = Netns::open(&PathBuf::from(format!("/proc/{}/ns/net", children[1].id()))).unwrap();
    assert_eq!(found[&uid(2)], expected);

    tree.kill(&slice);
    until(&mut pods, "gone with its last process", |pods| !pods.contains_key(&uid(2))).await;
    tree.kill(&before);
    tree.remove(&format!("pod{}", uid(1)));
    until(&mut pods, "gone with its cgroup", Pods::is_empty).await;
    reap(children);
}

#[tokio::test]
async fn pods_on_the_nodes_own_network_are_left_alone() {
    let Some(tree) = kubepods() else { return };
    let mut pods = follow(&tree).unwrap();
    assert!(pods.recv().await.unwrap().is_empty(), "the first value comes at once");
    let host = format!("besteffort/pod{}/sandbox", uid(1));
    tree.create(&host);
    let child = tree.start(&host, "exec sleep 1000");
    nothing(&mut pods).await;
    tree.kill(&host);
    reap(vec![child]);
}

#[tokio::test]
async fn pods_whose_first_process_comes_late_to_its_namespace_are_found() {
    let Some(tree) = kubepods() else { return };
    let mut pods = follow(&tree).unwrap();
    let sandbox = format!("burstable/pod{}/sandbox", uid(1));
    tree.create(&sandbox);
    let child = tree.start(&sandbox, "sleep 0.5 && exec unshare -n sleep 1000");
    until(&mut pods, "found without any event", |pods| pods.contains_key(&uid(1))).await;
    tree.kill(&sandbox);
    reap(vec![child]);
}

#[tokio::test]
async fn pods_keep_their_namespace_until_the_sandbox_is_made_anew() {
    let Some(tree) = kubepods() else { return };
    let mut pods = follow(&tree).unwrap();
    let pod = format!("burstable/pod{}", uid(1));
    let (first, container, second) = (format!("{pod}/s1"), format!("{pod}/app"), format!("{pod}/s2"));
    tree.create(&first);
    let mut children = vec![tree.start(&first, "exec unshare -n sleep 1000")];
    let found = until(&mut pods, "the pod", |pods| pods.contains_key(&uid(1))).await;
    let before = found[&uid(1)].clone();

    tree.create(&container);
    children.push(tree.start(
        &container,
        &format!("exec nsenter --net=/proc/{}/ns/net unshare -n sleep 1000", children[0].id()),
    ));
    nothing(&mut pods).await;

    tree.kill(&first);
    tree.kill(&container);
    tree.remove(&first);
    tree.remove(&container);
    tree.create(&second);
    children.push(tree.start(&second, "exec unshare -n sleep 1000"));
    let is_new = |pods: &Pods| pods.get(&uid(1)).is_some_and(|netns| *netns != before);
    until(&mut pods, "the new namespace", is_new).await;
    tree.kill(&pod);
    reap(children);
}

#[tokio::test]
async fn pods_that_the_kernel_does_not_show_are_a_problem_that_names_the_capability() {
    let Some(tree) = kubepods() else { return };
    let sandbox = format!("burstable/pod{}/sandbox", uid(1));
    tree.create(&sandbox);
    let child = tree.start(&sandbox, "exec unshare -n sleep 1000");
    // Capabilities are each thread's own, and this test has one thread.
    let all = capabilities(None).unwrap();
    let without = CapabilitySets { effective: all.effective - CapabilitySet::SYS_PTRACE, ..all };
    set_capabilities(None, without).unwrap();
    let sender = watch::Sender::default();
    let mut problem = sender.subscribe();
    let mut pods = cgroup::watch(&tree.0, mpsc::channel(1).1, sender).unwrap();
    let said = tokio::time::timeout(SOON, problem.wait_for(Option::is_some)).await.unwrap().unwrap().unwrap();
    assert!(said.contains("CAP_SYS_PTRACE"), "{said}");
    assert!(pods.recv().await.unwrap().is_empty());

    set_capabilities(None, all).unwrap();
    until(&mut pods, "the pod, once it may be seen", |pods| pods.contains_key(&uid(1))).await;
    tokio::time::timeout(SOON, problem.wait_for(Option::is_none)).await.unwrap().unwrap();
    tree.kill(&sandbox);
    reap(vec![child]);
}

/// How long a pod's first process runs before its capture can begin. Not a bound that is tested: it is a figure of the
/// machine, and printed.
#[tokio::test]
async fn pods_window_between_first_process_and_event() {
    let Some(tree) = kubepods() else { return };
    let mut pods = follow(&tree).unwrap();
    let mut windows = Vec::new();
    for round in 0..20 {
        let sandbox = format!("burstable/pod{}/sandbox", uid(round));
        tree.create(&sandbox);
        // What is measured begins when the process is in its namespace and enters the cgroup at once.
        let mut child = Command::new("unshare").args(["-n", "sleep", "1000"]).spawn().unwrap();
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let netns = format!("/proc/{}/ns/net", child.id());
        while fs::read_link(&netns).unwrap() == own {
            tokio::task::yield_now().await;
        }
        let entering = Instant::now();
        fs::write(tree.0.join(&sandbox).join("cgroup.procs"), child.id().to_string()).unwrap();
        let entered = Instant::now();
        until(&mut pods, "the pod", |pods| pods.contains_key(&uid(round))).await;
        windows.push((entered.elapsed(), entering.elapsed()));
        child.kill().unwrap();
        child.wait().unwrap();
        until(&mut pods, "its end", |pods| !pods.contains_key(&uid(round))).await;
    }
    windows.sort();
    let (median, longest) = (windows[windows.len() / 2], windows[windows.len() - 1]);
    eprintln!(
        "window from the first process in the cgroup to the event: median {:?}, longest {:?} (with the kernel's moving it \
         there: {:?}, {:?})",
        median.0, longest.0, median.1, longest.1
    );
    assert!(median.0 < Duration::from_secs(1), "{median:?}");
}

#[tokio::test]
async fn pods_that_the_cni_plugin_hands_over_are_known_until_it_takes_them_back() {
    let Some(tree) = kubepods() else { return };
    let (told, sandboxes) = mpsc::channel(1);
    let mut pods = cgroup::watch(&tree.0, sandboxes, watch::Sender::default()).unwrap();
    assert!(pods.recv().await.unwrap().is_empty());
    let namespace =
        |child: &Child| Netns::open(&PathBuf::from(format!("/proc/{}/ns/net", child.id()))).unwrap();
    let hand_over = async |last: u8, sandbox: &str, netns: &Netns| {
        let (known, is_known) = oneshot::channel();
        let (uid, sandbox, netns) = (uid(last), sandbox.to_owned(), netns.clone());
        told.send(Sandboxes::Begun { uid, sandbox, netns, known }).await.unwrap();
        is_known.await.unwrap()
    };
    // Outside of the tree: only their namespaces matter.
    let mut children: Vec<Child> =
        (0..2).map(|_| Command::new("unshare").args(["-n", "sleep", "1000"]).spawn().unwrap()).collect();
    until_away(&children).await;
    let (first, second) = (namespace(&children[0]), namespace(&children[1]));

    assert!(!hand_over(1, "first", &first).await, "the kubelet has made no cgroup for it");
    tree.create(&format!("burstable/pod{}", uid(1)));
    assert!(hand_over(1, "first", &first).await, "whether the kernel's event has been read or not");
    until(&mut pods, "without any process in it", |pods| pods.get(&uid(1)) == Some(&first)).await;

    // The runtime makes the sandbox anew, and says late that the old one is gone.
    assert!(hand_over(1, "second", &second).await);
    until(&mut pods, "the new one counts", |pods| pods.get(&uid(1)) == Some(&second)).await;
    told.send(Sandboxes::Ended("first".to_owned())).await.unwrap();
    // Its containers come and go, and it stays: its namespace does.
    let container = format!("burstable/pod{}/container", uid(1));
    tree.create(&container);
    let running =
        tree.start(&container, &format!("exec nsenter --net=/proc/{}/ns/net sleep 1000", children[1].id()));
    until_there(&tree, &container).await;
    tree.kill(&container);
    tree.remove(&container);
    nothing(&mut pods).await;

    told.send(Sandboxes::Ended("second".to_owned())).await.unwrap();
    until(&mut pods, "taken back", Pods::is_empty).await;
    assert!(hand_over(1, "third", &first).await);
    until(&mut pods, "there again", |pods| pods.len() == 1).await;
    told.send(Sandboxes::Only(["other".to_owned()].into())).await.unwrap();
    until(&mut pods, "not among those that the runtime has", Pods::is_empty).await;
    assert!(hand_over(1, "fourth", &first).await);
    until(&mut pods, "there once more", |pods| pods.len() == 1).await;
    tree.remove(&format!("burstable/pod{}", uid(1)));
    until(&mut pods, "gone with its cgroup", Pods::is_empty).await;
    for child in &mut children {
        child.kill().unwrap();
    }
    children.push(running);
    reap(children);
}

/// Until a process is in the cgroup.
async fn until_there(tree: &Kubepods, cgroup: &str) {
    let begun = Instant::now();
    while fs::read_to_string(tree.0.join(cgroup).join("cgroup.procs")).unwrap().is_empty() {
        assert!(begun.elapsed() < SOON, "no process came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Until each process is in a namespace of its own.
async fn until_away(children: &[Child]) {
    let own = Netns::current().unwrap().inode();
    for child in children {
        let path = PathBuf::from(format!("/proc/{}/ns/net", child.id()));
        let begun = Instant::now();
        while Netns::open(&path).unwrap().inode() == own {
            assert!(begun.elapsed() < SOON, "unshare did nothing");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn pods_addresses_are_those_of_their_interface() {
    let Some(_tree) = kubepods() else { return };
    let mut children = vec![Command::new("unshare").args(["-n", "sleep", "1000"]).spawn().unwrap()];
    until_away(&children).await;
    let pid = children[0].id();
    let netns = Netns::open(&PathBuf::from(format!("/proc/{pid}/ns/net"))).unwrap();
    assert!(addresses::read(&netns).await.unwrap().is_empty());
    let script = "ip link add eth0 type veth peer name net1 && ip link set eth0 up && ip link set net1 up
        ip addr add 10.9.9.9/24 dev net1 && ip addr add 10.244.1.7/24 dev eth0 && ip addr add fd00::7/64 dev eth0 nodad";
    let arguments = ["--target", &pid.to_string(), "--net", "sh", "-ec", script];
    assert!(Command::new("nsenter").args(arguments).status().unwrap().success());
    let mut found = addresses::read(&netns).await.unwrap();
    found.sort();
    let expected: Vec<std::net::IpAddr> = vec!["10.244.1.7".parse().unwrap(), "fd00::7".parse().unwrap()];
    assert_eq!(found, expected, "neither the link's own nor another interface's");
    children[0].kill().unwrap();
    reap(children);
}
