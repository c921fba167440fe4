//! Labs from end to end, without the mesh: real namespaces, processes, Services and names, through the `weir` binary.
//!
//! They need root and say so where there is none. Each test has labs of its own name, so they run beside each other and
//! beside labs of other people.

use std::time::{Duration, Instant};

use harness::{Lab, can_run, remains, wait_until};

#[path = "lab/harness.rs"]
mod harness;

const TWO_NODES: &str = include_str!("lab/echo.yaml");

#[test]
fn services_are_reached_by_name_and_cluster_ip_across_nodes_in_both_families() {
    if !can_run() {
        return;
    }
    let lab = Lab::up("wt-reach", &[("echo.yaml", TWO_NODES)], &[]);
    let view = lab.view();
    let service = view["services"].as_array().unwrap().iter().find(|s| s["name"] == "echo").unwrap().clone();
    let (v4, v6) = (service["cluster_ips"][0].as_str().unwrap(), service["cluster_ips"][1].as_str().unwrap());
    for url in [
        "http://echo/".to_owned(),
        "http://echo.shop.svc.cluster.local/".to_owned(),
        format!("http://{v4}/"),
        format!("http://[{v6}]/"),
    ] {
        let mut answers: Vec<String> = (0..24)
            .map(|_| lab.fetch("shop/client", &url))
            .map(|answer| answer.split(' ').next().unwrap_or_default().to_owned())
            .collect();
        answers.sort();
        answers.dedup();
        // One backend is on each node, so two names mean that one answer came across.
        assert_eq!(answers.len(), 2, "{url} was answered by {answers:?}");
    }
    let nodes: std::collections::BTreeSet<&str> =
        view["pods"].as_array().unwrap().iter().map(|pod| pod["node"].as_str().unwrap()).collect();
    assert_eq!(nodes.len(), 2);
    assert_eq!(lab.exec("shop/client", &["sh", "-c", "exit 7"]).status.code(), Some(7));
    let refused = lab.exec("shop/client", &["curl", "-sS", "-m", "5", "http://nobody/"]);
    // curl's 7 is a refused connection; waiting in vain would be 28.
    assert_eq!(refused.status.code(), Some(7), "{refused:?}");
    let unknown = lab.exec("shop/client", &["curl", "-sS", "-m", "5", "http://absent/"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("resolve"), "{unknown:?}");
}

#[test]
fn a_load_balancers_address_is_reached_from_the_machine() {
    if !can_run() {
        return;
    }
    let lab = Lab::up("wt-balance", &[("echo.yaml", TWO_NODES)], &[]);
    let service =
        lab.view()["services"].as_array().unwrap().iter().find(|s| s["name"] == "front").unwrap().clone();
    for address in service["external_ips"].as_array().unwrap() {
        let address: std::net::IpAddr = address.as_str().unwrap().parse().unwrap();
        let answer = harness::get((address, 80).into()).unwrap();
        assert!(answer.contains("echo-"), "{address}: {answer}");
    }
}

#[test]
fn a_changed_template_rolls_without_a_failed_request() {
    if !can_run() {
        return;
    }
    let lab = Lab::up("wt-roll", &[("echo.yaml", TWO_NODES)], &[]);
    let before = lab.pods_of("echo");
    let file = lab.file("echo.yaml");
    std::fs::write(&file, TWO_NODES.replace("VERSION, value: one", "VERSION, value: two")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        let answer = lab.fetch("shop/client", "http://echo/");
        assert!(answer.contains("echo-"), "a request failed during the roll: {answer}");
        let now = lab.pods_of("echo");
        if now.len() == 2 && before.iter().all(|pod| !now.contains(pod)) {
            break;
        }
        assert!(Instant::now() < deadline, "the roll has not ended: {now:?}");
    }
    assert!(lab.fetch("shop/client", "http://echo/").contains(" two "));
}

#[test]
fn a_container_that_crashes_is_started_again() {
    if !can_run() {
        return;
    }
    let lab = Lab::up("wt-crash", &[("echo.yaml", TWO_NODES)], &[]);
    let pod = lab.pods_of("echo").pop().unwrap();
    let restarts = || {
        let view = lab.view();
        let found =
            view["pods"].as_array().unwrap().iter().find(|p| p["name"] == pod.as_str()).cloned().unwrap();
        (found["restarts"].as_u64().unwrap(), found["ready"].as_bool().unwrap())
    };
    assert_eq!(restarts(), (0, true));
    let crashed = lab.exec(&format!("shop/{pod}"), &["curl", "-s", "-m", "5", "http://127.0.0.1:8080/crash"]);
    assert!(!crashed.status.success());
    wait_until("the container is started again and Ready", || restarts() == (1, true));
}

#[test]
fn a_followed_file_takes_effect_and_a_broken_one_changes_nothing() {
    if !can_run() {
        return;
    }
    let lab = Lab::up("wt-follow", &[("echo.yaml", TWO_NODES)], &[]);
    let file = lab.file("echo.yaml");
    std::fs::write(&file, TWO_NODES.replace("replicas: 2", "replicas: 3")).unwrap();
    wait_until("three pods", || lab.pods_of("echo").len() == 3);
    std::fs::write(&file, TWO_NODES.replace("replicas: 2", "replcas: 1")).unwrap();
    wait_until("the problem", || lab.view()["problems"].to_string().contains("unknown field spec.replcas"));
    assert_eq!(lab.pods_of("echo").len(), 3);
    std::fs::write(&file, TWO_NODES.replace("replicas: 2", "replicas: 1")).unwrap();
    wait_until("one pod and no problem", || {
        lab.pods_of("echo").len() == 1 && lab.view()["problems"].as_array().unwrap().is_empty()
    });
    let extra = "apiVersion: v1\nkind: Service\nmetadata: {name: extra, namespace: shop}\nspec: {selector: {app: echo}, \
                 ports: [{port: 80, targetPort: http}]}\n";
    let extra_file = lab.outside("extra.yaml", extra);
    assert!(lab.weir(&["apply", "-f", &extra_file]).contains("Service shop/extra created"));
    assert!(lab.fetch("shop/client", "http://extra/").contains("echo-"));
    assert!(lab.weir(&["delete", "-f", &extra_file]).contains("Service shop/extra deleted"));
    let gone = lab.exec("shop/client", &["curl", "-sS", "-m", "5", "http://extra/"]);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("resolve"), "{gone:?}");
}

