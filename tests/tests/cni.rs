//! The CNI plugin with the mesh's real programs: pods that are a cgroup and a network namespace each, started as a container
//! runtime and a kubelet do it. What a pod's first process dials first is captured, or the pod does not start.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where something is not as it has to be"
)]

use std::time::Duration;

use weir_tests::lab::can_run;
use weir_tests::wait;

use world::{Pod, SERVICE, World};

#[path = "cni/world.rs"]
mod world;

/// Enough to meet the window that there is without the plugin.
const PODS: usize = 10;
const SOON: Duration = Duration::from_secs(20);

#[test]
fn cni_plugin_lets_no_pod_start_outside_of_the_mesh() {
    if !can_run() {
        return;
    }
    let mut world = World::begin();
    let backend = world.pod("10.254.7.2");
    world.backend(&backend);

    // Nobody has told the node of this pod: it does not start, and the runtime is told why and to try again.
    let client = world.pod("10.254.7.10");
    let refused = world.add(&client).unwrap_err();
    assert!(refused.contains("\"code\":11") && refused.contains("has not told this node of it"), "{refused}");
    world.del(&client);

    for number in 0..PODS {
        let client = world.pod(&format!("10.254.7.{}", 20 + number));
        // Scheduled, and without an address: this is what Kubernetes says before a pod starts.
        world.scheduled(&client);
        let result = world.add(&client).unwrap();
        assert!(result.contains("10.254.7.99"), "the result of the plugin before: {result}");
        let answer = client.first_words(&["get", &format!("http://{SERVICE}/")]);
        assert!(answer.contains("200 OK"), "pod {number} was not captured: {answer}");
        // A second process later finds the same.
        assert!(client.first_words(&["get", &format!("http://{SERVICE}/")]).contains("200 OK"));
        world.del(&client);
    }

    // A pod that is not in the mesh starts too, and nothing in it is captured: nobody else answers at that address.
    let outside = Pod { namespace: "outside", ..world.pod("10.254.7.11") };
    world.scheduled(&outside);
    world.add(&outside).unwrap();
    let answer = outside.first_words(&["get", &format!("http://{SERVICE}/")]);
    assert!(!answer.contains("200 OK"), "{answer}");
    world.del(&outside);

    // Without a mesh-node no pod starts, but for those of the namespaces that the mesh needs.
    world.end_node();
    let client = world.pod("10.254.7.12");
    world.scheduled(&client);
    let refused = world.add(&client).unwrap_err();
    assert!(refused.contains("\"code\":11") && refused.contains("no mesh-node answers"), "{refused}");
    let needed = Pod { namespace: "kube-system", ..world.pod("10.254.7.13") };
    world.add(&needed).unwrap();
}

#[test]
fn cni_plugin_stays_in_the_network_configuration_until_the_mesh_goes() {
    if !can_run() {
        return;
    }
    let mut world = World::begin();
    let list = world.network("10-pods.conflist");
    let has_plugin = |list: &std::path::Path| std::fs::read_to_string(list).unwrap().contains("mesh-cni");
    assert!(has_plugin(&list) && world.programs().join("mesh-cni").is_file());

    // The network's own installer comes again, and then another network altogether.
    std::fs::write(&list, world::LIST).unwrap();
    wait::until("the plugin is put back", SOON, || Ok(has_plugin(&list).then_some(()))).unwrap();
    let other = world.network("05-other.conflist");
    std::fs::write(&other, world::LIST).unwrap();
    let moved = || Ok((has_plugin(&other) && !has_plugin(&list)).then_some(()));
    wait::until("the plugin goes where the runtime looks first", SOON, moved).unwrap();
    // A file that cannot hold it is said, where whoever installs looks.
    std::fs::write(
        world.network("01-one.conf"),
        r#"{"cniVersion": "1.0.0", "name": "one", "type": "bridge"}"#,
    )
    .unwrap();
    let unready = || Ok(world.readiness().contains("make it a list").then_some(()));
    wait::until("the node is not ready", SOON, unready).unwrap();
    std::fs::remove_file(world.network("01-one.conf")).unwrap();
    let ready = || Ok(world.readiness().contains("200 OK").then_some(()));
    wait::until("the node is ready again", SOON, ready).unwrap();

    world.end_node();
    assert!(has_plugin(&other), "an upgrade leaves it there");
    // An upgrade that no longer wants it.
    world.start_node(false);
    assert!(!has_plugin(&other) && !has_plugin(&list) && !world.programs().join("mesh-cni").exists());
    world.end_node();
    world.start_node(true);
    assert!(has_plugin(&other));
    world.end_node();
    world.uninstall();
    assert!(!has_plugin(&other) && !has_plugin(&list) && !world.programs().join("mesh-cni").exists());
}
