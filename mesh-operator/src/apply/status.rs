//! The status document, and the times in it: a condition's `lastTransitionTime` is when its status last changed.

use mesh_compile::{ObjectId, Status};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::compile::Revision;

/// The document of a revision. Times come from `before`, the document that this one replaces, where they still hold.
pub(super) fn document(revision: &Revision, before: &Value, now: OffsetDateTime) -> Value {
    let now =
        now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).expect("today's year has four digits");
    let entries = before["objects"].as_array().map(Vec::as_slice).unwrap_or_default();
    let find = |id: &ObjectId| entries.iter().find(|entry| is_of(entry, id)).map(|entry| &entry["status"]);
    // Large meshes have many objects, all in the order of the last time: the entry is next, as a rule.
    let mut rest = entries.iter();
    let objects = revision.compiled.statuses.iter().map(|(id, status)| {
        let next = rest.clone().next().filter(|entry| is_of(entry, id)).map(|entry| &entry["status"]);
        let before = match next {
            Some(status) => {
                rest.next();
                Some(status)
            }
            None => find(id),
        };
        entry(id, status, before, &now)
    });
    json!({ "objects": objects.collect::<Vec<_>>(), "problems": *revision.problems })
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

fn is_of(entry: &Value, id: &ObjectId) -> bool {
    entry["kind"] == id.kind.as_str()
        && entry["name"] == *id.name
        && entry.get("namespace").and_then(Value::as_str) == id.namespace.as_deref()
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
