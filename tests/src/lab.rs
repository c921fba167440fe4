//! A lab of a test's own: brought up from a copy of manifests, asked and changed through the `weir` program, and taken down
//! when it is dropped, when the test panics, and when the process is told to end.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::error::Error;
use crate::wait;

pub mod access_log;
pub mod admin;
pub mod binaries;
pub mod client;
pub mod metrics;
mod slot;
pub mod teardown;
pub mod view;

use self::access_log::{Line, Mark};
use self::binaries::Binaries;
use self::client::{Answer, Load, Loading};
use self::metrics::Metrics;
use self::slot::Slot;
use self::view::{NodeSession, Pod, Service, View};

const STATE_ROOT: &str = "/run/weir-lab";
/// The sample's manifests.
const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../samples/bookinfo/manifests");
/// How long the nodes may take to acknowledge a change before something is taken to be wrong.
const CONFIGURED_WITHIN: Duration = Duration::from_secs(10);

static LABS_MADE: AtomicU32 = AtomicU32::new(0);

/// Whether this process may make labs; says why not, as a skipped test does.
pub fn can_run() -> bool {
    let may = is_root();
    if !may {
        skip("needs root");
    }
    may
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Says that a test is skipped, and why.
#[allow(clippy::print_stdout, reason = "a test that is skipped says so where the test runner collects it")]
pub fn skip(why: &str) {
    println!("skipped: {why}");
}

/// A lab that is wanted.
#[derive(Debug)]
pub struct Plan {
    hint: String,
    files: Vec<(String, Content)>,
    programs: Option<PathBuf>,
    up_flags: Vec<String>,
}

#[derive(Debug)]
enum Content {
    Sample,
    Text(String),
}

impl Plan {
    /// The hint begins the lab's name: at most 14 lower-case letters and hyphens.
    pub fn new(hint: &str) -> Self {
        Self { hint: hint.to_owned(), files: Vec::new(), programs: None, up_flags: Vec::new() }
    }

    /// A manifest of samples/bookinfo, copied.
    pub fn sample(mut self, file: &str) -> Self {
        self.files.push((file.to_owned(), Content::Sample));
        self
    }

    pub fn manifest(mut self, file: &str, text: impl Into<String>) -> Self {
        self.files.push((file.to_owned(), Content::Text(text.into())));
        self
    }

    /// Takes the programs from this folder instead of the one that this program is in.
    pub fn programs(mut self, folder: impl Into<PathBuf>) -> Self {
        self.programs = Some(folder.into());
        self
    }

    /// A flag of `weir lab up`.
    pub fn up_flag(mut self, flag: impl Into<String>) -> Self {
        self.up_flags.push(flag.into());
        self
    }

    /// Brings the lab up, and tells its progress line by line.
    ///
    /// # Errors
    /// What `weir lab up` says; nothing of the lab is left then.
    pub fn up_telling(self, mut tell: impl FnMut(&str)) -> Result<Lab, Error> {
        let binaries = Binaries::find(self.programs.as_deref())?;
        let slot = Slot::take(&binaries.folder)?;
        let folder = tempfile::tempdir().map_err(Error::io("making a folder for manifests"))?;
        let manifests = folder.path().join("manifests");
        let staging = folder.path().join("staging");
        for path in [&manifests, &staging] {
            fs::create_dir(path).map_err(Error::io(format!("making {}", path.display())))?;
        }
        for (file, content) in &self.files {
            let text = match content {
                Content::Sample => sample(file)?,
                Content::Text(text) => text.clone(),
            };
            fs::write(manifests.join(file), text).map_err(Error::io(format!("writing {file}")))?;
        }
        let name =
            format!("{}-{}-{}", self.hint, std::process::id(), LABS_MADE.fetch_add(1, Ordering::Relaxed));
        teardown::register(&name, &binaries.weir(), folder.path())?;
        let begun = Instant::now();
        // From here on dropping it takes down whatever there is.
        let mut lab = Lab { name, binaries, folder: Some(folder), up: Duration::ZERO, _slot: slot };
        let mut command = lab.weir(&["up"]);
        command.args(&self.up_flags).arg("-f").arg(&manifests);
        let mut summary = false;
        // After an empty line come tables of what there is, which `weir lab get` shows as well.
        let mut progress = |line: &str| {
            summary |= line.is_empty();
            if !summary {
                tell(line);
            }
        };
        let output = spoken(command, |pid| teardown::starting(&lab.name, pid), &mut progress)?;
        teardown::started(&lab.name);
        if let Some(why) = output {
            return Err(why);
        }
        lab.up = begun.elapsed();
        Ok(lab)
    }

    /// Brings the lab up.
    ///
    /// # Errors
    /// As [`Plan::up_telling`].
    pub fn up(self) -> Result<Lab, Error> {
        self.up_telling(|_| {})
    }
}

#[derive(Debug)]
pub struct Lab {
    name: String,
    binaries: Binaries,
    /// The copy of the manifests that the lab follows; none once the lab is kept.
    folder: Option<TempDir>,
    up: Duration,
    _slot: Slot,
}

impl Lab {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long `weir lab up` took.
    pub fn up_took(&self) -> Duration {
        self.up
    }

    /// The folder that holds the lab's state.
    pub fn state(&self) -> PathBuf {
        Path::new(STATE_ROOT).join(&self.name)
    }

    /// The program of this name, as it was built with this one.
    pub fn program(&self, name: &str) -> PathBuf {
        self.binaries.folder.join(name)
    }

    /// `weir lab get`.
    ///
    /// # Errors
    /// What `weir` says, or JSON that is not as expected.
    pub fn view(&self) -> Result<View, Error> {
        let output = done(self.weir(&["get", "-o", "json"]))?;
        serde_json::from_slice(&output.stdout).map_err(|e| Error::unreadable("weir lab get -o json", e))
    }

    /// The ready pod of this Deployment in this namespace.
    ///
    /// # Errors
    /// [`Error::Absent`].
    pub fn pod(&self, namespace: &str, deployment: &str) -> Result<Pod, Error> {
        let prefix = format!("{deployment}-");
        let mut pods = self.view()?.pods.into_iter();
        let found = pods.find(|pod| {
            pod.ready && !pod.terminating && pod.namespace == namespace && pod.name.starts_with(&prefix)
        });
        found.ok_or_else(|| Error::Absent(format!("ready pod of Deployment {namespace}/{deployment}")))
    }

    /// # Errors
    /// [`Error::Absent`].
    pub fn service(&self, namespace: &str, name: &str) -> Result<Service, Error> {
        let mut services = self.view()?.services.into_iter();
        let found = services.find(|service| service.namespace == namespace && service.name == name);
        found.ok_or_else(|| Error::Absent(format!("Service {namespace}/{name}")))
    }

    /// The addresses of a Gateway.
    ///
    /// # Errors
    /// [`Error::Absent`] where it has none.
    pub fn gateway(&self, namespace: &str, name: &str) -> Result<Vec<IpAddr>, Error> {
        let mut gateways = self.view()?.gateways.into_iter();
        let found = gateways.find(|gateway| gateway.namespace == namespace && gateway.name == name);
        match found {
            Some(gateway) if !gateway.addresses.is_empty() => Ok(gateway.addresses),
            _ => Err(Error::Absent(format!("address of Gateway {namespace}/{name}"))),
        }
    }

    /// `weir lab exec TARGET -- COMMAND`, to its end, whatever that is.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn exec(&self, target: &str, command: &[&str]) -> Result<Output, Error> {
        let mut exec = self.exec_command(target, command);
        exec.stdin(Stdio::null()).output().map_err(Error::io(format!("running {}", shown(&exec))))
    }

    /// `bookinfo get` in a pod.
    ///
    /// # Errors
    /// The program cannot be started or what it prints cannot be read; no answer is an [`Answer`] too.
    pub fn get(&self, target: &str, arguments: &[&str]) -> Result<Answer, Error> {
        let command: Vec<&str> = ["bookinfo", "get"].iter().chain(arguments).copied().collect();
        Answer::read(&self.exec(target, &command)?)
    }

    /// `bookinfo get` on the machine itself.
    ///
    /// # Errors
    /// As [`Lab::get`].
    pub fn get_from_host(&self, arguments: &[&str]) -> Result<Answer, Error> {
        let mut command = Command::new(self.program("bookinfo"));
        command.arg("get").args(arguments).stdin(Stdio::null());
        Answer::read(&command.output().map_err(Error::io("running bookinfo get"))?)
    }

    /// `bookinfo load` in a pod, to its end.
    ///
    /// # Errors
    /// The program cannot be started, or prints no report.
    pub fn load(&self, target: &str, arguments: &[&str]) -> Result<Load, Error> {
        self.start_load(target, arguments)?.report()
    }

    /// `bookinfo load` in a pod, while something else is done.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start_load(&self, target: &str, arguments: &[&str]) -> Result<Loading, Error> {
        let command: Vec<&str> = ["bookinfo", "load"].iter().chain(arguments).copied().collect();
        Loading::start(self.exec_command(target, &command))
    }

    /// `bookinfo load` on the machine itself, while something else is done.
    ///
    /// # Errors
    /// As [`Lab::start_load`].
    pub fn start_load_from_host(&self, arguments: &[&str]) -> Result<Loading, Error> {
        let mut command = Command::new(self.program("bookinfo"));
        command.arg("load").args(arguments);
        Loading::start(command)
    }

    /// `weir lab apply` of this YAML, and waits until the nodes have acknowledged what came of it.
    ///
    /// # Errors
    /// What `weir` says.
    pub fn apply(&self, yaml: &str) -> Result<(), Error> {
        self.change("apply", yaml)
    }

    /// `weir lab delete` of what this YAML names, and waits as [`Lab::apply`] does.
    ///
    /// # Errors
    /// What `weir` says.
    pub fn delete(&self, yaml: &str) -> Result<(), Error> {
        self.change("delete", yaml)
    }

    /// Puts an edited manifest in the place of the one that the lab follows, by renaming; gives the moment of that.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn edit(&self, file: &str, edit: impl FnOnce(String) -> String) -> Result<Instant, Error> {
        let folder = self.folder.as_ref().ok_or_else(|| Error::Absent("manifests of its own".to_owned()))?;
        let place = folder.path().join("manifests").join(file);
        let staged = folder.path().join("staging").join(file);
        let text = fs::read_to_string(&place).map_err(Error::io(format!("reading {file}")))?;
        fs::write(&staged, edit(text)).map_err(Error::io(format!("writing {file}")))?;
        let moment = Instant::now();
        fs::rename(&staged, &place).map_err(Error::io(format!("replacing {file}")))?;
        Ok(moment)
    }

    /// What mesh-operator knows of the nodes' sessions.
    ///
    /// # Errors
    /// The admin socket does not answer as expected.
    pub fn sessions(&self) -> Result<Vec<NodeSession>, Error> {
        self.operator("/nodes")
    }

    /// Something of mesh-operator's admin interface.
    ///
    /// # Errors
    /// The admin socket does not answer as expected.
    pub fn operator<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let text = admin::get(&self.state().join("operator.sock"), path)?;
        serde_json::from_str(&text).map_err(|e| Error::unreadable(format!("mesh-operator's {path}"), e))
    }

    /// Waits until every node has acknowledged a configuration other than that in `before`.
    ///
    /// # Errors
    /// They do not within ten seconds.
    pub fn wait_configured(&self, before: &[NodeSession]) -> Result<(), Error> {
        wait::until("the nodes to acknowledge the new configuration", CONFIGURED_WITHIN, || {
            let now = self.sessions()?;
            let fresh = |session: &NodeSession| {
                session.up_to_date && before.iter().all(|old| old.acknowledged != session.acknowledged)
            };
            Ok((!now.is_empty() && now.iter().all(fresh)).then_some(()))
        })
    }

    /// # Errors
    /// The admin socket does not answer as expected.
    pub fn metrics(&self, node: &str) -> Result<Metrics, Error> {
        Metrics::parse(&admin::get(&self.state().join(node).join("admin.sock"), "/metrics")?)
    }

    /// # Errors
    /// The admin socket does not answer as expected.
    pub fn operator_metrics(&self) -> Result<Metrics, Error> {
        Metrics::parse(&admin::get(&self.state().join("operator.sock"), "/metrics")?)
    }

    /// Where the access logs of all nodes end now.
    ///
    /// # Errors
    /// The lab's nodes cannot be listed.
    pub fn mark(&self) -> Result<Mark, Error> {
        let nodes = self.view()?.nodes;
        let end = |node: &view::Node| fs::metadata(self.node_log(&node.name)).map_or(0, |data| data.len());
        Ok(nodes.iter().map(|node| (node.name.clone(), end(node))).collect::<BTreeMap<_, _>>().into())
    }

    /// The access-log lines of a node since the mark.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn access_log(&self, node: &str, since: &Mark) -> Result<Vec<Line>, Error> {
        access_log::read(&self.node_log(node), since.of(node))
    }

    /// The end of each log in which a program complains.
    pub fn complaints(&self) -> String {
        access_log::complaints(&self.state().join("logs"))
    }

    /// Leaves the lab up after the end of this process; gives the folder of its manifests.
    pub fn keep(mut self) -> PathBuf {
        teardown::forget(&self.name);
        self.folder.take().map(TempDir::keep).unwrap_or_default()
    }

    /// Takes the lab down now.
    ///
    /// # Errors
    /// What `weir lab down` says.
    pub fn down(self) -> Result<(), Error> {
        self.take_down()
    }

    fn take_down(&self) -> Result<(), Error> {
        let result = teardown::down(&self.binaries.weir(), &self.name);
        teardown::forget(&self.name);
        result
    }

    fn change(&self, verb: &str, yaml: &str) -> Result<(), Error> {
        let before = self.sessions()?;
        let file = tempfile::Builder::new().suffix(".yaml").tempfile();
        let file = file.map_err(Error::io("making a file for a manifest"))?;
        fs::write(file.path(), yaml).map_err(Error::io("writing a manifest"))?;
        let mut command = self.weir(&[verb]);
        command.arg("-f").arg(file.path());
        let output = done(command)?;
        let said = String::from_utf8_lossy(&output.stdout);
        if said.lines().all(|line| line.ends_with("unchanged") || line.ends_with("not found")) {
            return Ok(());
        }
        self.wait_configured(&before)
    }

    fn node_log(&self, node: &str) -> PathBuf {
        self.state().join("logs").join(format!("mesh-{node}.log"))
    }

    /// `weir lab exec TARGET -- COMMAND`, not yet run.
    pub fn exec_command(&self, target: &str, command: &[&str]) -> Command {
        let mut exec = self.weir(&["exec"]);
        exec.args([target, "--"]).args(command);
        exec
    }

    fn weir(&self, words: &[&str]) -> Command {
        let mut command = self.binaries.weir_lab();
        command.args(words).args(["--name", &self.name]);
        command
    }
}

