//! Keys in a Secret, and the bundle in a ConfigMap.
//!
//! The Secret `weir-ca` is made once if it is not there, and never changed; a person may give one instead:
//!
//! | type | signs | also trusted |
//! |---|---|---|
//! | Opaque | `ca.crt` (its first certificate) with `ca.key` | the other roots in `ca.crt`, and `roots.pem` |
//! | kubernetes.io/tls | `tls.crt` with `tls.key` | the roots in `ca.crt`, and `roots.pem` |
//!
//! The intermediate is made by each process and held in memory only: whoever reads the Secret has the root's key, so
//! keeping the intermediate's beside it would protect nothing, and every leaf is sent with its own chain.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use mesh_ir::name::TrustDomain;
use mesh_trust::Bundle;
use pem::Pem;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::read::{self, ReadSigner};
use super::{DAY, Keys, KeysError, ROOT_LIFE, Store, random_serial};
use crate::issue::{self, Signer, Validity};
use crate::kubernetes::{followed, problem};

/// Holds the root's certificate and key.
pub const SECRET: &str = "weir-ca";
/// Holds the published bundle.
pub const CONFIG_MAP: &str = "weir-trust-bundle";
/// The bundle's key in [`CONFIG_MAP`].
pub const BUNDLE_KEY: &str = "bundle.pem";
const OTHER_ROOTS_KEY: &str = "roots.pem";
const FIELD_MANAGER: &str = "cert-authority";

/// Much longer than any SVID signed by it, so that it never cuts one short.
const INTERMEDIATE_LIFE: Duration = Duration::from_secs(30 * DAY.as_secs());
/// From here on a person is reminded that the authority's certificate ends.
const EXPIRY_WARNING: Duration = Duration::from_secs(30 * DAY.as_secs());

type Data = BTreeMap<String, ByteString>;

/// The Secret and the ConfigMap of one namespace, followed until this is dropped.
#[derive(Debug)]
pub struct Cluster {
    api: Apis,
    namespace: String,
    trust_domain: TrustDomain,
    intermediate: Mutex<Option<Intermediate>>,
    expected: Arc<Expected>,
    _following: JoinSet<()>,
}

#[derive(Clone)]
struct Apis {
    secrets: Api<Secret>,
    config_maps: Api<ConfigMap>,
}

#[derive(Debug)]
struct Intermediate {
    /// Of the certificate that signed it.
    below: [u8; 32],
    signer: Arc<Signer>,
    renewal: SystemTime,
}

/// What the objects should hold: an event that says otherwise is a change.
#[derive(Debug, Default)]
struct Expected {
    secret: Mutex<Option<[u8; 32]>>,
    bundle: Mutex<Option<String>>,
    changed: Notify,
}

impl Cluster {
    /// Follows the two objects of `namespace`. Must be called within a tokio runtime.
    pub fn start(client: Client, namespace: &str, trust_domain: TrustDomain) -> Self {
        let api = Apis {
            secrets: Api::namespaced(client.clone(), namespace),
            config_maps: Api::namespaced(client, namespace),
        };
        let expected = Arc::new(Expected::default());
        let mut following = JoinSet::new();
        following.spawn(follow_secret(api.secrets.clone(), expected.clone()));
        following.spawn(follow_config_map(api.config_maps.clone(), expected.clone()));
        Self {
            api,
            namespace: namespace.to_owned(),
            trust_domain,
            intermediate: Mutex::default(),
            expected,
            _following: following,
        }
    }

    /// The Secret's data. Two authorities that start at once agree: the API server lets one of them create it.
    async fn data(&self, now: SystemTime) -> Result<Data, KeysError> {
        if let Some(found) = self.get().await? {
            return Ok(found);
        }
        let made = self.make(now)?;
        match self.api.secrets.create(&PostParams::default(), &made).await {
            Ok(created) => {
                tracing::info!(secret = self.secret(), "made a root");
                Ok(created.data.unwrap_or_default())
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                tracing::info!(secret = self.secret(), "another cert-authority made the root");
                self.get().await?.ok_or_else(|| self.unusable("it was deleted just after it was made".into()))
            }
            Err(error) => Err(self.api_error("create", self.secret(), &error)),
        }
    }

    async fn get(&self) -> Result<Option<Data>, KeysError> {
        match self.api.secrets.get_opt(SECRET).await {
            Ok(found) => Ok(found.map(|secret| secret.data.unwrap_or_default())),
            Err(error) => Err(self.api_error("read", self.secret(), &error)),
        }
    }

