//! Retries, as a rule asks for them (GEP-1731): what is tried again, and after which wait. A request is sent again after a
//! response with one of the rule's codes, after a connection that could not be made, and after a try that took longer than
//! the rule's backendRequest timeout. It is not sent again after a connection that broke: the backend may have done
//! what it was asked. A Service's retry budget may have less tries made than the rule asks for: what the last one came to
//! goes to the client then.

use std::time::Duration;

use http::Response;
use http::request::Parts;
use mesh_ir::resource::Retry;

use super::body::{Body, Replay};
use super::forward::Failure;

/// The longest wait, as a multiple of the first one.
const MAX_GROWTH: u32 = 10;

/// Makes tries until one of them is the last. `is_in_budget` takes each one but the first from the budget.
pub(super) async fn tries(
    retry: &Retry,
    head: &Parts,
    body: Body,
    mut is_in_budget: impl FnMut() -> bool,
    mut attempt: impl AsyncFnMut(&mut Parts, Body) -> Result<Response<Body>, Failure>,
) -> Result<Response<Body>, Failure> {
    let replay = Replay::new(body);
    let mut made = 0;
    loop {
        let outcome = attempt(&mut head.clone(), replay.body()).await;
        let again = made < retry.attempts && is_tried_again(retry, &outcome) && replay.is_whole();
        if !again || !is_in_budget() {
            return outcome;
        }
        // What of the backend is held goes before the wait.
        drop(outcome);
        tokio::time::sleep(wait(retry.backoff, made, fastrand::f64())).await;
        made += 1;
    }
}

fn is_tried_again(retry: &Retry, outcome: &Result<Response<Body>, Failure>) -> bool {
    match outcome {
        Ok(response) => retry.codes.contains(&response.status().as_u16()),
        Err(Failure::Dial { .. } | Failure::Timeout { .. }) => true,
        Err(_) => false,
    }
}

/// The wait after so many retries: each twice the one before, at most [`MAX_GROWTH`] times the first, and of that between one
/// half and all, by chance (from 0 to 1), so that those who failed together do not come back together.
fn wait(first: Duration, made: u32, chance: f64) -> Duration {
    let growth = 1u32.checked_shl(made).unwrap_or(MAX_GROWTH).min(MAX_GROWTH);
    (first * growth).mul_f64(0.5 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{Request, StatusCode};
    use http_body_util::BodyExt;

    use crate::proxy::http::incoming::Incoming;

    fn retry(attempts: u32) -> Retry {
        Retry { codes: vec![500], attempts, backoff: Duration::from_millis(1) }
    }

    /// Makes tries that answer with these statuses, and says what body each of them read.
    async fn run(retry: &Retry, body: &'static [u8], statuses: &[u16]) -> (StatusCode, Vec<Bytes>) {
        run_within(u32::MAX, retry, body, statuses).await
    }

    /// The same with a budget of so many retries.
    async fn run_within(
        mut budget: u32,
        retry: &Retry,
        body: &'static [u8],
        statuses: &[u16],
    ) -> (StatusCode, Vec<Bytes>) {
        let (head, ()) = Request::new(()).into_parts();
        let body = Body::peer(Incoming::whole(Bytes::from_static(body)));
        let (mut statuses, mut read) = (statuses.iter(), Vec::new());
        let take = || budget.checked_sub(1).inspect(|left| budget = *left).is_some();
        let outcome = tries(retry, &head, body, take, async |_, body| {
            read.push(body.collect().await.unwrap().to_bytes());
            let mut response = Response::new(Body::whole(""));
            *response.status_mut() = StatusCode::from_u16(*statuses.next().unwrap()).unwrap();
            Ok(response)
        });
        (outcome.await.unwrap().status(), read)
    }

    #[tokio::test]
    async fn retry_sends_the_body_again_until_an_answer_is_not_among_the_codes() {
        let (status, read) = run(&retry(3), b"hello", &[500, 500, 200]).await;
        assert_eq!((status.as_u16(), read), (200, vec![Bytes::from_static(b"hello"); 3]));
        let (status, read) = run(&retry(3), b"", &[503]).await;
        assert_eq!((status.as_u16(), read.len()), (503, 1));
        let (status, read) = run(&retry(1), b"", &[500, 500]).await;
        assert_eq!((status.as_u16(), read.len()), (500, 2));
    }

    #[tokio::test]
    async fn retry_does_not_send_again_what_is_too_long_to_keep() {
        static LONG: [u8; 100_000] = [7; 100_000];
        let (status, read) = run(&retry(3), &LONG, &[500]).await;
        assert_eq!((status.as_u16(), read[0].len()), (500, LONG.len()));
    }

    #[tokio::test]
    async fn retry_gives_the_last_answer_where_the_budget_is_used_up() {
        let (status, read) = run_within(1, &retry(3), b"", &[500, 500]).await;
        assert_eq!((status.as_u16(), read.len()), (500, 2));
        // What is not tried again takes nothing.
        let (status, _) = run_within(0, &retry(3), b"", &[200]).await;
        assert_eq!(status.as_u16(), 200);
    }

    #[test]
    fn retry_waits_grow_and_are_bounded() {
        let first = Duration::from_millis(100);
        let waits = |chance: f64| [0, 1, 2, 3, 4, 40].map(|made| wait(first, made, chance).as_millis());
        assert_eq!(waits(1.0), [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(waits(0.0), [50, 100, 200, 400, 500, 500]);
    }
}
