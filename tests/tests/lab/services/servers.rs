//! Servers that terminate for as long as a test wants them to: a server's pre-stop hook waits at a FIFO, if there is one.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use weir_tests::lab::Lab;
use weir_tests::lab::view::Pod;
use weir_tests::wait;

use super::{Layer, answering};
use crate::SOON;

/// Each with its node, and whether it is behind the Service `itself`.
const SERVERS: [(&str, &str, bool); 3] =
    [("near", "node-1", true), ("far-1", "node-2", false), ("far-2", "node-2", false)];

pub(super) struct Servers {
    /// Where the FIFOs are.
    folder: TempDir,
}

impl Servers {
    pub(super) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(super) fn manifest(&self) -> String {
        SERVERS.map(|(name, ..)| self.pod(name)).concat()
    }

    /// Starts those that are missing.
    pub(super) fn all_stand(&self, lab: &Lab) {
        for (name, ..) in SERVERS {
            match find(lab, name) {
                Some(pod) if !pod.terminating => {}
                Some(_) => {
                    self.let_go(lab, name);
                    self.start(lab, name);
                }
                None => self.start(lab, name),
            }
        }
    }

    /// Starts one, and waits until the client's node knows of it.
    pub(super) fn start(&self, lab: &Lab, name: &str) {
        lab.apply(&self.pod(name)).unwrap();
        wait::until(&format!("{name} to serve"), SOON, || {
            Ok(answering(lab, "any", Layer::Requests, 4).contains(name).then_some(()))
        })
        .unwrap();
    }

    /// Has one terminate, and go on serving until it is let go.
    pub(super) fn drain(&self, lab: &Lab, name: &str) {
        let made = Command::new("mkfifo").arg(self.fifo(name)).status().unwrap();
        assert!(made.success());
        lab.delete(&self.pod(name)).unwrap();
        let pod = find(lab, name).unwrap();
        assert!(pod.terminating && pod.ready, "{pod:?}");
    }

    /// Lets go one that terminates, and waits until the nodes know that it no longer serves.
    pub(super) fn let_go(&self, lab: &Lab, name: &str) {
        let (before, fifo) = (lab.sessions().unwrap(), self.fifo(name));
        wait::until(&format!("{name} to wait for its end"), SOON, || {
            // There is nobody at the other end until the hook has begun.
            Ok(OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(&fifo).ok())
        })
        .unwrap();
        lab.wait_configured(&before).unwrap();
        wait::until(&format!("{name} to be gone"), SOON, || Ok(find(lab, name).is_none().then_some(())))
            .unwrap();
        fs::remove_file(&fifo).unwrap();
    }

    fn fifo(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pod(&self, name: &str) -> String {
        let (_, node, itself) = SERVERS.into_iter().find(|(known, ..)| *known == name).unwrap();
        let fifo = self.fifo(name);
        format!(
            r#"
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: services, labels: {{app: server, itself: "{}"}}}}
spec:
  nodeName: {node}
  serviceAccountName: server
  terminationGracePeriodSeconds: 120
  containers:
    - name: server
      image: "weir.dev/bookinfo:0.1.0"
      args: [echo, --port, "9080"]
      readinessProbe: {{httpGet: {{path: /, port: 9080}}, periodSeconds: 1}}
      lifecycle: {{preStop: {{exec: {{command: [cat, "{}"]}}}}}}
"#,
            if itself { "yes" } else { "no" },
            fifo.display()
        )
    }
}

fn find(lab: &Lab, name: &str) -> Option<Pod> {
    let pods = lab.view().unwrap().pods;
    pods.into_iter().find(|pod| pod.namespace == "services" && pod.name == name)
}
