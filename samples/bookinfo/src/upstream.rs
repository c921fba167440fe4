//! Calls from one service to the next: pooled connections, a bound on time and size, and errors that know which HTTP
//! status they mean to whoever asked.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::cli::HttpUrl;
use crate::client::{self, Client, Protocol};
use crate::instance::{POD_HEADER, VERSION_HEADER};
use crate::serve;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const IDLE_CONNECTIONS: usize = 32;
const BODY_LIMIT: usize = 64 * 1024;

/// A service that another one asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dependency {
    Details,
    Reviews,
    Ratings,
}

impl Dependency {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Details => "details",
            Self::Reviews => "reviews",
            Self::Ratings => "ratings",
        }
    }

    /// The environment variable that says where it answers.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::Details => "DETAILS_URL",
            Self::Reviews => "REVIEWS_URL",
            Self::Ratings => "RATINGS_URL",
        }
    }

    pub(crate) fn default_url(self) -> &'static str {
        match self {
            Self::Details => "http://details:9080",
            Self::Reviews => "http://reviews:9080",
            Self::Ratings => "http://ratings:9080",
        }
    }

    /// Ratings gets less time than the others: reviews, which asks it, must still answer within its own.
    fn timeout(self) -> Duration {
        match self {
            Self::Details | Self::Reviews => Duration::from_millis(3000),
            Self::Ratings => Duration::from_millis(2500),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    dependency: Dependency,
    base: String,
    client: Client,
}

/// A good answer and who gave it.
#[derive(Debug)]
pub(crate) struct Fetched<T> {
    pub(crate) value: T,
    pub(crate) version: Option<String>,
    pub(crate) pod: Option<String>,
}

#[derive(Debug, Error)]
pub(crate) enum FetchError {
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("{0}")]
    Unreachable(String),
    #[error("answered {0}")]
    Refused(StatusCode),
    #[error("answer not understood: {0}")]
    Nonsense(String),
}

impl FetchError {
    /// The status for whoever asked: an error status is passed on, and a failure gets the gateway status that it is.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Unreachable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Refused(status) if status.is_client_error() || status.is_server_error() => *status,
            Self::Refused(_) | Self::Nonsense(_) => StatusCode::BAD_GATEWAY,
        }
    }
}

impl Upstream {
    pub(crate) fn new(dependency: Dependency, url: &HttpUrl) -> Self {
        let base = url.to_string().trim_end_matches('/').to_owned();
        Self { dependency, base, client: client::client(Protocol::Http1, CONNECT_TIMEOUT, IDLE_CONNECTIONS) }
    }

    /// `GET {base}/{dependency}/{id}`; a failure is also logged, because the page that shows it says no more than
    /// that there was one.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        id: u32,
        headers: &HeaderMap,
    ) -> Result<Fetched<T>, FetchError> {
        let timeout = self.dependency.timeout();
        let fetched = match tokio::time::timeout(timeout, self.fetch(id, headers)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(FetchError::TimedOut(timeout)),
        };
        if let Err(error) = &fetched {
            let (dependency, error) = (self.dependency.name(), error.to_string());
            serve::log("call failed", &[("dependency", dependency), ("url", &self.base), ("error", &error)]);
        }
        fetched
    }

    async fn fetch<T: DeserializeOwned>(
        &self,
        id: u32,
        headers: &HeaderMap,
    ) -> Result<Fetched<T>, FetchError> {
        let mut request = Request::get(format!("{}/{}/{id}", self.base, self.dependency.name()))
            .body(Full::<Bytes>::default())
            .map_err(|error| FetchError::Unreachable(error.to_string()))?;
        request.headers_mut().clone_from(headers);
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));

        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| FetchError::Unreachable(client::describe(&error)))?;
        let (head, body) = response.into_parts();
        // The body is read whatever the status, so that the connection can be used again.
        let body = Limited::new(body, BODY_LIMIT)
            .collect()
            .await
            .map_err(|error| FetchError::Nonsense(client::describe(error.as_ref())))?
            .to_bytes();
        if head.status != StatusCode::OK {
            return Err(FetchError::Refused(head.status));
        }
        let value = serde_json::from_slice(&body).map_err(|error| FetchError::Nonsense(error.to_string()))?;
        let text = |name| Some(head.headers.get(name)?.to_str().ok()?.to_owned());
        Ok(Fetched { value, version: text(VERSION_HEADER), pod: text(POD_HEADER) })
    }
}