#[test]
fn down_leaves_nothing_and_two_labs_live_side_by_side() {
    if !can_run() {
        return;
    }
    let firewall = harness::firewall();
    let one = Lab::up("wt-two-a", &[("echo.yaml", TWO_NODES)], &[]);
    let two = Lab::up("wt-two-b", &[("echo.yaml", TWO_NODES)], &["--nodes", "1"]);
    let again = one.try_up();
    assert!(again.contains("weir lab down --name wt-two-a"), "{again}");
    for lab in [&one, &two] {
        assert!(lab.fetch("shop/client", "http://echo/").contains("echo-"));
        assert!(!remains(lab.name()).is_empty(), "the check for remains sees nothing of a lab that is up");
    }
    one.down();
    assert_eq!(remains("wt-two-a"), Vec::<String>::new());
    assert!(two.fetch("shop/client", "http://echo/").contains("echo-"));
    two.down();
    assert_eq!(remains("wt-two-b"), Vec::<String>::new());
    assert_eq!(harness::firewall(), firewall);
}

#[test]
fn what_a_killed_supervisor_leaves_is_removed_by_the_next_up() {
    if !can_run() {
        return;
    }
    let killed = Lab::up("wt-killed", &[("echo.yaml", TWO_NODES)], &[]);
    killed.kill_supervisor();
    let next = Lab::up("wt-next", &[("echo.yaml", TWO_NODES)], &["--nodes", "1"]);
    assert_eq!(remains("wt-killed"), Vec::<String>::new());
    drop(next);
    assert_eq!(remains("wt-next"), Vec::<String>::new());
}

#[test]
fn an_up_that_fails_or_is_interrupted_leaves_nothing() {
    if !can_run() {
        return;
    }
    let broken = TWO_NODES.replace("path: /, port: http", "path: /crash, port: http");
    let lab = Lab::prepare("wt-fail", &[("echo.yaml", &broken)], &["--ready-timeout", "4"]);
    let said = lab.try_up();
    assert!(said.contains("Pod shop/echo-") && said.contains("readiness probe"), "{said}");
    assert_eq!(remains("wt-fail"), Vec::<String>::new());
    let lab = Lab::prepare("wt-stop", &[("echo.yaml", &broken)], &[]);
    let said = lab.up_interrupted_at("pods ready");
    assert!(said.contains("interrupted"), "{said}");
    assert_eq!(remains("wt-stop"), Vec::<String>::new());
}

