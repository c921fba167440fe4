//! The sources of objects: the files that `weir lab up` was given, and the folder that mesh-operator publishes to. Both are
//! followed, and looked at as a whole whenever something in them changed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use tokio::sync::mpsc;

use super::publish;
use super::watch_files::{Follower, follow};
use crate::lab::cluster::Cluster;
use crate::lab::layout::Layout;
use crate::lab::manifest::files::{self, Content};
use crate::lab::manifest::images;

#[derive(Debug)]
pub(crate) struct Sources {
    paths: Vec<PathBuf>,
    /// The text of each file when it was last looked at, good or bad.
    seen: BTreeMap<PathBuf, String>,
    followed: (Follower, mpsc::Receiver<()>),
    published: (Follower, mpsc::Receiver<()>),
}

impl Sources {
    /// Reads everything for the first time; here a bad file is an error.
    pub(crate) fn load(paths: &[PathBuf], layout: &Layout, cluster: &mut Cluster) -> anyhow::Result<Self> {
        let followed = follow(paths).context("following the manifests")?;
        let published =
            follow(&[layout.published_objects()]).context("following what mesh-operator publishes")?;
        let mut sources = Sources { paths: paths.to_vec(), seen: BTreeMap::new(), followed, published };
        let mut problems = sources.look_at_files(cluster);
        match problems.pop() {
            Some(problem) => Err(anyhow!(problem)),
            None => Ok(sources),
        }
    }

    /// Waits until something changed.
    pub(crate) async fn changed(&mut self) {
        let ended = tokio::select! {
            change = self.followed.1.recv() => change.is_none(),
            change = self.published.1.recv() => change.is_none(),
        };
        if ended {
            // The watching thread has ended; there will be no more changes to tell of.
            std::future::pending::<()>().await;
        }
    }

    /// Takes in what changed. A file that broke keeps what it held before, and is a problem until it is mended.
    pub(crate) fn look(&mut self, layout: &Layout, cluster: &mut Cluster) {
        self.look_at_files(cluster);
        let (objects, problems) = publish::read_published(layout);
        let taken = cluster.store.set_published(objects);
        let mut lines = problems;
        lines.extend(
            taken.into_iter().map(|id| format!("{id} exists already and was not made by mesh-operator")),
        );
        let problem = (!lines.is_empty()).then(|| lines.join("; "));
        cluster.set_problem("published objects", problem);
    }

    fn look_at_files(&mut self, cluster: &mut Cluster) -> Vec<String> {
        let mut problems = Vec::new();
        let existing: Vec<PathBuf> = self.paths.iter().filter(|path| path.exists()).cloned().collect();
        let listed = match files::list(&existing) {
            Ok(listed) => listed,
            Err(error) => return vec![error.to_string()],
        };
        let gone: Vec<PathBuf> = self.seen.keys().filter(|file| !listed.contains(file)).cloned().collect();
        for file in gone {
            self.seen.remove(&file);
            cluster.store.remove_file(&file);
            cluster.set_problem(about(&file), None);
        }
        // Images come first, because objects are checked against them.
        let (images, objects): (Vec<PathBuf>, Vec<PathBuf>) =
            listed.into_iter().partition(|f| files::is_lab_file(f));
        for file in images.into_iter().chain(objects) {
            let text = match files::text(&file) {
                Ok(text) => text,
                Err(error) => {
                    problems.push(error.to_string());
                    continue;
                }
            };
            if self.seen.get(&file) == Some(&text) {
                continue;
            }
            let problem = take_in(&file, &text, cluster).err();
            if let Some(problem) = &problem {
                tracing::error!(problem, "a manifest is not taken in; what it held before stays");
                problems.push(problem.clone());
            }
            cluster.set_problem(about(&file), problem);
            self.seen.insert(file, text);
        }
        problems
    }
}

fn take_in(file: &std::path::Path, text: &str, cluster: &mut Cluster) -> Result<(), String> {
    let content = files::content(file, text).map_err(|error| error.to_string())?;
    if let Content::Objects(objects) = &content {
        images::check(objects, &cluster.store.images(), &file.display().to_string())
            .map_err(|e| e.to_string())?;
    }
    cluster.store.set_file(file, content).map_err(|(id, other)| {
        format!("{id} is both in {} and in {}: keep one of them", other.display(), file.display())
    })
}

fn about(file: &std::path::Path) -> String {
    format!("file {}", file.display())
}
