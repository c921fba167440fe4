//! What the manifest folders hold. A file that breaks keeps what it held before, object by object.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mesh_compile::manifest;
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
    files: BTreeMap<Arc<Place>, Objects>,
    /// Where each object is, in order; the last one applies.
    places: BTreeMap<ObjectId, Vec<Arc<Place>>>,
    /// What applies. A copy shares with the one before what has not changed since.
    snapshot: Snapshot,
    problems: BTreeMap<Arc<Place>, Vec<FileProblem>>,
    /// What keeps a folder from being listed.
    unlisted: BTreeMap<usize, FileProblem>,
    /// The objects that are in more than one file.
    repeated: BTreeSet<ObjectId>,
    changed: bool,
}

/// A folder's index, and a file in it.
type Place = (usize, PathBuf);

type Objects = BTreeMap<ObjectId, Object>;

impl Folders {
    pub(super) fn new(folders: Vec<PathBuf>) -> Self {
        Self {
            folders,
            files: BTreeMap::new(),
            places: BTreeMap::new(),
            snapshot: Snapshot::default(),
            problems: BTreeMap::new(),
            unlisted: BTreeMap::new(),
            repeated: BTreeSet::new(),
            changed: true,
        }
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
                    self.changed |= self.unlisted.remove(&index).is_some();
                    let known = self.files.keys().chain(self.problems.keys());
                    let is_gone =
                        |place: &&Arc<Place>| place.0 == index && paths.binary_search(&place.1).is_err();
                    let gone: BTreeSet<Arc<Place>> = known.filter(is_gone).cloned().collect();
                    for place in gone {
                        self.put(&place, Objects::new(), Vec::new());
                    }
                    for path in paths {
                        self.read((index, path));
                    }
                }
                Err(error) => {
                    let message =
                        format!("cannot list the folder: {error}; what it held before still applies");
                    let problem = FileProblem::of_file(&self.folders[index], message);
                    self.changed |= self.unlisted.insert(index, problem.clone()) != Some(problem);
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

    /// What there is now, if that is not what it was when this was asked the last time.
    pub(super) fn take(&mut self) -> Option<Observed> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let of_files = self.problems.values().flatten().cloned();
        let mut problems: Vec<FileProblem> = self.unlisted.values().cloned().chain(of_files).collect();
        problems.extend(self.repeated.iter().flat_map(|id| self.repetitions(id)));
        problems.sort();
        Some(Observed { snapshot: Arc::new(self.snapshot.clone()), problems })
    }

    /// The files of one folder that hold an object which another one of it holds too.
    fn repetitions(&self, id: &ObjectId) -> impl Iterator<Item = FileProblem> {
        let places = self.places.get(id).map(Vec::as_slice).unwrap_or_default();
        let pairs = places.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        pairs.map(move |pair| repeated(id, &pair[0].1, &pair[1].1))
    }

    fn read(&mut self, place: Place) {
        let place = Arc::new(place);
        let path = &place.1;
        match read(path) {
            Ok(Some(text)) => {
                let before = self.files.get(&place);
                let (objects, problems) = parse(path, &text, before.unwrap_or(&Objects::new()));
                self.put(&place, objects, problems);
            }
            Ok(None) => self.put(&place, Objects::new(), Vec::new()),
            Err(message) => self.set_problems(&place, vec![FileProblem::of_file(path, message)]),
        }
    }

    /// Has a file hold these objects, in place of those that it held before.
    fn put(&mut self, place: &Arc<Place>, mut objects: Objects, problems: Vec<FileProblem>) {
        self.set_problems(place, problems);
        let before = self.files.remove(place).unwrap_or_default();
        let mut changed: Vec<ObjectId> =
            before.keys().filter(|id| !objects.contains_key(*id)).cloned().collect();
        for (id, object) in &mut objects {
            match before.get(id) {
                Some(known) if known == object => *object = known.clone(),
                _ => changed.push(id.clone()),
            }
        }
        if !objects.is_empty() {
            self.files.insert(place.clone(), objects);
        }
        for id in changed {
            self.settle(id, place);
        }
    }

    /// Has what one file says of an object now take effect.
    fn settle(&mut self, id: ObjectId, place: &Arc<Place>) {
        let holds = self.files.get(place).is_some_and(|objects| objects.contains_key(&id));
        let places = self.places.entry(id.clone()).or_default();
        match places.binary_search(place) {
            Ok(at) if !holds => {
                places.remove(at);
                self.changed = true;
            }
            Err(at) if holds => {
                places.insert(at, place.clone());
                self.changed = true;
            }
            _ => {}
        }
        let object = places.last().and_then(|place| self.files.get(place)?.get(&id));
        self.changed |= match object {
            Some(object) => self.snapshot.insert(object.clone()),
            None => self.snapshot.remove(&id),
        };
        let repeats = places.len() > 1;
        if places.is_empty() {
            self.places.remove(&id);
        }
        match repeats {
            true => _ = self.repeated.insert(id),
            false => _ = self.repeated.remove(&id),
        }
    }

    fn set_problems(&mut self, place: &Arc<Place>, problems: Vec<FileProblem>) {
        let before = match problems.is_empty() {
            true => self.problems.remove(place),
            false => self.problems.insert(place.clone(), problems.clone()),
        };
        self.changed |= before.unwrap_or_default() != problems;
    }
}

/// The objects of a file, and what is wrong with it. An object that cannot be read is what it was before.
fn parse(path: &Path, text: &str, before: &Objects) -> (Objects, Vec<FileProblem>) {
    let (mut objects, mut problems, mut broken) = (Objects::new(), Vec::new(), Vec::new());
    for result in manifest::parse(text) {
        match result {
            Ok(Some(object)) => {
                let id = object.id();
                if objects.insert(id.clone(), object).is_some() {
                    problems.push(repeated(&id, path, path));
                }
            }
            Ok(None) => {}
            Err(problem) => {
                problems.push(FileProblem::of_object(path, &problem));
                broken.push(problem.id);
            }
        }
    }
    // An object that is not there may be the one that could not be read.
    let unread =
        |id: &ObjectId| broken.iter().any(|broken| broken.as_ref().is_none_or(|broken| broken == id));
    for (id, object) in before.iter().filter(|(id, _)| unread(id)) {
        objects.entry(id.clone()).or_insert_with(|| object.clone());
    }
    (objects, problems)
}

fn repeated(id: &ObjectId, path: &Path, later: &Path) -> FileProblem {
    let message = format!("{} defines this object too, and applies: keep one of them", later.display());
    FileProblem { object: Some(id.to_string()), ..FileProblem::of_file(path, message) }
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
