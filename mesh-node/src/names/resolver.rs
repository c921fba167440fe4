//! Look-ups by the resolvers of a `resolv.conf`, which is read again when it has changed.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolveHosts;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use mesh_ir::name::Hostname;

use super::known::{Answer, LATEST, SOONEST};

/// A look-up that takes longer has failed, whatever `resolv.conf` says of time-outs and attempts.
const LIMIT: Duration = Duration::from_secs(10);

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Resolvers { path: PathBuf, source: NetError },
}

#[derive(Debug)]
pub(super) struct Resolver {
    path: PathBuf,
    /// What the file held when the resolver was made of it.
    made: Option<(Vec<u8>, Arc<TokioResolver>)>,
}

impl Resolver {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, made: None }
    }

    /// The addresses of a name, of both families.
    pub(super) fn look_up(&mut self, hostname: &Hostname) -> impl Future<Output = Answer> + use<> {
        let resolver = self.current();
        let name = Name::from_ascii(format!("{hostname}."));
        async move {
            let resolver = match resolver {
                Ok(resolver) => resolver,
                Err(unusable) => return Answer::Failed { problem: unusable.to_string() },
            };
            let name = match name {
                Ok(name) => name,
                Err(error) => return Answer::Failed { problem: error.to_string() },
            };
            let both = async {
                tokio::join!(one(&resolver, &name, RecordType::A), one(&resolver, &name, RecordType::AAAA))
            };
            match tokio::time::timeout(LIMIT, both).await {
                Ok((v4, v6)) => joined(v4, v6),
                Err(_) => Answer::Failed { problem: format!("no answer within {} s", LIMIT.as_secs()) },
            }
        }
    }

    fn current(&mut self) -> Result<Arc<TokioResolver>, Unusable> {
        let read = |source| Unusable::Read { path: self.path.clone(), source };
        let text = std::fs::read(&self.path).map_err(read)?;
        if let Some((held, resolver)) = &self.made
            && *held == text
        {
            return Ok(resolver.clone());
        }
        let unusable = |source| Unusable::Resolvers { path: self.path.clone(), source };
        let (config, mut options) = parse_resolv_conf(&text).map_err(unusable)?;
        // What is known is kept by whoever asks; a file of the node's own is no answer for a name outside of it.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.negative_min_ttl = Some(SOONEST);
        options.negative_max_ttl = Some(LATEST);
        options.positive_max_ttl = Some(LATEST);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let resolver = Arc::new(builder.with_options(options).build().map_err(unusable)?);
        self.made = Some((text, resolver.clone()));
        Ok(resolver)
    }
}

/// What there is of one kind of record.
async fn one(resolver: &TokioResolver, name: &Name, r#type: RecordType) -> Answer {
    let now = Instant::now();
    match resolver.lookup(name.clone(), r#type).await {
        Ok(lookup) => {
            let address = |data: &RData| match data {
                RData::A(a) => Some(IpAddr::from(a.0)),
                RData::AAAA(aaaa) => Some(IpAddr::from(aaaa.0)),
                _ => None,
            };
            let valid_for = lookup.valid_until().saturating_duration_since(now);
            let addresses: BTreeSet<IpAddr> =
                lookup.answers().iter().filter_map(|record| address(&record.data)).collect();
            match addresses.is_empty() {
                true => Answer::Absent { valid_for },
                false => Answer::Found { addresses, valid_for },
            }
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            let seconds = none.negative_ttl.unwrap_or_default();
            Answer::Absent { valid_for: Duration::from_secs(seconds.into()) }
        }
        Err(error) => Answer::Failed { problem: error.to_string() },
    }
}

/// What there is of both. A failure counts where the other has nothing: there might have been something.
fn joined(v4: Answer, v6: Answer) -> Answer {
    match (v4, v6) {
        (Answer::Found { mut addresses, valid_for: a }, Answer::Found { addresses: more, valid_for: b }) => {
            addresses.extend(more);
            Answer::Found { addresses, valid_for: a.min(b) }
        }
        (found @ Answer::Found { .. }, _) | (_, found @ Answer::Found { .. }) => found,
        (failed @ Answer::Failed { .. }, _) | (_, failed @ Answer::Failed { .. }) => failed,
        (Answer::Absent { valid_for: a }, Answer::Absent { valid_for: b }) => {
            Answer::Absent { valid_for: a.min(b) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_family_do_not_hang_on_the_other() {
        let found = |address: &str, seconds| Answer::Found {
            addresses: BTreeSet::from([address.parse().unwrap()]),
            valid_for: Duration::from_secs(seconds),
        };
        let absent = |seconds| Answer::Absent { valid_for: Duration::from_secs(seconds) };
        let failed = || Answer::Failed { problem: "refused".into() };
        let v4 = || found("192.0.2.1", 60);
        for other in [absent(1), failed()] {
            assert_eq!(joined(v4(), other.clone()), v4());
            assert_eq!(joined(other, v4()), v4());
        }
        assert_eq!(joined(absent(1), failed()), failed());
        assert_eq!(joined(absent(9), absent(4)), absent(4));
        let Answer::Found { addresses, valid_for } = joined(v4(), found("2001:db8::1", 30)) else {
            panic!("both are found");
        };
        assert_eq!((addresses.len(), valid_for.as_secs()), (2, 30));
    }
}
