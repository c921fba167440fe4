//! Which field was meant by one that does not exist. A type's `Deserialize` tells the names of its fields to whatever
//! it reads from; so a type is made to read from a path that is followed down to where the unknown field stands.

use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// The field of `T` at `path` (without its last part) whose name is nearest to the last part, if it is near enough to
/// have been meant.
pub(super) fn suggest<T: DeserializeOwned>(path: &[String]) -> Option<&'static str> {
    let (unknown, parents) = path.split_last()?;
    let mut found = None;
    // The walk always ends in an error: there is nothing to read at its end.
    let _ = T::deserialize(Walk { path: parents, found: &mut found });
    let best = found?.iter().map(|known| (distance(unknown, known), *known)).min()?;
    (best.0 <= 1 + unknown.len() / 4).then_some(best.1)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

struct Walk<'p, 'f> {
    path: &'p [String],
    found: &'f mut Option<&'static [&'static str]>,
}

impl<'p> Walk<'p, '_> {
    /// One step down; the key leads to what is below.
    fn down(&mut self) -> Result<(&'p str, Walk<'p, '_>), Error> {
        let (key, path) = self.path.split_first().ok_or_else(|| Error::custom("the path ends here"))?;
        Ok((key, Walk { path, found: self.found }))
    }
}

impl<'de> Deserializer<'de> for Walk<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("nothing to read"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.path.is_empty() {
            *self.found = Some(fields);
        }
        visitor.visit_map(Once { walk: self, done: false })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Once { walk: self, done: false })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Once { walk: self, done: false })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct enum identifier ignored_any
    }
}

/// The one key or element that the path leads through.
struct Once<'p, 'f> {
    walk: Walk<'p, 'f>,
    done: bool,
}

impl<'de> MapAccess<'de> for Once<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        let key = self.walk.path.first().ok_or_else(|| Error::custom("the path ends here"))?;
        seed.deserialize(StrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.walk.down()?.1)
    }
}

impl<'de> SeqAccess<'de> for Once<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        seed.deserialize(self.walk.down()?.1).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::HttpRoute;

    #[test]
    fn suggest_finds_the_field_that_was_meant() {
        let check = |path: &str, expected: Option<&str>| {
            let path: Vec<String> = path.split('.').map(String::from).collect();
            assert_eq!(suggest::<HttpRoute>(&path), expected, "{path:?}");
        };
        check("spec.rules.0.backendRef", Some("backendRefs"));
        check("spec.hostname", Some("hostnames"));
        check("spec.rules.0.matches.0.queryParam", Some("queryParams"));
        check("metadata.lables", Some("labels"));
        check("specc", Some("spec"));
        check("spec.rules.0.somethingElse", None);
        check("metadata.annotations.x.y", None);
    }
}
