//! Who answers: the service, its version and the pod, and how every answer is made to say so.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use http::{HeaderName, HeaderValue};

use crate::cli::Version;
use crate::{health, reply};

/// Names the service and version that gave an answer, such as `reviews-v2`.
pub(crate) const VERSION_HEADER: HeaderName = HeaderName::from_static("x-bookinfo-version");
/// Names the pod that gave an answer.
pub(crate) const POD_HEADER: HeaderName = HeaderName::from_static("x-bookinfo-pod");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Productpage,
    Details,
    Reviews,
    Ratings,
    Echo,
}

impl Service {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Productpage => "productpage",
            Self::Details => "details",
            Self::Reviews => "reviews",
            Self::Ratings => "ratings",
            Self::Echo => "echo",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Instance {
    name: String,
    version: Version,
    pod: String,
    version_value: HeaderValue,
    pod_value: HeaderValue,
}

impl Instance {
    /// A pod whose name cannot stand in a header is called `unknown`.
    pub(crate) fn new(service: Service, version: Version, pod: &str) -> Self {
        let name = format!("{}-{}", service.as_str(), version.as_str());
        let unknown = HeaderValue::from_static("unknown");
        let pod_value = HeaderValue::from_str(pod).unwrap_or_else(|_| unknown.clone());
        let version_value = HeaderValue::from_str(&name).unwrap_or(unknown);
        let pod = pod_value.to_str().unwrap_or("unknown").to_owned();
        Self { name, version, pod, version_value, pod_value }
    }

    /// The instance that this process is: Kubernetes and the lab tell a container its pod in HOSTNAME.
    pub(crate) fn of_process(service: Service, version: Version) -> Self {
        let pod = std::env::var("HOSTNAME")
            .or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"))
            .unwrap_or_default();
        let pod = pod.trim();
        Self::new(service, version, if pod.is_empty() { "unknown" } else { pod })
    }

    /// Service and version in one word, such as `reviews-v2`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn pod(&self) -> &str {
        &self.pod
    }

    /// Makes every answer of the router, errors included, name this instance, and come after the delay.
    /// Health checks are never delayed: they ask whether the process lives, not how slow it plays.
    pub(crate) fn sign(&self, router: Router, delay: Duration) -> Router {
        let (version, pod) = (self.version_value.clone(), self.pod_value.clone());
        let stamp = move |request: Request, next: Next| {
            let (version, pod) = (version.clone(), pod.clone());
            async move {
                if !delay.is_zero() && !["/health", health::GRPC_PATH].contains(&request.uri().path()) {
                    tokio::time::sleep(delay).await;
                }
                let mut response = next.run(request).await;
                response.headers_mut().insert(VERSION_HEADER, version);
                response.headers_mut().insert(POD_HEADER, pod);
                response
            }
        };
        router
            .fallback(reply::no_such_path)
            .method_not_allowed_fallback(reply::wrong_method)
            .layer(middleware::from_fn(stamp))
    }
}