    fn make(&self, now: SystemTime) -> Result<Secret, KeysError> {
        let making = |source| KeysError::Make { place: self.secret(), source };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(making)?;
        let life = Validity::starting(now, ROOT_LIFE);
        let root = issue::root(&self.trust_domain, &key, random_serial(), life).map_err(making)?;
        let certificate = pem::encode(&Pem::new("CERTIFICATE", root.to_vec()));
        let mut secret = Secret { type_: Some("Opaque".into()), ..Secret::default() };
        secret.metadata.name = Some(SECRET.into());
        secret.metadata.labels = Some(labels());
        secret.data = Some(BTreeMap::from([
            ("ca.crt".into(), ByteString(certificate.into_bytes())),
            ("ca.key".into(), ByteString(key.serialize_pem().into_bytes())),
        ]));
        Ok(secret)
    }

    fn read(&self, mut data: Data, now: SystemTime) -> Result<Keys, KeysError> {
        *lock(&self.expected.secret) = Some(fingerprint(&data));
        let mut take = |key: &str| data.remove(key).map(|value| value.0);
        let (certificate, key, further) = match (take("ca.key"), take("tls.crt"), take("tls.key")) {
            (Some(key), ..) => (take("ca.crt"), Some(key), None),
            (None, certificate, key) => (certificate, key, take("ca.crt")),
        };
        let (Some(certificate), Some(key)) = (certificate, key.map(Zeroizing::new)) else {
            let text = "it has neither `ca.crt` and `ca.key` nor `tls.crt` and `tls.key`; give it one pair, or \
                        delete it to have a root made";
            return Err(self.unusable(text.into()));
        };
        let unusable = |problem| self.unusable(problem);
        let found = read::signer(&certificate, &key, &self.trust_domain).map_err(unusable)?;
        self.check_life(&found, now)?;
        let (mut roots, mut chain) = read::sorted(&certificate).map_err(unusable)?;
        let (more_roots, _) = read::sorted(&further.unwrap_or_default()).map_err(unusable)?;
        roots.extend(more_roots);
        if roots.is_empty() {
            // An authority below one that nobody told us of is itself the root that the mesh trusts.
            roots.push(found.signer.certificate.clone());
            chain.retain(|certificate| *certificate != found.signer.certificate);
        }
        match read::sorted(&take(OTHER_ROOTS_KEY).unwrap_or_default()) {
            Ok((others, more)) => roots.extend(others.into_iter().chain(more)),
            // Bad additions must not take the authority down, nor the roots that are good.
            Err(problem) => {
                tracing::error!(secret = self.secret(), problem, "`roots.pem` is left out of the bundle");
            }
        }
        let bundle = Bundle::from_der(self.trust_domain.clone(), roots)
            .map_err(|source| KeysError::Bundle { place: self.secret(), source })?;
        let signer = match found.may_delegate {
            true => self.intermediate(&found, now)?,
            false => Arc::new(found.signer),
        };
        if !bundle.roots().contains(&signer.certificate) && chain.first() != Some(&signer.certificate) {
            chain.insert(0, signer.certificate.clone());
        }
        Ok(Keys { trust_domain: self.trust_domain.clone(), signer, chain, bundle })
    }

    fn check_life(&self, found: &ReadSigner, now: SystemTime) -> Result<(), KeysError> {
        match found.not_after.duration_since(now) {
            Err(_) => {
                let text =
                    "its certificate has expired; renew it, or delete the Secret to have a new root made";
                Err(self.unusable(text.into()))
            }
            Ok(left) => {
                if left < EXPIRY_WARNING {
                    let days = left.as_secs() / DAY.as_secs();
                    tracing::warn!(secret = self.secret(), days, "the authority's certificate ends soon");
                }
                Ok(())
            }
        }
    }

    fn intermediate(&self, above: &ReadSigner, now: SystemTime) -> Result<Arc<Signer>, KeysError> {
        let below: [u8; 32] = Sha256::digest(&above.signer.certificate).into();
        let mut held = lock(&self.intermediate);
        if let Some(held) = held.as_ref().filter(|held| held.below == below && now < held.renewal) {
            return Ok(held.signer.clone());
        }
        let making =
            |source| KeysError::Make { place: format!("the intermediate below {}", self.secret()), source };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(making)?;
        let mut life = Validity::starting(now, INTERMEDIATE_LIFE);
        life.not_after = life.not_after.min(above.not_after);
        let made = issue::intermediate(&above.signer, &self.trust_domain, &key, random_serial(), life);
        let signer = Arc::new(made.and_then(|certificate| Signer::new(certificate, key)).map_err(making)?);
        let half = life.not_after.duration_since(now).unwrap_or_default() / 2;
        *held = Some(Intermediate { below, signer: signer.clone(), renewal: now + half });
        tracing::info!(below = self.secret(), "made an intermediate");
        Ok(signer)
    }

