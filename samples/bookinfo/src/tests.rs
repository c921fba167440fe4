//! The four services on loopback sockets, asked by the program's own client.

mod manifests;
mod services;
mod tools;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::cli::{HttpUrl, Version};
use crate::client::{self, Client, Protocol};
use crate::instance::{Instance, Service};
use crate::{details, echo, productpage, ratings, reviews, serve};

/// A server that stops when this is dropped.
struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Server {
    fn url(&self) -> HttpUrl {
        self.at("")
    }

    fn at(&self, path: &str) -> HttpUrl {
        format!("http://{}{path}", self.address).parse().unwrap()
    }

    /// Asks it to stop, and gives back the task that ends once it has drained.
    fn stop(mut self) -> JoinHandle<()> {
        self.stop.take().unwrap().send(()).unwrap();
        self.task
    }
}

fn start(service: Service, version: Version, router: impl FnOnce(&Instance) -> Router) -> Server {
    start_slow(service, version, Duration::ZERO, router)
}

fn start_slow(
    service: Service,
    version: Version,
    delay: Duration,
    router: impl FnOnce(&Instance) -> Router,
) -> Server {
    let instance = Instance::new(service, version, &format!("{}-pod", service.as_str()));
    let app = instance.sign(router(&instance), delay);
    let listener = serve::bind(IpAddr::V4(Ipv4Addr::LOCALHOST), 0).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let stopped = async {
        let _ = stopped.await;
    };
    Server { address, stop: Some(stop), task: tokio::spawn(serve::http(listener, stopped, app)) }
}

/// All four, wired to each other.
struct Shop {
    productpage: Server,
    details: Server,
    reviews: Server,
    ratings: Server,
}

fn shop(version: Version) -> Shop {
    let ratings = start(Service::Ratings, Version::V1, |_| ratings::router());
    let details = start(Service::Details, Version::V1, |_| details::router());
    let reviews = start(Service::Reviews, version, |instance| reviews::router(instance, &ratings.url()));
    let productpage = page_over(&details.url(), &reviews.url(), &ratings.url());
    Shop { productpage, details, reviews, ratings }
}

fn page_over(details: &HttpUrl, reviews: &HttpUrl, ratings: &HttpUrl) -> Server {
    start(Service::Productpage, Version::V1, |instance| {
        productpage::router(instance, details, reviews, ratings)
    })
}

fn echo_server() -> Server {
    start(Service::Echo, Version::V1, echo::router)
}

/// An address at which nothing listens: the port of tcpmux, which unlike a free one no test running beside can take.
fn nowhere() -> HttpUrl {
    "http://127.0.0.1:1".parse().unwrap()
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {:?}", self.text))
    }
}

async fn get(url: HttpUrl) -> Answer {
    get_with(url, &[]).await
}

async fn get_with(url: HttpUrl, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(url.uri().clone());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    ask(request.body(Full::default()).unwrap()).await
}

async fn post(url: HttpUrl, body: &str) -> Answer {
    ask(Request::post(url.uri().clone()).body(Full::from(body.to_owned())).unwrap()).await
}

async fn ask(request: Request<Full<Bytes>>) -> Answer {
    let client: Client = client::client(Protocol::Http1, Duration::from_secs(5), 4);
    let response =
        tokio::time::timeout(Duration::from_secs(10), client.request(request)).await.unwrap().unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: head.status, headers: head.headers, text: String::from_utf8(body.to_vec()).unwrap() }
}
