//! Puts objects into the folder that the mesh's programs read: each file appears whole, or not at all.

use std::io;

use crate::lab::cluster::stamps::Change;
use crate::lab::layout::Layout;
use crate::lab::object::{Object, ObjectId};

/// Writes and removes the objects' files.
pub(crate) fn write(layout: &Layout, changes: &[Change]) -> io::Result<()> {
    for change in changes {
        match change {
            Change::Write(id, value) => write_one(layout, id, value)?,
            Change::Remove(id) => match std::fs::remove_file(layout.objects().join(id.file_name())) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            },
        }
    }
    Ok(())
}

fn write_one(layout: &Layout, id: &ObjectId, value: &serde_json::Value) -> io::Result<()> {
    let text = serde_yaml_ng::to_string(value).map_err(io::Error::other)?;
    let staged = layout.staging().join(id.file_name());
    std::fs::write(&staged, text)?;
    std::fs::rename(staged, layout.objects().join(id.file_name()))
}

/// The objects that mesh-operator publishes, and what is wrong with files that hold none.
pub(crate) fn read_published(layout: &Layout) -> (Vec<Object>, Vec<String>) {
    let (mut objects, mut problems) = (Vec::new(), Vec::new());
    let files = crate::lab::manifest::files::list(&[layout.published_objects()]);
    for file in files.unwrap_or_default() {
        match crate::lab::manifest::files::read(&file) {
            Ok(crate::lab::manifest::files::Content::Objects(read)) => objects.extend(read),
            Ok(crate::lab::manifest::files::Content::Images(_)) => {}
            // One that was removed between the listing and the reading is not a problem.
            Err(_) if !file.exists() => {}
            Err(error) => problems.push(error.to_string()),
        }
    }
    (objects, problems)
}
