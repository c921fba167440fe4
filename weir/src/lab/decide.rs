//! The decisions of the lab, as pure functions: which pods there should be, which addresses Services have, who stands
//! behind them, and what the nodes' nftables and the DNS server say of it.
//!
//! Nothing here reads the machine, a clock or a file; [`super::supervise`] performs what is decided.

pub(crate) mod addresses;
pub(crate) mod backends;
pub(crate) mod endpoints;
pub(crate) mod names;
pub(crate) mod nft;
pub(crate) mod pods;
