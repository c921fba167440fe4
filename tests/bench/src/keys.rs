//! Keys and certificates for peers: of the same kind as the mesh's own, ECDSA P-256 under a root of the case's own.

use std::path::{Path, PathBuf};

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};

/// Where the files of one holder are.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) root: PathBuf,
    /// The name of whom the holder talks to.
    pub(crate) peer: String,
}

impl Keys {
    /// Writes what a server shows to whoever comes.
    pub(crate) fn write(folder: &Path, name: &str, certificate: &str, key: &str) -> anyhow::Result<Self> {
        let keys = Self {
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}-key.pem")),
            root: folder.join(format!("{name}.pem")),
            peer: String::new(),
        };
        write(&keys.certificate, certificate)?;
        write(&keys.key, key)?;
        Ok(keys)
    }
}

/// Keys of a client and a server that trust each other, in a folder.
pub(crate) fn pair(folder: &Path) -> anyhow::Result<(Keys, Keys)> {
    let mut params = CertificateParams::default();
    // A certificate that bears its issuer's name counts as one that signs itself.
    params.distinguished_name.push(DnType::CommonName, "root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate()?).context("making a root")?;
    let root_file = folder.join("root.pem");
    write(&root_file, &root.pem())?;
    let make = |own: &str, peer: &str| -> anyhow::Result<Keys> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, own);
        let name = |name: &str| format!("spiffe://cluster.local/ns/bench/sa/{name}");
        params.subject_alt_names = vec![SanType::URI(name(own).try_into()?)];
        let certificate = params.signed_by(&key, &root).context("signing a certificate")?;
        let keys = Keys {
            certificate: folder.join(format!("{own}.pem")),
            key: folder.join(format!("{own}-key.pem")),
            root: root_file.clone(),
            peer: name(peer),
        };
        write(&keys.certificate, &certificate.pem())?;
        write(&keys.key, &key.serialize_pem())?;
        Ok(keys)
    };
    Ok((make("client", "server")?, make("server", "client")?))
}

/// A certificate for a name of DNS that signs itself, and its key, in PEM.
pub(crate) fn serving(name: &str) -> anyhow::Result<(String, String)> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).context("making a certificate")?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem()))
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}
