//! The defaults of mesh-node that can refuse or cut off traffic. A test holds them against mesh-node's own.

/// What kind of traffic is asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    pub(super) http: bool,
    /// Nothing is declared about the port, and the first bytes tell.
    pub(super) detected: bool,
    /// It goes on to some endpoint.
    pub(super) forwarded: bool,
    /// Some endpoint, or the client, is spoken to by TLS.
    pub(super) tls: bool,
    pub(super) datagrams: bool,
    /// A server is asked whether it may go on.
    pub(super) authorized: bool,
}

/// One default: the flag of mesh-node that changes it, and what it does, with `{}` where its value goes.
struct Limit {
    flag: &'static str,
    value: Value,
    effect: &'static str,
    applies: fn(Carried) -> bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Milliseconds(u64),
    Count(u64),
}

const LIMITS: [Limit; 12] = [
    Limit {
        flag: "detect-timeout",
        value: Value::Milliseconds(200),
        effect: "a client that is silent for {} is taken for one whose server speaks first: routes do not apply to it",
        applies: |carried| carried.detected,
    },
    Limit {
        flag: "max-head-bytes",
        value: Value::Count(65_536),
        effect: "a request head of more than {} bytes is answered 431",
        applies: |carried| carried.http,
    },
    Limit {
        flag: "max-headers",
        value: Value::Count(128),
        effect: "a request with more than {} header fields is answered 431",
        applies: |carried| carried.http,
    },
    Limit {
        flag: "header-timeout",
        value: Value::Milliseconds(60_000),
        effect: "a connection without a whole request head for {} is closed",
        applies: |carried| carried.http,
    },
    Limit {
        flag: "connect-timeout",
        value: Value::Milliseconds(5_000),
        effect: "an endpoint that does not accept within {} is given up; after 3 attempts the client is refused (HTTP: 503)",
        applies: |carried| carried.forwarded && !carried.datagrams,
    },
    Limit {
        flag: "handshake-timeout",
        value: Value::Milliseconds(10_000),
        effect: "a TLS handshake of more than {} is given up",
        applies: |carried| carried.tls,
    },
    Limit {
        flag: "max-connection-age",
        value: Value::Milliseconds(3_600_000),
        effect: "a connection to an endpoint takes no new request after {}; another is made",
        applies: |carried| carried.http && carried.forwarded,
    },
    Limit {
        flag: "max-connections",
        value: Value::Count(65_536),
        effect: "a proxy thread serves {} connections at once; one more is reset",
        applies: |carried| !carried.datagrams,
    },
    Limit {
        flag: "authorization-timeout",
        value: Value::Milliseconds(5_000),
        effect: "a request about which an authorization server does not answer within {} is answered 503",
        applies: |carried| carried.authorized,
    },
    Limit {
        flag: "max-authorization-bytes",
        value: Value::Count(67_108_864),
        effect: "a proxy thread holds {} bytes of bodies that authorization servers are sent first; a request that needs \
                 more is answered 503",
        applies: |carried| carried.authorized,
    },
    Limit {
        flag: "udp-idle-timeout",
        value: Value::Milliseconds(60_000),
        effect: "a client keeps its backend until neither has sent anything for {}",
        applies: |carried| carried.datagrams,
    },
    Limit {
        flag: "max-udp-sessions",
        value: Value::Count(8192),
        effect: "a node serves {} clients of UDP at once; one more takes the place of one that was answered once, or its \
                 datagrams are dropped",
        applies: |carried| carried.datagrams,
    },
];

/// The defaults that this traffic can meet, a line each.
pub(super) fn lines(carried: Carried) -> Vec<String> {
    let applying = LIMITS.iter().filter(|limit| (limit.applies)(carried));
    let line = |limit: &Limit| {
        let effect = limit.effect.replace("{}", &limit.value.words());
        format!("{effect} (mesh-node --{})", limit.flag)
    };
    applying.map(line).collect()
}

impl Value {
    fn words(self) -> String {
        match self {
            Self::Count(count) => count.to_string(),
            Self::Milliseconds(ms) if ms % 3_600_000 == 0 => format!("{} h", ms / 3_600_000),
            Self::Milliseconds(ms) if ms % 1000 == 0 => format!("{} s", ms / 1000),
            Self::Milliseconds(ms) => format!("{ms} ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_mesh_node() {
        let settings = include_str!("../../../mesh-node/src/settings.rs");
        for Limit { flag, value, .. } in &LIMITS {
            let field = format!("pub {}:", flag.replace('-', "_"));
            let (before, _) = settings.split_once(&field).unwrap_or_else(|| panic!("no flag {flag}"));
            let attribute = &before[before.rfind("#[arg(").unwrap()..];
            let default = attribute.split_once("default_value").unwrap().1.split_once("= ").unwrap().1;
            let digits = |c: &char| c.is_ascii_digit() || matches!(c, '"' | '_');
            let default: String = default.chars().take_while(digits).filter(char::is_ascii_digit).collect();
            let (Value::Milliseconds(number) | Value::Count(number)) = value;
            assert_eq!(default, number.to_string(), "--{flag}");
        }
    }
}
