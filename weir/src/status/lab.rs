//! What is gathered from the programs themselves, over their admin sockets: those of a lab, or one mesh-operator.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mesh_ir::resource::Resource;

use super::NODE_PATIENCE;
use super::meshed::{self, Meshed};
use super::report::{Gathered, ProgramState};
use crate::admin;
use crate::health::{Health, MAX_ANSWER};
use crate::lab::layout::Layout;
use crate::operator::{Operator, OperatorError};

pub(super) async fn gather(operator: &Operator) -> Result<Gathered, OperatorError> {
    let problem = operator.unready().await?;
    let document = operator.status().await?;
    let sessions = operator.nodes().await?;
    let mut names: BTreeSet<String> = sessions.iter().filter_map(|session| session.node.clone()).collect();
    let meshed = match operator.config().await {
        Ok(config) => {
            names.extend(config.resources.values().filter_map(|resource| match &**resource {
                Resource::Node(node) => Some(node.name.to_string()),
                _ => None,
            }));
            meshed::count(&config)
        }
        // Nothing is compiled yet, which is what keeps it from being ready.
        Err(OperatorError::Refused { .. }) => Meshed::default(),
        Err(error) => return Err(error),
    };
    let mut nodes = Vec::new();
    for name in names {
        let answer = match operator.lab.as_ref().and_then(|lab| node_socket(lab, &name)) {
            Some(socket) => Some(ask_node(&socket).await),
            None => None,
        };
        nodes.push((name, answer));
    }
    let mesh = match &operator.lab {
        Some(lab) => format!("lab {}", lab.name()),
        None => format!("mesh-operator at {}", operator.socket.display()),
    };
    // It is alone.
    let program = ProgramState { name: "mesh-operator".into(), leads: true, problem };
    Ok(Gathered {
        mesh,
        programs: vec![program],
        document,
        sessions,
        all_sessions: true,
        nodes,
        meshed: Some(meshed),
        unseen: Vec::new(),
    })
}

fn node_socket(lab: &Layout, name: &str) -> Option<PathBuf> {
    let number = name.strip_prefix("node-")?.parse().ok()?;
    Some(lab.node_admin(number))
}

async fn ask_node(socket: &Path) -> Health {
    let asked = Health::ask(|path| admin::get(socket, path, NODE_PATIENCE, MAX_ANSWER)).await;
    asked.unwrap_or_else(|error| Health { unready: Some(error.to_string()), captured_pods: None })
}
