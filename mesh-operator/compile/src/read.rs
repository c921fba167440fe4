//! Reads a type from JSON, and takes note of what the type has no field for. Every object is read by this one deserializer,
//! wherever it comes from: a `Deserialize` is compiled once for each that there is, and those of Kubernetes are large.

use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, StringDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::Value;

/// What leads from a document to a value in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// A value that its place does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// Where it stands; `None` until that is known.
    path: Option<Vec<Step>>,
    pub message: String,
}

/// A value that its place has no field for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    path: Vec<Step>,
    /// The names of the fields that there are.
    known: &'static [&'static str],
}

/// Reads a value; what its type has no field for is left out.
pub fn read<T: DeserializeOwned>(value: &Value) -> Result<T, ReadError> {
    T::deserialize(Reader { value, path: Path::Root, known: &[], unknown: &mut None })
        .map_err(|error| error.at(Path::Root))
}

/// Reads a value, and gives what its type has no field for beside it, in the order of the document.
pub fn read_strictly<T: DeserializeOwned>(value: &Value) -> Result<(T, Vec<Unknown>), ReadError> {
    let mut unknown = Some(Vec::new());
    let read = T::deserialize(Reader { value, path: Path::Root, known: &[], unknown: &mut unknown });
    Ok((read.map_err(|error| error.at(Path::Root))?, unknown.unwrap_or_default()))
}

impl ReadError {
    pub fn path(&self) -> &[Step] {
        self.path.as_deref().unwrap_or_default()
    }

    /// As users know it: `spec.rules[0].backendRefs`; empty for the whole document.
    pub fn field(&self) -> String {
        spelled(self.path())
    }

    /// It is told on its way out of the value, of whose places the innermost counts.
    fn at(self, path: Path<'_>) -> Self {
        Self { path: self.path.or_else(|| Some(path.steps())), ..self }
    }
}

impl Unknown {
    pub fn field(&self) -> String {
        spelled(&self.path)
    }

    /// The field that may have been meant.
    pub fn meant(&self) -> Option<&'static str> {
        let Some(Step::Key(unknown)) = self.path.last() else { return None };
        let (distance, nearest) = self.known.iter().map(|known| (distance(unknown, known), *known)).min()?;
        (distance <= 1 + unknown.len() / 4).then_some(nearest)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path().is_empty() {
            write!(f, "{}: ", self.field())?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

impl serde::de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { path: None, message: message.to_string() }
    }
}

fn spelled(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Index(index) => text.push_str(&format!("[{index}]")),
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.push_str(&format!(".{key}")),
        }
    }
    text
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

/// The steps to where the reader stands, from the last one back.
#[derive(Clone, Copy)]
enum Path<'r> {
    Root,
    Key(&'r Path<'r>, &'r str),
    Index(&'r Path<'r>, usize),
}

impl Path<'_> {
    fn steps(self) -> Vec<Step> {
        let (mut steps, last) = match self {
            Self::Root => return Vec::new(),
            Self::Key(before, key) => (before.steps(), Step::Key(key.to_owned())),
            Self::Index(before, index) => (before.steps(), Step::Index(index)),
        };
        steps.push(last);
        steps
    }
}

struct Reader<'de, 'r> {
    value: &'de Value,
    path: Path<'r>,
    /// The fields of the struct that the value stands in.
    known: &'static [&'static str],
    /// `None` where nobody asks.
    unknown: &'r mut Option<Vec<Unknown>>,
}

impl<'de> Reader<'de, '_> {
    fn map<V: Visitor<'de>>(
        self,
        map: &'de serde_json::Map<String, Value>,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let Self { path, unknown, .. } = self;
        visitor.visit_map(Entries { rest: map.iter(), value: None, path: &path, known, unknown })
    }
}

impl<'de> Deserializer<'de> for Reader<'de, '_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(list) => {
                let Self { path, unknown, .. } = self;
                visitor.visit_seq(Elements { rest: list.iter().enumerate(), path: &path, unknown })
            }
            Value::Object(map) => self.map(map, &[], visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.value {
            Value::Object(map) => self.map(map, fields, visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.value {
            // The API server takes `cpu: 1` for `cpu: "1"`, and most people write it so.
            Value::Number(number) if name == "Quantity" => {
                visitor.visit_newtype_struct(StringDeserializer::new(number.to_string()))
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_enum(self)
    }

    /// Asked for by a struct that has no field for the value, and by nothing else.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if let Some(unknown) = self.unknown {
            unknown.push(Unknown { path: self.path.steps(), known: self.known });
        }
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

/// An enum of the Kubernetes APIs is a text; what else they call one is a struct with one of several fields.
impl<'de> EnumAccess<'de> for Reader<'de, '_> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), ReadError> {
        let Value::String(text) = self.value else {
            return Err(ReadError::invalid_type(unexpected(self.value), &"a string"));
        };
        Ok((seed.deserialize(BorrowedStrDeserializer::new(text))?, self))
    }
}

impl<'de> VariantAccess<'de> for Reader<'de, '_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _: S) -> Result<S::Value, ReadError> {
        Err(ReadError::invalid_type(Unexpected::UnitVariant, &"a variant that holds a value"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        Err(ReadError::invalid_type(Unexpected::UnitVariant, &visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        Err(ReadError::invalid_type(Unexpected::UnitVariant, &visitor))
    }
}

fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(truth) => Unexpected::Bool(*truth),
        Value::Number(_) => Unexpected::Other("number"),
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    }
}

struct Entries<'de, 'r> {
    rest: serde_json::map::Iter<'de>,
    /// Of the key that was given last.
    value: Option<(&'de str, &'de Value)>,
    path: &'r Path<'r>,
    known: &'static [&'static str],
    unknown: &'r mut Option<Vec<Unknown>>,
}

