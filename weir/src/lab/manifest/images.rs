//! Images: what a container runs on a machine that has no images. A container's own command runs as it is; an image
//! without one is looked up in `lab.yaml`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Container;
use serde::{Deserialize, Serialize};

use super::ManifestError;
use crate::lab::object::Object;

/// From an image to the command that stands for it.
pub(crate) type Images = BTreeMap<String, Vec<String>>;

/// `lab.yaml`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LabFile {
    #[serde(default)]
    images: Images,
}

/// Reads the text of a `lab.yaml`.
pub(crate) fn parse(text: &str, file: &str) -> Result<Images, ManifestError> {
    let wrong = |message: String| ManifestError::LabFile { file: file.to_owned(), message };
    let read: Option<LabFile> = serde_yaml_ng::from_str(text).map_err(|error| {
        let hint = "lab.yaml holds images: {IMAGE: [COMMAND, ARG…]}";
        wrong(format!("{error}; {hint}"))
    })?;
    let images = read.unwrap_or_default().images;
    match images.iter().find(|(_, command)| command.first().is_none_or(String::is_empty)) {
        Some((image, _)) => Err(wrong(format!("images: {image}: names no command"))),
        None => Ok(images),
    }
}

/// Finds the first container among the Deployments and Pods that nothing on this machine stands for.
pub(crate) fn check(objects: &[Object], images: &Images, file: &str) -> Result<(), ManifestError> {
    for object in objects {
        let spec = match (object.id.group.as_str(), object.id.kind.as_str()) {
            ("apps", "Deployment") => &object.value["spec"]["template"]["spec"],
            ("", "Pod") => &object.value["spec"],
            _ => continue,
        };
        for list in ["initContainers", "containers"] {
            for container in spec[list].as_array().into_iter().flatten() {
                let Ok(container) = Container::deserialize(container) else { continue };
                if let Err(why) = command(&container, images) {
                    let (id, file) = (Box::new(object.id.clone()), file.to_owned());
                    return Err(ManifestError::NoCommand { file, id, container: container.name, why });
                }
            }
        }
    }
    Ok(())
}

/// What a container runs: its command and arguments.
///
/// # Errors
/// The message to complete with the pod's and container's names.
pub(crate) fn command(container: &Container, images: &Images) -> Result<Vec<String>, String> {
    let arguments = container.args.clone().unwrap_or_default();
    if let Some(command) = container.command.as_ref().filter(|command| !command.is_empty()) {
        return Ok(command.iter().cloned().chain(arguments).collect());
    }
    let image = container.image.as_deref().unwrap_or_default();
    match images.get(image) {
        Some(command) => Ok(command.iter().cloned().chain(arguments).collect()),
        None => Err(format!(
            "has image {image:?} and no command, and no lab.yaml names that image: give the container a command, or \
             add `images: {{\"{image}\": [COMMAND, ARG…]}}` to a lab.yaml given with -f"
        )),
    }
}
