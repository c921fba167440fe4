//! The status that an object is to have, made of the one it has and of what we say. Statuses are shared: other
//! controllers have entries in a route's parents and conditions on a Gateway, and these stay as they are.

use mesh_compile::{CONTROLLER, Kind, StatusShape};
use serde_json::{Value, json};

/// The types of conditions that are ours to set; the Gateway API gives them to the controller of a Gateway or class.
/// Those of any other type were set by somebody else.
const OUR_CONDITIONS: &[&str] = &[
    "Accepted",
    "AttachedListenerSets",
    "Conflicted",
    "DefaultGateway",
    "InsecureFrontendValidationMode",
    "OverlappingTLSConfig",
    "PartiallyInvalid",
    "Programmed",
    "Ready",
    "ResolvedRefs",
    "SupportedVersion",
];

/// How many ListenerSets a Gateway's status counts.
const ATTACHED: &str = "attachedListenerSets";

/// The whole status to write, or `None` where nothing differs. Without `ours` we have nothing (more) to say of the
/// object.
pub(super) fn merge(kind: Kind, live: &Value, ours: Option<&Value>, now: &str) -> Option<Value> {
    let merged = match kind.status_shape() {
        Some(StatusShape::Parents) => entries(live, ours, "parents", "parentRef", now),
        Some(StatusShape::Ancestors) => entries(live, ours, "ancestors", "ancestorRef", now),
        Some(StatusShape::Own) | None => object(live, ours?, now),
    };
    (!covers(live, &merged)).then_some(merged)
}

/// Entries of other controllers stay; ours are replaced.
fn entries(live: &Value, ours: Option<&Value>, list: &str, reference: &str, now: &str) -> Value {
    let live = items(&live[list]);
    let (before, foreign): (Vec<_>, Vec<_>) =
        live.iter().partition(|entry| entry["controllerName"] == CONTROLLER);
    let mut merged: Vec<Value> = foreign.into_iter().cloned().collect();
    for entry in ours.map(|ours| items(&ours[list])).unwrap_or_default() {
        let before = before.iter().find(|before| covers(&before[reference], &entry[reference]));
        let mut entry = entry.clone();
        entry["conditions"] = json!(times(&entry["conditions"], before.map(|b| &b["conditions"]), now));
        merged.push(entry);
    }
    let same = |a: &Value, b: &Value| {
        a["controllerName"] == b["controllerName"] && covers(&a[reference], &b[reference])
    };
    json!({ list: in_place(merged, live, same) })
}

/// A status that is all ours but for conditions of other types and fields that we do not know.
fn object(live: &Value, ours: &Value, now: &str) -> Value {
    let mut merged = live.as_object().cloned().unwrap_or_default();
    for (field, value) in ours.as_object().into_iter().flatten() {
        let value = match field.as_str() {
            "conditions" => conditions(&live["conditions"], value, now),
            "listeners" => items(value).iter().map(|listener| self::listener(live, listener, now)).collect(),
            _ => value.clone(),
        };
        merged.insert(field.clone(), value);
    }
    // Counted no longer, and nothing that was counted is left.
    if ours.get(ATTACHED).is_none() && live[ATTACHED].is_number() {
        merged.insert(ATTACHED.to_owned(), json!(0));
    }
    Value::Object(merged)
}

/// The status of an object that no controller has looked at, as the definitions of Gateway and ListenerSet have it.
pub(super) fn unseen() -> Value {
    let condition = |r#type: &str| json!({"type": r#type, "status": "Unknown", "reason": "Pending", "message": "Waiting for controller"});
    json!({ "conditions": [condition("Accepted"), condition("Programmed")], "listeners": [] })
}

fn listener(live: &Value, ours: &Value, now: &str) -> Value {
    let before = items(&live["listeners"]).iter().find(|listener| listener["name"] == ours["name"]);
    let mut merged = ours.clone();
    merged["conditions"] =
        conditions(&before.unwrap_or(&Value::Null)["conditions"], &ours["conditions"], now);
    merged
}

fn conditions(live: &Value, ours: &Value, now: &str) -> Value {
    let is_foreign =
        |condition: &&Value| !condition["type"].as_str().is_some_and(|t| OUR_CONDITIONS.contains(&t));
    let foreign = items(live).iter().filter(is_foreign).cloned();
    let merged = times(ours, Some(live), now).into_iter().chain(foreign).collect();
    Value::Array(in_place(merged, items(live), |a, b| a["type"] == b["type"]))
}

/// What was in the list stays in its place and what is new comes last: were the order ours alone to choose, two
/// controllers that each have a liking would write without end.
fn in_place(mut merged: Vec<Value>, live: &[Value], same: impl Fn(&Value, &Value) -> bool) -> Vec<Value> {
    merged.sort_by_key(|item| live.iter().position(|before| same(before, item)).unwrap_or(live.len()));
    merged
}

/// Our conditions with their times: when the status of each last changed.
fn times(ours: &Value, live: Option<&Value>, now: &str) -> Vec<Value> {
    let live = live.map(items).unwrap_or_default();
    let timed = items(ours).iter().map(|condition| {
        let before = live.iter().find(|before| before["type"] == condition["type"]);
        let same = before.filter(|before| before["status"] == condition["status"]);
        let time = same.and_then(|before| before["lastTransitionTime"].as_str()).unwrap_or(now);
        let mut timed = condition.clone();
        timed["lastTransitionTime"] = json!(time);
        timed
    });
    timed.collect()
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Whether `live` holds all that `wanted` says. What it has besides in a map was filled in by the API server, or is of
/// somebody else; lists are compared whole.
pub(super) fn covers(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| live.get(name).map_or(is_empty(wanted), |l| covers(l, wanted)))
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| covers(live, wanted))
        }
        (Value::Null, wanted) => is_empty(wanted),
        (live, wanted) => live == wanted,
    }
}

