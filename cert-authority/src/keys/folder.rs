//! Keys in a directory, and the bundle in a file.
//!
//! ```text
//! STATE/lock               held while an authority runs on this state
//! STATE/root.pem           the root's certificate and key, made once
//! STATE/intermediate.pem   the same for the intermediate, made anew at half of its life
//! STATE/roots/*.pem        other roots to trust, put there by a person: the next one or the last one in a rotation
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_ir::name::TrustDomain;
use mesh_trust::Bundle;
use pem::Pem;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::{DAY, Keys, KeysError, ROOT_LIFE, Store, random_serial, read};
use crate::issue::{self, Signer, Validity};
use crate::watch::FolderWatch;

const INTERMEDIATE_LIFE: Duration = Duration::from_secs(365 * DAY.as_secs());

/// A state directory and the file that its bundle is published in.
#[derive(Debug)]
pub struct Folder {
    state: State,
    bundle_out: PathBuf,
    other_roots: FolderWatch,
}

impl Folder {
    /// Takes the state directory, which is made if it is not there, and watches it for other roots.
    pub fn open(state: &Path, trust_domain: TrustDomain, bundle_out: PathBuf) -> Result<Self, KeysError> {
        let state = State::open(state, trust_domain)?;
        let path = state.other_roots();
        let other_roots = FolderWatch::start(&path).map_err(|source| KeysError::Watch { path, source })?;
        Ok(Self { state, bundle_out, other_roots })
    }
}

impl Store for Folder {
    async fn keys(&self, now: SystemTime) -> Result<Keys, KeysError> {
        self.state.keys(now)
    }

    async fn publish(&self, bundle: &Bundle) -> Result<(), KeysError> {
        publish(bundle, &self.bundle_out)
    }

    async fn changed(&self) {
        self.other_roots.changed().await;
    }
}

/// The state directory, held by this process alone.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    trust_domain: TrustDomain,
    _lock: File,
}

impl State {
    /// Makes the directory if it is not there, and takes its lock.
    pub fn open(folder: &Path, trust_domain: TrustDomain) -> Result<Self, KeysError> {
        let roots = folder.join("roots");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&roots).map_err(at(&roots))?;
        let path = folder.join("lock");
        let lock = File::create(&path).map_err(at(&path))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => KeysError::InUse { path: folder.to_owned() },
            fs::TryLockError::Error(source) => KeysError::File { path, source },
        })?;
        Ok(Self { folder: folder.to_owned(), trust_domain, _lock: lock })
    }

    /// Where a person puts other roots.
    pub fn other_roots(&self) -> PathBuf {
        self.folder.join("roots")
    }

    /// Reads the keys, makes those that are missing, and renews an intermediate that is past half of its life.
    pub fn keys(&self, now: SystemTime) -> Result<Keys, KeysError> {
        let root = self.stored("root.pem", now, None, |key| {
            issue::root(&self.trust_domain, key, random_serial(), Validity::starting(now, ROOT_LIFE))
        })?;
        let intermediate = self.stored("intermediate.pem", now, Some(INTERMEDIATE_LIFE / 2), |key| {
            let life = Validity::starting(now, INTERMEDIATE_LIFE);
            issue::intermediate(&root, &self.trust_domain, key, random_serial(), life)
        })?;
        let mut roots = vec![root.certificate];
        for path in pem_files(&self.other_roots())? {
            let pem = fs::read(&path).map_err(at(&path))?;
            match Bundle::from_pem(self.trust_domain.clone(), &pem) {
                Ok(others) => roots.extend_from_slice(others.roots()),
                // One bad file must not take the authority down, nor the roots that are good.
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "a root is left out of the bundle")
                }
            }
        }
        let bundle = Bundle::from_der(self.trust_domain.clone(), roots)
            .map_err(|source| KeysError::Bundle { place: self.folder.display().to_string(), source })?;
        let chain = vec![intermediate.certificate.clone()];
        Ok(Keys { trust_domain: self.trust_domain.clone(), signer: Arc::new(intermediate), chain, bundle })
    }

    fn stored(
        &self,
        name: &str,
        now: SystemTime,
        renew_before_expiry: Option<Duration>,
        make: impl FnOnce(&KeyPair) -> Result<CertificateDer<'static>, rcgen::Error>,
    ) -> Result<Signer, KeysError> {
        let path = self.folder.join(name);
        let place = || path.display().to_string();
        let making = |source| KeysError::Make { place: place(), source };
        match fs::read(&path) {
            Ok(pem) => {
                let pem = Zeroizing::new(pem);
                let found = read::signer(&pem, &pem, &self.trust_domain)
                    .map_err(|problem| KeysError::Unusable { place: place(), problem })?;
                let left = found.not_after.duration_since(now).unwrap_or_default();
                match renew_before_expiry {
                    Some(least) if left < least => {}
                    None if left.is_zero() => {
                        let problem = "the root has expired; remove it to have a new one made".into();
                        return Err(KeysError::Unusable { place: place(), problem });
                    }
                    _ => return Ok(found.signer),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(KeysError::File { path, source }),
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(making)?;
        let certificate = make(&key).map_err(making)?;
        // Certificate and key are one file, so that no crash can leave one without the other.
        let mut pem = Zeroizing::new(key.serialize_pem());
        pem.push_str(&pem::encode(&Pem::new("CERTIFICATE", certificate.to_vec())));
        write_atomically(&path, pem.as_bytes(), 0o600)?;
        tracing::info!(path = %path.display(), "made a certificate of the authority");
        Signer::new(certificate, key).map_err(making)
    }
}

/// Writes the bundle's roots in PEM, in one step for its readers.
pub fn publish(bundle: &Bundle, path: &Path) -> Result<(), KeysError> {
    write_atomically(path, bundle.to_pem().as_bytes(), 0o644)
}

fn pem_files(folder: &Path) -> Result<Vec<PathBuf>, KeysError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn write_atomically(path: &Path, content: &[u8], mode: u32) -> Result<(), KeysError> {
    let write = || {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // A temporary file is made with mode 0600, so the key is never readable by others, not even for a moment.
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
        file.write_all(content)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> KeysError {
    move |source| KeysError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