impl<'de> MapAccess<'de> for Entries<'de, '_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some((key, value));
        let read = seed.deserialize(BorrowedStrDeserializer::new(key));
        read.map(Some).map_err(|error: ReadError| error.at(Path::Key(self.path, key)))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadError> {
        let (key, value) =
            self.value.take().ok_or_else(|| ReadError::custom("a value was asked for before its key"))?;
        let path = Path::Key(self.path, key);
        let reader = Reader { value, path, known: self.known, unknown: self.unknown };
        seed.deserialize(reader).map_err(|error| error.at(path))
    }
}

struct Elements<'de, 'r> {
    rest: std::iter::Enumerate<std::slice::Iter<'de, Value>>,
    path: &'r Path<'r>,
    unknown: &'r mut Option<Vec<Unknown>>,
}

impl<'de> SeqAccess<'de> for Elements<'de, '_> {
    type Error = ReadError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ReadError> {
        let Some((index, value)) = self.rest.next() else { return Ok(None) };
        let path = Path::Index(self.path, index);
        let reader = Reader { value, path, known: &[], unknown: self.unknown };
        seed.deserialize(reader).map(Some).map_err(|error| error.at(path))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Pod, Service};
    use serde_json::json;

    use super::*;
    use crate::api::HttpRoute;

    #[test]
    fn read_finds_the_field_that_was_meant() {
        let check = |value: Value, field: &str, expected: Option<&str>| {
            let (_, unknown) = read_strictly::<HttpRoute>(&value).unwrap();
            let found: Vec<_> = unknown.iter().map(|unknown| (unknown.field(), unknown.meant())).collect();
            assert_eq!(found, [(field.to_owned(), expected)]);
        };
        let spec = |spec: Value| json!({"metadata": {}, "spec": spec});
        check(spec(json!({"rules": [{"backendRef": 1}]})), "spec.rules[0].backendRef", Some("backendRefs"));
        check(spec(json!({"hostname": ["a"]})), "spec.hostname", Some("hostnames"));
        check(spec(json!({"rules": [{"somethingElse": {}}]})), "spec.rules[0].somethingElse", None);
        check(json!({"metadata": {"lables": {}}, "spec": {}}), "metadata.lables", Some("labels"));
        check(json!({"metadata": {}, "spec": {}, "specc": 1}), "specc", Some("spec"));
    }

    #[test]
    fn read_takes_what_it_does_not_know_for_nothing() {
        let value = json!({"metadata": {"annotations": {"x.y": "1"}}, "spec": {"nothing": {"of": ["this"]}}});
        let service: Service = read(&value).unwrap();
        assert_eq!(service.metadata.annotations.unwrap()["x.y"], "1");
    }

    #[test]
    fn read_errors_say_where_they_are() {
        let check = |value: Value, expected: &str| {
            assert_eq!(read::<Service>(&value).unwrap_err().to_string(), expected);
        };
        let port = |port: Value| json!({"metadata": {}, "spec": {"ports": [{"port": 1}, port]}});
        check(port(json!({"port": "a"})), "spec.ports[1].port: invalid type: string \"a\", expected i32");
        check(
            port(json!({"port": 1.5})),
            "spec.ports[1].port: invalid type: floating point `1.5`, expected i32",
        );
        check(port(json!(true)), "spec.ports[1]: invalid type: boolean `true`, expected ServicePort");
        check(
            json!({"metadata": {"name": 1}}),
            "metadata.name: invalid type: integer `1`, expected a string",
        );
        check(json!([]), "invalid type: sequence, expected Service");
    }

    #[test]
    fn read_takes_a_number_for_a_quantity() {
        let container = json!({"name": "a", "resources": {"limits": {"cpu": 2, "memory": "1Gi"}}});
        let pod: Pod = read(&json!({"metadata": {}, "spec": {"containers": [container]}})).unwrap();
        let limits = pod.spec.unwrap().containers.remove(0).resources.unwrap().limits.unwrap();
        assert_eq!((&*limits["cpu"].0, &*limits["memory"].0), ("2", "1Gi"));
    }
}
