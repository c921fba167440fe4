//! The status document, and the times in it: a condition's `lastTransitionTime` is when its status last changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_compile::{Kind, ObjectId, Status};
use mesh_ir::map::SharedMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::compile::Revision;
use crate::watch::FileProblem;

/// The statuses of a revision with their times, as a list of `objects`, and what is wrong with manifests as `problems`. A
/// document is made from the one before at the cost of what differs.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Document {
    #[serde(serialize_with = "values")]
    objects: SharedMap<ObjectId, Arc<Value>>,
    problems: Arc<Vec<FileProblem>>,
    /// What the objects were made from.
    #[serde(skip)]
    statuses: SharedMap<ObjectId, Arc<Status>>,
    /// What an earlier run left, for its times.
    #[serde(skip)]
    earlier: BTreeMap<ObjectId, Value>,
}

/// Two documents are the same where they read alike.
impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.objects == other.objects && self.problems == other.problems
    }
}

fn values<S: Serializer>(
    objects: &SharedMap<ObjectId, Arc<Value>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(objects.values())
}

impl Document {
    /// Nothing but the times of a document that was written.
    pub(super) fn with_times_of(written: &Value) -> Self {
        let entries = written["objects"].as_array().map(Vec::as_slice).unwrap_or_default();
        let earlier = entries.iter().filter_map(|entry| Some((id(entry)?, entry["status"].clone())));
        Self { earlier: earlier.collect(), ..Self::default() }
    }

    /// The document of a revision. Times come from the one before where they still hold.
    pub(super) fn next(&self, revision: &Revision, now: OffsetDateTime) -> Self {
        let now =
            now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).expect("today's year has four digits");
        let statuses = &revision.compiled.statuses;
        let mut objects = self.objects.clone();
        let same = |a: &Arc<Status>, b: &Arc<Status>| Arc::ptr_eq(a, b) || a == b;
        for change in self.statuses.changes_to(statuses, same) {
            let id = change.key;
            match change.after {
                Some(status) => {
                    let before = objects.get(id).map(|entry| &entry["status"]).or(self.earlier.get(id));
                    let entry = entry(id, status, before, &now);
                    objects.insert(id.clone(), Arc::new(entry));
                }
                None => _ = objects.remove(id),
            }
        }
        let problems = revision.problems.clone();
        Self { objects, problems, statuses: statuses.clone(), earlier: BTreeMap::new() }
    }
}

fn id(entry: &Value) -> Option<ObjectId> {
    let text = |field: &str| entry[field].as_str();
    let kind = Kind::from_manifest(text("apiVersion")?, text("kind")?)?;
    Some(ObjectId { kind, namespace: text("namespace").map(Into::into), name: text("name")?.into() })
}

fn entry(id: &ObjectId, status: &Status, before: Option<&Value>, now: &str) -> Value {
    let mut status = serde_json::to_value(status).expect("a status is plain data");
    keep_times(&mut status, before, now);
    let mut entry = json!({
        "apiVersion": id.kind.api_version(),
        "kind": id.kind.as_str(),
        "name": *id.name,
        "status": status,
    });
    if let Some(namespace) = &id.namespace {
        entry["namespace"] = json!(**namespace);
    }
    entry
}

/// Gives every condition in `status` its time.
fn keep_times(status: &mut Value, before: Option<&Value>, now: &str) {
    match status {
        Value::Object(fields) => {
            let is_condition = fields.contains_key("type") && fields.contains_key("reason");
            for (name, field) in fields.iter_mut() {
                keep_times(field, before.and_then(|before| before.get(name)), now);
            }
            if is_condition {
                let same = before.filter(|before| Some(&before["status"]) == fields.get("status"));
                let time = same.and_then(|before| before["lastTransitionTime"].as_str()).unwrap_or(now);
                fields.insert("lastTransitionTime".into(), json!(time));
            }
        }
        Value::Array(items) => {
            let candidates = before.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            for item in items {
                let before = candidates.iter().find(|candidate| same_item(candidate, item));
                keep_times(item, before, now);
            }
        }
        _ => {}
    }
}

/// Whether two items of lists are about the same thing: conditions of a type, listeners of a name, parents or ancestors
/// of a reference.
fn same_item(a: &Value, b: &Value) -> bool {
    ["parentRef", "ancestorRef", "name", "type"].iter().all(|field| a.get(field) == b.get(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(accepted: &str, resolved: &str) -> Value {
        json!([
            {"type": "Accepted", "status": accepted, "reason": "Accepted", "message": ""},
            {"type": "ResolvedRefs", "status": resolved, "reason": "ResolvedRefs", "message": ""},
        ])
    }

    fn route(first: Value, second: Value) -> Value {
        json!({"parents": [
            {"parentRef": {"name": "a"}, "controllerName": "c", "conditions": first},
            {"parentRef": {"name": "a", "port": 80}, "controllerName": "c", "conditions": second},
        ]})
    }

    fn times(status: &Value) -> Vec<&str> {
        let parents = status["parents"].as_array().unwrap().iter();
        let conditions = parents.flat_map(|parent| parent["conditions"].as_array().unwrap());
        conditions.map(|condition| condition["lastTransitionTime"].as_str().unwrap()).collect()
    }

    #[test]
    fn status_times_change_only_with_the_condition() {
        let mut first = route(conditions("True", "True"), conditions("True", "False"));
        keep_times(&mut first, None, "t1");
        assert_eq!(times(&first), ["t1"; 4]);

        let mut second = route(conditions("True", "False"), conditions("True", "False"));
        second["parents"][1]["conditions"][1]["message"] = "another message".into();
        keep_times(&mut second, Some(&first), "t2");
        assert_eq!(times(&second), ["t1", "t2", "t1", "t1"]);

        let parents = second["parents"].as_array().unwrap();
        let mut reordered = json!({"parents": [parents[1], parents[0]]});
        keep_times(&mut reordered, Some(&second), "t3");
        assert_eq!(times(&reordered), ["t1", "t1", "t1", "t2"]);
    }

    #[test]
    fn status_times_of_listeners_are_their_own() {
        let listener = |name: &str, status: &str| json!({"name": name, "conditions": [{"type": "Programmed", "status": status, "reason": "", "message": ""}]});
        let mut first =
            json!({"conditions": [], "listeners": [listener("a", "True"), listener("b", "True")]});
        keep_times(&mut first, None, "t1");
        let mut second =
            json!({"conditions": [], "listeners": [listener("b", "True"), listener("c", "True")]});
        keep_times(&mut second, Some(&first), "t2");
        let time = |index: usize| &second["listeners"][index]["conditions"][0]["lastTransitionTime"];
        assert_eq!((time(0), time(1)), (&json!("t1"), &json!("t2")));
    }
}
