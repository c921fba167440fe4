//! Reads manifests strictly: what the API server would refuse is refused here, with the object and the field, and so
//! is a field that no API defines, which the API server would drop without a word.

mod backend_tls_policy;
mod document;
mod gateway;
mod grpc_route;
mod http_route;
mod name;
mod place;
mod route;
mod traffic_policy;

use std::fmt;

use crate::object::{Object, ObjectId};

/// More text than this is no manifest.
const MAX_BYTES: usize = 16 << 20;
/// The documents that are read of one file.
const MAX_DOCUMENTS: usize = 10_000;

/// What is wrong with one document: in which object, at which field, and what to do about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// `HTTPRoute bookinfo/reviews`, as far as the document says.
    pub object: Option<String>,
    pub id: Option<ObjectId>,
    /// `spec.rules[0].matches[1].path.value`
    pub field: Option<String>,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl Problem {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    fn at(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(message) }
    }
}

/// Reads a file of YAML documents: every document that is not empty gives an object of ours, `None` where it is of a
/// kind that is not ours, or what is wrong with it. A wrong document does not keep the others from being read.
pub fn parse(text: &str) -> Vec<Result<Option<Object>, Problem>> {
    if text.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_BYTES} are read", text.len());
        return vec![Err(Problem::new(message))];
    }
    let mut results = Vec::new();
    for (line, document) in split(text) {
        if results.len() == MAX_DOCUMENTS {
            let message = format!("line {line}: the file has more than {MAX_DOCUMENTS} documents; split it");
            results.push(Err(Problem::new(message)));
            break;
        }
        results.extend(document::read(document, line).transpose());
    }
    results
}

/// The documents of a file, each with the number of the line before its first. They are told apart by the lines that
/// begin with `---`, before anything is parsed, so that a syntax error ends with its document.
fn split(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut first_line, mut at) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let separates = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if separates {
            documents.push((first_line, &text[start..at]));
            (start, first_line) = (at, number);
        }
        at += line.len();
    }
    documents.push((first_line, &text[start..]));
    documents.into_iter()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problems(text: &str) -> Vec<String> {
        parse(text).into_iter().filter_map(|r| r.err().map(|p| p.to_string())).collect()
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(problems(text), [expected], "{text}");
    }

    #[test]
    fn manifest_unknown_fields_are_named_with_what_was_meant() {
        check(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: reviews, namespace: \
             bookinfo}\nspec: {rules: [{backendRef: []}]}",
            "HTTPRoute bookinfo/reviews: spec.rules[0].backendRef: unknown field; did you mean backendRefs?",
        );
        check(
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {sessionAffinities: x, zzz: 1}",
            "Service default/a: spec.sessionAffinities: unknown field; did you mean sessionAffinity? (also unknown: \
             spec.zzz)",
        );
    }

    #[test]
    fn manifest_wrong_types_are_named_with_field_and_line() {
        check(
            "# first\n---\napiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec:\n  ports:\n  - port: http\n",
            "Service default/a: spec.ports[0].port: invalid type: string \"http\", expected i32 (line 9, column 11)",
        );
    }

    #[test]
    fn manifest_documents_fail_alone() {
        let text = "a: [\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: ok}\n---\nkind: Pod\n---\n- 1\n---\n# none\n";
        let results = parse(text);
        assert_eq!(results.len(), 4, "{results:?}");
        assert!(results[0].as_ref().is_err_and(|p| p.message.contains("line")), "{results:?}");
        assert_eq!(
            results[1].as_ref().map(|o| o.as_ref().map(|o| o.id().to_string())),
            Ok(Some("Namespace ok".into()))
        );
        assert!(results[2].as_ref().is_err_and(|p| p.field.as_deref() == Some("apiVersion")));
        assert!(results[3].is_err());
    }

    #[test]
    fn manifest_kinds_of_others_are_left_to_them() {
        assert_eq!(parse("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}"), [Ok(None)]);
    }

    #[test]
    fn manifest_versions_that_are_not_served_are_refused() {
        check(
            "apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: HTTPRoute\nmetadata: {name: a}",
            "HTTPRoute default/a: apiVersion: gateway.networking.k8s.io/v1alpha2 is not served; write gateway.networking.k8s.io/v1",
        );
    }

    proptest! {
        #[test]
        fn manifest_bytes_of_any_kind_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            parse(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn manifest_shapes_of_any_kind_do_not_panic(
            kind in "(HTTPRoute|Gateway|ListenerSet|Pod|Service|BackendPolicy|BackendTLSPolicy|XBackendTrafficPolicy)",
            body in "(spec|metadata|rules|listeners|name|[ \n:{}\\[\\]\\-&*!|>'\"a0]){0,40}",
        ) {
            for version in [
                "v1",
                "gateway.networking.k8s.io/v1",
                "gateway.networking.x-k8s.io/v1alpha1",
                "weir.dev/v1alpha1",
            ] {
                parse(&format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {body}"));
            }
        }
    }
}
