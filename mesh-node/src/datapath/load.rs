//! Attaching the programs, and pinning them with their maps and links: while no process of ours runs, captured
//! traffic is refused and never sent in clear.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, Map, MapData, MapError, SockMap};
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::{CgroupAttachMode, CgroupSockAddr, ProgramError, SkLookup, SockOps};
use aya::{Ebpf, EbpfError, EbpfLoader, include_bytes_aligned};
use mesh_bpf_abi::{MAX_PODS, Pod, listener_index, mapped};
use mesh_ir::name::Uid;
use nix::mount::{MsFlags, mount};

use super::maps::{PlannedMaps, forget_announced, ignore_missing, open};
use crate::netns::Netns;

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mesh-bpf"));

/// The programs that stand at the pods' cgroup, and what they do.
const CGROUP_PROGRAMS: [&str; 6] =
    ["capture_connect4", "capture_connect6", "show_peer4", "show_peer6", "show_self4", "show_self6"];

#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the eBPF object: {0}")]
    Object(#[from] EbpfError),
    #[error("the eBPF program {name}: {source}")]
    Program { name: String, source: ProgramError },
    #[error("the eBPF program {0} is not in the object")]
    NoProgram(String),
    #[error("an eBPF map: {0}")]
    Map(#[from] MapError),
    #[error("the link {}: {message}", path.display())]
    Link { path: PathBuf, message: String },
    #[error("this node already captures {MAX_PODS} pods, its limit")]
    NoSlot,
}

/// The attached programs, and the maps that only the control side writes.
pub struct Datapath {
    pins: PathBuf,
    pub planned: PlannedMaps,
    pods: HashMap<MapData, u64, Pod>,
    listeners: SockMap<MapData>,
    slots: Slots,
}

impl std::fmt::Debug for Datapath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datapath").field("pins", &self.pins).finish_non_exhaustive()
    }
}

impl Datapath {
    /// Takes over what an earlier process left in `pins`, a folder on a bpffs that is mounted there if it is not.
    pub fn load(pins: &Path, cgroup: &Path) -> Result<Self, DatapathError> {
        let file_error = |path: &Path| {
            let path = path.to_owned();
            move |source| DatapathError::File { path, source }
        };
        fs::create_dir_all(pins).map_err(file_error(pins))?;
        mount_bpffs(pins).map_err(file_error(pins))?;
        let mut ebpf = EbpfLoader::new().default_map_pin_directory(pins).load(OBJECT)?;
        forget_announced(pins)?;
        // Before the hooks stand: this process dials from within the pods, and must never meet them.
        let own = own_cgroup(cgroup).map_err(file_error(cgroup))?.unwrap_or_default();
        let map = Map::from_map_data(MapData::from_pin(pins.join("OWN_CGROUP"))?)?;
        Array::<MapData, u64>::try_from(map)?.set(0, own, 0)?;
        let cgroup_file = File::open(cgroup).map_err(file_error(cgroup))?;
        for name in CGROUP_PROGRAMS {
            let link = attach_sock_addr(&mut ebpf, name, &cgroup_file)?;
            replace_pin(link, &pins.join(format!("link-{name}")))?;
        }
        let link = attach_sock_ops(&mut ebpf, "follow_flow", &cgroup_file)?;
        replace_pin(link, &pins.join("link-follow_flow"))?;
        let listeners = Map::from_map_data(MapData::from_pin(pins.join("LISTENERS"))?)?;
        Ok(Self {
            pins: pins.to_owned(),
            planned: PlannedMaps::open(pins)?,
            pods: open(pins, "PODS")?,
            listeners: SockMap::try_from(listeners)?,
            slots: Slots::held_by_pins(pins).map_err(file_error(pins))?,
        })
    }

    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// Takes away what an earlier process captured and what is no pod of ours any more.
    pub fn forget_others(
        &mut self,
        uids: &BTreeSet<Uid>,
        cookies: &BTreeSet<u64>,
    ) -> Result<(), DatapathError> {
        let gone: Vec<u64> =
            self.pods.keys().filter_map(Result::ok).filter(|c| !cookies.contains(c)).collect();
        for cookie in gone {
            ignore_missing(self.pods.remove(&cookie))?;
        }
        let error = |source| DatapathError::File { path: self.pins.clone(), source };
        for entry in fs::read_dir(&self.pins).map_err(error)? {
            let entry = entry.map_err(error)?;
            let name = entry.file_name();
            let Some((uid, slot)) = name.to_str().and_then(read_pin) else { continue };
            if !uids.contains(&uid) {
                fs::remove_file(entry.path()).map_err(error)?;
                self.slots.give_back(&uid, slot);
            }
        }
        Ok(())
    }

