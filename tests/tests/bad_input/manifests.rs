//! Manifests that are wrong: said where, with the object and the field, while everything else goes on.

use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use weir_tests::lab::access_log::{Line, Mark, Request};
use weir_tests::lab::client::Loading;

use crate::world::{FOLLOWED, World};

/// Requests that are enough to see a disturbance.
const MEANWHILE: usize = 100;

/// Requests in the mesh that must all succeed while something else is wrong.
struct Meanwhile {
    load: Loading,
    mark: Mark,
    /// Of no other: the last lines of the one before may be written after the mark.
    path: String,
}

impl Meanwhile {
    fn begin(world: &World) -> Self {
        static BEGUN: AtomicUsize = AtomicUsize::new(0);
        let path = format!("/meanwhile-{}", BEGUN.fetch_add(1, Ordering::Relaxed));
        let (mark, url) = (world.lab.mark().unwrap(), format!("http://echo{path}"));
        let load = world.lab.start_load("shop/client", &[&url, "--duration", "120"]).unwrap();
        Self { load, mark, path }
    }

    #[track_caller]
    fn end(self, world: &World) {
        world.until("requests meanwhile", || {
            let lines = world.lab.access_log("node-1", &self.mark).unwrap();
            let own = |request: &&Request| request.source == "shop/client" && request.path == self.path;
            lines.iter().filter_map(Line::request).filter(own).count() >= MEANWHILE
        });
        let load = self.load.finish().unwrap();
        assert!(load.is_all_200() && load.requests >= MEANWHILE as u64, "{load:?}");
        world.untouched();
    }
}

pub(crate) fn not_yaml(world: &World) {
    let meanwhile = Meanwhile::begin(world);
    let said = refusal(&world.weir("apply", "kind: HTTPRoute\nspec: [broken\n"));
    assert!(said.contains("applied") && said.contains(".yaml:") && said.contains("not YAML"), "{said}");
    world.lab.edit("followed.yaml", |text| format!("{text}spec: [broken\n")).unwrap();
    world.until("the problem of the followed file", || {
        problems(world).iter().any(|problem| problem.contains("followed.yaml") && problem.contains("YAML"))
    });
    assert_eq!(world.get("/followed").status(), 200);
    restore(world);
    meanwhile.end(world);
}

pub(crate) fn unknown_field(world: &World) {
    let meanwhile = Meanwhile::begin(world);
    world.lab.edit("followed.yaml", |text| text.replace("backendRefs", "backendRef")).unwrap();
    let is_named = |problem: &Value| {
        problem["object"] == "HTTPRoute shop/followed" && problem["field"] == "spec.rules[0].backendRef"
    };
    world.until("the problem in status.json", || reported(world).iter().any(is_named));
    let problem = reported(world).into_iter().find(is_named).unwrap();
    assert_eq!(problem["message"], "unknown field; did you mean backendRefs?");
    assert!(
        problems(world).iter().any(|problem| problem.contains("HTTPRoute shop/followed")
            && problem.contains("spec.rules[0].backendRef")),
        "{:?}",
        problems(world)
    );
    let answer = world.get("/followed");
    assert!(answer.status() == 200 && answer.body().contains("\"service\":\"echo"), "{answer:?}");
    restore(world);
    // One that was never right is as if it were not there.
    let never = FOLLOWED.replace("followed", "never").replace("backendRefs", "backendRef");
    world.weir("apply", &never);
    world.until("the problem in status.json", || {
        reported(world).iter().any(|problem| problem["object"] == "HTTPRoute shop/never")
    });
    assert!(world.get("/never").body().contains("\"path\":\"/never\""), "the rule for / answers");
    deleted(world, &never);
    // A field that the lab reads itself is refused on the spot.
    let said = refusal(&world.weir(
        "apply",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: odd, namespace: shop}\nspec: {containrs: []}\n",
    ));
    assert!(said.contains("spec.containrs") && said.contains("Pod shop/odd"), "{said}");
    meanwhile.end(world);
}

pub(crate) fn missing_service(world: &World) {
    let meanwhile = Meanwhile::begin(world);
    let split = route("split", "[{name: echo, port: 80, weight: 1}, {name: ghost, port: 80, weight: 1}]");
    applied(world, &split);
    let status =
        world.status("HTTPRoute", "split", |status| reason(status, "ResolvedRefs") == "BackendNotFound");
    let condition = condition(&status, "ResolvedRefs");
    assert_eq!(condition["status"], "False");
    let message = condition["message"].as_str().unwrap();
    assert!(message.contains("ghost") && message.contains("rules[0].backendRefs[1]"), "{message}");
    world.until("the route", || world.get("/split").status() == 500);
    let statuses: Vec<u16> = (0..60).map(|_| world.get("/split").status()).collect();
    let failed = statuses.iter().filter(|status| **status == 500).count();
    assert!(statuses.iter().all(|status| [200, 500].contains(status)), "{statuses:?}");
    assert!((10..=50).contains(&failed), "half of 60 are for nobody: {failed} were");
    deleted(world, &split);
    meanwhile.end(world);
}

