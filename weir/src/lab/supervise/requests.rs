//! The answers to what the commands of `weir lab` ask of a running lab.

use std::path::PathBuf;

use super::Supervisor;
use crate::lab::act::enter::Enter;
use crate::lab::cluster::view::{GatewayView, View};
use crate::lab::container;
use crate::lab::control::{Answer, File, Request};
use crate::lab::manifest::files::{self, Content};
use crate::lab::manifest::images;
use crate::lab::object::{Object, text};
use crate::lab::pod::{Owner, Phase, Pod};

impl Supervisor {
    pub(super) fn request(&mut self, request: Request) -> Answer {
        let answered = match request {
            Request::Get => Ok(Answer::View(Box::new(self.view()))),
            Request::Apply { files } => self.apply(&files).map(Answer::Done),
            Request::Delete { files } => self.delete(&files).map(Answer::Done),
            Request::Exec { target, container } => self.place(&target, container.as_deref()),
            Request::Down => Err("the lab is going down".to_owned()),
        };
        answered.unwrap_or_else(Answer::Refused)
    }

    /// All or nothing: one bad file and no object of the others is applied.
    fn apply(&mut self, files: &[File]) -> Result<Vec<String>, String> {
        let (objects, found_images) = read(files)?;
        let mut images = self.cluster.store.images();
        images.extend(found_images.clone());
        images::check(&objects, &images, "applied").map_err(|error| error.to_string())?;
        let line = |object: &Object| {
            let word = match self.cluster.store.get(&object.id) {
                None => "created",
                Some(value) if *value == object.value => "unchanged",
                Some(_) => "changed",
            };
            format!("{} {word}", object.id)
        };
        let lines = objects.iter().map(line).collect();
        self.cluster.store.apply_images(found_images);
        self.cluster.store.apply(objects);
        Ok(lines)
    }

    fn delete(&mut self, files: &[File]) -> Result<Vec<String>, String> {
        let (objects, _) = read(files)?;
        let line = |object: &Object| {
            let word = if self.cluster.store.delete(&object.id) { "deleted" } else { "not found" };
            format!("{} {word}", object.id)
        };
        Ok(objects.iter().map(line).collect())
    }

    fn place(&self, target: &str, container: Option<&str>) -> Result<Answer, String> {
        let pod = self.find(target)?;
        let host_ip = self.machine.plan.node(pod.node).v4.to_string();
        let plan = container::plan(pod, &host_ip, &self.cluster.store.images(), &self.environment)?;
        let chosen = match container {
            Some(name) => plan.containers.iter().find(|c| c.name == name),
            None => plan.containers.first(),
        };
        let chosen =
            chosen.ok_or_else(|| format!("Pod {}/{} has no such container", pod.namespace, pod.name))?;
        let layout = &self.machine.layout;
        let enter = Enter {
            netns: Some(layout.pod_netns(pod.node, &pod.uid)),
            cgroup: Some(self.machine.pod_cgroup(pod.node, &pod.uid).join("exec")),
            hostname: Some(pod.name.clone()),
            etc: Some(layout.pod_etc(pod.node, &pod.uid)),
            workdir: chosen.workdir.as_ref().map(PathBuf::from),
            command: Vec::new(),
        };
        Ok(Answer::Place { enter, environment: chosen.environment.clone() })
    }

    /// The pod that `NS/POD` names, or the most useful one of `NS/deploy/NAME`.
    fn find(&self, target: &str) -> Result<&Pod, String> {
        let parts: Vec<&str> = target.split('/').collect();
        let living = || self.cluster.pods.values().filter(|pod| !pod.is_terminating());
        let found = match parts.as_slice() {
            [namespace, name] => living().find(|pod| pod.namespace == *namespace && pod.name == *name),
            [namespace, "deploy" | "deployment" | "deployments", name] => living()
                .filter(|pod| {
                    let of =
                        |owner: &Owner| matches!(owner, Owner::Deployment { id, .. } if id.name == *name);
                    pod.namespace == *namespace && of(&pod.owner)
                })
                .max_by_key(|pod| (pod.ready, std::cmp::Reverse(&pod.name))),
            _ => return Err(format!("{target:?} is neither NS/POD nor NS/deploy/NAME")),
        };
        let pod = found.ok_or_else(|| format!("no pod is {target}: weir lab get shows those there are"))?;
        if pod.phase == Phase::Pending {
            let why = pod.message.as_deref().unwrap_or("its containers have not started");
            return Err(format!("Pod {}/{} does not run yet: {why}", pod.namespace, pod.name));
        }
        Ok(pod)
    }

    pub(super) fn view(&self) -> View {
        let layout = &self.machine.layout;
        let mut view = self.cluster.view(|node| layout.node_netns(node));
        view.name = layout.name().to_string();
        view.programs = self.programs.values().map(|running| running.view.clone()).collect();
        let status = std::fs::read(layout.published().join("status.json")).unwrap_or_default();
        // Absent until mesh-operator has compiled something, and without a mesh always.
        let status: serde_json::Value = serde_json::from_slice(&status).unwrap_or_default();
        view.gateways = gateways(&status);
        let problems = status["problems"].as_array().into_iter().flatten();
        view.problems.extend(problems.filter_map(operator_problem));
        view
    }
}

fn read(files: &[File]) -> Result<(Vec<Object>, images::Images), String> {
    let (mut objects, mut images) = (Vec::new(), images::Images::new());
    for file in files {
        match files::content(&file.path, &file.text).map_err(|error| error.to_string())? {
            Content::Objects(read) => objects.extend(read),
            Content::Images(read) => images.extend(read),
        }
    }
    Ok((objects, images))
}

fn gateways(status: &serde_json::Value) -> Vec<GatewayView> {
    let objects = status["objects"].as_array().into_iter().flatten();
    let one = |object: &serde_json::Value| GatewayView {
        namespace: text(object, "/namespace").unwrap_or_default().to_owned(),
        name: text(object, "/name").unwrap_or_default().to_owned(),
        addresses: object["status"]["addresses"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|address| text(address, "/value").map(str::to_owned))
            .collect(),
    };
    objects.filter(|object| object["kind"] == "Gateway").map(one).collect()
}

fn operator_problem(problem: &serde_json::Value) -> Option<String> {
    let parts = ["object", "field", "message"].map(|key| problem[key].as_str().unwrap_or_default());
    let said: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    (!said.is_empty()).then(|| said.join(": "))
}