    fn secret(&self) -> String {
        format!("Secret {}/{SECRET}", self.namespace)
    }

    fn unusable(&self, problem: String) -> KeysError {
        KeysError::Unusable { place: self.secret(), problem }
    }

    fn api_error(&self, action: &'static str, object: String, error: &kube::Error) -> KeysError {
        KeysError::Api { action, object, problem: problem(error) }
    }
}

impl Store for Cluster {
    async fn keys(&self, now: SystemTime) -> Result<Keys, KeysError> {
        let data = self.data(now).await?;
        self.read(data, now)
    }

    /// By server-side apply: what others put beside the bundle stays, what they do to the bundle does not.
    async fn publish(&self, bundle: &Bundle) -> Result<(), KeysError> {
        let pem = bundle.to_pem();
        // Set before it is written, so that the event of our own writing is none.
        *lock(&self.expected.bundle) = Some(pem.clone());
        let wanted = serde_json::json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": CONFIG_MAP, "labels": labels() },
            "data": { BUNDLE_KEY: pem },
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match self.api.config_maps.patch(CONFIG_MAP, &params, &Patch::Apply(wanted)).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let object = format!("ConfigMap {}/{CONFIG_MAP}", self.namespace);
                Err(self.api_error("apply", object, &error))
            }
        }
    }

    async fn changed(&self) {
        self.expected.changed.notified().await;
    }
}

async fn follow_secret(secrets: Api<Secret>, expected: Arc<Expected>) {
    let config = watcher::Config::default().fields(&format!("metadata.name={SECRET}"));
    let mut events = std::pin::pin!(followed(watcher(secrets, config).default_backoff(), "Secret"));
    while let Some(event) = events.next().await {
        let changed = match event {
            watcher::Event::Apply(secret) | watcher::Event::InitApply(secret) => {
                let found = fingerprint(&secret.data.unwrap_or_default());
                lock(&expected.secret).is_some_and(|known| known != found)
            }
            // What is signed with it stays good; it is made anew when the authority needs it next.
            watcher::Event::Delete(_) => {
                tracing::warn!("the Secret {SECRET} was deleted; a new root is made");
                true
            }
            watcher::Event::Init | watcher::Event::InitDone => false,
        };
        if changed {
            expected.changed.notify_one();
        }
    }
}

async fn follow_config_map(config_maps: Api<ConfigMap>, expected: Arc<Expected>) {
    let config = watcher::Config::default().fields(&format!("metadata.name={CONFIG_MAP}"));
    let mut events = std::pin::pin!(followed(watcher(config_maps, config).default_backoff(), "ConfigMap"));
    let mut listed = false;
    while let Some(event) = events.next().await {
        let found = match event {
            watcher::Event::Apply(map) => map.data.unwrap_or_default().remove(BUNDLE_KEY),
            watcher::Event::InitApply(map) => {
                listed = true;
                map.data.unwrap_or_default().remove(BUNDLE_KEY)
            }
            watcher::Event::Delete(_) => None,
            watcher::Event::Init => {
                listed = false;
                continue;
            }
            watcher::Event::InitDone if listed => continue,
            watcher::Event::InitDone => None,
        };
        let changed = lock(&expected.bundle).as_ref().is_some_and(|wanted| found.as_ref() != Some(wanted));
        if changed {
            tracing::warn!("the ConfigMap {CONFIG_MAP} does not hold the bundle any more; mending it");
            expected.changed.notify_one();
        }
    }
}

/// Of what is in the Secret, so that its keys need not be kept to see that it changed.
fn fingerprint(data: &Data) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (key, value) in data {
        for part in [key.as_bytes(), &value.0] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize().into()
}

fn labels() -> BTreeMap<String, String> {
    [("app.kubernetes.io/name", "cert-authority"), ("app.kubernetes.io/part-of", "weir")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing that holds these locks can panic half way through a write, so poisoning means nothing here.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Apis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Apis")
    }
}

#[cfg(test)]
mod tests;
