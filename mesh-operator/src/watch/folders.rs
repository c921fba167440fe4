//! What the manifest folders hold. A file that breaks keeps what it held before, object by object.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mesh_compile::manifest::{self, Problem};
use mesh_compile::{Object, ObjectId, Snapshot};

use super::{FileProblem, Observed};

/// A larger file is no manifest.
const MAX_FILE: u64 = 16 << 20;

/// More files than this in one folder are not read.
const MAX_FILES: usize = 200_000;

#[derive(Debug)]
pub(super) struct Folders {
    /// In order: of two folders that hold the same object the later one wins.
    folders: Vec<PathBuf>,
    files: BTreeMap<Place, Manifest>,
    /// What keeps a folder from being listed.
    unlisted: BTreeMap<usize, FileProblem>,
}

/// A folder's index, and a file in it.
type Place = (usize, PathBuf);

#[derive(Debug, Default)]
struct Manifest {
    objects: Vec<Object>,
    problems: Vec<FileProblem>,
}

impl Folders {
    pub(super) fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders, files: BTreeMap::new(), unlisted: BTreeMap::new() }
    }

    pub(super) fn paths(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Whether some folder could not be listed, and is to be tried again.
    pub(super) fn incomplete(&self) -> bool {
        !self.unlisted.is_empty()
    }

    /// Reads everything again.
    pub(super) fn relist(&mut self) {
        for index in 0..self.folders.len() {
            match list(&self.folders[index]) {
                Ok(paths) => {
                    self.unlisted.remove(&index);
                    self.files
                        .retain(|(folder, path), _| *folder != index || paths.binary_search(path).is_ok());
                    for path in paths {
                        self.read((index, path));
                    }
                }
                Err(error) => {
                    let message =
                        format!("cannot list the folder: {error}; what it held before still applies");
                    self.unlisted.insert(index, FileProblem::of_file(&self.folders[index], message));
                }
            }
        }
    }

    /// Reads one file again, or takes note that it is gone.
    pub(super) fn reread(&mut self, path: &Path) {
        let Some(parent) = path.parent() else { return };
        let indices =
            (0..self.folders.len()).filter(|index| self.folders[*index] == parent).collect::<Vec<_>>();
        for index in indices {
            if is_manifest(path) {
                self.read((index, path.to_owned()));
            }
        }
    }

    pub(super) fn observed(&self) -> Observed {
        let mut snapshot = Snapshot::default();
        let mut problems: Vec<_> = self.unlisted.values().cloned().collect();
        let mut places: BTreeMap<ObjectId, &Place> = BTreeMap::new();
        for (place, manifest) in &self.files {
            problems.extend(manifest.problems.iter().cloned());
            for object in &manifest.objects {
                let id = object.id();
                if let Some((folder, path)) = places.get(&id)
                    && *folder == place.0
                {
                    problems.push(FileProblem {
                        object: Some(id.to_string()),
                        ..FileProblem::of_file(
                            path,
                            format!(
                                "{} defines this object too, and applies: keep one of them",
                                place.1.display()
                            ),
                        )
                    });
                }
                snapshot.insert(object.clone());
                places.insert(id, place);
            }
        }
        Observed { snapshot: Arc::new(snapshot), problems }
    }

    fn read(&mut self, place: Place) {
        match read(&place.1) {
            Ok(Some(text)) => {
                let manifest = self.files.entry(place.clone()).or_default();
                manifest.update(&place.1, &text);
            }
            Ok(None) => _ = self.files.remove(&place),
            Err(message) => {
                let problem = FileProblem::of_file(&place.1, message);
                self.files.entry(place).or_default().problems = vec![problem];
            }
        }
    }
}

impl Manifest {
    fn update(&mut self, path: &Path, text: &str) {
        let (mut objects, mut problems): (Vec<Object>, Vec<Problem>) = (Vec::new(), Vec::new());
        for result in manifest::parse(text) {
            match result {
                Ok(object) => objects.extend(object),
                Err(problem) => problems.push(problem),
            }
        }
        // An object that is not there may be the one that could not be read.
        let unread = |id: &ObjectId| problems.iter().any(|p| p.id.as_ref().is_none_or(|broken| broken == id));
        for kept in self.objects.drain(..) {
            let id = kept.id();
            if unread(&id) && !objects.iter().any(|object| object.id() == id) {
                objects.push(kept);
            }
        }
        self.objects = objects;
        self.problems = problems.iter().map(|problem| FileProblem::of_object(path, problem)).collect();
    }
}

/// The manifest files of a folder, sorted.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if is_manifest(&path) {
            paths.push(path);
        }
        if paths.len() > MAX_FILES {
            return Err(io::Error::other(format!("it holds more than {MAX_FILES} manifests")));
        }
    }
    paths.sort();
    Ok(paths)
}

/// Editors' and other programs' own files begin with a dot.
fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let known = path
        .extension()
        .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
    known && !hidden
}

/// `None` where there is no such file (any more).
fn read(path: &Path) -> Result<Option<String>, String> {
    let cannot = |error: io::Error| format!("cannot read the file: {error}");
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot(error)),
    };
    // Opening a pipe would wait for its writer.
    if !metadata.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(cannot)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot(error)),
    };
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("the file is larger than {MAX_FILE} bytes: split it"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => Err(format!("the file is not UTF-8 text (byte {})", error.utf8_error().valid_up_to())),
    }
}

#[cfg(test)]
mod tests;
