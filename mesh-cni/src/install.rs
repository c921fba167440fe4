//! The plugin's files on a node: its program in the folder of CNI programs, and its entry in the network configuration
//! that the container runtime uses, which is the first of its folder by name. Every file is replaced as a whole, by a
//! rename within its folder, so that the runtime never sees half of one.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::PLUGIN;
use crate::conflist::{ConflistError, Entry, with, without};

/// What the CNI's library reads as a network configuration, by its ending.
const ENDINGS: [&str; 3] = ["conf", "conflist", "json"];

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Conflist { path: PathBuf, source: ConflistError },
    #[error("there is no network configuration in {} yet", .0.display())]
    NoNetwork(PathBuf),
}

/// Brings the program into `programs`, from where it is now. Says whether it was another one before.
pub fn install_program(program: &Path, programs: &Path) -> Result<bool, InstallError> {
    let new = fs::read(program).map_err(at(program))?;
    let path = programs.join(PLUGIN);
    if fs::read(&path).is_ok_and(|old| old == new) {
        return Ok(false);
    }
    replace(&path, &new, Permissions::from_mode(0o755))?;
    Ok(true)
}

/// Puts the entry into the first network configuration, and takes it out of any other, which was the first before. Says
/// which files have changed.
pub fn install_entry(entry: &Entry, networks: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let mut files = configurations(networks)?.into_iter();
    let first = files.next().ok_or_else(|| InstallError::NoNetwork(networks.to_owned()))?;
    let mut changed = Vec::new();
    changed.extend(edit(&first, |text| with(text, entry))?);
    for other in files {
        changed.extend(remove_from(&other)?);
    }
    Ok(changed)
}

/// Takes the plugin away: first where it is named, then the program. Done again it changes nothing. Says which files
/// have changed or are gone.
pub fn remove(networks: &Path, programs: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let mut changed = Vec::new();
    for file in configurations(networks)? {
        changed.extend(remove_from(&file)?);
    }
    let program = programs.join(PLUGIN);
    match fs::remove_file(&program) {
        Ok(()) => changed.push(program),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(at(&program)(error)),
    }
    Ok(changed)
}

/// The files that may be network configurations, in the order in which the runtime looks at them.
fn configurations(networks: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let entries = match fs::read_dir(networks) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at(networks))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(at(networks))?.path();
        let known = path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known));
        if known && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A file that is no list cannot have the plugin in it.
fn remove_from(path: &Path) -> Result<Option<PathBuf>, InstallError> {
    match edit(path, without) {
        Err(InstallError::Conflist { .. }) => Ok(None),
        result => result,
    }
}

fn edit(
    path: &Path,
    edit: impl FnOnce(&str) -> Result<Option<String>, ConflistError>,
) -> Result<Option<PathBuf>, InstallError> {
    let text = fs::read_to_string(path).map_err(at(path))?;
    let edited = edit(&text).map_err(|source| InstallError::Conflist { path: path.to_owned(), source })?;
    let Some(edited) = edited else { return Ok(None) };
    let permissions = fs::metadata(path).map_err(at(path))?.permissions();
    replace(path, edited.as_bytes(), permissions)?;
    Ok(Some(path.to_owned()))
}

fn replace(path: &Path, content: &[u8], permissions: Permissions) -> Result<(), InstallError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // No ending that the runtime reads.
    name.push(".weir-new");
    let new = path.with_file_name(name);
    let written = || -> io::Result<()> {
        let mut file = File::create(&new)?;
        file.set_permissions(permissions)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().map_err(|error| {
        let _ = fs::remove_file(&new);
        at(path)(error)
    })
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge"}]}"#;

    fn entry() -> Entry {
        Entry::new("/run/weir/cni.sock".into(), 30, true, Vec::new())
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn install_follows_the_configuration_that_is_first() {
        let networks = tempfile::tempdir().unwrap();
        let path = |name: &str| networks.path().join(name);
        let has = |name: &str| fs::read_to_string(path(name)).unwrap().contains(PLUGIN);
        let install = || install_entry(&entry(), networks.path());
        assert!(matches!(install(), Err(InstallError::NoNetwork(_))));

        fs::write(path("10-pods.conflist"), LIST).unwrap();
        fs::set_permissions(path("10-pods.conflist"), Permissions::from_mode(0o600)).unwrap();
        fs::write(path("05-notes.txt"), "not a configuration").unwrap();
        assert_eq!(install().unwrap(), [path("10-pods.conflist")]);
        assert!(has("10-pods.conflist"));
        let mode = fs::metadata(path("10-pods.conflist")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "whoever could read it still can, and nobody else");
        assert!(install().unwrap().is_empty(), "nothing is written when nothing has to change");

        // Its owner writes it anew, or another network becomes the first.
        fs::write(path("10-pods.conflist"), LIST).unwrap();
        assert_eq!(install().unwrap(), [path("10-pods.conflist")]);
        fs::write(path("05-other.conflist"), LIST).unwrap();
        assert_eq!(install().unwrap(), [path("05-other.conflist"), path("10-pods.conflist")]);
        assert!(has("05-other.conflist") && !has("10-pods.conflist"));

        fs::write(path("01-single.conf"), r#"{"cniVersion": "1.0.0", "name": "one", "type": "bridge"}"#)
            .unwrap();
        let error = install().unwrap_err().to_string();
        assert!(error.contains("01-single.conf") && error.contains("make it a list"), "{error}");
        assert_eq!(
            names(networks.path()),
            ["01-single.conf", "05-notes.txt", "05-other.conflist", "10-pods.conflist"]
        );
    }

    #[test]
    fn install_leaves_nothing_when_it_is_removed() {
        let (networks, programs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let list = networks.path().join("10-pods.conflist");
        fs::write(&list, LIST).unwrap();
        let program = networks.path().join("built");
        fs::write(&program, "a program").unwrap();
        assert!(install_program(&program, programs.path()).unwrap());
        assert!(!install_program(&program, programs.path()).unwrap());
        fs::write(&program, "a newer program").unwrap();
        assert!(install_program(&program, programs.path()).unwrap());
        let installed = programs.path().join(PLUGIN);
        assert_eq!(fs::metadata(&installed).unwrap().permissions().mode() & 0o777, 0o755);
        install_entry(&entry(), networks.path()).unwrap();
        assert_eq!(remove(networks.path(), programs.path()).unwrap(), [list, installed]);
        assert!(remove(networks.path(), programs.path()).unwrap().is_empty());
        assert!(names(programs.path()).is_empty());
        assert!(remove(Path::new("/nowhere/at/all"), programs.path()).unwrap().is_empty());
    }
}
