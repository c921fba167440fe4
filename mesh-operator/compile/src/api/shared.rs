//! What many objects repeat, as it is kept once: texts and labels.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use mesh_ir::shared::{self, Recent};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

thread_local! {
    static LABELS: Recent<[(Text, Text)]> = const { Recent::new() };
}

/// A text that other objects have too.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Arc<str>);

/// An object's labels; the Pods of one Deployment share theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Arc<[(Text, Text)]>);

impl Labels {
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let place = self.0.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        Some(&self.0[place].1)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(shared::text(text))
    }
}

impl From<Text> for Arc<str> {
    fn from(text: Text) -> Self {
        text.0
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(text.into())
            }
        }

        deserializer.deserialize_str(Reader)
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let labels: Vec<(Text, Text)> = match Option::<BTreeMap<Text, Text>>::deserialize(deserializer)? {
            Some(labels) => labels.into_iter().collect(),
            None => Vec::new(),
        };
        Ok(Self(LABELS.with(|recent| recent.share(&*labels))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_texts_and_labels_are_kept_once() {
        let read = |json: &str| serde_json::from_str::<Labels>(json).unwrap();
        let (a, b) = (read(r#"{"b": "2", "a": "1"}"#), read(r#"{"a": "1", "b": "2"}"#));
        assert!(Arc::ptr_eq(&a.0, &b.0));
        assert_eq!((a.get("a"), a.get("b"), a.get("c")), (Some("1"), Some("2"), None));
        let other = read(r#"{"a": "1"}"#);
        assert!(Arc::ptr_eq(&a.0[0].0.0, &other.0[0].0.0));
        assert_ne!(a, other);
        assert_eq!(read("null"), Labels::default());
    }
}
