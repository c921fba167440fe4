//! A lab of a test: its folder, the `weir` binary run on it, and a look at what is left on the machine.

// All of this is test code, which the lints know only by its #[test] functions.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const WEIR: &str = env!("CARGO_BIN_EXE_weir");

/// Whether this machine lets the tests run; says why not.
pub(crate) fn can_run() -> bool {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return false;
    }
    for command in ["ip", "nft", "python3", "curl"] {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|folder| folder.join(command).is_file()) {
            println!("skipped: needs {command}");
            return false;
        }
    }
    true
}

/// Waits for something that has no event a test could see.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) struct Lab {
    /// The binary, beside which a lab finds the mesh's programs.
    weir: PathBuf,
    /// `--no-mesh`, or nothing.
    mesh: &'static [&'static str],
    name: String,
    folder: tempfile::TempDir,
    flags: Vec<String>,
}

impl Lab {
    /// A lab's files, and nothing of it running.
    pub(crate) fn prepare(name: &str, files: &[(&str, &str)], flags: &[&str]) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let manifests = folder.path().join("manifests");
        fs::create_dir(&manifests).unwrap();
        for (file, text) in files {
            fs::write(manifests.join(file), text).unwrap();
        }
        let echo = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/echo.py");
        fs::write(manifests.join("lab.yaml"), format!("images: {{echo: [python3, {}]}}\n", echo.display()))
            .unwrap();
        Lab {
            weir: PathBuf::from(WEIR),
            mesh: &["--no-mesh"],
            name: name.to_owned(),
            folder,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        }
    }

    /// A lab with the mesh, its programs played by a script.
    #[track_caller]
    pub(crate) fn up_with_stand_ins(name: &str, files: &[(&str, &str)]) -> Lab {
        let mut lab = Lab::prepare(name, files, &[]);
        let programs = lab.folder.path().join("programs");
        fs::create_dir(&programs).unwrap();
        lab.weir = programs.join("weir");
        install(Path::new(WEIR), &lab.weir);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/program.py");
        for program in ["cert-authority", "mesh-operator", "mesh-node"] {
            install(&script, &programs.join(program));
        }
        lab.mesh = &[];
        lab.bring_up();
        lab
    }

    #[track_caller]
    pub(crate) fn up(name: &str, files: &[(&str, &str)], flags: &[&str]) -> Lab {
        let lab = Lab::prepare(name, files, flags);
        lab.bring_up();
        lab
    }

    #[track_caller]
    fn bring_up(&self) {
        let output = self.up_command().output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The lab's state folder.
    pub(crate) fn state(&self) -> PathBuf {
        Path::new("/run/weir-lab").join(&self.name)
    }

    /// Publishes a file as mesh-operator does: whole, by a rename.
    pub(crate) fn publish(&self, file: &str, text: &str) {
        let staged = self.state().join("staged-by-test");
        fs::write(&staged, text).unwrap();
        fs::rename(staged, self.state().join("published").join(file)).unwrap();
    }

    /// Brings it up, which has to fail; gives what was said.
    #[track_caller]
    pub(crate) fn try_up(&self) -> String {
        let output = self.up_command().output().unwrap();
        assert!(!output.status.success(), "the lab came up: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    /// Interrupts `up` when it prints this; gives what it said.
    pub(crate) fn up_interrupted_at(&self, line: &str) -> String {
        let mut child = self.up_command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let seen = out.any(|printed| printed.unwrap().contains(line));
        assert!(seen, "up never printed {line:?}");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(!child.wait().unwrap().success());
        said
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("manifests").join(name)
    }

    /// A file that the lab does not follow.
    pub(crate) fn outside(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn weir(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments[0]).args(&arguments[1..]).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn view(&self) -> Value {
        serde_json::from_str(&self.weir(&["get", "-o", "json"])).unwrap()
    }

    /// The names of the living pods of a Deployment, sorted.
    pub(crate) fn pods_of(&self, deployment: &str) -> Vec<String> {
        let view = self.view();
        let living = view["pods"].as_array().unwrap().iter().filter(|pod| pod["terminating"] == false);
        let names = living.map(|pod| pod["name"].as_str().unwrap().to_owned());
        names.filter(|name| name.starts_with(&format!("{deployment}-"))).collect()
    }

    pub(crate) fn exec(&self, target: &str, command: &[&str]) -> Output {
        self.command("exec").arg(target).arg("--").args(command).output().unwrap()
    }

    /// The answer to a GET from within a pod, or what curl complains about.
    pub(crate) fn fetch(&self, target: &str, url: &str) -> String {
        let output = self.exec(target, &["curl", "-sS", "-m", "5", url]);
        if output.status.success() {
            String::from_utf8(output.stdout).unwrap()
        } else {
            format!("failed: {}", String::from_utf8_lossy(&output.stderr))
        }
    }

    pub(crate) fn kill_supervisor(&self) {
        let lab = fs::read(self.state().join("lab.json")).unwrap();
        let lab: Value = serde_json::from_slice(&lab).unwrap();
        let pid = i32::try_from(lab["supervisor"].as_i64().unwrap()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        // Its lock goes with the last of its threads, a moment after the process seems to be gone.
        wait_until("the supervisor is gone", || {
            fs::File::open(self.state().join("lock")).unwrap().try_lock().is_ok()
        });
    }

    #[track_caller]
    pub(crate) fn down(&self) {
        self.weir(&["down"]);
    }

    fn up_command(&self) -> Command {
        let mut command = self.command("up");
        command.args(self.mesh).arg("-f").arg(self.folder.path().join("manifests")).args(&self.flags);
        command
    }

    fn command(&self, word: &str) -> Command {
        let mut command = Command::new(&self.weir);
        command.args(["lab", word, "--name", &self.name]).stdin(Stdio::null());
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.command("down").output();
    }
}

/// Everything on this machine that bears the lab's name.
pub(crate) fn remains(lab: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut note =
        |kind: &str, names: Vec<String>| found.extend(names.into_iter().map(|name| format!("{kind} {name}")));
    let of_lab = |name: &String| {
        name.strip_prefix(&format!("weir-{lab}-"))
            .is_some_and(|rest| rest == "lan" || rest.starts_with("node-"))
    };
    note("netns", entries("/run/netns").into_iter().filter(of_lab).collect());
    note("state", entries("/run/weir-lab").into_iter().filter(|name| name == lab).collect());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let state = format!("/run/weir-lab/{lab}/");
    note("mount", mounts.lines().filter(|line| line.contains(&state)).map(str::to_owned).collect());
    let links = Command::new("ip").args(["-j", "link"]).output().unwrap();
    let links: Vec<Value> = serde_json::from_slice(&links.stdout).unwrap();
    let ours = |link: &&Value| link["ifalias"].as_str() == Some(&format!("weir-lab:{lab}"));
    note("link", links.iter().filter(ours).map(|link| link["ifname"].to_string()).collect());
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let unified = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).unwrap();
    let group = Path::new(unified.split(' ').nth(1).unwrap()).join(format!("weir-lab-{lab}"));
    note("cgroup", group.exists().then(|| group.display().to_string()).into_iter().collect());
    note("process", processes(lab));
    found
}

/// The nftables of the machine's own namespace.
pub(crate) fn firewall() -> String {
    String::from_utf8(Command::new("nft").args(["list", "ruleset"]).output().unwrap().stdout).unwrap()
}

/// The answer to an HTTP GET from the machine itself.
pub(crate) fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Copies a program, in a process of its own: a file that this one had open for writing could be held open by a child that
/// another test's thread starts at the same moment, and be refused as a program ("text file busy").
#[track_caller]
fn install(program: &Path, target: &Path) {
    let status = Command::new("install").args([program, target]).status().unwrap();
    assert!(status.success(), "install {} {}", program.display(), target.display());
}

/// Supervisors of the lab, and processes in its cgroups.
fn processes(lab: &str) -> Vec<String> {
    let mut found = Vec::new();
    for pid in entries("/proc").into_iter().filter(|name| name.parse::<u32>().is_ok()) {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let groups = String::from_utf8_lossy(&read("cgroup")).into_owned();
        let supervises = command.contains(&format!("lab supervise --name {lab} "));
        // One that has ended and only waits for its parent to notice runs nothing any more.
        let ended = String::from_utf8_lossy(&read("stat")).contains(") Z ");
        if ended {
            continue;
        }
        if supervises || groups.contains(&format!("/weir-lab-{lab}/")) {
            found.push(format!("{pid}: {command}"));
        }
    }
    found
}

fn entries(folder: &str) -> Vec<String> {
    let read = fs::read_dir(folder).into_iter().flatten().flatten();
    read.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
