//! `bookinfo load`: many requests, and one line of JSON that says how they were answered. A request that fails is
//! counted and not tried again; only one that never left, its idle connection having gone, takes another connection.

mod gap;
mod tally;

use std::io::Write;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::task::JoinSet;

use self::gap::Gap;
use self::tally::Tally;
use crate::cli::{LoadArgs, RequestArgs};
use crate::client::{self, Client, Protocol};
use crate::serve;

/// Prints the report. It is an error if not one request got an HTTP answer.
pub(crate) async fn run(args: &LoadArgs) -> Result<(), String> {
    let stop = serve::terminated()?;
    let (tally, took) = measure(args, stop).await?;
    let line = tally.report(took).to_string();
    writeln!(std::io::stdout(), "{line}").map_err(|error| format!("cannot print the report: {error}"))?;
    if tally.answered() == 0 {
        return Err(format!(
            "GET {}: not one of {} requests was answered",
            args.request.url,
            tally.requests()
        ));
    }
    Ok(())
}

/// Makes the requests until there have been enough, time is up, or `stop` is ready.
pub(crate) async fn measure(
    args: &LoadArgs,
    stop: impl Future<Output = ()>,
) -> Result<(Tally, Duration), String> {
    let shared = Arc::new(Shared {
        client: client_for(args),
        request: request_for(&args.request)?,
        timeout: args.request.timeout(),
        left: AtomicU64::new(if args.duration().is_some() { u64::MAX } else { args.requests }),
        stopped: AtomicBool::new(false),
        pause: args.pause(),
        gap: Mutex::new(Gap::begin()),
    });
    let start = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..args.concurrency {
        workers.spawn(work(Arc::clone(&shared)));
    }

    let mut time_up = pin!(async {
        match args.duration() {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    });
    let mut stop = pin!(stop);
    let mut tally = Tally::default();
    loop {
        tokio::select! {
            // A worker that panicked would leave its requests uncounted, so that is no result at all.
            finished = workers.join_next() => match finished {
                Some(Ok(part)) => tally.add(&part),
                Some(Err(error)) => return Err(format!("a worker failed: {error}")),
                None => {
                    tally.gap = Some(shared.with_gap(|gap| {
                        gap.end();
                        gap.clone()
                    }));
                    return Ok((tally, start.elapsed()));
                }
            },
            // Requests in flight are finished and counted; their time-out bounds the wait.
            () = &mut time_up, if !shared.stopped() => shared.stopped.store(true, Ordering::Relaxed),
            () = &mut stop, if !shared.stopped() => shared.stopped.store(true, Ordering::Relaxed),
        }
    }
}

struct Shared {
    client: Client,
    request: Request<Full<Bytes>>,
    timeout: Duration,
    left: AtomicU64,
    stopped: AtomicBool,
    pause: Duration,
    gap: Mutex<Gap>,
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn with_gap<T>(&self, act: impl FnOnce(&mut Gap) -> T) -> T {
        // Each change to it is whole, so one who panicked has left nothing half done.
        act(&mut self.gap.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take_one(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        !self.stopped() && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

async fn work(shared: Arc<Shared>) -> Tally {
    let mut tally = Tally::default();
    while shared.take_one() {
        let start = Instant::now();
        match tokio::time::timeout(shared.timeout, exchange(&shared)).await {
            Ok(Ok(head)) => {
                if head.status < StatusCode::INTERNAL_SERVER_ERROR {
                    shared.with_gap(Gap::answered);
                }
                tally.answer(head.status, &head.headers, start.elapsed());
            }
            Ok(Err(kind)) => tally.failure(kind),
            Err(_) => tally.failure("timeout"),
        }
        if !shared.pause.is_zero() && !shared.stopped() {
            tokio::time::sleep(shared.pause).await;
        }
    }
    tally
}

/// The head of the answer once its body has been read to the end.
async fn exchange(shared: &Shared) -> Result<http::response::Parts, &'static str> {
    let response =
        shared.client.request(shared.request.clone()).await.map_err(|error| client::kind(&error))?;
    let (head, mut body) = response.into_parts();
    while let Some(frame) = body.frame().await {
        frame.map_err(|error| client::kind(&error))?;
    }
    Ok(head)
}

fn client_for(args: &LoadArgs) -> Client {
    let protocol = if args.request.http2 { Protocol::Http2 } else { Protocol::Http1 };
    client::client(protocol, args.request.timeout(), args.concurrency.into())
}

fn request_for(args: &RequestArgs) -> Result<Request<Full<Bytes>>, String> {
    let mut request = Request::get(args.url.uri().clone())
        .body(Full::default())
        .map_err(|error| format!("{}: {error}", args.url))?;
    for header in &args.headers {
        request.headers_mut().append(&header.name, header.value.clone());
    }
    Ok(request)
}
