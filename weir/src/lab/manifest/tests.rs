use super::*;

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews-v1, namespace: bookinfo}
spec:
  selector: {matchLabels: {app: reviews}}
  template:
    metadata: {labels: {app: reviews}}
    spec:
      containers: [{name: reviews, image: reviews}]
";

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let error = parse(text, "bookinfo.yaml").expect_err("the manifest was accepted");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn parse_takes_many_documents_and_lists() {
    let text = format!(
        "{DEPLOYMENT}---\n---\nkind: List\napiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata: \
         {{name: bookinfo}}\n- apiVersion: gateway.networking.k8s.io/v1\n  kind: HTTPRoute\n  metadata: {{name: a}}\n  \
         spec: {{anything: [1]}}\n"
    );
    let ids: Vec<String> = parse(&text, "f").unwrap().iter().map(|object| object.id.to_string()).collect();
    assert_eq!(ids, ["Deployment bookinfo/reviews-v1", "Namespace bookinfo", "HTTPRoute default/a"]);
}

#[test]
fn parse_names_line_and_column_of_what_is_not_yaml() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\nkind: [x\n";
    let error = parse(text, "bad.yaml").expect_err("the manifest was accepted");
    let ManifestError::NotYaml { line, .. } = &error else { panic!("{error}") };
    assert!((5..=6).contains(line), "{error}");
    assert!(error.to_string().starts_with(&format!("bad.yaml:{line}:")), "{error}");
}

#[test]
fn parse_names_an_unknown_field() {
    check_error(
        &DEPLOYMENT.replace("  template:", "  tempalte: {}\n  template:"),
        "unknown field spec.tempalte in Deployment bookinfo/reviews-v1 (bookinfo.yaml): remove it or correct its name",
    );
    check_error(
        &DEPLOYMENT.replace("image: reviews}", "image: reviews, commnad: [a]}"),
        "unknown field spec.template.spec.containers[0].commnad in Deployment bookinfo/reviews-v1 (bookinfo.yaml): \
         remove it or correct its name",
    );
}

#[test]
fn parse_names_a_field_of_a_wrong_type() {
    check_error(
        &DEPLOYMENT.replace("  template:", "  replicas: two\n  template:"),
        "Deployment bookinfo/reviews-v1 (bookinfo.yaml): field spec.replicas: invalid type: string \"two\", expected i32",
    );
}

#[test]
fn parse_refuses_what_is_no_object() {
    check_error(
        "a: 1",
        "bookinfo.yaml: document 1 has no apiVersion: a Kubernetes object has apiVersion, kind and metadata.name",
    );
    check_error(
        "apiVersion: v1\nkind: Service",
        "bookinfo.yaml: document 1 has no metadata.name: a Kubernetes object has apiVersion, kind and metadata.name",
    );
}

#[test]
fn parse_refuses_what_a_cluster_would_refuse() {
    check_error(
        &DEPLOYMENT.replace("labels: {app: reviews}", "labels: {app: ratings}"),
        "Deployment bookinfo/reviews-v1 (bookinfo.yaml): field spec.selector.matchLabels: asks for app=reviews, which \
         spec.template.metadata.labels does not have",
    );
    check_error(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 0}]}",
        "Service default/a (bookinfo.yaml): field spec.ports[0].port: 0 is not 1 to 65535",
    );
    check_error(
        &format!("{DEPLOYMENT}---{DEPLOYMENT}"),
        "Deployment bookinfo/reviews-v1 is both in bookinfo.yaml and in the same file: keep one of them",
    );
}

#[test]
fn images_are_found_by_command_then_by_lab_file() {
    let images = images::parse("images: {echo: [python3, -m, http.server]}", "lab.yaml").unwrap();
    let container = |yaml: &str| serde_yaml_ng::from_str(yaml).unwrap();
    let run = |yaml: &str| images::command(&container(yaml), &images);
    assert_eq!(run("{name: a, image: echo, args: ['80']}").unwrap(), ["python3", "-m", "http.server", "80"]);
    assert_eq!(run("{name: a, image: echo, command: [cat], args: [x]}").unwrap(), ["cat", "x"]);
    let error = run("{name: a, image: other}").unwrap_err();
    assert!(error.contains("\"other\"") && error.contains("lab.yaml"), "{error}");
}

#[test]
fn lab_files_are_read_strictly() {
    for (text, part) in [
        ("image: {}", "unknown field"),
        ("images: {a: []}", "names no command"),
        ("images: 3", "invalid type"),
    ] {
        let error = images::parse(text, "lab.yaml").expect_err(text).to_string();
        assert!(error.starts_with("lab.yaml: ") && error.contains(part), "{error}");
    }
    assert!(images::parse("", "lab.yaml").unwrap().is_empty());
}
