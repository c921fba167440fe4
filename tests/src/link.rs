//! What crosses the link between two nodes: frames captured there, their TCP streams, and whether those hold TLS 1.3 or HTTP.

pub mod capture;
pub mod pcap;
pub mod segment;
pub mod stream;
pub mod tls;
pub mod verdict;