#[test]
fn a_program_that_dies_is_started_again() {
    if !can_run() {
        return;
    }
    let lab = Lab::up_with_stand_ins("wt-programs", &[("echo.yaml", TWO_NODES)]);
    let program = |name: &str| {
        let view = lab.view();
        view["programs"].as_array().unwrap().iter().find(|program| program["name"] == name).cloned().unwrap()
    };
    let names: Vec<String> = lab.view()["programs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|program| program["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["cert-authority", "mesh-node-1", "mesh-node-2", "mesh-operator"]);
    let pid = i32::try_from(program("mesh-node-2")["pid"].as_i64().unwrap()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_until("mesh-node-2 is ready again", || {
        let now = program("mesh-node-2");
        now["ready"] == true && now["restarts"] == 1 && now["pid"] != pid
    });
    assert!(lab.weir(&["logs", "mesh-node-2"]).contains("\"--node\": \"node-2\""));
    lab.down();
    assert_eq!(remains("wt-programs"), Vec::<String>::new());
}

#[test]
fn what_the_operator_publishes_gets_an_address_and_is_shown() {
    if !can_run() {
        return;
    }
    let lab = Lab::up_with_stand_ins("wt-publish", &[("echo.yaml", TWO_NODES)]);
    let view = lab.view();
    let node = view["nodes"][0]["addresses"][0].as_str().unwrap();
    let metadata = "metadata: {name: gate, namespace: shop, labels: {kubernetes.io/service-name: gate}}";
    let service = format!(
        "apiVersion: v1\nkind: Service\n{metadata}\nspec: {{type: LoadBalancer, ports: [{{name: http, port: 80, \
         targetPort: 18080}}]}}\n"
    );
    let slice = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n{metadata}\naddressType: IPv4\nports: [{{name: http, \
         port: 18080}}]\nendpoints: [{{addresses: [{node}], nodeName: node-1}}]\n"
    );
    lab.publish("objects/slice.yaml", &slice);
    lab.publish("objects/service.yaml", &service);
    let gate = || {
        let view = lab.view();
        view["services"].as_array().unwrap().iter().find(|service| service["name"] == "gate").cloned()
    };
    wait_until("the published Service", || gate().is_some());
    let address: std::net::IpAddr = gate().unwrap()["external_ips"][0].as_str().unwrap().parse().unwrap();
    let answer = harness::get((address, 80).into()).unwrap();
    assert!(answer.contains("\"node\":\"node-1\""), "{answer}");
    let file = lab.state().join("objects/Service.core.shop.gate.yaml");
    assert!(std::fs::read_to_string(&file).unwrap().contains(&format!("ip: {address}")));
    lab.publish(
        "status.json",
        r#"{"objects": [{"kind": "Gateway", "namespace": "shop", "name": "gate", "status": {"addresses":
            [{"type": "IPAddress", "value": "192.0.2.1"}]}}],
            "problems": [{"file": "f", "object": "HTTPRoute shop/r", "field": "spec.rules[0]", "message": "is odd"}]}"#,
    );
    let view = lab.view();
    assert_eq!(view["gateways"][0]["addresses"][0], "192.0.2.1");
    assert!(
        view["problems"].to_string().contains("HTTPRoute shop/r: spec.rules[0]: is odd"),
        "{}",
        view["problems"]
    );
    std::fs::remove_file(lab.state().join("published/objects/service.yaml")).unwrap();
    wait_until("the Service is gone", || gate().is_none() && !file.exists());
    assert!(harness::get((address, 80).into()).is_err());
}

#[test]
fn bad_manifests_are_refused_before_anything_is_made() {
    if !can_run() {
        return;
    }
    for (name, text, part) in [
        ("bad.yaml", "a: [b\n", "bad.yaml:2:1: not YAML"),
        (
            "typo.yaml",
            &TWO_NODES.replacen("replicas:", "replcas:", 1),
            "unknown field spec.replcas in Deployment shop/echo",
        ),
        (
            "image.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: some/image}]}\n",
            "container c of Pod default/p",
        ),
    ] {
        let lab = Lab::prepare("wt-bad", &[(name, text)], &[]);
        let said = lab.try_up();
        assert!(said.contains(part), "{name}: {said}");
        assert_eq!(remains("wt-bad"), Vec::<String>::new());
    }
}
