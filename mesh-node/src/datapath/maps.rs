//! The maps: making them hold what was planned, and what single connections need of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use aya::maps::{HashMap, Map, MapData, MapError};
use mesh_bpf_abi::{Address, Bypass, Endpoint, MAX_OWN_ADDRESSES, Origin, OwnDial, Source};
use mesh_ir::view::MeshView;

use super::plan::{MapImage, Planned, endpoint, plan, planned};
use super::{address_of, ip_of};

/// The maps that say which connections are captured.
#[derive(Debug)]
pub struct PlannedMaps {
    addresses: HashMap<MapData, Address, u32>,
    ports: HashMap<MapData, Endpoint, u32>,
    held: MapImage,
    /// The view that was planned last, and entered whole.
    planned: Option<Arc<MeshView>>,
}

impl PlannedMaps {
    pub(super) fn open(pins: &Path) -> Result<Self, MapError> {
        let addresses: HashMap<MapData, Address, u32> = open(pins, "ADDRESSES")?;
        let ports: HashMap<MapData, Endpoint, u32> = open(pins, "PORTS")?;
        let held = MapImage {
            addresses: addresses.iter().collect::<Result<BTreeMap<_, _>, _>>()?,
            ports: ports
                .keys()
                .map(|e| e.map(|e| (e.address, e.port)))
                .collect::<Result<BTreeSet<_>, _>>()?,
        };
        Ok(Self { addresses, ports, held, planned: None })
    }

    /// Makes the maps hold what a view asks for. It looks only at what differs from the view before.
    pub fn hold(&mut self, view: &Arc<MeshView>) -> Result<(), MapError> {
        // Should this fail, the next time everything is looked at.
        match self.planned.take() {
            Some(before) => {
                for ip in view.addresses_changed_since(&before) {
                    self.hold_address(address_of(ip), &planned(view, ip))?;
                }
            }
            None => self.hold_image(plan(view))?,
        }
        self.planned = Some(view.clone());
        Ok(())
    }

    /// Makes the maps hold these, whatever they hold.
    pub fn hold_image(&mut self, image: MapImage) -> Result<(), MapError> {
        let held = self.held.ports.iter().map(|(address, _)| address).chain(self.held.addresses.keys());
        let wanted = image.ports.iter().map(|(address, _)| address).chain(image.addresses.keys());
        for address in held.chain(wanted).copied().collect::<BTreeSet<Address>>() {
            self.hold_address(address, &image.of(&address))?;
        }
        Ok(())
    }

    /// Ports come before the address that makes them count, and go after it.
    fn hold_address(&mut self, address: Address, planned: &Planned) -> Result<(), MapError> {
        let held = self.held.of(&address);
        for port in planned.ports.difference(&held.ports) {
            self.ports.insert(endpoint((address, *port)), 1, 0)?;
            self.held.ports.insert((address, *port));
        }
        match planned.kind {
            Some(kind) if held.kind != Some(kind) => {
                self.addresses.insert(address, kind, 0)?;
                self.held.addresses.insert(address, kind);
            }
            None if held.kind.is_some() => {
                ignore_missing(self.addresses.remove(&address))?;
                self.held.addresses.remove(&address);
            }
            _ => {}
        }
        for port in held.ports.difference(&planned.ports) {
            ignore_missing(self.ports.remove(&endpoint((address, *port))))?;
            self.held.ports.remove(&(address, *port));
        }
        Ok(())
    }
}

/// The map of the node's own addresses: what comes from one of them goes past the proxy. It outlives this process, and
/// so the probes of the node's kubelet go on.
#[derive(Debug)]
pub struct OwnAddresses {
    map: HashMap<MapData, Address, u32>,
    held: BTreeSet<Address>,
}

impl OwnAddresses {
    pub fn open(pins: &Path) -> Result<Self, MapError> {
        let map: HashMap<MapData, Address, u32> = open(pins, "OWN_ADDRESSES")?;
        let held = map.keys().collect::<Result<_, _>>()?;
        Ok(Self { map, held })
    }

    /// Changes only what differs. Gives how many there is no room for.
    pub fn hold(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<usize, MapError> {
        let wanted: BTreeSet<Address> =
            addresses.iter().take(MAX_OWN_ADDRESSES as usize).map(|ip| address_of(*ip)).collect();
        // First what goes, which makes room.
        for old in self.held.difference(&wanted) {
            ignore_missing(self.map.remove(old))?;
        }
        for new in wanted.difference(&self.held) {
            self.map.insert(new, 1, 0)?;
        }
        let too_many = addresses.len() - wanted.len();
        self.held = wanted;
        Ok(too_many)
    }
}

/// A connection of the proxy's own that it is about to make into a pod.
#[derive(Clone, Copy, Debug)]
pub enum Announcement {
    /// To the application.
    Application(Bypass),
    /// From the node's Gateways, to the proxy in one of the node's pods.
    OwnDial(OwnDial),
}

/// What a worker asks and tells the kernel for single connections.
#[derive(Debug)]
pub struct ConnectionMaps {
    origins: HashMap<MapData, Source, Origin>,
    bypass: HashMap<MapData, Bypass, u32>,
    own_dials: HashMap<MapData, OwnDial, u32>,
}

impl ConnectionMaps {
    pub fn open(pins: &Path) -> Result<Self, MapError> {
        Ok(Self {
            origins: open(pins, "ORIGINS")?,
            bypass: open(pins, "BYPASS")?,
            own_dials: open(pins, "OWN_DIALS")?,
        })
    }

    /// What the application dialled whose captured connection comes from `source` in this namespace.
    pub fn origin(&self, netns: u64, source: SocketAddr) -> Option<SocketAddr> {
        let key = Source { netns, address: address_of(source.ip()), port: u64::from(source.port()) };
        let origin = self.origins.get(&key, 0).ok()?;
        Some(SocketAddr::new(ip_of(&origin.address), u16::try_from(origin.port).ok()?))
    }

    /// Lets a connection of the proxy's own in to whom it is for.
    pub fn announce(&mut self, connection: Announcement) -> Result<(), MapError> {
        match connection {
            Announcement::Application(bypass) => self.bypass.insert(bypass, 1, 0),
            Announcement::OwnDial(dial) => self.own_dials.insert(dial, 1, 0),
        }
    }

    pub fn conclude(&mut self, connection: &Announcement) {
        // It is there: `announce` came before.
        let _ = match connection {
            Announcement::Application(bypass) => self.bypass.remove(bypass),
            Announcement::OwnDial(dial) => self.own_dials.remove(dial),
        };
    }
}

/// Takes back what a process announced that ended before it could: with the connection's addresses another one would
/// be taken for it.
pub(super) fn forget_announced(pins: &Path) -> Result<(), MapError> {
    clear::<Bypass>(pins, "BYPASS")?;
    clear::<OwnDial>(pins, "OWN_DIALS")
}

fn clear<K: aya::Pod>(pins: &Path, name: &str) -> Result<(), MapError> {
    let mut map: HashMap<MapData, K, u32> = open(pins, name)?;
    // Collected first: an entry that goes makes the walk begin anew.
    for key in map.keys().collect::<Result<Vec<K>, _>>()? {
        ignore_missing(map.remove(&key))?;
    }
    Ok(())
}

pub(super) fn open<K: aya::Pod, V: aya::Pod>(
    pins: &Path,
    name: &str,
) -> Result<HashMap<MapData, K, V>, MapError> {
    HashMap::try_from(Map::from_map_data(MapData::from_pin(pins.join(name))?)?)
}

pub(super) fn ignore_missing(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(MapError::KeyNotFound) => Ok(()),
        other => other,
    }
}
