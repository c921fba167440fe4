//! The access logs of the nodes' mesh-nodes, from the files that the nodes' kubelets keep.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::node::Node;
use crate::error::Error;
use crate::lab::access_log::Line;

/// Places in the files of one node.
#[derive(Clone, Debug, Default)]
pub struct Mark {
    lengths: BTreeMap<PathBuf, u64>,
}

impl Mark {
    /// The present end of the node's log.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn end_of(node: &Node) -> Result<Self, Error> {
        let mut lengths = BTreeMap::new();
        for file in files(node)? {
            let length = fs::metadata(&file).map_err(Error::io(file.display().to_string()))?.len();
            lengths.insert(file, length);
        }
        Ok(Self { lengths })
    }
}

/// The lines from the mark on; a last line that is being written is left for later.
///
/// # Errors
/// The files cannot be read, or hold an access log of another form.
pub fn since(node: &Node, mark: &Mark) -> Result<Vec<Line>, Error> {
    let mut lines = Vec::new();
    for file in files(node)? {
        let text = read(&file, mark.lengths.get(&file).copied().unwrap_or_default())
            .map_err(Error::io(file.display().to_string()))?;
        // TIME stdout F LINE
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let Some((_, line)) = line.split_once(" F ") else { continue };
            if line.starts_with("{\"kind\":") {
                lines.push(serde_json::from_str(line).map_err(|error| Error::unreadable(line, error))?);
            }
        }
    }
    Ok(lines)
}

fn read(file: &Path, from: u64) -> std::io::Result<String> {
    let mut file = File::open(file)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// One for each start of a mesh-node that the kubelet still keeps.
fn files(node: &Node) -> Result<Vec<PathBuf>, Error> {
    let folder = node.on_disk("/var/log/pods");
    let entries = |folder: &Path| {
        let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        paths.collect::<std::io::Result<Vec<_>>>()
    };
    let what = || format!("reading {}", folder.display());
    let mut files = Vec::new();
    for pod in entries(&folder).map_err(Error::io(what()))? {
        let name = pod.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("weir-system_mesh-node-") {
            // The pod's folder may go meanwhile.
            files.extend(entries(&pod.join("mesh-node")).unwrap_or_default());
        }
    }
    files.sort();
    Ok(files)
}
