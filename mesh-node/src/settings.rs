//! The node's flags. Every default that can refuse or cut off traffic is named here, in its help text.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use mesh_ir::name::{Namespace, NodeName, TrustDomain};
use mesh_trust::Remote;

#[derive(Clone, Debug, clap::Parser)]
#[command(name = "mesh-node", about = "The per-node proxy of the Weir mesh", version)]
pub struct Settings {
    /// This node's name, as the configuration calls it.
    #[arg(long)]
    pub node: NodeName,
    /// An address of this node, from which Gateways dial their backends.
    #[arg(long)]
    pub node_ip: IpAddr,
    /// Where the mesh-operator serves the configuration; a name is resolved at each attempt.
    #[arg(long, value_name = "HOST:PORT")]
    pub operator: Remote,
    /// Where the cert-authority is; a name is resolved at each attempt.
    #[arg(long, value_name = "HOST:PORT")]
    pub ca: Remote,
    /// The roots to trust the cert-authority by, in PEM.
    #[arg(long)]
    pub ca_bundle: PathBuf,
    /// The token that proves to the cert-authority which node this is.
    #[arg(long)]
    pub token_file: PathBuf,
    #[arg(long, default_value = "cluster.local")]
    pub trust_domain: TrustDomain,
    /// A folder that holds the network namespace of each pod on this node as a file named by the pod's UID.
    #[arg(long, value_name = "DIR", required_unless_present = "pods_in_cgroup")]
    pub pods: Option<PathBuf>,
    /// Find the pods in the tree of cgroups that the kubelet makes below --cgroup, instead of in a folder.
    #[arg(long, conflicts_with = "pods")]
    pub pods_in_cgroup: bool,
    /// Answer by ARP and NDP for the addresses of Gateways that the configuration gives to this node.
    #[arg(long)]
    pub announce: bool,
    /// The cgroup (v2) that holds the pods of this node; `auto` is the kubelet's, where it stands at the root.
    #[arg(long)]
    pub cgroup: PathBuf,
    /// A folder to mount a bpffs on, or one that is on a bpffs: the pins of programs and maps.
    #[arg(long)]
    pub bpf: PathBuf,
    /// The Unix socket of the admin interface.
    #[arg(long)]
    pub admin: PathBuf,
    /// Where /metrics, /healthz and /readyz are served in clear.
    #[arg(long)]
    pub metrics: SocketAddr,
    /// Proxy threads; 0 is one a core.
    #[arg(long, default_value_t = 0)]
    pub workers: usize,
    /// Where a line for each request and connection goes.
    #[arg(long, value_enum, default_value_t = AccessLogTo::Stdout)]
    pub access_log: AccessLogTo,
    /// Which resolvers are asked for the external hostnames of XBackends, as resolv.conf(5) has them; names are asked for as
    /// they are, without `search`.
    #[arg(long, default_value = "/etc/resolv.conf", value_name = "FILE")]
    pub resolv_conf: PathBuf,
    #[command(flatten)]
    pub cni: Cni,
    #[command(flatten)]
    pub limits: Limits,
}

