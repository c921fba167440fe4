//! The command line: what can be asked of the program, and the parsing of it into typed values.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use http::{HeaderName, HeaderValue, Method, Uri};

use crate::upstream::Dependency;

/// The Bookinfo sample: four services, an echo server and the clients to try them with.
#[derive(Debug, Parser)]
#[command(name = "bookinfo")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The page that a person looks at; asks details and reviews
    Productpage {
        #[command(flatten)]
        serve: ServeArgs,
        /// Where details answers [environment: DETAILS_URL; default: http://details:9080]
        #[arg(long, value_name = "URL")]
        details_url: Option<HttpUrl>,
        /// Where reviews answers [environment: REVIEWS_URL; default: http://reviews:9080]
        #[arg(long, value_name = "URL")]
        reviews_url: Option<HttpUrl>,
        /// Where ratings answers [environment: RATINGS_URL; default: http://ratings:9080]
        #[arg(long, value_name = "URL")]
        ratings_url: Option<HttpUrl>,
    },
    /// The facts about a book
    Details {
        #[command(flatten)]
        serve: ServeArgs,
    },
    /// What readers wrote: v1 without stars, v2 with black ones and v3 with red ones, both asking ratings
    Reviews {
        #[command(flatten)]
        serve: ServeArgs,
        /// Where ratings answers [environment: RATINGS_URL; default: http://ratings:9080]
        #[arg(long, value_name = "URL")]
        ratings_url: Option<HttpUrl>,
    },
    /// How many stars each reader gave
    Ratings {
        #[command(flatten)]
        serve: ServeArgs,
    },
    /// Answers every request with what arrived, as JSON
    Echo {
        #[command(flatten)]
        serve: ServeArgs,
        /// Speak raw TCP instead: greet first with the peer's address, then send every byte back
        #[arg(long)]
        tcp: bool,
        /// Speak UDP instead: send every datagram back, and answer an empty one with the pod's name
        #[arg(long, conflicts_with = "tcp")]
        udp: bool,
    },
    /// Makes one request and prints the status line, the headers and the body
    Get(GetArgs),
    /// Makes many requests and prints one line of JSON about the answers
    Load(LoadArgs),
    /// Connects, sends a text, ends its side and prints what comes back; the addresses go to stderr as JSON
    Tcp(TcpArgs),
    /// Sends a datagram and prints what comes back; the addresses go to stderr as JSON
    Udp(UdpArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Which version of the service this is
    #[arg(long, value_enum, default_value_t = Version::V1)]
    pub(crate) version: Version,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 9080)]
    pub(crate) port: u16,
    /// Address to listen on; `::` takes IPv6 and IPv4, or IPv4 alone where there is no IPv6
    #[arg(long, default_value = "::", value_name = "IP")]
    pub(crate) listen: IpAddr,
    /// Wait this long before each answer (health checks aside), to try time-outs and circuit breakers
    #[arg(long = "delay-ms", default_value_t = 0, value_name = "MILLISECONDS",
          value_parser = clap::value_parser!(u64).range(0..=60_000))]
    delay_ms: u64,
}

impl ServeArgs {
    pub(crate) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Version {
    V1,
    V2,
    V3,
}

impl Version {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V3 => "v3",
        }
    }
}

/// What `get` and `load` have in common.
#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    /// An http:// URL
    pub(crate) url: HttpUrl,
    /// A header to send; may be given many times
    #[arg(short = 'H', long = "header", value_name = "NAME:VALUE")]
    pub(crate) headers: Vec<Header>,
    /// Speak HTTP/2 without TLS from the first byte (prior knowledge)
    #[arg(long)]
    pub(crate) http2: bool,
    /// Give a request up after this many seconds
    #[arg(long, default_value_t = 10, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

impl RequestArgs {
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) request: RequestArgs,
    /// The request's method
    #[arg(short = 'X', long, default_value = "GET")]
    pub(crate) method: Method,
    /// The request's body
    #[arg(short = 'd', long, default_value = "", value_name = "TEXT")]
    pub(crate) data: String,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) request: RequestArgs,
    /// How many requests to make
    #[arg(long, default_value_t = 100, conflicts_with = "duration")]
    pub(crate) requests: u64,
    /// Make requests for this many seconds instead; SIGTERM ends it early, with the report
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    duration: Option<u64>,
    /// How many requests are in flight at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: u16,
    /// Wait this long after each answer, or failure, before the next request of the same place
    #[arg(long = "pause-ms", default_value_t = 0, value_name = "MILLISECONDS",
          value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pause_ms: u64,
}

impl LoadArgs {
    pub(crate) fn duration(&self) -> Option<Duration> {
        self.duration.map(Duration::from_secs)
    }

    pub(crate) fn pause(&self) -> Duration {
        Duration::from_millis(self.pause_ms)
    }
}

#[derive(Debug, Args)]
pub(crate) struct TcpArgs {
    /// Name or address, and port
    #[arg(value_name = "HOST:PORT")]
    pub(crate) target: String,
    /// What to send before ending this side of the connection
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) send: String,
    /// Give the whole exchange up after this many seconds
    #[arg(long, default_value_t = 10, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

impl TcpArgs {
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

#[derive(Debug, Args)]
pub(crate) struct UdpArgs {
    /// Name or address, and port
    #[arg(value_name = "HOST:PORT")]
    pub(crate) target: String,
    /// What to send
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) send: String,
    /// Wait no longer than this many seconds for an answer
    #[arg(long, default_value_t = 10, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

impl UdpArgs {
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// An absolute `http://` URL.
#[derive(Debug, Clone)]
pub(crate) struct HttpUrl(Uri);

impl HttpUrl {
    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }
}

impl FromStr for HttpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("not a URL: {error}"))?;
        match (uri.scheme_str(), uri.host()) {
            (Some("http"), Some(host)) if !host.is_empty() => Ok(Self(uri)),
            (Some("http"), _) => Err("has no host; write http://HOST:PORT/PATH".to_owned()),
            (Some(other), _) => Err(format!("only http:// is spoken here, not {other}://")),
            (None, _) => Err("has no scheme; write http://HOST:PORT/PATH".to_owned()),
        }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One `NAME:VALUE` from the command line.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) name: HeaderName,
    pub(crate) value: HeaderValue,
}

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once(':').ok_or("has no colon; write NAME:VALUE")?;
        Ok(Self {
            name: name.trim().parse().map_err(|_| format!("{name:?} is not a header name"))?,
            value: value.trim().parse().map_err(|_| format!("{value:?} is not a header value"))?,
        })
    }
}

/// Where a dependency answers: the flag, else the environment, else the Service name of the original.
pub(crate) fn dependency(which: Dependency, flag: Option<HttpUrl>) -> Result<HttpUrl, String> {
    if let Some(url) = flag {
        return Ok(url);
    }
    let (source, text) = match std::env::var(which.variable()) {
        Ok(text) => (which.variable(), text),
        Err(_) => ("the default", which.default_url().to_owned()),
    };
    text.parse().map_err(|reason| format!("{source}: {text:?} {reason}"))
}
