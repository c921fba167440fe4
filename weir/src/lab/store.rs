//! The objects that are wanted in the lab, and which file or command each came from.
//!
//! Three sources meet here: files that are followed, `weir lab apply`, and what mesh-operator publishes. A file's edit
//! touches only the objects that the edit changed, so that it does not undo an `apply` or a `delete` of others.

use std::collections::{BTreeMap, btree_map};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::manifest::files::Content;
use super::manifest::images::Images;
use super::object::{Object, ObjectId};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    File(PathBuf),
    Applied,
    Published,
}

#[derive(Debug)]
struct Entry {
    value: Value,
    origin: Origin,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    objects: BTreeMap<ObjectId, Entry>,
    /// What each file held when it was last read without error.
    files: BTreeMap<PathBuf, BTreeMap<ObjectId, Value>>,
    images: BTreeMap<PathBuf, Images>,
    applied_images: Images,
}

impl Store {
    pub(crate) fn objects(&self) -> impl Iterator<Item = (&ObjectId, &Value)> {
        self.objects.iter().map(|(id, entry)| (id, &entry.value))
    }

    pub(crate) fn contains(&self, id: &ObjectId) -> bool {
        self.objects.contains_key(id)
    }

    pub(crate) fn of_kind<'a>(
        &'a self,
        group: &'a str,
        kind: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectId, &'a Value)> {
        self.objects().filter(move |(id, _)| id.is(group, kind))
    }

    pub(crate) fn get(&self, id: &ObjectId) -> Option<&Value> {
        self.objects.get(id).map(|entry| &entry.value)
    }

    /// Every image that a `lab.yaml` names; where two do, the one whose path sorts last.
    pub(crate) fn images(&self) -> Images {
        let files = self.images.values().flatten();
        files.chain(&self.applied_images).map(|(image, command)| (image.clone(), command.clone())).collect()
    }

    /// Takes a followed file's new content.
    ///
    /// # Errors
    /// An object that another followed file holds too; nothing of the file is taken then.
    pub(crate) fn set_file(&mut self, path: &Path, content: Content) -> Result<(), (ObjectId, PathBuf)> {
        let objects = match content {
            Content::Images(images) => {
                self.images.insert(path.to_owned(), images);
                return Ok(());
            }
            Content::Objects(objects) => objects,
        };
        let new: BTreeMap<ObjectId, Value> =
            objects.into_iter().map(|object| (object.id, object.value)).collect();
        for (other, held) in self.files.iter().filter(|(other, _)| *other != path) {
            if let Some(id) = new.keys().find(|id| held.contains_key(id)) {
                return Err((id.clone(), other.clone()));
            }
        }
        let old = self.files.remove(path).unwrap_or_default();
        for id in old.keys().filter(|id| !new.contains_key(id)) {
            self.remove_if(id, &Origin::File(path.to_owned()));
        }
        for (id, value) in new.iter().filter(|(id, value)| old.get(id) != Some(value)) {
            let entry = Entry { value: value.clone(), origin: Origin::File(path.to_owned()) };
            self.objects.insert(id.clone(), entry);
        }
        self.files.insert(path.to_owned(), new);
        Ok(())
    }

    /// Forgets a followed file that is gone.
    pub(crate) fn remove_file(&mut self, path: &Path) {
        self.images.remove(path);
        for id in self.files.remove(path).unwrap_or_default().into_keys() {
            self.remove_if(&id, &Origin::File(path.to_owned()));
        }
    }

    pub(crate) fn apply(&mut self, objects: Vec<Object>) {
        for object in objects {
            self.objects.insert(object.id, Entry { value: object.value, origin: Origin::Applied });
        }
    }

    pub(crate) fn apply_images(&mut self, images: Images) {
        self.applied_images.extend(images);
    }

    /// Removes an object wherever it came from; says whether it was there.
    pub(crate) fn delete(&mut self, id: &ObjectId) -> bool {
        self.objects.remove(id).is_some()
    }

    /// Takes all that mesh-operator publishes now. Gives the objects that somebody else made already: those stay.
    pub(crate) fn set_published(&mut self, objects: Vec<Object>) -> Vec<ObjectId> {
        self.objects.retain(|_, entry| entry.origin != Origin::Published);
        let mut taken = Vec::new();
        for object in objects {
            match self.objects.entry(object.id) {
                btree_map::Entry::Occupied(other) => taken.push(other.key().clone()),
                btree_map::Entry::Vacant(free) => {
                    free.insert(Entry { value: object.value, origin: Origin::Published });
                }
            }
        }
        taken
    }

    fn remove_if(&mut self, id: &ObjectId, origin: &Origin) {
        if self.objects.get(id).is_some_and(|entry| entry.origin == *origin) {
            self.objects.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(name: &str, data: &str) -> Object {
        let id = ObjectId::namespaced("", "ConfigMap", "default", name);
        Object { id, value: json!({"data": data}) }
    }

    fn names(store: &Store) -> Vec<String> {
        store
            .objects()
            .map(|(id, value)| format!("{}={}", id.name, value["data"].as_str().unwrap()))
            .collect()
    }

    #[test]
    fn a_files_edit_leaves_what_it_did_not_change() {
        let mut store = Store::default();
        let file = Path::new("f.yaml");
        store
            .set_file(file, Content::Objects(vec![object("a", "1"), object("b", "1"), object("c", "1")]))
            .unwrap();
        store.apply(vec![object("a", "applied")]);
        assert!(store.delete(&object("b", "").id));
        store
            .set_file(file, Content::Objects(vec![object("a", "1"), object("b", "1"), object("c", "2")]))
            .unwrap();
        assert_eq!(names(&store), ["a=applied", "c=2"]);
        store.set_file(file, Content::Objects(vec![object("b", "3")])).unwrap();
        assert_eq!(names(&store), ["a=applied", "b=3"]);
        store.remove_file(file);
        assert_eq!(names(&store), ["a=applied"]);
    }

    #[test]
    fn an_object_in_two_files_is_refused() {
        let mut store = Store::default();
        store.set_file(Path::new("1"), Content::Objects(vec![object("a", "1")])).unwrap();
        let refused =
            store.set_file(Path::new("2"), Content::Objects(vec![object("a", "2"), object("b", "2")]));
        assert_eq!(refused, Err((object("a", "").id, PathBuf::from("1"))));
        assert_eq!(names(&store), ["a=1"]);
    }

    #[test]
    fn published_objects_replace_only_published_ones() {
        let mut store = Store::default();
        store.apply(vec![object("a", "mine")]);
        assert_eq!(store.set_published(vec![object("a", "p"), object("b", "p")]), [object("a", "").id]);
        assert_eq!(names(&store), ["a=mine", "b=p"]);
        store.set_published(vec![]);
        assert_eq!(names(&store), ["a=mine"]);
    }
}