    /// The pod's place in the maps: the one that it had under an earlier process, or a free one.
    pub fn take_slot(&mut self, uid: &Uid) -> Result<u32, DatapathError> {
        self.slots.take(uid).ok_or(DatapathError::NoSlot)
    }

    /// From here on new connections into the pod go to `listeners` (one a family). Inbound stands before outbound:
    /// a pod that can reach the mesh can be reached by it.
    pub fn capture(
        &mut self,
        uid: &Uid,
        netns: &Netns,
        slot: u32,
        addresses: &[IpAddr],
        listeners: (&TcpListener, Option<&TcpListener>),
    ) -> Result<(), DatapathError> {
        self.listeners.set(listener_index(slot, false), listeners.0, 0)?;
        if let Some(listener) = listeners.1 {
            self.listeners.set(listener_index(slot, true), listener, 0)?;
        }
        let mut ebpf = EbpfLoader::new()
            .default_map_pin_directory(&self.pins)
            .override_global("SLOT", &slot, true)
            .load(OBJECT)?;
        let link = attach_sk_lookup(&mut ebpf, "take_inbound", netns)?;
        replace_pin(link, &self.pins.join(pin_of(uid, slot)))?;
        let mut pod = Pod::default();
        for address in addresses {
            match address {
                IpAddr::V4(v4) => pod.v4 = mapped(v4.octets()),
                IpAddr::V6(v6) => pod.v6 = v6.octets(),
            }
        }
        self.pods.insert(netns.cookie(), pod, 0)?;
        Ok(())
    }

    pub fn release(&mut self, uid: &Uid, cookie: u64, slot: u32) -> Result<(), DatapathError> {
        ignore_missing(self.pods.remove(&cookie))?;
        let path = self.pins.join(pin_of(uid, slot));
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(DatapathError::File { path, source });
            }
            _ => {}
        }
        // The kernel has taken them out already where their sockets are closed.
        let _ = self.listeners.clear_index(&listener_index(slot, false));
        let _ = self.listeners.clear_index(&listener_index(slot, true));
        self.slots.give_back(uid, slot);
        Ok(())
    }
}

/// The pods' places in the maps. A pod's pinned `sk_lookup` program knows its place and goes on using it when a new
/// process starts: until the pod is released nobody else may have it.
#[derive(Debug)]
struct Slots {
    free: BTreeSet<u32>,
    /// Of pods that an earlier process captured.
    inherited: BTreeMap<Uid, u32>,
}

impl Slots {
    fn held_by_pins(pins: &Path) -> io::Result<Self> {
        let mut inherited = BTreeMap::new();
        for entry in fs::read_dir(pins)? {
            inherited.extend(entry?.file_name().to_str().and_then(read_pin));
        }
        let held: BTreeSet<u32> = inherited.values().copied().collect();
        Ok(Self { free: (0..MAX_PODS).filter(|slot| !held.contains(slot)).collect(), inherited })
    }

    fn take(&mut self, uid: &Uid) -> Option<u32> {
        self.inherited.remove(uid).or_else(|| self.free.pop_first())
    }

    fn give_back(&mut self, uid: &Uid, slot: u32) {
        self.inherited.remove(uid);
        self.free.insert(slot);
    }
}

/// The name of the pin that holds a pod's link. (bpffs takes no dot in a name; a Pod's UID has none.)
fn pin_of(uid: &Uid, slot: u32) -> String {
    format!("pod-{uid}@{slot}").replace('.', "_")
}

