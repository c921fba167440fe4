use mesh_ir::resource::{AppProtocol, CircuitBreaker, RetryBudget, Service, ServicePort, TrafficPolicy};

use super::{
    Malformed, Within, address_bytes, addresses, each, list, messages, name, optional, port, required,
};
use crate::proto;

impl From<&Service> for proto::Service {
    fn from(service: &Service) -> Self {
        let Service {
            name,
            addresses,
            ports,
            udp_ports,
            session_affinity,
            internal_traffic_policy,
            circuit_breaker,
            retry_budget,
        } = service;
        let internal_traffic_policy = match internal_traffic_policy {
            TrafficPolicy::Cluster => proto::TrafficPolicy::Cluster,
            TrafficPolicy::Local => proto::TrafficPolicy::Local,
        };
        Self {
            name: name.to_string(),
            addresses: address_bytes(addresses),
            ports: messages(ports),
            udp_ports: udp_ports.iter().copied().map(Into::into).collect(),
            circuit_breaker: circuit_breaker.as_ref().map(Into::into),
            session_affinity: *session_affinity,
            internal_traffic_policy: internal_traffic_policy.into(),
            retry_budget: retry_budget.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<proto::Service> for Service {
    type Error = Malformed;
    fn try_from(service: proto::Service) -> Result<Self, Malformed> {
        let policy = match proto::TrafficPolicy::try_from(service.internal_traffic_policy) {
            Ok(proto::TrafficPolicy::Cluster) => Ok(TrafficPolicy::Cluster),
            Ok(proto::TrafficPolicy::Local) => Ok(TrafficPolicy::Local),
            Err(_) => Err(Malformed::unknown("the policy")),
        };
        Ok(Self {
            name: name("name", &service.name)?,
            addresses: addresses("addresses", service.addresses)?,
            ports: list("ports", service.ports)?,
            udp_ports: each("udp_ports", service.udp_ports, |number| self::port("", number))?,
            session_affinity: service.session_affinity,
            internal_traffic_policy: policy.within("internal_traffic_policy")?,
            circuit_breaker: optional("circuit_breaker", service.circuit_breaker)?,
            retry_budget: optional("retry_budget", service.retry_budget)?,
        })
    }
}

impl From<&ServicePort> for proto::ServicePort {
    fn from(service_port: &ServicePort) -> Self {
        let ServicePort { port, name, protocol, tls } = service_port;
        let protocol = proto::AppProtocol::from(*protocol).into();
        let tls = tls.as_ref().map(Into::into);
        Self { port: (*port).into(), name: name.clone(), protocol, tls }
    }
}

impl TryFrom<proto::ServicePort> for ServicePort {
    type Error = Malformed;
    fn try_from(service_port: proto::ServicePort) -> Result<Self, Malformed> {
        let protocol = service_port.protocol().try_into().within("protocol")?;
        Ok(Self {
            port: port("port", service_port.port)?,
            name: service_port.name,
            protocol,
            tls: optional("tls", service_port.tls)?,
        })
    }
}

impl From<AppProtocol> for proto::AppProtocol {
    fn from(protocol: AppProtocol) -> Self {
        match protocol {
            AppProtocol::Detect => Self::Detect,
            AppProtocol::Http => Self::Http,
            AppProtocol::Http2 => Self::Http2,
            AppProtocol::Tcp => Self::Tcp,
        }
    }
}

impl TryFrom<proto::AppProtocol> for AppProtocol {
    type Error = Malformed;
    fn try_from(protocol: proto::AppProtocol) -> Result<Self, Malformed> {
        Ok(match protocol {
            proto::AppProtocol::Unspecified => return Err(Malformed::unknown("the protocol")),
            proto::AppProtocol::Detect => Self::Detect,
            proto::AppProtocol::Http => Self::Http,
            proto::AppProtocol::Http2 => Self::Http2,
            proto::AppProtocol::Tcp => Self::Tcp,
        })
    }
}

impl From<&CircuitBreaker> for proto::CircuitBreaker {
    fn from(breaker: &CircuitBreaker) -> Self {
        let CircuitBreaker { max_connections, max_pending_requests, max_requests, max_retries } = *breaker;
        Self { max_connections, max_pending_requests, max_requests, max_retries }
    }
}

impl TryFrom<proto::CircuitBreaker> for CircuitBreaker {
    type Error = Malformed;
    fn try_from(breaker: proto::CircuitBreaker) -> Result<Self, Malformed> {
        let proto::CircuitBreaker { max_connections, max_pending_requests, max_requests, max_retries } =
            breaker;
        Ok(Self { max_connections, max_pending_requests, max_requests, max_retries })
    }
}

impl From<&RetryBudget> for proto::RetryBudget {
    fn from(budget: &RetryBudget) -> Self {
        let RetryBudget { percent, interval, min_retries, min_interval } = budget;
        Self {
            percent: (*percent).into(),
            interval: Some(interval.into()),
            min_retries: *min_retries,
            min_interval: Some(min_interval.into()),
        }
    }
}

impl TryFrom<proto::RetryBudget> for RetryBudget {
    type Error = Malformed;
    fn try_from(budget: proto::RetryBudget) -> Result<Self, Malformed> {
        let percent = u8::try_from(budget.percent).ok().filter(|percent| *percent <= 100);
        let percent =
            percent.ok_or_else(|| Malformed::new(format!("{} is not a percentage", budget.percent)));
        Ok(Self {
            percent: percent.within("percent")?,
            interval: required("interval", budget.interval)?,
            min_retries: budget.min_retries,
            min_interval: required("min_interval", budget.min_interval)?,
        })
    }
}
