//! Between the protobuf messages and the resources of `mesh-ir`, one file a resource. Reading refuses what is
//! malformed and names the field; it does not judge what a well-formed resource means.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use bytes::Bytes;
use mesh_ir::name::NameError;
use mesh_ir::resource::{Resource, ResourceKey};
use prost::Message;

use crate::proto;

mod certificate;
mod filter;
mod gateway;
mod node;
mod route;
mod service;
mod session;
mod tls;
mod tracing;
mod workload;

/// The bytes of a resource. The same resource gives the same bytes in every process: the messages hold no maps.
pub fn encode(resource: &Resource) -> Bytes {
    proto::Resource::from(resource).encode_to_vec().into()
}

/// Reads a resource that came under `key`.
pub fn decode(key: &ResourceKey, body: &[u8]) -> Result<Resource, Malformed> {
    let message =
        proto::Resource::decode(body).map_err(|e| Malformed::new(format!("it cannot be read: {e}")))?;
    let resource = Resource::try_from(message)?;
    let inner = resource.key();
    if inner != *key {
        return Err(Malformed::new(format!("it was sent under this key, but is {inner}")));
    }
    Ok(resource)
}

/// What is wrong with a message, and in which of its fields (empty: in all of it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub field: String,
    pub problem: String,
}

impl Malformed {
    fn new(problem: impl Into<String>) -> Self {
        Self { field: String::new(), problem: problem.into() }
    }

    fn unknown(what: &str) -> Self {
        Self::new(format!("{what} is missing or of a kind that this version does not know"))
    }

    /// Says that this happened within `field`.
    fn within(mut self, field: &str) -> Self {
        self.field = match self.field.as_str() {
            "" => field.into(),
            inner if inner.starts_with('[') => format!("{field}{inner}"),
            inner => format!("{field}.{inner}"),
        };
        self
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.problem),
            field => write!(f, "{field}: {}", self.problem),
        }
    }
}

impl std::error::Error for Malformed {}

impl From<NameError> for Malformed {
    fn from(error: NameError) -> Self {
        Self::new(error.to_string())
    }
}

trait Within<T> {
    fn within(self, field: &str) -> Result<T, Malformed>;
}

impl<T, E: Into<Malformed>> Within<T> for Result<T, E> {
    fn within(self, field: &str) -> Result<T, Malformed> {
        self.map_err(|error| error.into().within(field))
    }
}

fn name<T: FromStr<Err = NameError>>(field: &str, text: &str) -> Result<T, Malformed> {
    text.parse::<T>().within(field)
}

fn read<P, T: TryFrom<P, Error = Malformed>>(field: &str, message: P) -> Result<T, Malformed> {
    T::try_from(message).within(field)
}

fn required<P, T: TryFrom<P, Error = Malformed>>(field: &str, message: Option<P>) -> Result<T, Malformed> {
    read(field, message.ok_or_else(|| Malformed::new("it is missing").within(field))?)
}

fn optional<P, T: TryFrom<P, Error = Malformed>>(
    field: &str,
    message: Option<P>,
) -> Result<Option<T>, Malformed> {
    message.map(|message| read(field, message)).transpose()
}

fn list<P, T: TryFrom<P, Error = Malformed>>(field: &str, messages: Vec<P>) -> Result<Vec<T>, Malformed> {
    each(field, messages, T::try_from)
}

fn each<P, T>(
    field: &str,
    items: Vec<P>,
    mut read: impl FnMut(P) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    // Not collected, which would keep the message's own list: that has room for four, and for larger ones.
    let mut list = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        list.push(read(item).map_err(|e| e.within(&format!("[{index}]")).within(field))?);
    }
    Ok(list)
}

fn names<T: FromStr<Err = NameError>>(field: &str, texts: Vec<String>) -> Result<Vec<T>, Malformed> {
    each(field, texts, |text| Ok(text.parse()?))
}

fn port(field: &str, number: u32) -> Result<u16, Malformed> {
    u16::try_from(number).map_err(|_| Malformed::new(format!("{number} is not a port")).within(field))
}

fn status(field: &str, number: u32) -> Result<u16, Malformed> {
    let status = u16::try_from(number).ok().filter(|status| (100..1000).contains(status));
    status.ok_or_else(|| Malformed::new(format!("{number} is not an HTTP status")).within(field))
}

fn addresses(field: &str, addresses: Vec<Bytes>) -> Result<Vec<IpAddr>, Malformed> {
    each(field, addresses, |octets| {
        let wrong = |_| Malformed::new(format!("an address has 4 or 16 bytes, not {}", octets.len()));
        match octets.len() {
            4 => <[u8; 4]>::try_from(&octets[..]).map(IpAddr::from).map_err(wrong),
            _ => <[u8; 16]>::try_from(&octets[..]).map(IpAddr::from).map_err(wrong),
        }
    })
}

fn address_bytes(addresses: &[IpAddr]) -> Vec<Bytes> {
    let octets = |address: &IpAddr| match address {
        IpAddr::V4(v4) => Bytes::copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => Bytes::copy_from_slice(&v6.octets()),
    };
    addresses.iter().map(octets).collect()
}

fn texts<T: ToString>(names: &[T]) -> Vec<String> {
    names.iter().map(T::to_string).collect()
}

fn messages<'a, T, P: From<&'a T>>(items: &'a [T]) -> Vec<P> {
    items.iter().map(P::from).collect()
}

impl From<&Resource> for proto::Resource {
    fn from(resource: &Resource) -> Self {
        use proto::resource::Resource as P;
        let resource = match resource {
            Resource::Node(node) => P::Node(node.into()),
            Resource::Service(service) => P::Service(service.into()),
            Resource::Workload(workload) => P::Workload(workload.into()),
            Resource::Certificate(certificate) => P::Certificate(certificate.into()),
            Resource::Gateway(gateway) => P::Gateway(gateway.into()),
            Resource::Route(route) => P::Route(route.into()),
        };
        Self { resource: Some(resource) }
    }
}

impl TryFrom<proto::Resource> for Resource {
    type Error = Malformed;
    fn try_from(message: proto::Resource) -> Result<Self, Malformed> {
        use proto::resource::Resource as P;
        Ok(match message.resource.ok_or_else(|| Malformed::unknown("the resource"))? {
            P::Node(node) => Self::Node(node.try_into()?),
            P::Service(service) => Self::Service(service.try_into()?),
            P::Workload(workload) => Self::Workload(workload.try_into()?),
            P::Certificate(certificate) => Self::Certificate(certificate.try_into()?),
            P::Gateway(gateway) => Self::Gateway(gateway.try_into()?),
            P::Route(route) => Self::Route(route.try_into()?),
        })
    }
}

#[cfg(test)]
mod tests;
