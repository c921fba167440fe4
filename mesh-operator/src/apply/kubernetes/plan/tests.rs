//! The plan against a cluster in memory, which does what is written and tells of it as the watches do.

use std::time::Duration;

use mesh_compile::{Settings, manifest};
use mesh_ir::map::SharedMap;
use mesh_ir::resource::{Mode, SameNode};
use mesh_wire::EncodedConfig;

use super::*;

const MANIFESTS: &str = "
apiVersion: v1
kind: Node
metadata: {name: a}
status: {addresses: [{type: InternalIP, address: 10.0.0.1}], conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: weir.dev/v1alpha1
kind: AddressPool
metadata: {name: lan}
spec: {addresses: [192.0.2.7]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: shop}
spec:
  gatewayClassName: weir
  allowedListeners: {namespaces: {from: Same}}
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more, namespace: shop}
spec: {parentRef: {name: front}, listeners: [{name: http, port: 81, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart, namespace: shop}
spec: {parentRefs: [{name: front}], rules: [{backendRefs: [{name: cart, port: 80}]}]}
";

/// More than a Gateway waits for its nodes.
const LONG: Duration = Duration::from_secs(60);

struct Cluster {
    snapshot: Snapshot,
    live: LiveState,
    nodes: Vec<Acknowledged>,
    /// Counts on with every write.
    version: u64,
    now: Instant,
}

impl Cluster {
    fn new() -> Self {
        let mut cluster = Self {
            snapshot: Snapshot::default(),
            live: LiveState { objects: SharedMap::default(), served: [Kind::GatewayClass].into() },
            nodes: Vec::new(),
            version: 0,
            now: Instant::now(),
        };
        for object in cluster.read(MANIFESTS) {
            if matches!(object.kind, Kind::Gateway | Kind::ListenerSet | Kind::HttpRoute) {
                cluster.tell(object, json!({}));
            }
        }
        cluster
    }

    fn read(&mut self, text: &str) -> Vec<ObjectId> {
        let objects = manifest::parse(text).into_iter().map(|object| object.unwrap().unwrap());
        let read: Vec<mesh_compile::Object> = objects.collect();
        let ids = read.iter().map(mesh_compile::Object::id).collect();
        read.into_iter().for_each(|object| _ = self.snapshot.insert(object));
        ids
    }

    /// What the watch tells of an object from now on.
    fn tell(&mut self, id: ObjectId, content: Value) {
        self.version += 1;
        let live = Live { resource_version: self.version.to_string(), content };
        self.live.objects.insert(id, Arc::new(live));
    }

    fn status(&self, id: &ObjectId) -> &Value {
        &self.live.objects[id].content["status"]
    }

    fn revision(&self) -> Revision {
        let settings = Settings {
            trust_domain: "cluster.local".parse().unwrap(),
            default_mode: Mode::Permissive,
            same_node: SameNode::Direct,
        };
        let compiled = mesh_compile::compile(&self.snapshot, &settings);
        let encoded = EncodedConfig::new(&compiled.config);
        Revision { compiled: Arc::new(compiled), encoded: Arc::new(encoded), problems: Arc::default() }
    }

    fn plan(&self, planner: &mut Planner) -> Plan {
        let revision = self.revision();
        planner.published(revision.encoded.version());
        planner.plan(&State {
            revision: &revision,
            snapshot: &self.snapshot,
            live: &self.live,
            nodes: &self.nodes,
            now: self.now,
        })
    }

    /// Does what is planned, and says what that was.
    fn carry_out(&mut self, planner: &mut Planner) -> Vec<String> {
        let writes = self.plan(planner).writes;
        let done = writes.iter().map(name).collect();
        for write in writes {
            match &write {
                Write::Status { id, live, ours, .. } => {
                    let mut content = live.content.clone();
                    if let Some(merged) = merge::merge(id.kind, &content["status"], ours.as_ref(), "now") {
                        content["status"] = merged;
                    }
                    self.tell(id.clone(), content);
                }
                Write::Apply { id, body } => {
                    let mut content = body.clone();
                    if let Some(live) = self.live.objects.get(id) {
                        content["status"] = live.content["status"].clone();
                    }
                    // JSON is YAML too.
                    self.read(&content.to_string());
                    self.tell(id.clone(), content);
                }
                Write::Delete { id, .. } => {
                    self.snapshot.remove(id);
                    self.live.objects.remove(id);
                }
                Write::Addresses { id, live, ingress } => {
                    let mut content = live.content.clone();
                    content["status"]["loadBalancer"]["ingress"] = ingress.clone();
                    self.read(&content.to_string());
                    self.tell(id.clone(), content);
                }
                Write::Create(id) => self.tell(id.clone(), json!({})),
            }
            planner.written(write);
        }
        done
    }

    /// Carries out until nothing is left to be written, with the node up to date.
    fn settle(&mut self, planner: &mut Planner) {
        for _ in 0..10 {
            let version = Some(self.revision().encoded.version());
            self.nodes =
                vec![Acknowledged { node: "a".into(), version, rejected: BTreeMap::new(), up_to_date: true }];
            self.now += LONG;
            if self.carry_out(planner).is_empty() {
                return;
            }
        }
        panic!("there is always something more to write: {:?}", self.plan(planner).writes);
    }
}

fn name(write: &Write) -> String {
    match write {
        Write::Status { id, ours, .. } => {
            format!("{} of {id}", if ours.is_some() { "status" } else { "no status" })
        }
        Write::Apply { id, .. } => format!("apply {id}"),
        Write::Delete { id, .. } => format!("delete {id}"),
        Write::Addresses { id, .. } => format!("addresses of {id}"),
        Write::Create(id) => format!("create {id}"),
    }
}

fn in_shop(kind: Kind, name: &str) -> ObjectId {
    ObjectId { kind, namespace: Some("shop".into()), name: name.into() }
}

fn class() -> ObjectId {
    ObjectId { kind: Kind::GatewayClass, namespace: None, name: GATEWAY_CLASS.into() }
}

fn front() -> ObjectId {
    in_shop(Kind::Gateway, "front")
}

fn more() -> ObjectId {
    in_shop(Kind::ListenerSet, "more")
}

fn service() -> ObjectId {
    in_shop(Kind::Service, "front-weir")
}

fn condition<'s>(status: &'s Value, of: &str) -> &'s Value {
    let conditions = status["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == of).unwrap()
}

fn settled() -> (Cluster, Planner) {
    let (mut cluster, mut planner) = (Cluster::new(), Planner::default());
    cluster.settle(&mut planner);
    (cluster, planner)
}

#[test]
fn plan_brings_a_mesh_where_the_cluster_has_the_kind() {
    let (mut cluster, mut planner) = settled();
    let mesh = ObjectId { kind: Kind::XMesh, namespace: None, name: MESH.into() };
    assert!(!cluster.live.objects.contains_key(&mesh));
    cluster.live.served.insert(Kind::XMesh);
    let done = cluster.carry_out(&mut planner);
    assert_eq!(done, ["create XMesh weir"]);
    // Somebody else's of that name would be there as well.
    assert!(cluster.carry_out(&mut planner).is_empty());
}

#[test]
fn plan_comes_to_rest_with_everything_written() {
    let (cluster, mut planner) = settled();
    let live = &cluster.live.objects;
    let ingress = &cluster.status(&service())["loadBalancer"]["ingress"];
    assert_eq!(*ingress, json!([{"ip": "192.0.2.7", "ipMode": "VIP"}]));
    assert!(live.keys().any(|id| id.kind == Kind::EndpointSlice), "{live:?}");
    assert!(live.contains_key(&class()));
    assert_eq!(condition(cluster.status(&front()), "Programmed")["status"], "True");
    assert_eq!(cluster.status(&front())["attachedListenerSets"], 1);
    assert_eq!(condition(cluster.status(&more()), "Programmed")["status"], "True");
    let route = in_shop(Kind::HttpRoute, "cart");
    assert_eq!(cluster.status(&route)["parents"][0]["controllerName"], CONTROLLER);
    // Another replica that takes over finds nothing to change but what it applies once.
    let fresh = cluster.plan(&mut Planner::default()).writes;
    assert!(fresh.iter().all(|write| matches!(write, Write::Apply { .. })), "{fresh:?}");
    assert!(cluster.plan(&mut planner).writes.is_empty());
}

#[test]
fn plan_does_not_repeat_a_write_that_the_watch_has_yet_to_tell() {
    let (mut cluster, mut planner) = (Cluster::new(), Planner::default());
    cluster.now += LONG;
    for write in cluster.plan(&mut planner).writes {
        planner.written(write);
    }
    let again = cluster.plan(&mut planner).writes;
    assert!(again.is_empty(), "{again:?}");
    planner.forget();
    assert!(!cluster.plan(&mut planner).writes.is_empty());
}

#[test]
fn plan_sets_right_what_somebody_else_has_changed() {
    let (mut cluster, mut planner) = settled();
    let mut content = cluster.live.objects[&service()].content.clone();
    content["spec"]["ports"][0]["targetPort"] = json!(1);
    cluster.tell(service(), content);
    assert_eq!(cluster.carry_out(&mut planner), [format!("apply {}", service())]);
    let mut content = cluster.live.objects[&service()].content.clone();
    content["status"] = json!({});
    cluster.tell(service(), content);
    assert_eq!(cluster.carry_out(&mut planner), [format!("addresses of {}", service())]);
    cluster.tell(front(), json!({}));
    assert_eq!(cluster.carry_out(&mut planner), [format!("status of {}", front())]);
    assert!(cluster.plan(&mut planner).writes.is_empty());
}

#[test]
fn plan_leaves_what_others_add() {
    let (mut cluster, mut planner) = settled();
    let mut content = cluster.live.objects[&service()].content.clone();
    content["metadata"]["annotations"]["example.org/note"] = json!("theirs");
    content["spec"]["ports"][0]["nodePort"] = json!(30080);
    cluster.tell(service(), content);
    assert!(cluster.plan(&mut planner).writes.is_empty());
}

#[test]
fn plan_does_not_take_over_an_object_of_somebody_else() {
    let mut cluster = Cluster::new();
    cluster.read("{apiVersion: v1, kind: Service, metadata: {name: front-weir, namespace: shop}, spec: {}}");
    let writes: Vec<_> = cluster.plan(&mut Planner::default()).writes.iter().map(name).collect();
    assert!(!writes.contains(&format!("apply {}", service())), "{writes:?}");
}

#[test]
fn plan_takes_away_what_a_deleted_gateway_had_and_only_once() {
    let (mut cluster, mut planner) = settled();
    cluster.snapshot.remove(&front());
    cluster.live.objects.remove(&front());
    let mut dying = cluster.live.objects[&service()].content.clone();
    dying["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    cluster.tell(service(), dying);
    let done = cluster.carry_out(&mut planner);
    assert!(done.contains(&format!("status of {}", more())), "{done:?}");
    // What it says of itself is what a ListenerSet says that nobody has looked at.
    let programmed = condition(cluster.status(&more()), "Programmed");
    assert_eq!((&programmed["status"], &programmed["reason"]), (&json!("Unknown"), &json!("Pending")));
    assert_eq!(cluster.status(&more())["listeners"], json!([]));
    assert!(!cluster.carry_out(&mut planner).contains(&format!("status of {}", more())));
    let slices = done.iter().filter(|done| done.starts_with("delete EndpointSlice")).count();
    assert!(slices > 0 && !done.contains(&format!("delete {}", service())), "{done:?}");
}

#[test]
fn plan_takes_its_entries_out_of_a_route_that_no_longer_names_us() {
    let (mut cluster, mut planner) = settled();
    let route = in_shop(Kind::HttpRoute, "cart");
    let theirs =
        json!({"controllerName": "example.org/other", "parentRef": {"name": "other"}, "conditions": []});
    let mut content = cluster.live.objects[&route].content.clone();
    content["status"]["parents"].as_array_mut().unwrap().push(theirs.clone());
    cluster.tell(route.clone(), content);
    assert!(cluster.plan(&mut planner).writes.is_empty(), "an entry of another controller is no concern");
    cluster.read(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart, namespace: shop}
spec: {parentRefs: [{name: other}], rules: [{backendRefs: [{name: cart, port: 80}]}]}
",
    );
    let done = cluster.carry_out(&mut planner);
    assert!(done.contains(&format!("no status of {route}")), "{done:?}");
    assert_eq!(cluster.status(&route)["parents"], json!([theirs]));
}

#[test]
fn plan_waits_for_the_nodes_before_a_gateway_is_programmed() {
    let (mut cluster, mut planner) = (Cluster::new(), Planner::default());
    let of_front = format!("status of {}", front());
    // Its Service, then the address, which makes the configuration whole.
    cluster.carry_out(&mut planner);
    cluster.carry_out(&mut planner);
    assert_eq!(condition(cluster.status(&front()), "Programmed")["reason"], "AddressNotAssigned");
    let plan = cluster.plan(&mut planner);
    assert!(!plan.writes.iter().map(name).any(|name| name == of_front), "{plan:?}");
    assert!(plan.wake.is_some_and(|wake| wake > cluster.now && wake < cluster.now + LONG));

    cluster.now += LONG;
    let done = cluster.carry_out(&mut planner);
    assert!(done.contains(&of_front), "{done:?}");
    let pending = condition(cluster.status(&front()), "Programmed");
    assert_eq!((&pending["status"], &pending["reason"]), (&json!("False"), &json!("Pending")));
    assert_eq!(pending["message"], "No node is connected to the operator");
    let of_set = condition(cluster.status(&more()), "Programmed");
    assert_eq!((&of_set["status"], &of_set["message"]), (&json!("False"), &pending["message"]));
    cluster.settle(&mut planner);
    assert_eq!(condition(cluster.status(&front()), "Programmed")["status"], "True");
}
