//! The data directory: made once, by `initdb` or from a template.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use crate::account::Account;
use crate::binaries::Binaries;
use crate::command::{command, finish};
use crate::places::copy_tree;
use crate::{DATABASE, Durability, Error};

/// Makes the data directory unless it is there. It appears by a rename, hence complete, database included.
pub(crate) fn ensure(
    data_dir: &Path,
    template: Option<&Path>,
    binaries: &Binaries,
    account: &Account,
    durability: Durability,
) -> Result<(), Error> {
    if data_dir.join("PG_VERSION").is_file() {
        return Ok(());
    }
    if data_dir.exists() {
        return Err(Error::unusable(data_dir, "it exists but holds no database; move it elsewhere"));
    }
    let fresh = data_dir.with_file_name("data.new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(Error::io("remove", &fresh))?;
    }
    match template {
        Some(template) => copy_for(template, &fresh, account)?,
        None => initialise(&fresh, binaries, account, durability)?,
    }
    fs::rename(&fresh, data_dir).map_err(Error::io("rename", &fresh))?;
    if let (Durability::Durable, Some(parent)) = (durability, data_dir.parent()) {
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(Error::io("write to disk", parent))?;
    }
    Ok(())
}

fn copy_for(template: &Path, fresh: &Path, account: &Account) -> Result<(), Error> {
    copy_tree(template, fresh).map_err(Error::io("copy the template to", fresh))?;
    own_tree(fresh, account)
}

fn own_tree(path: &Path, account: &Account) -> Result<(), Error> {
    account.own(path)?;
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).map_err(Error::io("read", path))?.flatten() {
            own_tree(&entry.path(), account)?;
        }
    }
    Ok(())
}

fn initialise(fresh: &Path, binaries: &Binaries, account: &Account, durability: Durability) -> Result<(), Error> {
    tracing::info!(data = %fresh.display(), version = %binaries.version, "setting up the private database");
    // Made by us, since the server's user may not write to the directory around it.
    fs::create_dir(fresh).map_err(Error::io("create", fresh))?;
    fs::set_permissions(fresh, fs::Permissions::from_mode(0o700)).map_err(Error::io("close", fresh))?;
    account.own(fresh)?;
    let mut initdb = command(&binaries.program("initdb"), account);
    initdb.arg("--pgdata").arg(fresh);
    initdb.args(["--username", DATABASE, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"]);
    initdb.arg("--data-checksums");
    match durability {
        Durability::Fast => _ = initdb.args(["--no-sync", "--wal-segsize=1"]),
        Durability::Durable if binaries.major >= 17 => _ = initdb.arg("--sync-method=syncfs"),
        Durability::Durable => {}
    }
    finish(initdb, "initdb")?;
    create_database(fresh, binaries, account)
}

/// In single-user mode: no client is needed, and a server never runs without the database.
fn create_database(data_dir: &Path, binaries: &Binaries, account: &Account) -> Result<(), Error> {
    let failed = |problem: String| Error::Failed { program: "creating the database".to_owned(), problem };
    let mut single = command(&binaries.program("postgres"), account);
    single.arg("--single").arg("-D").arg(data_dir).args(["-c", "exit_on_error=on", "template1"]);
    let mut child = single
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut input) = child.stdin.take() {
        writeln!(input, "CREATE DATABASE {DATABASE}").map_err(|error| failed(error.to_string()))?;
    }
    let done = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if done.status.success() {
        return Ok(());
    }
    Err(failed(crate::command::last_lines(&String::from_utf8_lossy(&done.stderr))))
}