pub(crate) fn cross_namespace(world: &World) {
    let meanwhile = Meanwhile::begin(world);
    let vault = route("vault", "[{name: vault, namespace: private, port: 80}]");
    let grant = "apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: to-vault, namespace: private}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]
  to: [{group: \"\", kind: Service, name: vault}]
";
    applied(world, &vault);
    for _ in 0..2 {
        let status =
            world.status("HTTPRoute", "vault", |status| reason(status, "ResolvedRefs") == "RefNotPermitted");
        let message = condition(&status, "ResolvedRefs")["message"].as_str().unwrap().to_owned();
        assert!(message.contains("private/vault") && message.contains("ReferenceGrant"), "{message}");
        world.until("500", || world.get("/vault").status() == 500);
        applied(world, grant);
        world.status("HTTPRoute", "vault", |status| reason(status, "ResolvedRefs") == "ResolvedRefs");
        world.until("200", || world.get("/vault").status() == 200);
        // Taken back, it holds no longer.
        deleted(world, grant);
    }
    world.until("500", || world.get("/vault").status() == 500);
    deleted(world, &vault);
    meanwhile.end(world);
}

pub(crate) fn regular_expression(world: &World) {
    let meanwhile = Meanwhile::begin(world);
    let text = route("regex", "[{name: echo, port: 80}]")
        + "    - matches: [{path: {type: RegularExpression, value: '/regex-(broken'}}]
      backendRefs: [{name: far, port: 80}]
";
    applied(world, &text);
    let status = world
        .status("HTTPRoute", "regex", |status| condition(status, "PartiallyInvalid")["status"] == "True");
    let condition = condition(&status, "PartiallyInvalid");
    let message = condition["message"].as_str().unwrap();
    assert!(
        message.contains("rules[1]: matches[0].path.value") && message.contains("`/regex-(broken`"),
        "{message}"
    );
    world.until("the other rule", || world.get("/regex").body().contains("\"path\":\"/regex\""));
    deleted(world, &text);
    meanwhile.end(world);
}

pub(crate) fn listeners_in_conflict(world: &World) {
    let meanwhile = Meanwhile::begin(world);
    let gateway = |extra: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front, namespace: shop}}
spec:
  gatewayClassName: weir
  listeners:
    - {{name: http, protocol: HTTP, port: 80}}
{extra}"
        )
    };
    let clash = gateway(
        "    - {name: one, protocol: HTTP, port: 8080, hostname: one.example}
    - {name: same, protocol: HTTP, port: 8080, hostname: one.example}
",
    );
    applied(world, &clash);
    let listener = |status: &Value, name: &str| {
        let listeners = status["listeners"].as_array().cloned().unwrap_or_default();
        listeners.into_iter().find(|listener| listener["name"] == name).unwrap_or_default()
    };
    let status = world.status("Gateway", "front", |status| {
        condition_of(&listener(status, "same"), "Conflicted")["status"] == "True"
    });
    for name in ["one", "same"] {
        let conflicted = condition_of(&listener(&status, name), "Conflicted");
        assert_eq!(
            (&conflicted["status"], &conflicted["reason"]),
            (&"True".into(), &"HostnameConflict".into())
        );
        assert!(conflicted["message"].as_str().unwrap().contains("8080"), "{conflicted}");
        assert_eq!(condition_of(&listener(&status, name), "Programmed")["status"], "False");
    }
    let http = listener(&status, "http");
    assert_eq!(condition_of(&http, "Conflicted")["status"], "False");
    assert_eq!(condition_of(&http, "Programmed")["status"], "True");
    world.untouched();
    let gateway_refuses = world.machine.open(&world.gateway, 8080, None);
    assert!(gateway_refuses.is_err(), "port 8080 is open");
    applied(world, &gateway(""));
    world.status("Gateway", "front", |status| {
        status["listeners"].as_array().is_some_and(|all| all.len() == 1)
    });
    meanwhile.end(world);
}

/// A route of the Gateway for `/NAME`.
fn route(name: &str, backends: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: shop}}
spec:
  parentRefs: [{{name: front}}]
  rules:
    - matches: [{{path: {{value: /{name}}}}}]
      backendRefs: {backends}
"
    )
}

#[track_caller]
fn applied(world: &World, text: &str) {
    let output = world.weir("apply", text);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
fn deleted(world: &World, text: &str) {
    let output = world.weir("delete", text);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What `weir` said when it refused.
#[track_caller]
fn refusal(output: &Output) -> String {
    assert!(!output.status.success(), "taken: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn restore(world: &World) {
    world.lab.edit("followed.yaml", |_| FOLLOWED.to_owned()).unwrap();
    world.until("the problem to be gone", || problems(world).is_empty() && reported(world).is_empty());
    assert_eq!(world.get("/followed").status(), 200);
}

/// What `weir lab get` says is wrong.
fn problems(world: &World) -> Vec<String> {
    world.lab.view().unwrap().problems
}

/// What mesh-operator says is wrong.
fn reported(world: &World) -> Vec<Value> {
    world.published()["problems"].as_array().cloned().unwrap_or_default()
}

/// A condition of a route under its first parent.
fn condition(status: &Value, name: &str) -> Value {
    condition_of(&status["parents"][0], name)
}

fn condition_of(holder: &Value, name: &str) -> Value {
    let conditions = holder["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == name).unwrap_or_default()
}

fn reason(status: &Value, name: &str) -> String {
    condition(status, name)["reason"].as_str().unwrap_or_default().to_owned()
}
