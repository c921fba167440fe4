//! `tests/golden/NAME/in.yaml` holds manifests; `out.yaml` all that follows from them: what is wrong with the manifests
//! themselves, the configuration, the statuses, the objects that Gateways need, and what becomes of the requests that
//! the first document of `in.yaml` names. `UPDATE_GOLDEN=1` writes `out.yaml`; every line that changes is read.

#![allow(clippy::unwrap_used, reason = "what fails in here is a test that fails")]

mod decision;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mesh_compile::{Compiled, Object, Settings, Snapshot, compile, manifest};
use mesh_ir::config::Delta;
use mesh_ir::resource::{Mode, SameNode};
use mesh_ir::view::MeshView;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The document for the test itself, of `apiVersion: weir.dev/test` and `kind: Requests`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Requests {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    requests: Vec<decision::Request>,
    /// Shows the objects that Gateways need.
    #[serde(default)]
    owned: bool,
    /// The setting of the whole mesh.
    #[serde(default)]
    same_node: SameNode,
    /// Shows the configuration; a case that is about statuses leaves it out.
    #[serde(default = "yes")]
    configuration: bool,
}

fn yes() -> bool {
    true
}

#[derive(Serialize)]
struct Output {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<mesh_ir::config::MeshConfig>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    statuses: BTreeMap<String, Arc<mesh_compile::Status>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    owned: Vec<Arc<Value>>,
    /// What AddressPools give to the Services of Gateways.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    addresses: BTreeMap<String, Vec<std::net::IpAddr>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    decisions: Vec<decision::Shown>,
}

#[test]
fn golden_cases_compile_to_what_is_written() {
    let cases = cases();
    let failures: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    println!("{} golden cases, {} failed", cases.len(), failures.len());
    assert!(cases.len() >= 60, "the cases were not found");
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
}

/// Compiling is a function: the order of insertion and a second run change nothing, and what was made for Gateways
/// and comes back as objects leads to the same again.
#[test]
fn golden_cases_compile_alike_in_any_order_and_again() {
    for case in cases() {
        let text = fs::read_to_string(case.join("in.yaml")).unwrap();
        let objects: Vec<_> = manifest::parse(&text).into_iter().filter_map(|r| r.ok().flatten()).collect();
        let first = compile_all(objects.iter().cloned(), SameNode::Direct);
        let reversed: Vec<_> = objects.iter().rev().cloned().collect();
        // Of two documents of one name the last counts, so those cannot be turned round.
        let names: std::collections::BTreeSet<_> = objects.iter().map(|object| object.id()).collect();
        if names.len() == objects.len() {
            assert_eq!(
                shown(&first),
                shown(&compile_all(reversed.into_iter(), SameNode::Direct)),
                "{}",
                case.display()
            );
        }
        let existing: std::collections::BTreeSet<_> = names;
        let new = first.owned.iter().filter(|(id, _)| !existing.contains(*id));
        let new = new.map(|(id, object)| Object::from_json(id.kind, object).unwrap());
        let again = compile_all(objects.iter().cloned().chain(new), SameNode::Direct);
        assert_eq!(shown(&first), shown(&again), "{}", case.display());
    }
}

proptest::proptest! {
    /// Whatever of a manifest is left out, it is refused or compiled.
    #[test]
    fn golden_cases_with_lines_missing_do_not_panic(
        case: proptest::sample::Index,
        missing in proptest::collection::vec(proptest::prelude::any::<proptest::sample::Index>(), 1..6),
    ) {
        let cases = cases();
        let text = fs::read_to_string(case.get(&cases).join("in.yaml")).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        for line in missing {
            if !lines.is_empty() {
                lines.remove(line.index(lines.len()));
            }
        }
        let objects = manifest::parse(&lines.join("\n")).into_iter().filter_map(|r| r.ok().flatten());
        compile_all(objects.collect::<Vec<_>>().into_iter(), SameNode::Direct);
    }
}

