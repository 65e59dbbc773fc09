//! A database for a test: a server of its own on a temporary directory, ready in a fraction of a second, gone with the
//! test, also with one that is killed.
//!
//! Every process has servers of its own, because test runners start a process per test and kill it as they like; what
//! would be slow, `initdb`, is done once per version of Postgres and copied.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::kill;
use nix::sys::statvfs::statvfs;
use nix::unistd::{Pid, Uid};

use crate::account::Account;
use crate::{Durability, Error, Options, Postgres, binaries, cluster, places};

const PREFIX: &str = "gauntlet-test-";
/// To be raised when the way in which the template is made changes.
const TEMPLATE_RECIPE: u32 = 2;
/// Copying the thousand files of a database takes ten times as long on a disk.
const MEMORY: &str = "/dev/shm";
const ROOMY: u64 = 2 << 30;

/// An empty database in a server of its own. Dropping it stops the server and removes its files.
#[derive(Debug)]
pub struct TestDatabase {
    // Dropped in this order: the server has to be down before its files go.
    postgres: Postgres,
    _directory: Scratch,
}

impl TestDatabase {
    /// A fast server that a crash of the machine may corrupt. It survives `kill -9` all the same.
    ///
    /// # Errors
    /// Those of [`Postgres::start`].
    pub fn create() -> Result<Self, Error> {
        TestDatabase::with(Durability::Fast)
    }

    /// A server with the settings of production.
    ///
    /// # Errors
    /// Those of [`Postgres::start`].
    pub fn create_durable() -> Result<Self, Error> {
        TestDatabase::with(Durability::Durable)
    }

    fn with(durability: Durability) -> Result<Self, Error> {
        sweep();
        let directory = Scratch::make()?;
        let options = Options { state_dir: directory.0.clone(), durability, template: Some(template()?) };
        Ok(TestDatabase { postgres: Postgres::start(&options)?, _directory: directory })
    }

    /// How to connect; see [`Postgres::url`].
    pub fn url(&self) -> &str {
        self.postgres.url()
    }

    /// The server.
    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }
}

/// A directory whose name tells whose it is, so that what a killed test leaves can be removed later.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Self, Error> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = scratch().join(format!("{PREFIX}{}-{number}", process::id()));
        fs::create_dir(&path).map_err(Error::io("create", &path))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is swept later.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Memory if there is plenty, else the temporary directory, unless that is closed to the user that runs the server.
fn scratch() -> PathBuf {
    let memory = PathBuf::from(MEMORY);
    let roomy = statvfs(&memory).is_ok_and(|found| found.blocks_available() * found.fragment_size() > ROOMY);
    let usual = if roomy { memory } else { env::temp_dir() };
    let reachable = Account::choose(None, &usual).is_ok_and(|account| account.can_reach(&usual));
    if reachable { usual } else { PathBuf::from("/tmp") }
}

/// Removes what killed tests left behind.
fn sweep() {
    let Ok(entries) = fs::read_dir(scratch()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<i32>().ok());
        let dead = pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH));
        let still_stopping = || !crate::leftovers::processes_on(&entry.path().join("postgres/data")).is_empty();
        if dead && !still_stopping() {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// Data of a freshly made server, shared by all tests of this user.
fn template() -> Result<PathBuf, Error> {
    let account = Account::choose(None, Path::new("/"))?;
    let binaries = binaries::find(Path::new("/"))?;
    let cache = cache();
    fs::create_dir_all(&cache).map_err(Error::io("create", &cache))?;
    let installation = places::fingerprint(&binaries.dir);
    let name = format!("test-template-{}-{installation}-{TEMPLATE_RECIPE}", binaries.version);
    let template = cache.join(&name);
    if template.is_dir() {
        return Ok(template);
    }
    let _lock = wait_for_lock(&cache.join(format!("{name}.lock")))?;
    if !template.is_dir() {
        let binaries = places::reachable_binaries(binaries, &account)?;
        make_template(&Scratch::make()?.0, &template, &binaries, &account)?;
    }
    Ok(template)
}

fn make_template(
    directory: &Path,
    template: &Path,
    binaries: &binaries::Binaries,
    account: &Account,
) -> Result<(), Error> {
    let data = directory.join("data");
    cluster::ensure(&data, None, binaries, account, Durability::Fast)?;
    let fresh = template.with_extension(format!("fresh-{}", process::id()));
    places::copy_tree(&data, &fresh).map_err(Error::io("copy the template to", &fresh))?;
    fs::rename(&fresh, template).map_err(Error::io("rename", &fresh))
}

fn cache() -> PathBuf {
    let named = |variable: &str| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("GAUNTLET_CACHE")
        .or_else(|| Some(named("XDG_CACHE_HOME")?.join("gauntlet")))
        .or_else(|| Some(named("HOME")?.join(".cache/gauntlet")))
        .unwrap_or_else(|| env::temp_dir().join(format!("gauntlet-cache-{}", Uid::effective())))
}

fn wait_for_lock(path: &Path) -> Result<Flock<File>, Error> {
    let file = File::create(path).map_err(Error::io("create", path))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| Error::io("lock", path)(errno.into()))
}