/// The CNI plugin, which holds a new pod back until it is captured.
#[derive(Clone, Debug, clap::Args)]
pub struct Cni {
    /// The Unix socket at which the CNI plugin asks for a new pod to be captured, by its path on the node.
    #[arg(long, value_name = "PATH", requires = "pods_in_cgroup")]
    pub cni_socket: Option<PathBuf>,
    /// Where the node's network configurations are, of which the container runtime takes the first.
    #[arg(long, value_name = "DIR", requires_all = ["cni_socket", "cni_programs"])]
    pub cni_networks: Option<PathBuf>,
    /// Where the node's CNI programs are.
    #[arg(long, value_name = "DIR", requires = "cni_networks")]
    pub cni_programs: Option<PathBuf>,
    /// Bring the plugin into those two folders and keep it there; without this it is taken out of them.
    #[arg(long, requires = "cni_networks")]
    pub cni: bool,
    /// A namespace whose pods start without waiting for the mesh; may be given several times. Needed for those that the
    /// mesh itself needs to start.
    #[arg(long, value_name = "NAMESPACE")]
    pub cni_exclude: Vec<Namespace>,
    /// How long a new pod waits to be captured before the kubelet is told to try again.
    #[arg(long, default_value = "30000", value_parser = milliseconds, value_name = "MS")]
    pub cni_timeout: Duration,
    /// Start a pod after that time even if it is not captured. It will be as soon as that is possible; until then its
    /// traffic is not in the mesh.
    #[arg(long)]
    pub cni_optional: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum AccessLogTo {
    Stdout,
    /// Nowhere; no line is made.
    Off,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Limits {
    /// How long the proxy waits for a client's first bytes, to tell the protocol of a port that declares none, or
    /// plaintext from TLS, before it takes the connection for one whose server speaks first.
    #[arg(long, default_value = "200", value_parser = milliseconds, value_name = "MS")]
    pub detect_timeout: Duration,
    /// How long a connection to a workload may take to stand.
    #[arg(long, default_value = "5000", value_parser = milliseconds, value_name = "MS")]
    pub connect_timeout: Duration,
    /// How long a TLS handshake may take.
    #[arg(long, default_value = "10000", value_parser = milliseconds, value_name = "MS")]
    pub handshake_timeout: Duration,
    /// How long a client may take to send a request's head, the time between requests included.
    #[arg(long, default_value = "60000", value_parser = milliseconds, value_name = "MS")]
    pub header_timeout: Duration,
    /// The largest request head in bytes; a larger one is answered 431.
    #[arg(long, default_value_t = 65_536)]
    pub max_head_bytes: usize,
    /// The most header fields of a request; more are answered 431.
    #[arg(long, default_value_t = 128)]
    pub max_headers: usize,
    /// Idle connections kept to one destination by one worker.
    #[arg(long, default_value_t = 64)]
    pub max_idle_connections: usize,
    /// How long an idle connection to a destination is kept.
    #[arg(long, default_value = "60000", value_parser = milliseconds, value_name = "MS")]
    pub idle_timeout: Duration,
    /// How long a connection to a destination is used at most: what its peer proved when it was made is proved anew.
    #[arg(long, default_value = "3600000", value_parser = milliseconds, value_name = "MS")]
    pub max_connection_age: Duration,
    /// Connections of all clients that one worker serves at once; one more is reset.
    #[arg(long, default_value_t = 65_536)]
    pub max_connections: usize,
    /// How long an authorization server (the filter ExternalAuth) may take to answer; a request about which it does not
    /// answer in time is refused with 503.
    #[arg(long, default_value = "5000", value_parser = milliseconds, value_name = "MS")]
    pub authorization_timeout: Duration,
    /// Bytes of request bodies that one worker holds at once to send them to authorization servers first (forwardBody);
    /// a request that needs more is refused with 503.
    #[arg(long, default_value_t = 67_108_864, value_name = "BYTES")]
    pub max_authorization_bytes: usize,
    /// How long a UDP session of a Gateway's client lasts after the last datagram of either side. NATs forget within about a
    /// minute, and protocols that stay longer (QUIC, RFC 9000) send something every 30 s because of that.
    #[arg(long, default_value = "60000", value_parser = milliseconds, value_name = "MS")]
    pub udp_idle_timeout: Duration,
    /// UDP sessions that the node serves at once, a share of them each worker. Each takes one of the node's ephemeral ports,
    /// of which there are about 28,000 for all of its programs. At the bound a new client takes the place of one that
    /// has sent one datagram and got one back, as DNS clients do, the longest silent first; where there is none, its
    /// datagrams are dropped, and counted.
    #[arg(long, default_value_t = 8192)]
    pub max_udp_sessions: usize,
    /// Clients of Services with session affinity whose endpoint the node remembers, at about 200 bytes each; beyond
    /// that those that came longest ago are chosen for anew.
    #[arg(long, default_value_t = 65_536)]
    pub max_affinities: usize,
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("`{text}` is not a number of milliseconds above zero")),
        Ok(ms) => Ok(Duration::from_millis(ms)),
    }
}
