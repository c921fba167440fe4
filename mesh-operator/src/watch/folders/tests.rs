use std::fs;

use mesh_compile::ObjectId;
use tempfile::TempDir;

use super::{Folders, Observed};

fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{ports: [{{port: {port}}}]}}\n---\n"
    )
}

struct World {
    dirs: Vec<TempDir>,
    folders: Folders,
    observed: Observed,
}

impl World {
    fn new(count: usize) -> Self {
        let dirs: Vec<_> = (0..count).map(|_| TempDir::new().unwrap()).collect();
        let folders = Folders::new(dirs.iter().map(|dir| dir.path().to_owned()).collect());
        Self { dirs, folders, observed: Observed::default() }
    }

    fn write(&mut self, folder: usize, file: &str, text: &str) {
        let path = self.dirs[folder].path().join(file);
        fs::write(&path, text).unwrap();
        self.folders.reread(&path);
    }

    fn remove(&mut self, folder: usize, file: &str) {
        let path = self.dirs[folder].path().join(file);
        fs::remove_file(&path).unwrap();
        self.folders.reread(&path);
    }

    /// The Services there are with their ports, and the problems.
    fn check(&mut self, services: &[(&str, i32)], problems: &[&str]) {
        if let Some(observed) = self.folders.take() {
            self.observed = observed;
        }
        let observed = &self.observed;
        let port = |name: &str| {
            let id = ObjectId {
                kind: mesh_compile::Kind::Service,
                namespace: Some("shop".into()),
                name: name.into(),
            };
            match observed.snapshot.get(&id) {
                Some(mesh_compile::Object::Service(service)) => {
                    Some(service.spec.as_ref().unwrap().ports.as_ref().unwrap()[0].port)
                }
                _ => None,
            }
        };
        for name in ["a", "b", "c"] {
            let expected = services.iter().find(|(service, _)| *service == name).map(|(_, port)| *port);
            assert_eq!(port(name), expected, "{name}");
        }
        assert_eq!(observed.problems.len(), problems.len(), "{:?}", observed.problems);
        for (problem, expected) in observed.problems.iter().zip(problems) {
            let shown = serde_json::to_string(problem).unwrap();
            assert!(shown.contains(expected), "{shown}");
        }
    }
}

#[test]
fn folders_keep_what_a_broken_document_held() {
    let mut world = World::new(1);
    world.write(0, "all.yaml", &[service("a", 1), service("b", 2)].concat());
    world.check(&[("a", 1), ("b", 2)], &[]);

    // One object is wrong, and known: the other one changes, the wrong one stays as it was.
    let wrong = service("a", 1).replace("ports:", "portz:");
    world.write(0, "all.yaml", &[wrong.clone(), service("b", 3)].concat());
    world.check(&[("a", 1), ("b", 3)], &["portz"]);
    // That the other one is gone from the file is certain.
    world.write(0, "all.yaml", &wrong);
    world.check(&[("a", 1)], &["portz"]);

    // Which object is behind a syntax error is unknown: everything stays.
    world.write(0, "all.yaml", &[service("a", 1), service("b", 2)].concat());
    world.write(0, "all.yaml", &["kind: [\n---\n".into(), service("b", 4)].concat());
    world.check(&[("a", 1), ("b", 4)], &["all.yaml"]);

    world.remove(0, "all.yaml");
    world.check(&[], &[]);
}

#[test]
fn folders_later_win_and_uncover_the_earlier_when_removed() {
    let mut world = World::new(2);
    world.write(1, "over.yaml", &service("a", 2));
    world.write(0, "base.yaml", &[service("a", 1), service("b", 1)].concat());
    world.check(&[("a", 2), ("b", 1)], &[]);
    world.remove(1, "over.yaml");
    world.check(&[("a", 1), ("b", 1)], &[]);
}

#[test]
fn folders_say_that_two_files_define_one_object() {
    let mut world = World::new(1);
    world.write(0, "1.yaml", &service("a", 1));
    world.write(0, "2.yaml", &service("a", 2));
    world.check(&[("a", 2)], &["2.yaml defines this object too"]);
    world.remove(0, "2.yaml");
    world.check(&[("a", 1)], &[]);
}

#[test]
fn folders_read_manifests_only() {
    let mut world = World::new(1);
    world.write(0, ".a.yaml.swp", "]");
    world.write(0, ".hidden.yaml", "]");
    world.write(0, "README.md", "]");
    fs::create_dir(world.dirs[0].path().join("folder.yaml")).unwrap();
    world.folders.relist();
    world.check(&[], &[]);
    world.write(0, "latin.yaml", "");
    fs::write(world.dirs[0].path().join("latin.yaml"), b"name: \xe9").unwrap();
    world.folders.relist();
    world.check(&[], &["not UTF-8 text (byte 6)"]);
}

#[test]
fn folders_relist_finds_what_events_did_not_tell() {
    let mut world = World::new(1);
    let dir = world.dirs[0].path().to_owned();
    world.write(0, "a.yaml", &service("a", 1));
    fs::write(dir.join("b.yml"), service("b", 1)).unwrap();
    fs::remove_file(dir.join("a.yaml")).unwrap();
    world.folders.relist();
    world.check(&[("b", 1)], &[]);
    fs::remove_dir_all(&dir).unwrap();
    world.folders.relist();
    assert!(world.folders.incomplete());
    world.check(&[("b", 1)], &["cannot list the folder"]);
    fs::create_dir(&dir).unwrap();
    world.folders.relist();
    world.check(&[], &[]);
}