impl Drop for Lab {
    #[allow(clippy::print_stderr, reason = "a failed test has no other way to say what its lab said")]
    fn drop(&mut self) {
        if self.folder.is_none() || !teardown::is_registered(&self.name) {
            return;
        }
        if thread::panicking() {
            eprintln!("lab {}:\n{}", self.name, self.complaints());
        }
        if let Err(error) = self.take_down() {
            eprintln!("lab {} is not taken down: {error}", self.name);
        }
    }
}

/// The text of a manifest of samples/bookinfo.
///
/// # Errors
/// The file cannot be read.
pub fn sample(file: &str) -> Result<String, Error> {
    let path = Path::new(SAMPLE).join(file);
    fs::read_to_string(&path).map_err(Error::io(format!("reading {}", path.display())))
}

/// Runs a command to its end, which must be a success.
fn done(mut command: Command) -> Result<Output, Error> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(Error::io(format!("running {}", shown(&command))))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(failed(&command, &output.status.to_string(), &String::from_utf8_lossy(&output.stderr)))
}

/// Runs a command, telling what it prints line by line; its failure is the value.
fn spoken(
    mut command: Command,
    started: impl FnOnce(u32),
    tell: &mut dyn FnMut(&str),
) -> Result<Option<Error>, Error> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child: Child = command.spawn().map_err(Error::io(format!("running {}", shown(&command))))?;
    started(child.id());
    let complaints = child.stderr.take().map(|mut stderr| {
        thread::spawn(move || {
            let mut text = String::new();
            // What cannot be read is missing from the message, and nothing else.
            let _ = stderr.read_to_string(&mut text);
            text
        })
    });
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            tell(&line);
        }
    }
    let status = child.wait().map_err(Error::io("waiting for weir"))?;
    let said = complaints.and_then(|thread| thread.join().ok()).unwrap_or_default();
    Ok((!status.success()).then(|| failed(&command, &status.to_string(), &said)))
}

fn failed(command: &Command, status: &str, said: &str) -> Error {
    Error::Command { command: shown(command), status: status.to_owned(), said: said.trim().to_owned() }
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(program.into_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}