/// The API server does not keep these apart from what is not there.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: &str, status: &str, time: &str) -> Value {
        json!({"type": kind, "status": status, "reason": "R", "message": "", "lastTransitionTime": time})
    }

    fn ours(kind: &str, status: &str) -> Value {
        json!({"type": kind, "status": status, "reason": "R", "message": ""})
    }

    fn parent(controller: &str, name: &str, conditions: Value) -> Value {
        json!({"parentRef": {"name": name}, "controllerName": controller, "conditions": conditions})
    }

    #[test]
    fn merge_keeps_foreign_parents_and_removes_only_ours() {
        let foreign = parent("example.com/other", "theirs", json!([condition("Accepted", "True", "t0")]));
        let live = json!({"parents": [parent(CONTROLLER, "a", json!([condition("Accepted", "True", "t1")])), foreign]});
        let status = json!({"parents": [parent(CONTROLLER, "b", json!([ours("Accepted", "True")]))]});
        let merged = merge(Kind::HttpRoute, &live, Some(&status), "t2").unwrap();
        let expected = parent(CONTROLLER, "b", json!([condition("Accepted", "True", "t2")]));
        assert_eq!(merged, json!({"parents": [foreign, expected]}));
        assert_eq!(merge(Kind::HttpRoute, &merged, Some(&status), "t3"), None);

        let cleared = merge(Kind::HttpRoute, &merged, None, "t3").unwrap();
        assert_eq!(cleared, json!({"parents": [foreign]}));
        assert_eq!(merge(Kind::HttpRoute, &cleared, None, "t4"), None);
        assert_eq!(merge(Kind::HttpRoute, &Value::Null, None, "t4"), None);
    }

    #[test]
    fn merge_leaves_every_entry_in_its_place() {
        let status = json!({"parents": [parent(CONTROLLER, "a", json!([ours("Accepted", "True")]))]});
        let foreign = parent("example.com/other", "a", json!([]));
        let own = parent(CONTROLLER, "a", json!([condition("Accepted", "True", "t1")]));
        for parents in [[own.clone(), foreign.clone()], [foreign, own]] {
            assert_eq!(merge(Kind::HttpRoute, &json!({"parents": parents}), Some(&status), "t2"), None);
        }
        let status = json!({"conditions": [ours("Accepted", "True"), ours("Programmed", "True")]});
        let live =
            ["Programmed", "example.com/Audited", "Accepted"].map(|kind| condition(kind, "True", "t1"));
        assert_eq!(merge(Kind::Gateway, &json!({"conditions": live}), Some(&status), "t2"), None);
    }

    #[test]
    fn merge_keeps_the_time_of_a_condition_whose_status_stays() {
        let live = json!({"parents": [parent(CONTROLLER, "a", json!([condition("Accepted", "True", "t1"), condition("ResolvedRefs", "True", "t1")]))]});
        let mut status = json!({"parents": [parent(CONTROLLER, "a", json!([ours("Accepted", "True"), ours("ResolvedRefs", "False")]))]});
        status["parents"][0]["conditions"][0]["message"] = "another".into();
        let merged = merge(Kind::HttpRoute, &live, Some(&status), "t2").unwrap();
        let conditions = &merged["parents"][0]["conditions"];
        assert_eq!(
            (&conditions[0]["lastTransitionTime"], &conditions[0]["message"]),
            (&json!("t1"), &json!("another"))
        );
        assert_eq!(conditions[1]["lastTransitionTime"], "t2");
    }

    #[test]
    fn merge_takes_what_the_api_server_fills_in_for_equal() {
        let mut live =
            json!({"parents": [parent(CONTROLLER, "a", json!([condition("Accepted", "True", "t1")]))]});
        live["parents"][0]["parentRef"]["kind"] = "Gateway".into();
        let status = json!({"parents": [parent(CONTROLLER, "a", json!([ours("Accepted", "True")]))]});
        assert_eq!(merge(Kind::HttpRoute, &live, Some(&status), "t2"), None);
    }

    #[test]
    fn merge_keeps_foreign_conditions_and_fields_of_a_gateway() {
        let live = json!({
            "conditions": [condition("Programmed", "False", "t1"), condition("example.com/Audited", "True", "t0"), condition("Conflicted", "True", "t1")],
            "listeners": [{"name": "a", "conditions": [condition("example.com/Seen", "True", "t0")]}, {"name": "gone", "conditions": []}],
            "somethingNew": 3,
            "attachedListenerSets": 3,
        });
        let status = json!({
            "addresses": [],
            "conditions": [ours("Programmed", "True")],
            "listeners": [{"name": "a", "attachedRoutes": 1, "conditions": [ours("Accepted", "True")]}],
        });
        let merged = merge(Kind::Gateway, &live, Some(&status), "t2").unwrap();
        let expected = json!({
            "addresses": [],
            "conditions": [condition("Programmed", "True", "t2"), condition("example.com/Audited", "True", "t0")],
            "listeners": [{"name": "a", "attachedRoutes": 1, "conditions": [condition("example.com/Seen", "True", "t0"), condition("Accepted", "True", "t2")]}],
            "somethingNew": 3,
            "attachedListenerSets": 0,
        });
        assert_eq!(merged, expected);
        assert_eq!(merge(Kind::Gateway, &merged, Some(&status), "t3"), None);
        // A Gateway that is no longer ours belongs to whoever it is given to.
        assert_eq!(merge(Kind::Gateway, &merged, None, "t3"), None);
    }
}
