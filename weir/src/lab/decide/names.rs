//! The answers of the cluster's DNS: `SERVICE.NS.svc.cluster.local` as the Kubernetes DNS specification has it
//! (<https://github.com/kubernetes/dns/blob/master/docs/specification.md>), as a function of the question.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::backends::Service;

/// How long an answer may be kept, in seconds.
const TTL: u32 = 5;
const ZONE: [&str; 2] = ["cluster", "local"];

/// Every name that the lab answers for.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Names {
    services: BTreeMap<(String, String), Entry>,
    namespaces: BTreeSet<String>,
}

#[derive(Debug, Default, PartialEq)]
struct Entry {
    addresses: Vec<IpAddr>,
    external: Option<String>,
    /// `(name, protocol, port)`.
    ports: Vec<(String, &'static str, u16)>,
}

impl Names {
    pub(crate) fn new(services: &[Service], namespaces: BTreeSet<String>) -> Self {
        let entry = |service: &Service| {
            let headless = service.cluster_ips.is_empty();
            let addresses = if headless { &service.ready_addresses } else { &service.cluster_ips };
            let ports = service.ports.iter().map(|port| (port.name.clone(), port.protocol, port.port));
            let entry = Entry {
                addresses: addresses.clone(),
                external: service.external_name.clone(),
                ports: ports.collect(),
            };
            ((service.namespace.clone(), service.name.clone()), entry)
        };
        Names { services: services.iter().map(entry).collect(), namespaces }
    }