fn shown(compiled: &Compiled) -> String {
    let owned = owned(compiled);
    let statuses: Vec<_> = compiled.statuses.iter().map(|(id, s)| (id.to_string(), s.clone())).collect();
    serde_yaml_ng::to_string(&(&compiled.config, statuses, owned)).unwrap()
}

/// The objects of one Gateway together.
fn owned(compiled: &Compiled) -> Vec<Arc<Value>> {
    let mut owned: Vec<_> = compiled.owned.iter().collect();
    owned.sort_by_key(|(id, _)| (&id.namespace, &id.name));
    owned.into_iter().map(|(_, object)| object.clone()).collect()
}

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let entries = fs::read_dir(&root).unwrap_or_else(|e| panic!("{}: {e}", root.display()));
    let mut cases: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

fn compile_all(objects: impl Iterator<Item = Object>, same_node: SameNode) -> Compiled {
    let mut snapshot = Snapshot::default();
    for object in objects {
        snapshot.insert(object);
    }
    let settings = Settings {
        trust_domain: "cluster.local".parse().unwrap(),
        default_mode: Mode::Permissive,
        same_node,
    };
    compile(&snapshot, &settings)
}

fn check(case: &Path) -> Result<(), String> {
    let name = case.file_name().unwrap().to_string_lossy();
    let text = fs::read_to_string(case.join("in.yaml")).map_err(|e| format!("{name}: in.yaml: {e}"))?;
    let requests = requests(&text).map_err(|e| format!("{name}: Requests: {e}"))?;

    let (mut problems, mut objects) = (Vec::new(), Vec::new());
    for result in manifest::parse(&text) {
        match result {
            Ok(object) => objects.extend(object),
            Err(problem) => problems.push(problem.to_string()),
        }
    }
    let compiled = compile_all(objects.into_iter(), requests.same_node);
    let upserts = compiled.config.resources.values().cloned().collect();
    let view = MeshView::default().apply(&Delta { upserts, removes: Vec::new() });
    let decisions =
        requests.requests.iter().map(|r| decision::decide(&view, r)).collect::<Result<Vec<_>, _>>();
    let output = Output {
        problems,
        decisions: decisions.map_err(|e| format!("{name}: {e}"))?,
        statuses: compiled.statuses.iter().map(|(id, status)| (id.to_string(), status.clone())).collect(),
        owned: match requests.owned {
            true => owned(&compiled),
            false => Vec::new(),
        },
        addresses: compiled.addresses.iter().map(|(id, given)| (id.to_string(), given.clone())).collect(),
        configuration: requests.configuration.then_some(compiled.config),
    };
    // Enums as maps of one key, as in JSON, and not as YAML tags.
    let mut bytes = Vec::new();
    let mut serializer = serde_yaml_ng::Serializer::new(&mut bytes);
    serde_yaml_ng::with::singleton_map_recursive::serialize(&output, &mut serializer).unwrap();
    let actual = String::from_utf8(bytes).unwrap();

    let path = case.join("out.yaml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &actual).unwrap();
        return Ok(());
    }
    let expected = fs::read_to_string(&path).map_err(|e| format!("{name}: out.yaml: {e}"))?;
    match expected == actual {
        true => Ok(()),
        false => Err(format!("{name}:\n{}", difference(&expected, &actual))),
    }
}

fn requests(text: &str) -> Result<Requests, String> {
    let first = text.split("\n---").next().unwrap_or_default();
    if !first.contains("kind: Requests") {
        let api_version = String::new();
        return Ok(Requests { _api_version: api_version, configuration: true, ..Requests::default() });
    }
    serde_yaml_ng::from_str(first).map_err(|e| e.to_string())
}

/// The first lines that differ, with their numbers.
fn difference(expected: &str, actual: &str) -> String {
    let (expected, actual): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), actual.lines().collect());
    let at = expected.iter().zip(&actual).take_while(|(e, a)| e == a).count();
    let show = |lines: &[&str], sign: &str| {
        lines.iter().skip(at).take(12).map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    format!("from line {} of out.yaml on:\n{}{}", at + 1, show(&expected, "-"), show(&actual, "+"))
}
