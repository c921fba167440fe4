//! What the API server refuses of a route of any kind, and of those of connections, which have little else.

use std::collections::BTreeSet;

use super::{Problem, name};
use crate::api::{BackendReference, ParentReference};
use crate::object::Kind;

const MAX_RULES: usize = 16;
const MAX_MATCHES: usize = 128;
const MAX_WEIGHT: i32 = 1_000_000;
const MAX_BACKENDS: usize = 16;

pub(super) fn check_hostnames(hostnames: &[String]) -> Result<(), Problem> {
    let mut numbered = hostnames.iter().enumerate();
    numbered
        .try_for_each(|(i, hostname)| name::check_hostname(&format!("spec.hostnames[{i}]"), hostname, true))
}

pub(super) fn check_parents(parents: &[ParentReference]) -> Result<(), Problem> {
    for (i, parent) in parents.iter().enumerate() {
        let field = format!("spec.parentRefs[{i}]");
        if let Some(port) = parent.port {
            name::check_port(&format!("{field}.port"), port)?;
        }
        let identity = |p: &ParentReference| {
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            (part(&p.group), part(&p.kind), part(&p.namespace), p.name.clone())
        };
        let section = |p: &ParentReference| (p.section_name.clone().filter(|s| !s.is_empty()), p.port);
        for other in &parents[..i] {
            if identity(other) != identity(parent) {
                continue;
            }
            if section(other) == section(parent) {
                let message = "another parentRef names the same parent, sectionName and port";
                return Err(Problem::at(field, message));
            }
            let whole = (None, None);
            if section(other) == whole || section(parent) == whole {
                let message =
                    "where several parentRefs name one parent, each must have a sectionName or port";
                return Err(Problem::at(field, message));
            }
        }
    }
    Ok(())
}

/// The rules of a route of requests: the name of each, and how many matches it has.
pub(super) fn check_rules(rules: impl Iterator<Item = (Option<String>, usize)>) -> Result<(), Problem> {
    let (mut names, mut count, mut matches) = (BTreeSet::new(), 0, 0);
    for (name, of_rule) in rules {
        if name.is_some_and(|name| !names.insert(name)) {
            let field = format!("spec.rules[{count}].name");
            return Err(Problem::at(field, "another rule has this name already"));
        }
        count += 1;
        matches += of_rule;
    }
    if count > MAX_RULES || matches > MAX_MATCHES {
        let message = format!(
            "{count} rules with {matches} matches; a route has at most {MAX_RULES} rules and {MAX_MATCHES} matches"
        );
        return Err(Problem::at("spec.rules", message));
    }
    Ok(())
}

/// A route of connections: its one rule, and that one's backends.
pub(super) fn check_connections<'a>(
    parents: Option<&[ParentReference]>,
    rules: impl ExactSizeIterator<Item = &'a [BackendReference]>,
) -> Result<(), Problem> {
    check_parents(parents.unwrap_or_default())?;
    if rules.len() != 1 {
        let message = format!("{} rules; a route of this kind has exactly one", rules.len());
        return Err(Problem::at("spec.rules", message));
    }
    for backends in rules {
        if backends.is_empty() || backends.len() > MAX_BACKENDS {
            let message = format!("{} backends; a rule has 1 to {MAX_BACKENDS}", backends.len());
            return Err(Problem::at("spec.rules[0].backendRefs", message));
        }
        for (i, backend) in backends.iter().enumerate() {
            let field = format!("spec.rules[0].backendRefs[{i}]");
            check_reference(&field, backend.group.as_deref(), backend.kind.as_deref(), backend.port)?;
            check_weight(&field, backend.weight)?;
        }
    }
    Ok(())
}

/// A reference to a Service needs a port; an XBackend has its own.
pub(super) fn check_reference(
    field: &str,
    group: Option<&str>,
    kind: Option<&str>,
    port: Option<i32>,
) -> Result<(), Problem> {
    let field = format!("{field}.port");
    let is_backend = group == Some(Kind::XBackend.group()) && kind == Some(Kind::XBackend.as_str());
    match port {
        Some(_) if is_backend => Err(Problem::at(
            field,
            "set; an XBackend has a port of its own, and a reference to it names none",
        )),
        Some(port) => name::check_port(&field, port),
        None if group.unwrap_or_default().is_empty() && kind.unwrap_or("Service") == "Service" => {
            Err(Problem::at(field, "missing; a reference to a Service needs a port"))
        }
        None => Ok(()),
    }
}

pub(super) fn check_weight(field: &str, weight: Option<i32>) -> Result<(), Problem> {
    match weight {
        Some(weight) if !(0..=MAX_WEIGHT).contains(&weight) => {
            let message = format!("{weight} is not a weight; weights are 0 to {MAX_WEIGHT}");
            Err(Problem::at(format!("{field}.weight"), message))
        }
        _ => Ok(()),
    }
}