    /// The answer to a query. What cannot be answered is answered with an error code, never with silence.
    pub(crate) fn answer(&self, query: &Message) -> Message {
        let mut answer = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
        answer.metadata.recursion_desired = query.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        let [question] = query.queries.as_slice() else {
            answer.metadata.response_code = ResponseCode::FormErr;
            return answer;
        };
        answer.add_query(question.clone());
        if query.metadata.op_code != OpCode::Query || question.query_class() != DNSClass::IN {
            answer.metadata.response_code = ResponseCode::NotImp;
            return answer;
        }
        let name = question.name();
        match self.find(name) {
            Found::Elsewhere => answer.metadata.response_code = ResponseCode::NXDomain,
            Found::Nothing => {
                answer.metadata.authoritative = true;
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            Found::NoRecords => answer.metadata.authoritative = true,
            Found::Service(entry) => {
                answer.metadata.authoritative = true;
                answer.add_answers(entry.records(name, question.query_type()));
            }
            Found::Port(entry, target, port) => {
                answer.metadata.authoritative = true;
                if matches!(question.query_type(), RecordType::SRV | RecordType::ANY)
                    && !entry.addresses.is_empty()
                {
                    let data = RData::SRV(SRV::new(0, 100, port, target.clone()));
                    answer.add_answer(Record::from_rdata(name.clone(), TTL, data));
                    answer.add_additionals(entry.records(&target, RecordType::ANY));
                }
            }
        }
        if answer.metadata.authoritative && answer.answers.is_empty() {
            // A resolver may keep a negative answer for as long as the zone's SOA says (RFC 2308).
            answer.add_authority(soa());
        }
        answer
    }

    fn find(&self, name: &Name) -> Found<'_> {
        let text = name.to_lowercase().to_utf8();
        let labels: Vec<&str> = text.trim_end_matches('.').split('.').collect();
        let Some((inside, zone)) = labels.split_last_chunk::<2>() else { return Found::Elsewhere };
        if *zone != ZONE {
            return Found::Elsewhere;
        }
        let Some((&"svc", inside)) = inside.split_last() else {
            return if inside.is_empty() { Found::NoRecords } else { Found::Nothing };
        };
        let service =
            |namespace: &str, name: &str| self.services.get(&(namespace.to_owned(), name.to_owned()));
        match inside {
            [] => Found::NoRecords,
            [namespace] if self.namespaces.contains(*namespace) => Found::NoRecords,
            [name, namespace] => service(namespace, name).map_or(Found::Nothing, Found::Service),
            [protocol, name, namespace] if ["_tcp", "_udp"].contains(protocol) => {
                service(namespace, name).map_or(Found::Nothing, |_| Found::NoRecords)
            }
            [port, protocol, service_name, namespace] => {
                let Some(entry) = service(namespace, service_name) else { return Found::Nothing };
                let wanted = (port.strip_prefix('_'), protocol.strip_prefix('_'));
                let port = entry
                    .ports
                    .iter()
                    .find(|(n, p, _)| !n.is_empty() && wanted == (Some(n.as_str()), Some(*p)));
                let target = Name::from_ascii(format!("{service_name}.{namespace}.svc.cluster.local."));
                match (port, target) {
                    (Some((_, _, number)), Ok(target)) => Found::Port(entry, target, *number),
                    _ => Found::Nothing,
                }
            }
            _ => Found::Nothing,
        }
    }
}

enum Found<'a> {
    /// Not the cluster's to answer.
    Elsewhere,
    /// The cluster's, and there is no such name.
    Nothing,
    /// A name with nothing under it but other names.
    NoRecords,
    Service(&'a Entry),
    Port(&'a Entry, Name, u16),
}

impl Entry {
    fn records(&self, name: &Name, kind: RecordType) -> Vec<Record> {
        let record = |data| Record::from_rdata(name.clone(), TTL, data);
        if let Some(external) = &self.external {
            let target = Name::from_utf8(format!("{}.", external.trim_end_matches('.')));
            return target.map(|target| record(RData::CNAME(CNAME(target)))).into_iter().collect();
        }
        let any = kind == RecordType::ANY;
        let data = self.addresses.iter().filter_map(|address| match address {
            IpAddr::V4(v4) if any || kind == RecordType::A => Some(RData::A(A(*v4))),
            IpAddr::V6(v6) if any || kind == RecordType::AAAA => Some(RData::AAAA(AAAA(*v6))),
            _ => None,
        });
        data.map(record).collect()
    }
}

fn soa() -> Record {
    let name = |text: &str| Name::from_ascii(text).expect("the zone's own names are well-formed");
    let data =
        SOA::new(name("ns.dns.cluster.local."), name("hostmaster.cluster.local."), 1, 7200, 1800, 86400, TTL);
    Record::from_rdata(name("cluster.local."), TTL, RData::SOA(data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::decide::backends::Port;
    use hickory_proto::op::Query;

    fn service(name: &str, cluster_ips: &[&str], ready: &[&str], external: Option<&str>) -> Service {
        let parse = |list: &[&str]| list.iter().map(|ip| ip.parse().unwrap()).collect();
        Service {
            namespace: "shop".into(),
            name: name.into(),
            cluster_ips: parse(cluster_ips),
            balancer_ips: vec![],
            external_name: external.map(str::to_owned),
            internal_local: false,
            external_local: false,
            ports: vec![Port { name: "http".into(), protocol: "tcp", port: 80, backends: vec![] }],
            ready_addresses: parse(ready),
        }
    }

    /// The answer as `CODE: RECORD, …`, after a trip over the wire format.
    fn ask(name: &str, kind: RecordType) -> String {
        let services = [
            service("web", &["100.64.128.9", "fd77:6569:0:ffff::9"], &["100.64.1.2"], None),
            service("peers", &[], &["100.64.1.2", "100.64.2.3"], None),
            service("docs", &[], &[], Some("example.org")),
        ];
        let names = Names::new(&services, BTreeSet::from(["shop".to_owned()]));
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let query = Message::from_vec(&query.to_vec().unwrap()).unwrap();
        let answer = Message::from_vec(&names.answer(&query).to_vec().unwrap()).unwrap();
        assert_eq!(answer.metadata.id, 7);
        let records: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
        format!("{}: {}", answer.metadata.response_code, records.join(", "))
    }

    #[test]
    fn names_of_services_are_answered() {
        assert_eq!(ask("web.shop.svc.cluster.local.", RecordType::A), "No Error: 100.64.128.9");
        assert_eq!(ask("WEB.Shop.svc.cluster.local.", RecordType::AAAA), "No Error: fd77:6569:0:ffff::9");
        assert_eq!(ask("peers.shop.svc.cluster.local.", RecordType::A), "No Error: 100.64.1.2, 100.64.2.3");
        assert_eq!(ask("docs.shop.svc.cluster.local.", RecordType::A), "No Error: example.org.");
        assert_eq!(
            ask("_http._tcp.web.shop.svc.cluster.local.", RecordType::SRV),
            "No Error: 0 100 80 web.shop.svc.cluster.local."
        );
    }

    #[test]
    fn names_without_records_differ_from_names_that_do_not_exist() {
        assert_eq!(ask("web.shop.svc.cluster.local.", RecordType::TXT), "No Error: ");
        assert_eq!(ask("peers.shop.svc.cluster.local.", RecordType::AAAA), "No Error: ");
        assert_eq!(ask("shop.svc.cluster.local.", RecordType::A), "No Error: ");
        for absent in [
            "web.other.svc.cluster.local.",
            "nobody.shop.svc.cluster.local.",
            "x.web.shop.svc.cluster.local.",
            "_smtp._tcp.web.shop.svc.cluster.local.",
            "example.org.",
            "localhost.",
        ] {
            assert_eq!(ask(absent, RecordType::A), "Non-Existent Domain: ", "{absent}");
        }
    }
}