fn read_pin(name: &str) -> Option<(Uid, u32)> {
    let (uid, slot) = name.strip_prefix("pod-")?.split_once('@')?;
    Some((Uid::new(uid).ok()?, slot.parse().ok()?))
}

/// The id of this process's cgroup, if that is one of those below `cgroup`: so it is where mesh-node is a pod itself.
fn own_cgroup(cgroup: &Path) -> io::Result<Option<u64>> {
    let own = std::process::id().to_string();
    let mut folders = vec![cgroup.to_owned()];
    while let Some(folder) = folders.pop() {
        let procs = match fs::read_to_string(folder.join("cgroup.procs")) {
            Ok(procs) => procs,
            // It was removed meanwhile, or lists no processes of its own because its threads are spread.
            Err(_) if folder != cgroup => continue,
            Err(error) => return Err(error),
        };
        if procs.lines().any(|pid| pid == own) {
            return Ok(Some(fs::metadata(&folder)?.ino()));
        }
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let below = entries.filter_map(Result::ok).filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.extend(below.map(|entry| entry.path()));
    }
    Ok(None)
}

fn mount_bpffs(path: &Path) -> io::Result<()> {
    let kind = nix::sys::statfs::statfs(path)?.filesystem_type();
    if kind != nix::sys::statfs::BPF_FS_MAGIC {
        mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), None::<&str>)?;
    }
    Ok(())
}

// A link at a cgroup always stands beside others: `Single` only means that no flag is passed, which the kernel takes
// for none but programs attached without a link.

fn attach_sock_addr(ebpf: &mut Ebpf, name: &str, cgroup: &File) -> Result<FdLink, DatapathError> {
    let error = |source| DatapathError::Program { name: name.to_owned(), source };
    let program = ebpf.program_mut(name).ok_or_else(|| DatapathError::NoProgram(name.to_owned()))?;
    let program: &mut CgroupSockAddr = program.try_into().map_err(error)?;
    program.load().map_err(error)?;
    let id = program.attach(cgroup, CgroupAttachMode::Single).map_err(error)?;
    fd_link(name, program.take_link(id).map_err(error)?.try_into())
}

fn attach_sock_ops(ebpf: &mut Ebpf, name: &str, cgroup: &File) -> Result<FdLink, DatapathError> {
    let error = |source| DatapathError::Program { name: name.to_owned(), source };
    let program = ebpf.program_mut(name).ok_or_else(|| DatapathError::NoProgram(name.to_owned()))?;
    let program: &mut SockOps = program.try_into().map_err(error)?;
    program.load().map_err(error)?;
    let id = program.attach(cgroup, CgroupAttachMode::Single).map_err(error)?;
    fd_link(name, program.take_link(id).map_err(error)?.try_into())
}

fn attach_sk_lookup(ebpf: &mut Ebpf, name: &str, netns: &Netns) -> Result<FdLink, DatapathError> {
    let error = |source| DatapathError::Program { name: name.to_owned(), source };
    let program = ebpf.program_mut(name).ok_or_else(|| DatapathError::NoProgram(name.to_owned()))?;
    let program: &mut SkLookup = program.try_into().map_err(error)?;
    program.load().map_err(error)?;
    let id = program.attach(netns).map_err(error)?;
    Ok(program.take_link(id).map_err(error)?.into())
}

fn fd_link(name: &str, link: Result<FdLink, LinkError>) -> Result<FdLink, DatapathError> {
    link.map_err(|source| DatapathError::Link { path: name.into(), message: source.to_string() })
}

/// Pins `link` where an earlier process may have pinned one. Both are attached for a moment, which does no harm:
/// what the first has rewritten the second does not recognise.
fn replace_pin(link: FdLink, path: &Path) -> Result<(), DatapathError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(DatapathError::File { path: path.to_owned(), source });
        }
        _ => {}
    }
    let _: PinnedLink = link
        .pin(path)
        .map_err(|error| DatapathError::Link { path: path.to_owned(), message: error.to_string() })?;
    Ok(())
}
