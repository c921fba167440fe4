//! Root and intermediate on disk, and the published bundle.
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
use std::time::{Duration, SystemTime};

use mesh_ir::name::TrustDomain;
use mesh_trust::{Bundle, BundleError};
use pem::Pem;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::issue::{self, Signer, Validity};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const ROOT_LIFE: Duration = Duration::from_secs(10 * 365 * DAY.as_secs());
const INTERMEDIATE_LIFE: Duration = Duration::from_secs(365 * DAY.as_secs());

/// What the authority signs with and whom it vouches for.
#[derive(Debug)]
pub struct Keys {
    pub trust_domain: TrustDomain,
    pub intermediate: Signer,
    pub bundle: Bundle,
}

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} is in use by another cert-authority; stop it or choose another --state")]
    InUse { path: PathBuf },
    #[error("{path}: {problem}")]
    Unusable { path: PathBuf, problem: String },
    #[error("cannot make the certificate {path}: {source}")]
    Make { path: PathBuf, source: rcgen::Error },
    #[error("the roots of {path} make no bundle: {source}")]
    Bundle { path: PathBuf, source: BundleError },
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
            .map_err(|source| KeysError::Bundle { path: self.folder.clone(), source })?;
        Ok(Keys { trust_domain: self.trust_domain.clone(), intermediate, bundle })
    }

    fn stored(
        &self,
        name: &str,
        now: SystemTime,
        renew_before_expiry: Option<Duration>,
        make: impl FnOnce(&KeyPair) -> Result<CertificateDer<'static>, rcgen::Error>,
    ) -> Result<Signer, KeysError> {
        let path = self.folder.join(name);
        let making = |source| KeysError::Make { path: path.clone(), source };
        match fs::read(&path) {
            Ok(pem) => {
                let pem = Zeroizing::new(pem);
                let (signer, not_after) = parse(&pem, &self.trust_domain)
                    .map_err(|problem| KeysError::Unusable { path: path.clone(), problem })?;
                let left = not_after.duration_since(now).unwrap_or_default();
                match renew_before_expiry {
                    Some(least) if left < least => {}
                    None if left.is_zero() => {
                        let problem = "the root has expired; remove it to have a new one made".into();
                        return Err(KeysError::Unusable { path, problem });
                    }
                    _ => return Ok(signer),
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

/// A random serial number. Serials need not be secret, but must not repeat.
pub fn random_serial() -> [u8; 16] {
    let mut serial = [0; 16];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut serial)
        .expect("the system's random number generator does not fail once it is seeded");
    serial
}

fn parse(pem: &[u8], trust_domain: &TrustDomain) -> Result<(Signer, SystemTime), String> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|error| format!("no private key: {error}"))?;
    let certificate =
        CertificateDer::from_pem_slice(pem).map_err(|error| format!("no certificate: {error}"))?;
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
        .map_err(|error| format!("its private key is not of ECDSA P-256: {error}"))?;
    let (_, parsed) =
        X509Certificate::from_der(&certificate).map_err(|error| format!("bad certificate: {error}"))?;
    if parsed.public_key().subject_public_key.data != key.public_key_raw() {
        return Err("its private key is not its certificate's".into());
    }
    let expected = format!("spiffe://{trust_domain}");
    let names = parsed.subject_alternative_name().map_err(|error| format!("bad certificate: {error}"))?;
    let fits = names.is_some_and(|names| {
        names.value.general_names.iter().any(|name| matches!(name, GeneralName::URI(uri) if *uri == expected))
    });
    if !fits {
        return Err(format!("its certificate is not of {expected}; was --trust-domain changed?"));
    }
    let not_after = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    let signer = Signer::new(certificate.clone(), key).map_err(|error| error.to_string())?;
    Ok((signer, SystemTime::UNIX_EPOCH + Duration::from_secs(not_after)))
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
