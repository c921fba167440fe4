//! A network configuration list with the plugin put in or taken out. Nothing of the others' is changed: what is not
//! this plugin's is carried over as it is written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::PLUGIN;

/// The plugin's place in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    #[serde(rename = "type")]
    kind: String,
    /// Where mesh-node answers.
    pub socket: PathBuf,
    /// How long a pod may wait to be captured before the runtime is told to try again.
    pub timeout_seconds: u64,
    /// Whether a pod that could not be captured must not start.
    pub required: bool,
    /// Namespaces whose pods never wait: those that the mesh itself needs to come up.
    pub exclude_namespaces: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConflistError {
    #[error("it is no JSON object: {0}")]
    Json(#[from] serde_json::Error),
    #[error(
        "it is the configuration of a single plugin, behind which no other can be put; make it a list (a .conflist, with \"plugins\": [...])"
    )]
    Single,
    #[error("it has no plugins")]
    Empty,
}

impl Entry {
    pub fn new(
        socket: PathBuf,
        timeout_seconds: u64,
        required: bool,
        exclude_namespaces: Vec<String>,
    ) -> Self {
        Self { kind: PLUGIN.to_owned(), socket, timeout_seconds, required, exclude_namespaces }
    }
}

/// The list with the plugin at its end, as the entry says; `None` if it is so already.
pub fn with(text: &str, entry: &Entry) -> Result<Option<String>, ConflistError> {
    let (mut list, mut plugins) = read(text)?;
    let is_ours = |plugin: &RawValue| is_plugin(plugin);
    if plugins.iter().all(|plugin| is_ours(plugin)) {
        return Err(ConflistError::Empty);
    }
    let there = plugins.iter().filter(|plugin| is_ours(plugin)).count();
    if there == 1
        && let Some(last) = plugins.last()
        && serde_json::from_str::<Entry>(last.get()).is_ok_and(|there| there == *entry)
    {
        return Ok(None);
    }
    plugins.retain(|plugin| !is_ours(plugin));
    plugins.push(serde_json::value::to_raw_value(entry)?);
    write(&mut list, &plugins).map(Some)
}

/// The list without the plugin; `None` if it is not in there.
pub fn without(text: &str) -> Result<Option<String>, ConflistError> {
    let (mut list, mut plugins) = read(text)?;
    let before = plugins.len();
    plugins.retain(|plugin| !is_plugin(plugin));
    if plugins.len() == before {
        return Ok(None);
    }
    write(&mut list, &plugins).map(Some)
}

type List = BTreeMap<String, Box<RawValue>>;

fn read(text: &str) -> Result<(List, Vec<Box<RawValue>>), ConflistError> {
    let list: List = serde_json::from_str(text)?;
    let plugins = match list.get("plugins") {
        Some(plugins) => serde_json::from_str(plugins.get())?,
        None if list.contains_key("type") => return Err(ConflistError::Single),
        None => return Err(ConflistError::Empty),
    };
    Ok((list, plugins))
}

fn write(list: &mut List, plugins: &[Box<RawValue>]) -> Result<String, ConflistError> {
    list.insert("plugins".to_owned(), serde_json::value::to_raw_value(plugins)?);
    let mut text = serde_json::to_string_pretty(list)?;
    text.push('\n');
    Ok(text)
}

fn is_plugin(plugin: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: String,
    }
    serde_json::from_str::<Kind>(plugin.get()).is_ok_and(|plugin| plugin.kind == PLUGIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const BRIDGE: &str = r#"{"cniVersion": "1.0.0", "name": "pods", "x-vendor": {"b": 1, "a": [18446744073709551615, 1e400]}, "plugins": [
      {"type": "bridge", "ipam": {"type": "host-local",   "ranges": [[{"subnet": "10.244.1.0/24"}]]}},
      {"type": "portmap", "capabilities": {"portMappings": true}}]}"#;

    fn entry() -> Entry {
        Entry::new("/run/weir/cni.sock".into(), 30, true, vec!["kube-system".to_owned()])
    }

    fn types(text: &str) -> Vec<String> {
        let list: Value = serde_json::from_str(&text.replace("1e400", "1")).unwrap();
        let kind = |plugin: &Value| plugin["type"].as_str().unwrap().to_owned();
        list["plugins"].as_array().unwrap().iter().map(kind).collect()
    }

    #[test]
    fn conflist_gets_the_plugin_once_and_at_the_end() {
        let once = with(BRIDGE, &entry()).unwrap().unwrap();
        assert_eq!(types(&once), ["bridge", "portmap", PLUGIN]);
        assert_eq!(with(&once, &entry()).unwrap(), None);
        let other = Entry { required: false, ..entry() };
        let changed = with(&once, &other).unwrap().unwrap();
        assert_eq!(types(&changed), ["bridge", "portmap", PLUGIN]);
        assert_eq!(with(&changed, &other).unwrap(), None);
        let amid = once.replace("\"plugins\": [", &format!("\"plugins\": [{{\"type\": \"{PLUGIN}\"}},"));
        assert_eq!(types(&with(&amid, &entry()).unwrap().unwrap()), ["bridge", "portmap", PLUGIN]);
    }

    #[test]
    fn conflist_without_the_plugin_says_what_it_said_before() {
        let removed = without(&with(BRIDGE, &entry()).unwrap().unwrap()).unwrap().unwrap();
        assert_eq!(types(&removed), ["bridge", "portmap"]);
        // Even what does not fit a float or an i64, and the spaces within a plugin.
        for verbatim in ["18446744073709551615, 1e400", "\"host-local\",   \"ranges\""] {
            assert!(removed.contains(verbatim), "{verbatim} is not in {removed}");
        }
        assert!(removed.contains("\"cniVersion\": \"1.0.0\"") && removed.contains("\"name\": \"pods\""));
        assert_eq!(without(&removed).unwrap(), None);
    }

    #[test]
    fn conflist_refuses_what_is_none() {
        let check = |text: &str, words: &str| {
            let error = with(text, &entry()).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        };
        check(r#"{"cniVersion": "0.4.0", "name": "pods", "type": "bridge"}"#, "make it a list");
        check(r#"{"name": "pods", "plugins": []}"#, "has no plugins");
        check(r#"{"name": "pods"}"#, "has no plugins");
        check(r#"{"name": "pods", "plugins": {}}"#, "it is no JSON object");
        check("[]", "it is no JSON object");
        check("", "it is no JSON object");
    }
}
