//! The ports of the node's own listeners inside a pod, dialled directly.

use std::time::{Duration, Instant};

use crate::agent::{Agent, Received};
use crate::world::World;

/// A refusal takes no time; a loop or a hang would.
const AT_ONCE: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";

pub(crate) fn refused(world: &World) {
    let before = world.held();
    let pod = |namespace: &str, name: &str| {
        let pods = world.lab.view().unwrap().pods;
        pods.into_iter().find(|pod| pod.namespace == namespace && pod.name == name).unwrap()
    };
    let (client, near, far) = (pod("shop", "client"), pod("shop", "near"), pod("shop", "far"));
    let mut places: Vec<(&str, &Agent, String)> = Vec::new();
    for host in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.0.0.2"] {
        places.push(("from the pod itself", &world.client, host.to_owned()));
    }
    for v6 in [false, true] {
        places.push(("from the pod itself", &world.client, client.address(v6).to_string()));
        for target in [&near, &far] {
            let address = target.address(v6).to_string();
            places.push(("from another pod", &world.client, address.clone()));
            places.push(("from a pod outside the mesh", &world.stranger, address.clone()));
            places.push(("from a node", &world.node, address.clone()));
            places.push(("from the nodes' link", &world.link, address));
        }
    }
    let mut wrong = Vec::new();
    for (from, agent, host) in &places {
        for port in [15001, 15006] {
            for data in [REQUEST, b""] {
                for _ in 0..ROUNDS {
                    let begun = Instant::now();
                    let answer = if data.is_empty() {
                        silently(agent, host, port)
                    } else {
                        agent.exchange(host, port, data, AT_ONCE)
                    };
                    // A Service's answer could say 503; a connection by address is only reset.
                    let took = begun.elapsed();
                    if !answer.ended() || !answer.data.is_empty() || took > AT_ONCE {
                        let sent = data.len();
                        wrong
                            .push(format!("{from} to {host} port {port}, {sent} bytes: {took:?} {answer:?}"));
                        break;
                    }
                }
            }
        }
    }
    world.untouched();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.descriptors_return_to(&before, AT_ONCE);
}

/// A client that connects, sends nothing and waits.
fn silently(agent: &Agent, host: &str, port: u16) -> Received {
    match agent.open(host, port, None) {
        Err(why) => Received { data: Vec::new(), end: format!("failed: {why}") },
        Ok(held) => {
            let answer = agent.read(held, AT_ONCE);
            agent.close(held);
            answer
        }
    }
}
