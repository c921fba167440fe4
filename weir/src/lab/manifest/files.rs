//! Manifest files on disk: which files a path stands for, and what they hold together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::images::{self, Images};
use super::{ManifestError, parse};
use crate::lab::object::Object;

/// A manifest larger than this is refused instead of read.
const MAX_FILE: u64 = 16 << 20;

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Objects(Vec<Object>),
    Images(Images),
}

/// The files that the paths stand for: a file itself, a folder its YAML files and those of its folders, hidden ones left
/// out. Sorted, each once.
pub(crate) fn list(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ManifestError> {
    let mut files = Vec::new();
    for path in paths {
        let kind = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if kind.is_dir() {
            walk(path, 0, &mut files)?;
        } else {
            files.push(path.clone());
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// Whether a file in a followed folder is a manifest.
pub(crate) fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// Whether a file is a `lab.yaml`.
pub(crate) fn is_lab_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "lab.yaml" || name == "lab.yml")
}

/// Reads one file.
pub(crate) fn read(path: &Path) -> Result<Content, ManifestError> {
    content(path, &text(path)?)
}

/// The text of the file, unless it is too large.
pub(crate) fn text(path: &Path) -> Result<String, ManifestError> {
    let size = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?.len();
    if size > MAX_FILE {
        let message = format!("is larger than {} MiB", MAX_FILE >> 20);
        return Err(ManifestError::Unreadable { file: path.display().to_string(), message });
    }
    std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

/// Reads the text of the file at `path`.
pub(crate) fn content(path: &Path, text: &str) -> Result<Content, ManifestError> {
    let shown = path.display().to_string();
    if is_lab_file(path) {
        images::parse(text, &shown).map(Content::Images)
    } else {
        parse(text, &shown).map(Content::Objects)
    }
}

/// Reads every file; an object may be in one of them only.
pub(crate) fn read_all(files: &[PathBuf]) -> Result<BTreeMap<PathBuf, Content>, ManifestError> {
    let mut contents = BTreeMap::new();
    let mut places = BTreeMap::new();
    for file in files {
        let content = read(file)?;
        if let Content::Objects(objects) = &content {
            for object in objects {
                if let Some(first) = places.insert(object.id.clone(), file) {
                    return Err(ManifestError::Twice {
                        id: Box::new(object.id.clone()),
                        first: first.display().to_string(),
                        second: file.display().to_string(),
                    });
                }
            }
        }
        contents.insert(file.clone(), content);
    }
    Ok(contents)
}

/// A folder nested deeper than this is a loop of links or a mistake.
const MAX_DEPTH: usize = 16;

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), ManifestError> {
    if depth > MAX_DEPTH {
        let message = format!("is more than {MAX_DEPTH} folders deep");
        return Err(ManifestError::Unreadable { file: folder.display().to_string(), message });
    }
    for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        if path.is_dir() {
            walk(&path, depth + 1, files)?;
        } else if is_manifest(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn unreadable(path: &Path, error: &std::io::Error) -> ManifestError {
    ManifestError::Unreadable {
        file: path.display().to_string(),
        message: format!("cannot be read: {error}"),
    }
}
