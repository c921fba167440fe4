//! Bootstrap tokens: one file each, named after its caller, `mesh-operator` or the node's name.

use std::fmt;
use std::io;
use std::path::Path;

use mesh_ir::name::NodeName;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::attest::Caller;

/// A token this short could be guessed; the lab's are 32 random bytes in hex.
const MIN_TOKEN: usize = 16;
const MAX_TOKEN: u64 = 4096;

/// The digests of the known tokens. The tokens themselves are not kept.
#[derive(Default)]
pub struct Tokens(Vec<([u8; 32], Caller)>);

impl Tokens {
    /// Reads a folder of tokens. A file that is no token is passed over, and said.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut known = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            match read_token(&entry.path(), name) {
                Ok(token) => known.push(token),
                Err(problem) => tracing::warn!(path = %entry.path().display(), %problem, "not a token"),
            }
        }
        Ok(Self(known))
    }

    /// Whose token this is. The time it takes tells nothing of the tokens: digests are compared, all of them, each in
    /// constant time.
    pub fn caller(&self, token: &[u8]) -> Option<Caller> {
        let presented: [u8; 32] = Sha256::digest(token).into();
        let mut found = u32::MAX;
        for (index, (digest, _)) in (0u32..).zip(&self.0) {
            let equal: Choice = digest.ct_eq(&presented);
            found.conditional_assign(&index, equal);
        }
        self.0.get(found as usize).map(|(_, caller)| caller.clone())
    }
}

fn read_token(path: &Path, name: &str) -> Result<([u8; 32], Caller), String> {
    let content = Zeroizing::new(super::read_bounded(path, MAX_TOKEN).map_err(|error| error.to_string())?);
    let token = content.trim_ascii();
    if token.len() < MIN_TOKEN {
        return Err(format!("it is shorter than {MIN_TOKEN} bytes"));
    }
    let caller = match name {
        "mesh-operator" => Caller::Operator,
        node => Caller::Node(NodeName::new(node).map_err(|error| error.to_string())?),
    };
    Ok((Sha256::digest(token).into(), caller))
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(_, caller)| caller)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_known_by_their_file_and_short_ones_are_not_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| std::fs::write(folder.path().join(name), content).unwrap();
        write("node-1", "0123456789abcdef0123\n");
        write("mesh-operator", "abcdefabcdefabcdefab");
        write("node-2", "");
        write("node-3", "short");
        write("node 4", "0123456789abcdef9999");
        write(".hidden", "0123456789abcdef8888");
        let tokens = Tokens::read(folder.path()).unwrap();
        let check = |token: &str, caller: Option<Caller>| {
            assert_eq!(tokens.caller(token.as_bytes()), caller, "{token}");
        };
        check("0123456789abcdef0123", Some(Caller::Node(NodeName::new("node-1").unwrap())));
        check("abcdefabcdefabcdefab", Some(Caller::Operator));
        check("0123456789abcdef0123\n", None);
        check("", None);
        check("short", None);
        check("0123456789abcdef9999", None);
        check("0123456789abcdef8888", None);
        assert!(!format!("{tokens:?}").contains("0123456789"), "{tokens:?}");
    }
}
