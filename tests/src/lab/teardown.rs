//! The labs of this process, so that a signal takes them down as well as the end of a test does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::Error;
use crate::wait;

/// How long a lab may take to go, one that is still coming up included.
const DOWN_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Living {
    weir: PathBuf,
    /// The folder of its manifests.
    folder: PathBuf,
    /// The process of `weir lab up`, while it runs.
    starting: Option<u32>,
}

static LABS: Mutex<BTreeMap<String, Living>> = Mutex::new(BTreeMap::new());
static WATCHER: OnceLock<Result<(), String>> = OnceLock::new();
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether a signal has come and the process is about to end.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// `weir lab down`, again as long as the lab is only beginning or ending.
///
/// # Errors
/// What `weir` says in the end.
pub(super) fn down(weir: &Path, name: &str) -> Result<(), Error> {
    let mut last = String::new();
    let gone = wait::until(&format!("lab {name} to go down"), DOWN_WITHIN, || {
        let output = Command::new(weir).args(["lab", "down", "--name", name]).stdin(Stdio::null()).output();
        let output = output.map_err(Error::io("running weir lab down"))?;
        last = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Ok(output.status.success().then_some(()))
    });
    gone.map_err(|error| if last.is_empty() { error } else { Error::unreadable("weir lab down", last) })
}

/// Takes responsibility for a lab before there is anything of it.
pub(super) fn register(name: &str, weir: &Path, folder: &Path) -> Result<(), Error> {
    let watching = WATCHER.get_or_init(|| {
        let watcher = thread::Builder::new().name("signals".to_owned()).spawn(watch_signals);
        watcher.map(drop).map_err(|error| error.to_string())
    });
    watching.clone().map_err(|why| Error::unreadable("signals", why))?;
    let living = Living { weir: weir.to_owned(), folder: folder.to_owned(), starting: None };
    labs().insert(name.to_owned(), living);
    Ok(())
}

pub(super) fn starting(name: &str, pid: u32) {
    if let Some(living) = labs().get_mut(name) {
        living.starting = Some(pid);
    }
}

pub(super) fn started(name: &str) {
    if let Some(living) = labs().get_mut(name) {
        living.starting = None;
    }
}

pub(super) fn forget(name: &str) {
    labs().remove(name);
}

pub(super) fn is_registered(name: &str) -> bool {
    labs().contains_key(name)
}

fn labs() -> MutexGuard<'static, BTreeMap<String, Living>> {
    // A test that panicked while it held the lock has left a whole map: every change to it is one call.
    LABS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[allow(clippy::print_stderr, reason = "whoever pressed Ctrl-C waits for a word")]
fn watch_signals() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let number = runtime.block_on(async {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => Signal::SIGINT,
            _ = terminate.recv() => Signal::SIGTERM,
            _ = hangup.recv() => Signal::SIGHUP,
        }
    });
    INTERRUPTED.store(true, Ordering::Relaxed);
    // Held to the end: no lab is begun or given up meanwhile.
    let labs = labs();
    for (name, living) in labs.iter() {
        eprintln!("{number}: taking lab {name} down");
        if let Some(pid) = living.starting.and_then(|pid| i32::try_from(pid).ok()) {
            // It takes away what it has made; one that has ended already needs no signal.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        if let Err(error) = down(&living.weir, name) {
            eprintln!("{error}");
        }
        let _ = fs::remove_dir_all(&living.folder);
    }
    std::process::exit(128 + number as i32);
}
