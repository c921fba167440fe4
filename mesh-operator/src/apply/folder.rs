//! The output folder: `status.json`, and one file an object under `objects`. Files appear whole, and are written only
//! when they differ.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mesh_compile::ObjectId;
use serde_json::Value;

use super::status::Document;

#[derive(Clone, Debug)]
pub(super) struct OutputFolder {
    root: PathBuf,
}

/// The output folder cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    #[error("cannot {what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot write {object} as YAML: {problem}")]
    Encode { object: String, problem: String },
}

impl OutputFolder {
    pub(super) fn open(root: PathBuf) -> Result<Self, OutputError> {
        let folder = Self { root };
        for path in [folder.objects(), folder.unfinished()] {
            fs::create_dir_all(&path).map_err(failed("make the folder", &path))?;
        }
        Ok(folder)
    }

    /// The status document, or null where there is none that can be read.
    pub(super) fn read_status(&self) -> Value {
        let text = fs::read(self.root.join("status.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub(super) fn write_status(&self, document: &Document) -> Result<(), OutputError> {
        let text = serde_json::to_string_pretty(document).expect("a status document is plain data") + "\n";
        self.write(&self.root.join("status.json"), text.as_bytes())
    }

    /// Makes the files those of `objects`, no more and no less.
    pub(super) fn write_objects<'o>(
        &self,
        objects: impl IntoIterator<Item = (&'o ObjectId, &'o Arc<Value>)>,
    ) -> Result<(), OutputError> {
        let mut files = BTreeMap::new();
        for (id, object) in objects {
            files.insert(file_name(id), to_yaml(id, object)?);
        }
        for (name, text) in &files {
            self.write(&self.objects().join(name), text.as_bytes())?;
        }
        let path = self.objects();
        for entry in fs::read_dir(&path).map_err(failed("list", &path))? {
            let entry = entry.map_err(failed("list", &path))?;
            let is_object = entry.path().extension().is_some_and(|extension| extension == "yaml");
            if is_object && !files.contains_key(&entry.file_name()) {
                fs::remove_file(entry.path()).map_err(failed("remove", &entry.path()))?;
            }
        }
        Ok(())
    }

    fn write(&self, path: &Path, content: &[u8]) -> Result<(), OutputError> {
        if fs::read(path).is_ok_and(|present| present == content) {
            return Ok(());
        }
        // In another folder, so that nobody who watches this one sees half a file; in the same file system, so that
        // the rename is atomic.
        let unfinished = self.unfinished().join("file");
        fs::write(&unfinished, content).map_err(failed("write", &unfinished))?;
        fs::rename(&unfinished, path).map_err(failed("replace", path))
    }

    fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    fn unfinished(&self) -> PathBuf {
        self.root.join(".unfinished")
    }
}

/// No name of Kubernetes holds `_`, so that no two objects share a file.
fn file_name(id: &ObjectId) -> OsString {
    let namespace = id.namespace.as_deref().unwrap_or_default();
    format!("{}_{namespace}_{}.yaml", id.kind.as_str().to_ascii_lowercase(), id.name).into()
}

fn to_yaml(id: &ObjectId, object: &Value) -> Result<String, OutputError> {
    serde_yaml_ng::to_string(object)
        .map_err(|error| OutputError::Encode { object: id.to_string(), problem: error.to_string() })
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OutputError {
    let path = path.to_owned();
    move |source| OutputError::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use mesh_compile::{Kind, Object, manifest};
    use serde_json::json;

    use super::*;

    fn services(ports: &[(&str, u16)]) -> BTreeMap<ObjectId, Arc<Value>> {
        let service = |(name, port): &(&str, u16)| {
            let id = ObjectId { kind: Kind::Service, namespace: Some("shop".into()), name: (*name).into() };
            let metadata = json!({ "name": name, "namespace": "shop" });
            let spec = json!({ "ports": [{ "port": port }] });
            let object = json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec });
            (id, Arc::new(object))
        };
        ports.iter().map(service).collect()
    }

    #[test]
    fn output_is_written_only_where_it_differs_and_read_back_as_manifests() {
        let dir = tempfile::TempDir::new().unwrap();
        let folder = OutputFolder::open(dir.path().join("published")).unwrap();
        let inode =
            |name: &str| fs::metadata(folder.objects().join(name)).ok().map(|metadata| metadata.ino());
        folder.write_objects(&services(&[("a", 1), ("b", 1)])).unwrap();
        let (a, b) = (inode("service_shop_a.yaml"), inode("service_shop_b.yaml"));
        assert!(a.is_some() && b.is_some());
        folder.write_objects(&services(&[("a", 1), ("b", 2), ("c", 1)])).unwrap();
        assert_eq!(inode("service_shop_a.yaml"), a);
        assert_ne!(inode("service_shop_b.yaml"), b);
        let text = fs::read_to_string(folder.objects().join("service_shop_b.yaml")).unwrap();
        let parsed = manifest::parse(&text);
        let [Ok(Some(Object::Service(service)))] = &*parsed else { panic!("{parsed:?}") };
        assert_eq!(service.spec.as_ref().unwrap().ports.as_ref().unwrap()[0].port, 2);
        folder.write_objects(&services(&[("c", 1)])).unwrap();
        assert_eq!((inode("service_shop_a.yaml"), inode("service_shop_b.yaml")), (None, None));
        assert!(inode("service_shop_c.yaml").is_some());
    }

    #[test]
    fn output_errors_name_the_path() {
        let dir = tempfile::TempDir::new().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let error = OutputFolder::open(dir.path().join("file")).unwrap_err().to_string();
        assert!(error.starts_with("cannot make the folder ") && error.contains("file/objects"), "{error}");
    }
}
