//! Whose token it is, by TokenReview.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use mesh_ir::name::NodeName;
use mesh_trust::Program;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::attest::{AttestError, Caller};
use crate::kubernetes::problem;

/// What a token must be made for: one that the API server itself takes says nothing to us.
const AUDIENCE: &str = "weir";
/// Of which node's Pod the token is. The API server says it since Kubernetes 1.30, where the feature
/// ServiceAccountTokenPodNodeInfo (KEP-4193) is on by default.
const NODE_CLAIM: &str = "authentication.kubernetes.io/node-name";

/// A token is about 1 KiB; this is what fits into a header.
const MAX_TOKEN: usize = 8 * 1024;
/// How long an answer is good for; a token that is withdrawn meanwhile works for so long.
const CACHE_TIME: Duration = Duration::from_secs(10);
/// More tokens than nodes that start at once.
const CACHE_SIZE: usize = 4096;
const CONCURRENT: usize = 32;
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Reviews {
    api: ReviewApi,
    namespace: String,
    /// Good answers only, by the token's SHA-256, so that no token is kept.
    known: Mutex<BTreeMap<[u8; 32], (Instant, Caller)>>,
    under_way: Semaphore,
}

struct ReviewApi(Api<TokenReview>);

impl Reviews {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self {
            api: ReviewApi(Api::all(client)),
            namespace: namespace.to_owned(),
            known: Mutex::default(),
            under_way: Semaphore::new(CONCURRENT),
        }
    }

    pub(super) async fn caller(&self, token: &[u8]) -> Result<Caller, AttestError> {
        let text = std::str::from_utf8(token).ok().filter(|text| may_be_token(text));
        let Some(text) = text else {
            return Err(AttestError::BadToken("it is not a service-account token (a JWT)".into()));
        };
        let key = Sha256::digest(token).into();
        if let Some(caller) = self.known(&key, Instant::now()) {
            return Ok(caller);
        }
        let asked = Instant::now();
        let status = match tokio::time::timeout(TIMEOUT, self.review(text)).await {
            Ok(reviewed) => reviewed?,
            Err(_) => return Err(AttestError::Unavailable("the API server does not answer".into())),
        };
        let caller = self.judge(status)?;
        self.remember(key, asked, caller.clone());
        Ok(caller)
    }

    async fn review(&self, token: &str) -> Result<TokenReviewStatus, AttestError> {
        let _permit = self.under_way.acquire().await.expect("the semaphore is never closed");
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: Some(vec![AUDIENCE.to_owned()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer = self.api.0.create(&PostParams::default(), &review).await.map_err(|error| {
            AttestError::Unavailable(format!("cannot have a token reviewed: {}", problem(&error)))
        })?;
        Ok(answer.status.unwrap_or_default())
    }

    fn judge(&self, status: TokenReviewStatus) -> Result<Caller, AttestError> {
        let refuse = |text: String| Err(AttestError::BadToken(text));
        if status.authenticated != Some(true) {
            let why = status.error.unwrap_or_else(|| "the API server does not know it".into());
            return refuse(format!("it must be a service-account token of audience `{AUDIENCE}`: {why}"));
        }
        // Without an audience in the answer the token was good for the API server, which is another audience.
        if !status.audiences.is_some_and(|audiences| audiences.iter().any(|audience| audience == AUDIENCE)) {
            return refuse(format!("it is not of audience `{AUDIENCE}`"));
        }
        let user = status.user.unwrap_or_default();
        let name = user.username.unwrap_or_default();
        let is = |program: Program| name == format!("system:serviceaccount:{}:{program}", self.namespace);
        if is(Program::MeshOperator) {
            return Ok(Caller::Operator);
        }
        if !is(Program::MeshNode) {
            let (node, operator) = (Program::MeshNode, Program::MeshOperator);
            let ours = &self.namespace;
            return refuse(format!("`{name}` is neither {ours}/{node} nor {ours}/{operator}"));
        }
        let nodes = user.extra.and_then(|mut extra| extra.remove(NODE_CLAIM)).unwrap_or_default();
        match nodes.as_slice() {
            [node] => match NodeName::new(node) {
                Ok(node) => Ok(Caller::Node(node)),
                Err(error) => refuse(format!("its claim {NODE_CLAIM}: {error}")),
            },
            _ => refuse(format!(
                "it does not say which node it is of (claim {NODE_CLAIM}); it must be projected into a Pod by \
                 Kubernetes 1.30 or later"
            )),
        }
    }

    fn known(&self, key: &[u8; 32], now: Instant) -> Option<Caller> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).filter(|(asked, _)| is_fresh(*asked, now)).map(|(_, caller)| caller.clone())
    }

    fn remember(&self, key: [u8; 32], asked: Instant, caller: Caller) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CACHE_SIZE {
            known.retain(|_, (asked_then, _)| is_fresh(*asked_then, asked));
        }
        // Full of fresh answers: this one is asked for again.
        if known.len() < CACHE_SIZE {
            known.insert(key, (asked, caller));
        }
    }
}

fn is_fresh(asked: Instant, now: Instant) -> bool {
    now.saturating_duration_since(asked) < CACHE_TIME
}

/// Three parts of base64url with dots between (RFC 7519, 3): what is not need not trouble the API server.
fn may_be_token(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.len() <= MAX_TOKEN && text.split('.').count() == 3 && text.split('.').all(is_part)
}

impl std::fmt::Debug for ReviewApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReviewApi")
    }
}

#[cfg(test)]
mod tests;
